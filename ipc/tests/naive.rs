//! At size, against readings that share no code with the engine: ranges compared
//! as numbers, hosts as lists of labels, texts window by window.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipc::snapshot::format::list;
use ipc::snapshot::{Beside, Meta, Snapshot, compile};
use policy::text::Scratch;
use policy::{Host, HostLists, Policy, Request, Rule, RuleText, Settings, Source};

/// Numbers without a pattern (xorshift64*), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

fn snapshot(policy: &Policy) -> Snapshot {
    Snapshot::from_bytes(&compile(policy, Meta::default()).unwrap()).unwrap()
}

fn bits(blocked: bool, passive: bool) -> u8 {
    (if blocked { list::BLOCK } else { 0 }) | (if passive { list::OBSERVE } else { 0 })
}

#[test]
fn addresses_as_a_scan_of_all_ranges_says() {
    let mut random = Random(7);
    // Ranges of all widths, many of them over each other, next to each other, and
    // across the borders of /16 networks and of the whole space.
    let mut v4: Vec<(u32, u32)> = vec![(0, 0), (u32::MAX, u32::MAX), (0x0100_ffff, 0x0103_0000)];
    let mut v6: Vec<(u128, u128)> = vec![(0, 1), (u128::MAX - 1, u128::MAX)];
    for _ in 0..4_000 {
        let first = (random.next() & 0x03ff_ffff) as u32 | 0x0a00_0000;
        let width = (1u64 << random.below(18)) as u32;
        v4.push((first, first.saturating_add(random.below(width.into()) as u32)));
        let first =
            0x2001 << 112 | u128::from(random.next() & 0xffff) << 64 | u128::from(random.below(64));
        v6.push((first, first + (1 << random.below(70))));
    }
    let written = |(first, last): &(u32, u32)| {
        format!("{}-{}", Ipv4Addr::from(*first), Ipv4Addr::from(*last))
    };
    let written6 = |(first, last): &(u128, u128)| {
        format!("{}-{}", Ipv6Addr::from(*first), Ipv6Addr::from(*last))
    };
    let (blocked4, passive4) = v4.split_at(v4.len() / 2);
    let (blocked6, passive6) = v6.split_at(v6.len() / 2);
    let passive: Vec<_> =
        passive4.iter().map(written).chain(passive6.iter().map(written6)).collect();
    let passive = passive.join(",");
    let policy = Policy {
        settings: Settings::parse([("nwaf_ip_lm", passive.as_str())]).unwrap(),
        block_list: blocked4
            .iter()
            .map(written)
            .chain(blocked6.iter().map(written6))
            .map(|entry| entry.parse().unwrap())
            .collect(),
        rules: Vec::new(),
        ..Policy::default()
    };
    let snapshot = snapshot(&policy);
    let host = Host::normalised(b"");
    let mut hits = 0;
    for n in 0..60_000 {
        // Every second one right at an end of a range, where mistakes are.
        let (first, last) = v4[random.below(v4.len() as u64) as usize];
        let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)][n % 4];
        let key =
            if n % 2 == 0 { near } else { (random.next() & 0x03ff_ffff) as u32 | 0x0a00_0000 };
        let inside = |ranges: &[(u32, u32)]| ranges.iter().any(|(a, b)| *a <= key && key <= *b);
        let expected = bits(inside(blocked4), inside(passive4));
        let got = snapshot.address_lists(IpAddr::V4(key.into()), host);
        assert_eq!(got, expected, "{}", Ipv4Addr::from(key));
        hits += usize::from(got != 0);

        let (first, last) = v6[random.below(v6.len() as u64) as usize];
        let key = [first.wrapping_sub(1), first, last, last.wrapping_add(1)][n % 4];
        let inside = |ranges: &[(u128, u128)]| ranges.iter().any(|(a, b)| *a <= key && key <= *b);
        let expected = bits(inside(blocked6), inside(passive6));
        // ::ffff:0:0/96 is IPv4 and not asked here.
        let got = snapshot.address_lists(IpAddr::V6(key.into()), host);
        assert_eq!(got, expected, "{}", Ipv6Addr::from(key));
    }
    assert!(hits > 1_000, "the clients did not meet the ranges");
}

#[test]
fn hosts_as_their_labels_say() {
    let mut random = Random(11);
    let mut name = |labels: u64| {
        let labels: Vec<_> = (0..=random.below(labels))
            .map(|_| ["a", "b", "shop", "x-1"][random.below(4) as usize])
            .collect();
        labels.join(".")
    };
    let patterns: Vec<String> =
        (0..300).map(|n| format!("{}{}", ["", ".", "*."][n % 3], name(5))).collect();
    let value = patterns.join(",");
    let settings = Settings::parse([("nwaf_host_lm", value.as_str())]).unwrap();
    let snapshot = snapshot(&Policy { settings, ..Policy::default() });
    for _ in 0..20_000 {
        let host = name(6);
        let labels: Vec<&str> = host.split('.').collect();
        let expected = patterns.iter().any(|pattern| {
            let (itself, below, domain) = if let Some(domain) = pattern.strip_prefix("*.") {
                (false, true, domain)
            } else if let Some(domain) = pattern.strip_prefix('.') {
                (true, true, domain)
            } else {
                (true, false, pattern.as_str())
            };
            let own: Vec<&str> = domain.split('.').collect();
            let tail = labels.len().checked_sub(own.len());
            tail.is_some_and(|more| {
                labels[more..] == own[..] && if more == 0 { itself } else { below }
            })
        });
        let lists = snapshot.host_lists(Host::normalised(host.as_bytes()));
        assert_eq!(lists.has(HostLists::OBSERVE), expected, "{host}");
    }
}

#[test]
fn texts_as_every_window_says() {
    let mut random = Random(13);
    // Few letters, so that texts begin alike, end alike and contain each other.
    let mut text = |longest: u64| -> Vec<u8> {
        let mut word = Vec::new();
        for _ in 0..=random.below(longest) {
            word.push(b"abc/"[random.below(4) as usize]);
        }
        word
    };
    for longest in [3, 6, 12, 40] {
        let words: Vec<Vec<u8>> = (0..2_000).map(|_| text(longest)).collect();
        let rules = (1..).zip(&words).map(|(id, word)| {
            let url = Some(STANDARD.encode(word));
            // Observed, so that all of them are asked.
            Rule::parse(id, &RuleText { url, lm: true, ..RuleText::default() }).unwrap()
        });
        let snapshot = snapshot(&Policy { rules: rules.collect(), ..Policy::default() });
        let none: Vec<(&str, &str)> = Vec::new();
        let mut scratch = Scratch::default();
        for _ in 0..300 {
            // No segment is empty or dots, so that the path has one form.
            let path = [b"/x", text(60).as_slice(), b"x"].concat();
            let path: Vec<u8> = String::from_utf8(path).unwrap().replace("//", "/a").into_bytes();
            let path = String::from_utf8(path).unwrap().replace("//", "/b").into_bytes();
            let hits = words.iter().filter(|word| path.windows(word.len()).any(|w| w == **word));
            let first =
                (1..).zip(&words).find(|(_, word)| path.windows(word.len()).any(|w| w == **word));
            let request = Request::new(Host::normalised(b"a"), &path, &none);
            let verdict = snapshot.evaluate(&Beside::default(), &request, &mut scratch);
            let shown = String::from_utf8_lossy(&path);
            assert_eq!(verdict.reasons.found() as usize, hits.count(), "{shown}");
            let deciding = verdict.deciding.map(|reason| reason.source);
            assert_eq!(deciding, first.map(|(id, _)| Source::Rule(id)), "{shown}");
        }
    }
}

#[test]
fn a_header_that_is_repeated_selects_its_rules_once() {
    let rules = (1..=1_000).map(|id| {
        let text = RuleText {
            // eA== is x; no client of the test is 10.x
            other_headers: vec!["eA==:".into()],
            ip: Some("!10.0.0.0/8".into()),
            lm: true,
            ..RuleText::default()
        };
        Rule::parse(id, &text).unwrap()
    });
    let snapshot = snapshot(&Policy { rules: rules.collect(), ..Policy::default() });
    let lines = vec![("X", ""); 2_000];
    let address = Some("1.2.3.4".parse().unwrap());
    let request = Request { address, ..Request::new(Host::normalised(b"a"), b"/", &lines) };
    let mut scratch = Scratch::default();
    for _ in 0..2 {
        let verdict = snapshot.evaluate(&Beside::default(), &request, &mut scratch);
        assert_eq!(verdict.reasons.found(), 1_000);
    }
    // What is kept for the next request follows the rules, not rules times lines.
    assert!(scratch.found.rules.capacity() < 10_000, "{}", scratch.found.rules.capacity());
}
