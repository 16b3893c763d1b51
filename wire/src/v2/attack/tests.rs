//! What a batch may hold, what it may not, and that nothing in it breaks a line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// 2025-11-22T14:00:00Z.
const NOW: i64 = 1_763_820_000_000;

fn event() -> Value {
    json!({
        "id": "19aab9f1c7b-4711-17", "time": "2025-11-22T14:00:00.123Z",
        "request_id": "8c0cf11d5f8e48c1a5a4c6a0b54f6a3b", "action": "block", "bt": 5, "rule": 13,
        "zone": "URL", "api": true,
        "reasons": [{"source": "extended_rule", "rule": 13, "zone": "URL", "observed": false,
                     "api": true, "deciding": true}],
        "reasons_found": 1, "client": "198.51.100.99", "country": "de", "host": "shop.test",
        "server": "shop.test", "method": "POST", "uri": "/a/secret", "args": "?user=a",
        "protocol": "HTTP/1.1", "status": 403, "request_time": 2, "user_agent": "probe/1",
        "referer": null, "cookie": "lang=de", "headers": [["Host", "shop.test"]],
        "generation": 812, "session": 1_763_820_000_000_u64, "count": 1, "truncated": []
    })
}

fn with(field: &str, value: Value) -> String {
    let mut event = event();
    event[field] = value;
    event.to_string()
}

fn parse(line: &str) -> Result<Attack, Invalid> {
    Attack::parse(line.as_bytes(), NOW)
}

#[test]
fn a_line_of_the_journal_is_understood() {
    let attack = parse(&event().to_string()).unwrap();
    assert_eq!((attack.id.as_str(), attack.at_ms), ("19aab9f1c7b-4711-17", NOW + 123));
    assert_eq!((attack.action, attack.bt, attack.rule), (AttackAction::Block, 5, Some(13)));
    assert_eq!(attack.client, Some("198.51.100.99".parse().unwrap()));
    assert_eq!((attack.country.as_deref(), attack.zone.as_deref()), (Some("DE"), Some("URL")));
    assert_eq!(serde_json::from_str::<Value>(&attack.text).unwrap(), event());
    let mapped = parse(&with("client", json!("::ffff:1.2.3.4"))).unwrap();
    assert_eq!(mapped.client, Some("1.2.3.4".parse().unwrap()));
    // What a newer node says beside it is kept.
    let newer = parse(&with("ja4", json!({"a": [1, "x"]}))).unwrap();
    assert!(newer.text.contains(r#""ja4":{"a":[1,"x"]}"#), "{}", newer.text);
    for empty in ["rule", "zone", "client", "country", "args", "user_agent", "generation"] {
        parse(&with(empty, Value::Null)).unwrap();
    }
}

#[test]
fn refusals_name_the_field() {
    for (field, value) in [
        ("id", json!("")),
        ("id", json!("a b")),
        ("id", json!("x".repeat(65))),
        ("id", json!(5)),
        ("time", json!("yesterday")),
        ("time", json!("2025-11-23T14:00:00.001Z")),
        ("time", json!("2024-11-21T13:59:59Z")),
        ("time", json!("+999999-01-01T00:00:00Z")),
        ("action", json!("pass")),
        ("bt", json!(0)),
        ("bt", json!(12)),
        ("bt", json!("5")),
        ("rule", json!(-1)),
        ("rule", json!(u64::MAX)),
        ("count", json!(0)),
        ("count", json!(4_294_967_296_u64)),
        ("status", json!(70_000)),
        ("client", json!("198.51.100.999")),
        ("country", json!("DEU")),
        ("host", json!("x".repeat(257))),
        ("host", json!("a\nb")),
        ("request_id", json!("\u{0}")),
        ("zone", json!("x".repeat(65))),
        ("headers", json!([["a"]])),
        ("reasons", json!([{}])),
        ("truncated", json!([1])),
        ("body", json!(7)),
    ] {
        let why = parse(&with(field, value.clone())).expect_err(field);
        assert!(why.field.starts_with(field), "{field} {value}: {why}");
    }
    for missing in ["id", "time", "request_id", "action", "bt", "host", "method", "uri", "count"] {
        let mut event = event();
        event.as_object_mut().unwrap().remove(missing);
        assert_eq!(parse(&event.to_string()).unwrap_err().field, missing);
    }
    let deep = with("x", serde_json::from_str(&("[".repeat(16) + &"]".repeat(16))).unwrap());
    for whole in ["", "{", "[]", "null", &deep, &with("x", json!("y".repeat(EVENT_BYTES)))] {
        assert!(parse(whole).is_err(), "{whole}");
    }
    let twice = event().to_string().replacen('{', "{\"bt\":5,", 1);
    assert!(parse(&twice).unwrap_err().reason.contains("duplicate"));
    // Brackets in a text are none.
    parse(&with("uri", json!("[".repeat(100)))).unwrap();
}

#[test]
fn a_batch_names_every_bad_line_by_its_index() {
    let good = event().to_string();
    let batch = format!("{good}\n\r\n{}\n{good}\nno json\n", with("bt", json!(99)));
    let refused = parse_batch(batch.as_bytes(), NOW).unwrap_err();
    let indices: Vec<_> = refused.iter().map(|why| refused_index(&why.field)).collect();
    assert_eq!(indices, [Some(1), Some(3)], "{refused:?}");
    assert_eq!(refused[0].field, "events[1].bt");
    assert_eq!(parse_batch(format!("{good}\n{good}").as_bytes(), NOW).unwrap().len(), 2);
    assert_eq!(parse_batch(b"\n \n", NOW).unwrap(), []);
    let bad_text = [good.as_bytes(), b"\n\xff\n"].concat();
    let refused = parse_batch(&bad_text, NOW).unwrap_err();
    assert_eq!(refused_index(&refused[0].field), Some(1));

    let full = format!("{good}\n").repeat(BATCH_EVENTS);
    assert_eq!(parse_batch(full.as_bytes(), NOW).unwrap().len(), BATCH_EVENTS);
    let refused = parse_batch((full + &good).as_bytes(), NOW).unwrap_err();
    assert_eq!(refused_index(&refused[0].field), Some(BATCH_EVENTS));
    assert_eq!(refused_index("node"), None);
}

#[test]
fn cells_are_no_formulas_and_stay_in_their_line() {
    let mut table = csv::header();
    for uri in ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "a,\"b\"", "\n=1", "\r\t", "\u{85}\u{2028}"]
    {
        let attack = parse(&with("uri", json!(uri))).unwrap();
        csv::row(&mut table, "1.2", "-node", &attack.text).unwrap();
    }
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(table.lines().count(), 9);
    for (line, uri) in lines[1..].iter().zip([
        "\"'=cmd|' /C calc'!A0\"",
        "\"'+1\"",
        "\"'-1\"",
        "\"'@x\"",
        "\"a,\"\"b\"\"\"",
        "\\u000a=1",
        "\"'\\u000d\\u0009\"",
        "\\u0085\\u2028",
    ]) {
        assert!(line.contains(&format!(",POST,{uri},")), "{line}");
        assert!(line.contains(",\"'-node\","), "{line}");
    }
}

proptest! {
    #[test]
    fn any_text_is_one_line_with_the_same_meaning(
        text in "\\PC{0,8}|[\u{0}-\u{20}\u{7f}-\u{9f}\u{2028}\u{202e}\u{2066}x\"\\\\]{0,20}"
    ) {
        let line = with("uri", json!(text));
        let attack = parse(&format!(" {}", line.replacen(':', "\t:\r ", 1))).unwrap();
        prop_assert!(!attack.text.chars().any(is_unsafe));
        let shown: Value = serde_json::from_str(&attack.text).unwrap();
        prop_assert_eq!(shown["uri"].as_str(), Some(text.as_str()));
    }
}
