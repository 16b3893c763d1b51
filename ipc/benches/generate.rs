//! Policies of any size and a typical request, for benchmarks and experiments.
//! Everything comes from fixed seeds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{AddressEntry, AddressRange, HostPattern, Rule, RuleText};

/// Header lines of a browser, about 600 bytes.
pub const HEADERS: [(&str, &str); 10] = [
    ("Host", "www.shop.example.com"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://www.shop.example.com/catalogue/shoes/running"),
    ("Cookie", "session=4f2a9c1e77b04d5e; consent=1; basket=3; theme=light"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Cache-Control", "max-age=0"),
];
/// Path and query of the request.
pub const TARGET: &[u8] = b"/catalogue/shoes/running/item-20419?colour=blue&size=43&page=3";
/// Host of the request.
pub const HOST: &[u8] = b"www.shop.example.com";

/// Numbers without a pattern (splitmix64).
pub fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Entries as a real list has them, spread over IPv4: two of three are single
/// addresses, the others networks. None is in 127.0.0.0/8, so that benign load
/// from this machine passes.
pub fn addresses(count: usize) -> Vec<AddressEntry> {
    let entry = |random: u64| {
        let bits = [0, 0, 0, 0, 8, 4][(random >> 32) as usize % 6];
        let first = (random as u32) >> bits << bits;
        (first >> 24 != 127).then(|| AddressEntry {
            range: AddressRange::V4 { first, last: first | ((1u32 << bits) - 1) },
            domain: HostPattern::Any,
            api: false,
        })
    };
    numbers(1).filter_map(entry).take(count).collect()
}

fn encode(plain: &str) -> Option<String> {
    Some(STANDARD.encode(plain))
}

fn parse(id: u64, text: &RuleText) -> Rule {
    Rule::parse(id, text).expect("a generated rule is valid")
}

/// A rule with a text of its own in path, query or user agent.
pub fn text_rule(id: u64) -> Rule {
    let word = |zone: &str| encode(&format!("{zone}-attack-{id:05}"));
    let text = RuleText { ..RuleText::default() };
    let text = match id % 3 {
        0 => RuleText { url: word("url"), ..text },
        1 => RuleText { args: word("args"), ..text },
        _ => RuleText { ua: word("ua"), ..text },
    };
    parse(id, &text)
}

/// Rules as analysts write them, of every kind that can be selected.
pub fn mixed_rule(id: u64) -> Rule {
    let random = numbers(id).next().unwrap_or(0);
    let word = |zone: &str| encode(&format!("{zone}-{:08x}", random as u32));
    let address = std::net::Ipv4Addr::from(random as u32);
    let site = format!("site{id}.example.org");
    let text = RuleText { ..RuleText::default() };
    let text = match id % 12 {
        0 => RuleText { ip: Some(address.to_string()), ..text },
        1 => RuleText { ip: Some(format!("{address}/24")), country: encode("CN"), ..text },
        2 => RuleText { domain: Some(site), ua: encode("curl/").map(|e| format!("!{e}")), ..text },
        3 => RuleText { domain: Some(format!("*.{site}")), args: encode("?a"), ..text },
        4 => RuleText {
            other_headers: vec![format!("{}:", STANDARD.encode(format!("x-probe-{id}")))],
            ..text
        },
        5 => {
            RuleText { other_headers: vec![format!(":{}", word("h").unwrap_or_default())], ..text }
        }
        6 => RuleText { country: encode("KP"), url: word("/path"), ..text },
        7 => RuleText { cookie: word("session"), ..text },
        8 => RuleText { referer: word("http://evil"), no_cookie: true, ..text },
        9 => RuleText { body: word("field"), ..text },
        10 => RuleText {
            url: Some(format!(
                "{}|{}",
                word("/a").unwrap_or_default(),
                word("/b").unwrap_or_default()
            )),
            ..text
        },
        _ => RuleText { ip: Some(format!("!{address}")), domain: Some(site), ..text },
    };
    parse(id, &text)
}
