//! Answers in the vendor's dialect, as a node reads them.
//!
//! What was read is the same after it was written by this side, and no answer is
//! taken for a shorter one when its end is missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::HostPattern;
use support::check_message;
use wire::v1::{
    ExclusionLine, MlcLine, RuleLine, STATUS_LINE, SettingLine, block_list_text, exclusions_text,
    mlc_text, models_text, read_block_list, read_exclusions, read_mlc, read_models, read_rules,
    read_settings, read_training, read_vhosts, rules_text, settings_text, training_text,
    vhosts_text,
};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match read_settings(&text) {
        Ok(settings) => {
            let lines: Vec<_> = settings
                .iter()
                .map(|(name, value)| SettingLine { name, value, active: true, provenance: None })
                .collect();
            assert_eq!(read_settings(&settings_text(&lines, false)), Ok(settings));
        }
        Err(why) => check_message(&why),
    }
    match read_block_list(&text) {
        Ok(entries) => {
            let again = block_list_text(entries.iter().map(String::as_str));
            assert_eq!(read_block_list(&again).as_ref(), Ok(&entries), "{again}");
            check_cuts(&text, &entries);
        }
        Err(why) => check_message(&why),
    }
    match read_rules(&text) {
        Ok(rules) => {
            let lines =
                rules.iter().map(|rule| RuleLine::new(rule.id, &rule.clone().into_text(), None));
            assert_eq!(read_rules(&rules_text(lines)).as_ref(), Ok(&rules));
        }
        Err(why) => check_message(&why),
    }
    check_analysis(&text);
});

/// Answers about exclusions, behavioural analysis, models and training.
fn check_analysis(text: &str) {
    if let Err(why) = read_exclusions(text).map(|exclusions| {
        // Only what was understood is ever written.
        let valid = exclusions.into_iter().filter_map(|(id, text)| {
            Some((id, policy::Exclusion::parse(id, &text).ok()?.spelled(&text)))
        });
        let valid: Vec<_> = valid.collect();
        let lines = || {
            let line = |(id, exclusion)| ExclusionLine { id, exclusion, provenance: None };
            valid.iter().map(|(id, exclusion)| (*id, exclusion)).map(line)
        };
        let written = exclusions_text(lines(), true);
        assert_eq!(read_exclusions(&written).as_ref(), Ok(&valid), "{written}");
    }) {
        check_message(&why);
    }
    match read_mlc(text) {
        Ok(settings) => {
            let line = |(key, value)| MlcLine { key, value, active: true, provenance: None };
            let lines: Vec<_> =
                settings.iter().map(|(key, value)| (*key, value)).map(line).collect();
            assert_eq!(read_mlc(&mlc_text(&lines, true)).as_ref(), Ok(&settings));
        }
        Err(why) => check_message(&why),
    }
    match read_vhosts(text) {
        Ok(hosts) => {
            let hosts = hosts.into_iter().filter(|host| host.parse::<HostPattern>().is_ok());
            let hosts: Vec<String> = hosts.map(|host| host.trim().to_owned()).collect();
            let written = vhosts_text(hosts.iter().map(String::as_str));
            assert_eq!(read_vhosts(&written), Ok(hosts), "{written}");
        }
        Err(why) => check_message(&why),
    }
    if let Ok(models) = read_models(text) {
        assert_eq!(read_models(&models_text(models.clone())), Ok(models));
    }
    if let Ok(training) = read_training(text) {
        assert_eq!(read_training(&training_text(training.clone())), Ok(training));
    }
}

/// Cuts an answer everywhere. Lines that look like a status themselves would end it early.
fn check_cuts(text: &str, entries: &[String]) {
    let status = |entry: &String| entry.split_whitespace().collect::<String>().contains("status");
    if text.len() > 512 || entries.iter().any(status) {
        return;
    }
    for (at, _) in text.char_indices() {
        if let Ok(fewer) = read_block_list(&text[..at]) {
            assert_eq!(fewer, entries, "cut at {at}, without {STATUS_LINE}");
        }
    }
}
