//! What is asked for is understood; a line is read as it was written, by awk, too.

use policy::Exclusion;
use proptest::prelude::*;

use super::*;
use crate::v1::STATUS_LINE;

fn parse(body: &str) -> Result<ExclusionWrite, Malformed> {
    ExclusionWrite::parse(&Fields::from_json(body).unwrap())
}

fn text(rl_id: &str, domain: &str, mz: &str, extension: &str) -> ExclusionText {
    ExclusionText {
        rl_id: rl_id.into(),
        domain: domain.into(),
        mz: mz.into(),
        extension: extension.into(),
        ..ExclusionText::default()
    }
}

fn line(id: u64, exclusion: &ExclusionText) -> ExclusionLine<'_> {
    ExclusionLine { id, exclusion, provenance: None }
}

#[test]
fn the_samples_of_the_specification() {
    let add = r#"{"add": {"rl_id": "50001", "domain": "example.com", "mz": "URL", "extension": "$URL_X:/test"}}"#;
    let Ok(ExclusionWrite::Add(patch)) = parse(add) else { panic!("refused") };
    let mut exclusion = ExclusionText::default();
    patch.apply(&mut exclusion);
    assert_eq!(exclusion, text("50001", "example.com", "URL", "$URL_X:/test"));
    let Ok(ExclusionWrite::Update(50001, patch)) =
        parse(r#"{"upd": {"rid": "50001", "pattern": "ABC"}}"#)
    else {
        panic!("refused")
    };
    patch.apply(&mut exclusion);
    assert_eq!((exclusion.pattern.as_str(), exclusion.rl_id.as_str()), ("ABC", "50001"));
    assert_eq!(parse(r#"{"del": {"rid": "50001"}}"#), Ok(ExclusionWrite::Delete(50001)));
    assert_eq!(parse(r#"{"del": {"id": 5}}"#), Ok(ExclusionWrite::Delete(5)));
    assert!(matches!(parse(r#"{"upd": {"id": 5, "rl_id": 7}}"#), Ok(ExclusionWrite::Update(5, _))));
}

#[test]
fn wrong_forms_are_named() {
    for (body, field) in [
        (r#"{"add": {"rid": 1, "rl_id": "1"}}"#, "add.rid"),
        (r#"{"add": {"rl": "1"}}"#, "add.rl"),
        (r#"{"add": {"rl_id": null}}"#, "add.rl_id"),
        (r#"{"add": {"mz": ["URL"]}}"#, "add.mz"),
        (r#"{"upd": {"rl_id": "1"}}"#, "upd.rid"),
        (r#"{"upd": {"rid": 1, "id": 1}}"#, "upd.rid"),
        (r#"{"upd": {"rid": 0}}"#, "upd.rid"),
        (r#"{"del": {}}"#, "del.rid"),
        (r#"{"del": "1"}"#, "del"),
        (r#"{"set": {}}"#, "set"),
    ] {
        match parse(body) {
            Err(Malformed::Field(why)) => assert_eq!(why.field, field, "{body}: {why}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn the_words_of_a_line_are_where_clients_count_them() {
    let mut exclusion = text("50001", "example.com", "URL", "$URL_X:/test");
    let answer = exclusions_text([line(7, &exclusion)], false);
    assert_eq!(
        answer,
        "id: 7 active: True rule: wl:50001 domain=example.com \"Z:URL|$URL_X:/test\"\n\
         {'status': 'success'}\n"
    );
    let words: Vec<_> = answer.lines().next().unwrap().split_whitespace().collect();
    assert_eq!((words[3], words[5]), ("True", "wl:50001"));
    assert_eq!((words[6], words[7]), ("domain=example.com", "\"Z:URL|$URL_X:/test\""));
    exclusion.pattern = "A \"B\"".into();
    exclusion.comment = "why".into();
    exclusion.active = false;
    let p = Provenance { author: "ops".into(), created: "c".into(), updated: "u".into() };
    let lines = || [ExclusionLine { id: 7, exclusion: &exclusion, provenance: Some(&p) }];
    let extended = exclusions_text(lines(), true);
    assert!(
        extended.contains(
            r#" active: False rule: wl:50001 domain=example.com "Z:URL|$URL_X:/test" pattern="A \"B\"" comment="why" author="ops" created="c" updated="u""#
        ),
        "{extended}"
    );
    assert_eq!(read_exclusions(&extended), Ok(vec![(7, exclusion.clone())]));
    let plain = exclusions_text(lines(), false);
    assert!(!plain.contains("comment") && plain.contains("pattern"), "{plain}");
}

#[test]
fn what_is_cut_or_foreign_is_refused() {
    assert_eq!(read_exclusions(STATUS_LINE), Ok(vec![]));
    assert_eq!(read_exclusions("id: 1"), Err(AnswerError::NoStatus));
    for bad in [
        "id: 1",
        "id: x active: True rule: wl:1 domain= \"Z:\"",
        "id: 1 active: true rule: wl:1 domain= \"Z:\"",
        "id: 1 active: True rule: wl:1 domain= \"Z:URL",
        "id: 1 active: True rule: wl:1 domain= \"Z:URL\" only=\"x\"",
        "id: 1 active: True rule: wl:1 domain= \"Z:URL\" pattern=x",
    ] {
        let read = read_exclusions(&format!("{bad}\n{STATUS_LINE}"));
        assert!(matches!(read, Err(AnswerError::Line { line: 1, .. })), "{bad}: {read:?}");
    }
}

fn exclusions() -> impl Strategy<Value = ExclusionText> {
    let zone = "(URL|ARGS|BODY|HEADERS|COOKIE|UA|REFERER)";
    let zones = format!("({zone}(\\|{zone}){{0,3}})?");
    (
        "(\\*|[1-9][0-9]{0,5})",
        "(\\*|((\\*\\.|\\.)?[a-z]{1,5}\\.[a-z]{2,3})?)",
        proptest::string::string_regex(&zones).expect("a pattern"),
        "(\\$(URL|ARGS_X|X-Header|ua):[a-z |:$=]{1,9}(\\|\\$BODY_X:[^\"]{0,9})?)?",
        "[ -~éα]{0,9}",
        "[ -~éα]{0,9}",
        any::<bool>(),
    )
        .prop_map(|(rl_id, domain, mz, extension, pattern, comment, active)| ExclusionText {
            rl_id,
            domain,
            mz,
            extension,
            pattern,
            comment,
            active,
        })
}

proptest! {
    #[test]
    fn exclusions_survive_their_answer(texts in prop::collection::vec(exclusions(), 0..5)) {
        let valid: Vec<(u64, ExclusionText)> = (1..)
            .zip(&texts)
            .filter_map(|(id, text)| Some((id, Exclusion::parse(id, text).ok()?.spelled(text))))
            .collect();
        let lines = || valid.iter().map(|(id, text)| line(*id, text));
        prop_assert_eq!(read_exclusions(&exclusions_text(lines(), true)), Ok(valid.clone()));
        let read = read_exclusions(&exclusions_text(lines(), false)).unwrap();
        for ((id, text), (other, read)) in valid.iter().zip(&read) {
            prop_assert_eq!(id, other);
            prop_assert_eq!(Exclusion::parse(*id, read), Exclusion::parse(*id, text));
        }
        prop_assert_eq!(read.len(), valid.len());
    }
}
