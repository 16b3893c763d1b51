//! Lines are JSON, bounded, and keep no secret.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::events::json::bytes_of;

const ORIGIN: Origin = Origin { started_ms: 0x1234, pid: 99, number: 7 };

/// Bans of which those for flooding are observed and the one numbered `blocking` blocks.
fn verdict(rules: std::ops::RangeInclusive<u64>, blocking: u64) -> Verdict {
    let settings = policy::Settings::parse([("nwaf_bf_detect_host_lm", "*")]).expect("a setting");
    let policy = policy::Policy { settings, ..policy::Policy::default() };
    let ban = |rule| policy::Ban {
        range: "198.51.100.7".parse().expect("an address"),
        domain: policy::HostPattern::Any,
        kind: if rule == blocking { BanKind::Ddos } else { BanKind::Flood },
        rule,
        until: 1,
    };
    let bans: Vec<_> = rules.map(ban).collect();
    let headers: Vec<(&str, &str)> = Vec::new();
    let host = policy::Host::normalised(b"site.test");
    let address = Some(IpAddr::from([198, 51, 100, 7]));
    let request = policy::Request { address, ..policy::Request::new(host, b"/", &headers) };
    policy.evaluate(&bans, &request)
}

fn entry<'a>(verdict: &'a Verdict, headers: &'a dyn Headers) -> Entry<'a> {
    Entry {
        time_ms: 1_763_820_000_123,
        request_id: b"0123456789abcdef0123456789abcdef",
        action: verdict.action,
        verdict,
        block_type: 10,
        error: None,
        client: Some(IpAddr::from([198, 51, 100, 7])),
        country: Some(*b"DE"),
        host: b"site.test",
        server: b"_",
        method: b"POST",
        target: b"/login?next=/&password=b",
        protocol: b"HTTP/1.1",
        status: 403,
        request_time_ms: 12,
        headers: Some(headers),
        body: Some((b"user=a&password=b", false)),
        session: 5,
        generation: Some(812),
        count: 1,
    }
}

fn parsed(entry: &Entry<'_>) -> Value {
    let mut writer = Writer::default();
    let line = writer.line(&Masks::default(), ORIGIN, entry);
    assert!(line.len() <= LINE_MAX, "{}", line.len());
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
    serde_json::from_slice(line)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(line)))
}

#[test]
fn a_line_says_everything() {
    let headers = vec![
        ("Host", "site.test"),
        ("User-Agent", "probe/1"),
        ("Referer", "https://a.test/?token=1"),
        ("Cookie", "a=1; sid=2"),
        ("Authorization", "Basic abc"),
    ];
    let verdict = verdict(3..=4, 4);
    let line = parsed(&entry(&verdict, &headers));
    let expected = serde_json::json!({
        "id": "1234-99-7", "time": "2025-11-22T14:00:00.123Z",
        "request_id": "0123456789abcdef0123456789abcdef",
        "action": "block", "bt": 10, "rule": 4, "zone": "IP", "api": true,
        "reasons": [
            {"source": "ban_flood", "rule": 3, "zone": "IP", "observed": true, "api": true, "deciding": false},
            {"source": "ban_ddos", "rule": 4, "zone": "IP", "observed": false, "api": true, "deciding": true},
        ],
        "reasons_found": 2, "client": "198.51.100.7", "country": "DE",
        "host": "site.test", "server": "_", "method": "POST",
        "uri": "/login", "args": "?next=/&password=***", "protocol": "HTTP/1.1",
        "status": 403, "request_time": 12,
        "user_agent": "probe/1", "referer": "https://a.test/?token=***", "cookie": "a=1; sid=***",
        "headers": [["Host", "site.test"], ["Authorization", "***"]],
        "body": "user=a&password=***",
        "generation": 812, "session": 5, "count": 1, "truncated": [],
    });
    assert_eq!(line, expected);
}

#[test]
fn what_decided_is_shown_however_many_reasons_there_are() {
    let headers: Vec<(&str, &str)> = Vec::new();
    let verdict = verdict(1..=20, 17);
    let line = parsed(&entry(&verdict, &headers));
    let reasons = line["reasons"].as_array().unwrap();
    assert_eq!((reasons.len(), &line["reasons_found"]), (8, &20.into()));
    assert_eq!((&reasons[7]["rule"], &reasons[7]["deciding"]), (&17.into(), &true.into()));
    assert_eq!(reasons.iter().filter(|reason| reason["deciding"] == true).count(), 1);
}

#[test]
fn times_are_those_of_the_calendar() {
    for (ms, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Utc(ms).to_string(), expected);
    }
}

#[test]
fn the_longest_line_is_within_its_limit() {
    let verdict = verdict(1..=20, 17);
    for byte in [b'\\', b'"', 0, 0xff, b'a', b'x'] {
        let long = vec![byte; 100_000];
        let headers: Vec<(&[u8], &[u8])> = vec![
            (b"Cookie", &long),
            (b"Referer", &long),
            (b"User-Agent", &long),
            (&long, &long),
            (b"X-A", &long),
            (b"X-B", &long),
            (b"X-C", &long),
            (b"X-D", &long),
        ];
        let target = [b"/", &long[..], b"?", &long].concat();
        let line = parsed(&Entry {
            request_id: &long,
            host: &long,
            server: &long,
            method: &long,
            target: &target,
            protocol: &long,
            error: Some(&"\\".repeat(100_000)),
            body: Some((&long, false)),
            time_ms: 253_402_300_799_999,
            request_time_ms: u64::MAX,
            session: u64::MAX,
            generation: Some(u64::MAX),
            count: u64::MAX,
            ..entry(&verdict, &headers)
        });
        let cut: Vec<_> =
            line["truncated"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for name in ["uri", "args", "user_agent", "referer", "cookie", "headers", "body", "host"] {
            assert!(cut.contains(&name), "{name} in {cut:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_request_is_a_line(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 8),
        headers in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..20), proptest::collection::vec(any::<u8>(), 0..60)), 0..6),
    ) {
        let verdict = verdict(1..=2, 1);
        let line = parsed(&Entry {
            request_id: &texts[0], host: &texts[1], server: &texts[2], method: &texts[3],
            target: &texts[4], protocol: &texts[5], body: Some((&texts[6], false)),
            ..entry(&verdict, &headers)
        });
        let host = bytes_of(line["host"].as_str().unwrap());
        prop_assert!(texts[1].starts_with(&host));
        let is_cut = line["truncated"].as_array().unwrap().contains(&"host".into());
        prop_assert_eq!(is_cut, host != texts[1]);
    }

    #[test]
    fn no_secret_is_in_a_line(at in 0..6usize, around in "[a-z ]{0,9}") {
        let secret = "S3CR3T";
        let pair = format!("{around}&password={secret}");
        let (mut headers, mut target, mut body) = (vec![("Host", "a")], "/".to_owned(), String::new());
        let cookie = format!("sid={secret}; {around}");
        match at {
            0 => target = format!("/?{pair}"),
            1 => body = pair.clone(),
            2 => headers.push(("Cookie", &cookie)),
            3 => headers.push(("Authorization", secret)),
            4 => body = format!("{{\"{around}\":1,\"password\":\"{secret}\"}}"),
            _ => headers.push(("x-api-key", secret)),
        }
        let verdict = verdict(1..=2, 1);
        let line = parsed(&Entry {
            target: target.as_bytes(), body: Some((body.as_bytes(), false)), ..entry(&verdict, &headers)
        });
        prop_assert!(!line.to_string().contains(secret));
        prop_assert!(line.to_string().contains("***"));
    }
}
