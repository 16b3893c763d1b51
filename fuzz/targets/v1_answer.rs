//! Answers in the vendor's dialect, as a node reads them.
//!
//! What was read is the same after it was written by this side, and no answer is
//! taken for a shorter one when its end is missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::check_message;
use wire::v1::{
    RuleLine, STATUS_LINE, SettingLine, block_list_text, read_block_list, read_rules,
    read_settings, rules_text, settings_text,
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
});

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
