//! Calls in the vendor's dialect: the input as a JSON body and as a form.
//!
//! What a call asks for is the same when asked again, and a rule that was accepted
//! survives the answer that shows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{ExclusionText, MlcValue, Rule, RuleText};
use support::check_message;
use wire::v1::{
    BlockListWrite, ExclusionPatch, ExclusionWrite, Fields, Malformed, MlcLine, MlcWrite,
    ModelWrite, RuleLine, RulePatch, RuleWrite, SettingsWrite, TrainingWrite, VhostsWrite,
    body_text, encode_domains, mlc_text, read_mlc, read_rules, rules_text,
};

fuzz_target!(|data: &[u8]| {
    let text = match body_text(data) {
        Ok(text) => text,
        Err(why) => return check_message(&why),
    };
    match Fields::from_json(text) {
        Ok(fields) => check_calls(&fields),
        Err(why) => check_refusal(&why, text),
    }
    let mut form = Fields::default();
    for (name, value) in form_urlencoded::parse(text.trim().as_bytes()) {
        if let Err(why) = form.add_pair(&name, &value) {
            return check_message(&why);
        }
    }
    check_calls(&form);
});

/// A place that an error names is a place in the text.
fn check_refusal(why: &Malformed, text: &str) {
    check_message(why);
    if let Malformed::Json { line, column, .. } = why {
        let lines: Vec<&str> = text.split('\n').collect();
        let there = line.checked_sub(1).and_then(|line| lines.get(line));
        assert!(there.is_some_and(|there| *column <= there.len() + 1), "{why} in {text:?}");
    }
}

fn check_calls(fields: &Fields) {
    assert!(!format!("{fields:?}").is_empty());
    if let Err(why) = fields.expect_no_operation() {
        check_message(&why);
    }
    match SettingsWrite::parse(fields) {
        Ok(SettingsWrite::Set { values, .. }) => assert!(!values.is_empty()),
        Ok(SettingsWrite::Del(names)) => assert!(!names.is_empty()),
        Err(why) => check_message(&why),
    }
    match BlockListWrite::parse(fields) {
        Ok(BlockListWrite::Set { active, entries }) => {
            assert!(active.is_some() || entries.is_some());
        }
        Ok(BlockListWrite::Remove(entries)) => assert!(!entries.is_empty()),
        Ok(BlockListWrite::Clear) => {}
        Err(why) => check_message(&why),
    }
    match RuleWrite::parse(fields) {
        Ok(RuleWrite::Add(patch)) => check_patch(1, patch),
        Ok(RuleWrite::Update(id, patch)) => check_patch(id, patch),
        Ok(RuleWrite::Delete(id)) => assert_ne!(id, 0),
        Err(why) => check_message(&why),
    }
    match ExclusionWrite::parse(fields) {
        Ok(ExclusionWrite::Add(patch)) => check_exclusion(patch),
        Ok(ExclusionWrite::Update(id, patch)) => {
            assert_ne!(id, 0);
            check_exclusion(patch);
        }
        Ok(ExclusionWrite::Delete(id)) => assert_ne!(id, 0),
        Err(why) => check_message(&why),
    }
    match MlcWrite::parse(fields) {
        Ok(MlcWrite::Set { values, .. }) => {
            assert!(!values.is_empty());
            values.iter().for_each(|(key, input)| match MlcValue::parse(*key, input) {
                Ok(value) => {
                    let line = MlcLine { key: *key, value: &value, active: true, provenance: None };
                    let read = read_mlc(&mlc_text(&[line], false)).expect("is what was written");
                    assert_eq!(read.into_values().collect::<Vec<_>>(), [value]);
                }
                Err(refused) => {
                    assert!(!refused.is_empty(), "refused without a reason");
                    refused.iter().for_each(check_message);
                }
            });
        }
        Ok(MlcWrite::Del(names)) => assert!(!names.is_empty()),
        Err(why) => check_message(&why),
    }
    if let Err(why) = VhostsWrite::parse(fields) {
        check_message(&why);
    }
    match TrainingWrite::parse(fields) {
        Ok(write) => assert!(!write.vhosts.is_empty()),
        Err(why) => check_message(&why),
    }
    for write in [ModelWrite::parse_delete(fields), ModelWrite::parse_copy(fields)] {
        if let Err(why) = write {
            check_message(&why);
        }
    }
}

fn check_exclusion(patch: ExclusionPatch) {
    let mut exclusion = ExclusionText::default();
    patch.clone().apply(&mut exclusion);
    let mut again = exclusion.clone();
    patch.apply(&mut again);
    assert_eq!(again, exclusion, "asked twice");
}

fn check_patch(id: u64, patch: RulePatch) {
    let mut rule = RuleText::default();
    patch.clone().apply(&mut rule);
    let mut again = rule.clone();
    patch.apply(&mut again);
    assert_eq!(again, rule, "asked twice");
    if let Some(domain) = &rule.domain {
        assert_eq!(encode_domains(domain), *domain, "encoded twice");
    }
    let parsed = match Rule::parse(id, &rule) {
        Ok(parsed) => parsed,
        Err(refused) => {
            assert!(!refused.is_empty(), "refused without a reason");
            return refused.iter().for_each(check_message);
        }
    };
    let shown = rules_text([RuleLine::new(id, &rule, None)]);
    let read = read_rules(&shown).expect("what is written can be read");
    let [read] = <[_; 1]>::try_from(read).expect("one rule is one rule");
    assert_eq!(read.id, id);
    assert_eq!(Rule::parse(id, &read.into_text()), Ok(parsed), "{shown}");
}
