//! A file that is imported: a digit that says what it holds, then the file.
//!
//! It is refused with names and reasons that are one line each, or read; what is read is no
//! more than the file has, and every element of it can be named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::check_message;
use wire::v2::{FileError, Imported, LINES_NAMED, Part, Places};

fuzz_target!(|data: &[u8]| {
    let Some((kind, file)) = data.split_first() else { return };
    let (part, is_text) = match kind {
        b'0' => (Part::BlockList, false),
        b'1' => (Part::Rules, false),
        b'2' => (Part::Exclusions, false),
        b'3' => (Part::Settings, false),
        b'4' => (Part::Policy, false),
        b'5' => (Part::BlockList, true),
        _ => return,
    };
    let read = match Imported::parse(part, is_text, file) {
        Ok(read) => read,
        Err(FileError::Malformed(why)) => return check_message(&why),
        Err(FileError::Lines(bad)) => {
            assert!(bad.count > 0 && bad.first.len() == bad.count.min(LINES_NAMED));
            return bad.first.iter().for_each(check_message);
        }
    };
    let Imported { settings, block_list, rules, exclusions, mlc_settings, vhosts } = read;
    // A file speaks of what it is said to hold alone.
    let given = [
        (Part::BlockList, block_list.is_some()),
        (Part::Rules, rules.is_some()),
        (Part::Exclusions, exclusions.is_some()),
        (Part::Settings, settings.is_some()),
    ];
    for (of, is_given) in given {
        assert!(part == Part::Policy || is_given == (part == of), "{part:?}: {of:?}");
    }
    assert!(part == Part::Policy || (mlc_settings.is_none() && vhosts.is_none()));
    if let Some(list) = block_list {
        check_places(&list.places, list.entries.len(), file);
    }
    if let Some(rules) = rules {
        check_places(&rules.places, rules.elements.len(), file);
        assert!(rules.elements.iter().all(|rule| rule.id != Some(0)));
    }
    if let Some(exclusions) = exclusions {
        check_places(&exclusions.places, exclusions.elements.len(), file);
    }
    let mut settings: Vec<_> = settings.iter().flatten().map(|setting| setting.key).collect();
    let count = settings.len();
    settings.sort_unstable();
    settings.dedup();
    assert_eq!(settings.len(), count, "a setting is given twice");
    let mut mlc: Vec<_> = mlc_settings.iter().flatten().map(|setting| setting.key).collect();
    let count = mlc.len();
    mlc.sort_unstable();
    mlc.dedup();
    assert_eq!(mlc.len(), count, "a setting is given twice");
});

/// Elements stand in the file one after the other.
fn check_places(places: &Places, elements: usize, file: &[u8]) {
    assert!(elements <= file.len());
    if let Places::Lines(lines) = places {
        let last = file.split(|byte| *byte == b'\n').count();
        assert_eq!(lines.len(), elements);
        assert!(lines.is_sorted_by(|a, b| a < b));
        assert!(lines.iter().all(|line| (1..=last).contains(&(*line as usize))));
    }
}
