//! A batch of attacks, as a node hands it in.
//!
//! Whatever comes is taken or refused line by line; what is taken is one line of JSON without
//! control characters that means the same when it comes again, and one line of a table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::check_message;
use wire::v2::attack::{Attack, BATCH_EVENTS, csv, parse_batch, refused_index};

/// 2025-11-22T14:00:00Z.
const NOW_MS: i64 = 1_763_820_000_000;

fuzz_target!(|data: &[u8]| {
    let attacks = match parse_batch(data, NOW_MS) {
        Ok(attacks) => attacks,
        Err(refused) => {
            let lines = data.split(|byte| *byte == b'\n').count();
            for why in &refused {
                check_message(why);
                assert!(refused_index(&why.field).is_some_and(|index| index < lines), "{why}");
            }
            return;
        }
    };
    assert!(attacks.len() <= BATCH_EVENTS);
    for attack in attacks {
        assert!(!attack.text.chars().any(char::is_control), "{}", attack.text);
        let again = Attack::parse(attack.text.as_bytes(), NOW_MS);
        // Escapes make a line longer, and one that was at its limit too long.
        if let Ok(again) = again {
            assert_eq!(again, attack);
        }
        let mut row = String::new();
        csv::row(&mut row, "1.2", "node", &attack.text).expect("what was taken has a row");
        assert_eq!(cells(row.strip_suffix("\r\n").expect("a line")), csv::COLUMNS.len(), "{row}");
    }
});

/// Cells of a line by RFC 4180, none of which a spreadsheet may take for a formula.
fn cells(line: &str) -> usize {
    assert!(!line.chars().any(char::is_control), "{line}");
    let (mut count, mut rest) = (1, line);
    loop {
        let content = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut content = String::new();
                let mut left = quoted;
                loop {
                    let (part, after) = left.split_once('"').expect("the quote is closed");
                    content.push_str(part);
                    left = after;
                    let Some(after) = left.strip_prefix('"') else { break };
                    content.push('"');
                    left = after;
                }
                rest = left;
                content
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (content, left) = rest.split_at(end);
                assert!(!content.contains('"'), "{line}");
                rest = left;
                content.to_owned()
            }
        };
        assert!(!content.starts_with(['=', '+', '-', '@']), "{line}");
        let Some(next) = rest.strip_prefix(',') else {
            assert!(rest.is_empty(), "{line}");
            return count;
        };
        (count, rest) = (count + 1, next);
    }
}
