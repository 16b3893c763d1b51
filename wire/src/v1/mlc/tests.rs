//! What the specification's clients send is understood, and what is shown can be read back.

use policy::MlcSettings;
use proptest::prelude::*;

use super::*;

fn parse(body: &str) -> Result<MlcWrite, Malformed> {
    MlcWrite::parse(&Fields::from_json(body)?)
}

fn field_of(refused: Malformed) -> String {
    match refused {
        Malformed::Field(why) => why.field,
        other @ Malformed::Json { .. } => panic!("{other}"),
    }
}

#[test]
fn the_sample_of_the_specification_with_its_quote_restored() {
    let body = r#"{"key": "k", "set": {"main__ai_extra": "false", "brute__interval": "11",
        "brute__brute_detect": ["example.com/a1", "example.com/b1"], "active": "true"}}"#;
    let Ok(MlcWrite::Set { active: true, values }) = parse(body) else { panic!("refused") };
    assert_eq!(values[0], (MlcKey::AiExtra, MlcInput::Text("false".into())));
    assert!(matches!(&values[2], (MlcKey::BruteBruteDetect, MlcInput::Texts(t)) if t.len() == 2));
    assert_eq!(parse(r#"{"del": "brute_detect"}"#), Ok(MlcWrite::Del(vec!["brute_detect".into()])));
}

#[test]
fn the_samples_as_printed_are_refused_with_their_place() {
    for (body, column) in [
        (r#"{"key": "k", set": {"main__ai_extra": "false"}}"#, 14),
        (r#"{"set": {"ddos__wl_url": ["example.com/feed", ".example.com"/feed]}}"#, 61),
    ] {
        let Err(Malformed::Json { line: 1, column: found, .. }) = parse(body) else {
            panic!("{body}: accepted")
        };
        assert_eq!(found, column, "{body}");
    }
}

#[test]
fn wrong_forms_are_named() {
    for (body, field) in [
        (r#"{"set": {}}"#, "set"),
        (r#"{"set": {"active": true}}"#, "set"),
        (r#"{"set": {"ddos_enable": true}}"#, "set.ddos_enable"),
        (r#"{"set": {"brute__max_val": 1, "brute__mav_val": 2}}"#, "set.brute__max_val"),
        (r#"{"set": {"ddos__wl_ip": null}}"#, "set.ddos__wl_ip"),
        (r#"{"set": {"ddos__wl_ip": ["a", 1]}}"#, "set.ddos__wl_ip[1]"),
        (r#"{"set": {"ddos__interval": -1}}"#, "set.ddos__interval"),
        (r#"{"set": {"ddos__interval": 1.5}}"#, "set.ddos__interval"),
        (r#"{"del": ""}"#, "del"),
        (r#"{"add": {}}"#, "add"),
        (r#"{"set": {"ddos__enable": true}, "vhosts_list": "a"}"#, "vhosts_list"),
    ] {
        let refused = parse(body).unwrap_err();
        assert_eq!(field_of(refused.clone()), field, "{body}: {refused}");
    }
}

#[test]
fn virtual_hosts_come_as_text_or_array() {
    let write = |body: &str| VhostsWrite::parse(&Fields::from_json(body).unwrap());
    let expected = Ok(VhostsWrite(vec!["example.com".into(), "example.org".into()]));
    assert_eq!(write(r#"{"vhosts_list": "example.com, example.org"}"#), expected);
    assert_eq!(write(r#"{"vhosts_list": ["example.com", "example.org"]}"#), expected);
    assert_eq!(write(r#"{"vhosts_list": ""}"#), Ok(VhostsWrite(vec![])));
    let mut form = Fields::default();
    form.add_pair("vhosts_list", "example.com, example.org").unwrap();
    assert_eq!(VhostsWrite::parse(&form), expected);
    for (body, field) in [
        ("{}", "vhosts_list"),
        (r#"{"vhosts_list": 5}"#, "vhosts_list"),
        (r#"{"vhosts_list": [5]}"#, "vhosts_list[0]"),
        (r#"{"vhosts_list": [], "set": {}}"#, "set"),
        (r#"{"vhosts_list": [], "vhost": "a"}"#, "vhost"),
    ] {
        assert_eq!(field_of(write(body).unwrap_err()), field, "{body}");
    }
}

#[test]
fn answers_have_the_vendors_form() {
    let list = MlcValue::List(vec!["example.com/a1".into(), "b.com/x".into()]);
    let line = |key, value, active| MlcLine { key, value, active, provenance: None };
    let lines = [
        line(MlcKey::AiExtra, &MlcValue::Flag(false), true),
        line(MlcKey::BruteInterval, &MlcValue::Number(11), false),
        line(MlcKey::BruteBruteDetect, &list, true),
    ];
    assert_eq!(
        mlc_text(&lines, false),
        "{\"status\": \"success\", \"active\": true, \"main__ai_extra\": false, \
         \"brute__brute_detect\": [\"example.com/a1\", \"b.com/x\"]}"
    );
    let extended = mlc_text(&lines, true);
    assert!(extended.contains("\"inactive\": [\"brute__interval\"]"), "{extended}");
    assert_eq!(read_mlc(&extended), read_mlc(&mlc_text(&lines, false)));
    assert_eq!(read_mlc(&mlc_text(&[], true)), Ok(BTreeMap::new()));
    assert_eq!(
        vhosts_text(["example.com", "*.example.org"]),
        "{'status': 'success', 'vhosts_list': '[\"example.com\", \"*.example.org\"]'}\n"
    );
}

#[test]
fn what_is_cut_or_foreign_is_refused() {
    let whole = vhosts_text(["a.com"]);
    for cut in 0..whole.trim_end().len() {
        assert!(read_vhosts(&whole[..cut]).is_err(), "{cut}");
    }
    assert!(matches!(read_vhosts("{'status': 'error'}"), Err(AnswerError::Failed(_))));
    assert!(matches!(read_mlc(r#"{"status": "error"}"#), Err(AnswerError::Failed(_))));
    assert_eq!(read_mlc(r#"{"ddos__enable": true}"#), Err(AnswerError::NoStatus));
    for bad in [r#""x": 1"#, r#""ddos__interval": 0"#, r#""ddos__enable": {}"#] {
        let read = read_mlc(&format!(r#"{{"status": "success", {bad}}}"#));
        assert!(matches!(read, Err(AnswerError::Line { .. })), "{bad}: {read:?}");
    }
}

/// Values of every setting, by which the settings differ.
fn values() -> impl Strategy<Value = Vec<(MlcKey, MlcValue, bool)>> {
    let hosts = "(\\*|(\\*\\.|\\.)?[a-z]{1,5}\\.[a-z]{2,3})";
    let place = format!("{hosts}/[a-zé ,\"%]{{0,5}}");
    let one = move |key: MlcKey| {
        let flag = any::<bool>().prop_map(MlcValue::Flag).boxed();
        let number = (2_u64..3_600).prop_map(MlcValue::Number).boxed();
        let list = |element: &str| {
            let element = proptest::string::string_regex(element).expect("a pattern");
            let texts = prop::collection::btree_set(element, 0..4);
            texts.prop_map(|texts| MlcValue::List(texts.into_iter().collect())).boxed()
        };
        let value = match policy::mlc::MlcSettings::default().value(key) {
            MlcValue::Flag(_) => flag,
            MlcValue::Number(_) => number,
            MlcValue::List(_) => match key {
                MlcKey::DdosWlIp => list("10\\.[0-9]\\.0\\.[0-9](/16)?"),
                MlcKey::BruteWlHost => list(hosts),
                _ => list(&place),
            },
        };
        (Just(key), value, any::<bool>())
    };
    let keys = proptest::sample::subsequence(MlcKey::ALL.to_vec(), 0..=MlcKey::ALL.len());
    keys.prop_flat_map(move |keys| keys.into_iter().map(one.clone()).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn settings_survive_their_answer(values in values(), extended: bool) {
        // Elements are kept trimmed.
        let valid = values.into_iter().filter_map(|(key, value, active)| {
            let value = mlc_value(key, mlc_json(&value)).ok()?;
            Some((key, value, active))
        });
        let valid: Vec<_> = valid.collect();
        let lines: Vec<_> = valid
            .iter()
            .map(|(key, value, active)| MlcLine { key: *key, value, active: *active, provenance: None })
            .collect();
        let acting: BTreeMap<_, _> = valid
            .iter()
            .filter(|(_, _, active)| *active)
            .map(|(key, value, _)| (*key, value.clone()))
            .collect();
        MlcSettings::parse(acting.iter().map(|(key, value)| (*key, value))).unwrap();
        prop_assert_eq!(read_mlc(&mlc_text(&lines, extended)), Ok(acting));
    }

    #[test]
    fn virtual_hosts_survive_their_answer(
        hosts in prop::collection::vec("(\\*\\.|\\.)?[a-z]{1,5}\\.[a-z]{2,3}", 0..5)
    ) {
        prop_assert_eq!(read_vhosts(&vhosts_text(hosts.iter().map(String::as_str))), Ok(hosts));
    }
}
