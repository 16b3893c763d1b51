//! A request says the same however it is written, and what is wrong with it has a name.

use super::*;

fn refused(body: &str) -> Invalid {
    match Fields::from_json(body) {
        Err(Malformed::Field(why)) => why,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn token_is_key_and_both_are_too_many() {
    assert_eq!(Fields::from_json(r#"{"token":"a"}"#).unwrap().key.as_deref(), Some("a"));
    assert_eq!(refused(r#"{"token":"a","key":"a"}"#).field, "key");
    let mut fields = Fields::from_json(r#"{"key":"a"}"#).unwrap();
    fields.add_pair("token", "a").unwrap();
    assert!(fields.add_pair("key", "b").is_err());
    assert!(!format!("{fields:?}").contains("\"a\""));
}

#[test]
fn invalid_json_says_where() {
    let body = "{\"key\": \"k\",\n \"add\": {\"ip\": \"1.1.1.1\" \"active\": \"true\"}}";
    let Err(Malformed::Json { line, column, .. }) = Fields::from_json(body) else {
        panic!("accepted");
    };
    assert_eq!((line, column), (2, 26));
    for body in ["", "{", "{\"key\": \"k\"} x", "{\"key\": \"k, \"set\": 1}"] {
        assert!(matches!(Fields::from_json(body), Err(Malformed::Json { .. })), "{body}");
    }
}

#[test]
fn fields_are_named() {
    assert_eq!(refused(r#"{"key":"k","foo":1}"#).field, "foo");
    assert!(refused(r#"{"key":"k","foo":1}"#).remedy.contains("upd"));
    assert_eq!(refused(r#"{"key":5}"#).field, "key");
    assert_eq!(refused(r#"{"set":{},"set":{}}"#).field, "set");
    assert_eq!(refused("[]").field, "body");
    let mut fields = Fields::default();
    assert!(fields.add_pair("foo", "1").is_err());
    assert!(fields.add_pair("extended", "maybe").is_err());
    fields.add_pair("format", "xml").unwrap();
    assert!(fields.expect_json().is_err());
    assert!(fields.add_pair("format", "json").is_err(), "one is not the other");
}

#[test]
fn type_errors_show_the_value() {
    assert_eq!(refused(r#"{"key":5}"#).value, "5");
    assert_eq!(refused(r#"{"force":"maybe"}"#).value, "maybe");
    assert_eq!(refused(r#"{"key":null}"#).value, "null");
    assert_eq!(refused(r#"{"key":{}}"#).value, "map");
    assert_eq!(refused(r#"{"extended":"maybe"}"#).value, "maybe");
}

#[test]
fn megabytes_are_not_repeated() {
    let long = "\u{fc}, expected `".repeat(100_000);
    for body in [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"force":"{long}"}}"#),
        format!(r#"{{"extended":"{long}"}}"#),
        format!(r#"{{"validate":"{long}"}}"#),
    ] {
        let why = refused(&body);
        assert!(why.to_string().len() < 2_000, "{}", why.to_string().len());
        assert!(why.to_string().contains('\u{fc}'));
    }
    let mut fields = Fields::default();
    let why = fields.add_pair(&long, &long).unwrap_err();
    assert!(why.to_string().len() < 2_000);
    fields.add_pair("format", &long).unwrap();
    assert!(fields.expect_json().unwrap_err().to_string().len() < 2_000);
}

#[test]
fn what_a_query_can_say_json_can_say() {
    for (body, extended) in [
        (r#"{"extended":true}"#, true),
        (r#"{"extended":"yes"}"#, true),
        (r#"{"extended":"true"}"#, true),
        (r#"{"extended":false}"#, false),
        (r#"{"extended":"no"}"#, false),
    ] {
        assert_eq!(Fields::from_json(body).unwrap().extended, Some(extended), "{body}");
    }
    for body in [r#"{"before":7}"#, r#"{"before":"7"}"#] {
        assert_eq!(Fields::from_json(body).unwrap().before, Some(7), "{body}");
    }
    for body in [r#"{"before":-1}"#, r#"{"before":"x"}"#, r#"{"before":1.5}"#] {
        assert_eq!(refused(body).field, "before", "{body}");
    }
    let mut fields = Fields::from_json(r#"{"extended":true}"#).unwrap();
    assert!(fields.add_pair("extended", "yes").is_err());
}

#[test]
fn exactly_one_operation() {
    let operation = |body: &str| {
        Fields::from_json(body).unwrap().operation(&["set", "del"]).map(|(name, _)| name)
    };
    assert_eq!(operation(r#"{"set":{}}"#), Ok("set"));
    assert!(operation("{}").is_err());
    assert!(operation(r#"{"set":{},"del":""}"#).is_err());
    assert!(operation(r#"{"add":{}}"#).is_err());
    assert!(Fields::from_json(r#"{"set":{}}"#).unwrap().expect_no_operation().is_err());
    Fields::from_json("{}").unwrap().expect_no_operation().unwrap();
}

#[test]
fn forms_hold_json_or_plain_texts() {
    let mut fields = Fields::default();
    fields.add_pair("del", "nwaf_ip_wl").unwrap();
    fields.add_pair("set", r#"{"active":"true"}"#).unwrap();
    assert_eq!(fields.del.as_deref(), Some("\"nwaf_ip_wl\""));
    assert_eq!(fields.set.as_deref(), Some(r#"{"active":"true"}"#));
    assert!(fields.add_pair("del", "").is_err());
}

#[test]
fn fields_of_other_calls_are_refused() {
    let form = "vhosts=.a.com, b.com&duration=4&complete=no&src=[::1]&dst=b.com&vhosts_list=[::1]";
    let mut fields = Fields::default();
    for pair in form.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        fields.add_pair(name, value).unwrap();
    }
    let json = r#"{"vhost": ".a.com, b.com", "duration": "4", "complete": false, "src": "[::1]",
        "dst": "b.com", "vhosts_list": "[::1]"}"#;
    assert_eq!(fields, Fields::from_json(json).unwrap());
    assert_eq!((fields.duration, fields.complete), (Some(4), Some(false)));
    let known = ["vhosts_list", "vhost", "src", "dst", "duration", "complete"];
    fields.expect_parameters(&known).unwrap();
    for (at, name) in known.iter().enumerate() {
        let rest: Vec<_> = known.iter().filter(|other| *other != name).copied().collect();
        let Err(Malformed::Field(why)) = fields.expect_parameters(&rest) else {
            panic!("{at}: accepted")
        };
        assert_eq!(why.field, *name);
    }
    assert!(fields.expect_no_operation().is_err() && fields.operation(&["set"]).is_err());
    let fields = Fields::from_json(r#"{"set": {}}"#).unwrap();
    assert!(fields.expect_parameters(&known).is_err());
    assert!(Fields::from_json(r#"{"vhost": "a", "vhosts": "b"}"#).is_err());
    for (name, value) in [("duration", "x"), ("duration", "-1"), ("complete", "maybe")] {
        assert!(Fields::default().add_pair(name, value).is_err(), "{name}={value}");
    }
}
