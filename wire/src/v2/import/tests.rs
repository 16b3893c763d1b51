//! Files as people have them.

use super::*;

fn list_of(file: &str) -> ImportedList {
    Imported::parse(Part::BlockList, false, file.as_bytes()).unwrap().block_list.unwrap()
}

fn lines(part: Part, file: &[u8]) -> BadLines {
    match Imported::parse(part, false, file) {
        Err(FileError::Lines(bad)) => bad,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_has_an_entry_a_line() {
    let list = list_of(
        "\u{feff}# bad people\r\n1.1.1.1\r\n\r\n  domain=a.com 2.2.2.2 api=yes # since May\n3.3.3.3\n{'status': 'success'}\n",
    );
    assert_eq!(list.entries, ["1.1.1.1", "domain=a.com 2.2.2.2 api=yes", "3.3.3.3"]);
    assert_eq!((list.places.name(0), list.places.name(2)), ("line 2".into(), "line 5".into()));
    assert_eq!(list_of("").entries, [""; 0]);
    let bad = lines(Part::BlockList, b"1.1.1.1\n\xff\n");
    assert_eq!((bad.count, bad.first[0].field.as_str()), (1, "line 2"));
}

#[test]
fn json_lists_have_three_forms() {
    for file in [
        r#"["1.1.1.1", "2.2.2.2"]"#,
        r#"{"bl": ["1.1.1.1", "2.2.2.2"], "active": true}"#,
        r#"{"bl": "1.1.1.1, 2.2.2.2"}"#,
        "\"1.1.1.1\"\n\"2.2.2.2\"\n",
        "{\"entry\": \"1.1.1.1\", \"active\": true, \"author\": \"a\"}\n{\"entry\": \"2.2.2.2\"}\n{'status': 'success'}\n",
    ] {
        assert_eq!(list_of(file).entries, ["1.1.1.1", "2.2.2.2"], "{file}");
    }
    assert_eq!(list_of(r#"{"bl": [], "active": "false"}"#).active, Some(false));
    let bad = lines(Part::BlockList, b"\"1.1.1.1\"\n5\n\"2.2.2.2\n");
    let fields: Vec<_> = bad.first.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["line 2", "line 3"]);
}

#[test]
fn rules_are_an_array_or_lines() {
    let array = r#"[{"id": 7, "ip": "1.1.1.1", "author": "a", "created": "c", "updated": "u"}, {"ua": "YQ=="}]"#;
    let lines_form = "{\"id\": \"7\", \"ip\": \"1.1.1.1\", \"author\": \"a\"}\n\n{\"ua\": \"YQ==\"}\n{'status': 'success'}\n";
    let object = format!(r#"{{"erl": {array}}}"#);
    for file in [array, lines_form, &object] {
        let rules = Imported::parse(Part::Rules, false, file.as_bytes()).unwrap().rules.unwrap();
        let ids: Vec<_> = rules.elements.iter().map(|rule| rule.id).collect();
        assert_eq!(ids, [Some(7), None], "{file}");
        assert_eq!(rules.elements[1].text.ua.as_deref(), Some("YQ=="));
    }
    let one = Imported::parse(Part::Rules, false, br#"{"ip": "1.1.1.1"}"#).unwrap();
    assert_eq!(one.rules.unwrap().elements.len(), 1);
    let bad = lines(Part::Rules, br#"[{"ip": "1.1.1.1"}, {"what": 1}, {"lm": "x"}]"#);
    let fields: Vec<_> = bad.first.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["erl[1].what", "erl[2].lm"]);
    let bad = lines(Part::Rules, b"{\"ip\": \"1.1.1.1\"}\n{\"what\": 1}\n{\n");
    let fields: Vec<_> = bad.first.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["line 2: what", "line 3"]);
}

#[test]
fn settings_as_answered_and_as_exported() {
    let read = |file: &str| {
        let settings = Imported::parse(Part::Settings, false, file.as_bytes()).unwrap().settings;
        let told = settings.unwrap().into_iter();
        told.map(|s| (s.key.name(), s.value, s.active)).collect::<Vec<_>>()
    };
    let expected = |active| vec![("nwaf_ip_wl", "1.1.1.1".to_owned(), active)];
    assert_eq!(read(r#"{"nwaf_ip_wl": "1.1.1.1"}"#), expected(true));
    assert_eq!(
        read(r#"{"status": "success", "active": "false", "nwaf_ip_wl": "1.1.1.1"}"#),
        expected(false)
    );
    assert_eq!(read(r#"{"nwaf_ip_wl": {"value": "1.1.1.1", "active": false}}"#), expected(false));
    assert_eq!(
        read(
            r#"{"settings": {"nwaf_ip_wl": {"value": "1.1.1.1", "active": false, "provenance": {}}}}"#
        ),
        expected(false)
    );
    let refused = Imported::parse(Part::Settings, false, br#"{"nwaf_x": "1"}"#).unwrap_err();
    assert!(refused.to_string().contains("nwaf_x"), "{refused}");
}

#[test]
fn a_policy_says_what_it_is() {
    let whole = r#"{"format": "nwaf policy 1", "revision": {"session": 1, "generation": 2},
        "settings": {"nwaf_ip_wl": {"value": "", "active": true}},
        "block_list": {"active": false, "bl": ["1.1.1.1"]}, "rules": [{"id": 3, "ip": "1.1.1.1"}]}"#;
    let read = Imported::parse(Part::Policy, false, whole.as_bytes()).unwrap();
    assert_eq!(read.block_list.unwrap().active, Some(false));
    assert_eq!(read.rules.unwrap().elements[0].id, Some(3));
    for bad in [r#"{"format": "nwaf policy 2"}"#, "{}", r#"{"format": "nwaf policy 1", "x": 1}"#] {
        assert!(Imported::parse(Part::Policy, false, bad.as_bytes()).is_err(), "{bad}");
    }
    let partial = Imported::parse(Part::Policy, false, br#"{"format": "nwaf policy 1"}"#).unwrap();
    assert_eq!(partial, Imported::default());
}

#[test]
fn exclusions_are_an_array_or_lines_in_both_dialects() {
    let array =
        r#"[{"id": 7, "rl_id": "5", "comment": "c", "author": "a", "created": "c"}, {"rl_id": 6}]"#;
    let lines_form = "{\"rid\": \"7\", \"rl_id\": \"5\", \"comment\": \"c\"}\n\n{\"rl_id\": 6}\n";
    let object = format!(r#"{{"wl": {array}}}"#);
    let read = |file: &str| {
        let read = Imported::parse(Part::Exclusions, false, file.as_bytes()).unwrap();
        read.exclusions.unwrap().elements
    };
    for file in [array, lines_form, &object] {
        let read = read(file);
        let ids: Vec<_> = read.iter().map(|exclusion| exclusion.id).collect();
        assert_eq!(ids, [Some(7), None], "{file}");
        assert_eq!((&*read[0].text.comment, &*read[1].text.rl_id), ("c", "6"));
    }
    let answer = "id: 7 active: False rule: wl:5 domain=a.com \"Z:URL\" comment=\"c\" author=\"x\"\n{'status': 'success'}\n";
    let told = read(answer);
    assert_eq!((told.len(), told[0].id, told[0].text.active), (1, Some(7), false));
    assert_eq!((&*told[0].text.mz, &*told[0].text.comment), ("URL", "c"));
    assert_eq!(read(r#"{"rl_id": "5"}"#).len(), 1);

    let bad = lines(Part::Exclusions, br#"[{"rl_id": 1}, {"what": 1}, {"mz": 3}]"#);
    let fields: Vec<_> = bad.first.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["wl[1].what", "wl[2].mz"]);
    let bad = lines(Part::Exclusions, b"id: 7 active: x\n{\"rl_id\": 1}\n{\"what\": 1}\n{\n");
    let fields: Vec<_> = bad.first.iter().map(|why| why.field.as_str()).collect();
    assert_eq!(fields, ["line 1", "line 3: what", "line 4"]);
    let beside = br#"{"wl": [], "what": 1}"#;
    let refused = Imported::parse(Part::Exclusions, false, beside).unwrap_err();
    assert!(refused.to_string().contains("what"), "{refused}");
}

#[test]
fn a_policy_has_what_analysis_is_told() {
    let whole = r#"{"format": "nwaf policy 1", "exclusions": [{"id": 3, "rl_id": "*"}],
        "mlc_settings": {"brute__interval": {"value": 5, "active": false},
                         "ddos__enable": {"value": true, "active": true}},
        "vhosts": ["a.com"]}"#;
    let read = Imported::parse(Part::Policy, false, whole.as_bytes()).unwrap();
    assert_eq!(read.exclusions.unwrap().elements[0].id, Some(3));
    let mlc = read.mlc_settings.unwrap();
    let told: Vec<_> = mlc.iter().map(|s| (s.key.name(), &s.value, s.active)).collect();
    let expected = [
        ("brute__interval", &MlcInput::Number(5), false),
        ("ddos__enable", &MlcInput::Flag(true), true),
    ];
    assert_eq!(told, expected);
    assert_eq!(read.vhosts.unwrap(), ["a.com"]);
    for (mlc, named) in [
        (r#"{"brute__interval": 5}"#, "mlc_settings.brute__interval"),
        (r#"{"brute__interval": {"value": 5}}"#, "mlc_settings.brute__interval.active"),
        (
            r#"{"brute__interval": {"value": -5, "active": true}}"#,
            "mlc_settings.brute__interval.value",
        ),
        (r#"{"brute__x": {"value": 5, "active": true}}"#, "mlc_settings.brute__x"),
        (r#"{"active": true}"#, "mlc_settings.active"),
    ] {
        let file = format!(r#"{{"format": "nwaf policy 1", "mlc_settings": {mlc}}}"#);
        match Imported::parse(Part::Policy, false, file.as_bytes()) {
            Err(FileError::Malformed(Malformed::Field(why))) => assert_eq!(why.field, named),
            other => panic!("{mlc}: {other:?}"),
        }
    }
}

#[test]
fn a_million_bad_lines_are_counted_and_a_thousand_named() {
    let file = "\"x\" y\n".repeat(5_000);
    let bad = lines(Part::BlockList, file.as_bytes());
    assert_eq!((bad.first.len(), bad.count), (LINES_NAMED, 5_000));
}
