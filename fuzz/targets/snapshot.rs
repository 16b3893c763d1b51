//! The snapshot reader: bytes that claim to be a snapshot.
//!
//! The input is a file, or a case (see `support::case`) whose snapshot is changed by
//! what follows the first zero byte, eight bytes a change (see `support::repair`); the
//! same for the file of bans. They are made to look whole, so that the reader has to
//! look at what they hold.
//!
//! No bytes make the reader panic, and what it accepts answers every request and ends.
#![no_main]

use ipc::snapshot::format::MAGIC;
use libfuzzer_sys::fuzz_target;
use policy::Policy;
use policy::text::Scratch;
use support::case::Case;
use support::engines::{self, Asked};
use support::repair::{Edit, repair};

fuzz_target!(|data: &[u8]| {
    if data.starts_with(&MAGIC) {
        let empty = engines::compile(&Policy::default()).expect("nothing overlaps");
        let mut file = data.to_vec();
        ask(&file, None, &[]);
        repair(&mut file);
        ask(&file, None, &[]);
        return ask(&empty, Some(&file), &[]);
    }
    let (text, edits) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let case = Case::parse(text);
    let policy = case.policy();
    let Some(mut file) = engines::compile(&policy) else { return };
    let Some(mut bans) = engines::compile_bans(&case.bans) else { return };
    for edit in edits.chunks_exact(Edit::LENGTH).map(Edit::parse) {
        edit.apply(if edit.is_of_bans { &mut bans } else { &mut file });
    }
    ask(&file, Some(&bans), &case.requests);
    repair(&mut file);
    repair(&mut bans);
    ask(&file, Some(&bans), &case.requests);
});

/// Reads files and asks them, where they are accepted, what walks every section, and
/// the requests of the case.
fn ask(policy: &[u8], bans: Option<&[u8]>, requests: &[Asked]) {
    let files = match engines::read(policy, bans) {
        Ok(files) => files,
        Err(why) => return support::check_message(&why),
    };
    let mut scratch = Scratch::default();
    let targets: [&[u8]; 2] = [b"/", b"/a/admin/../%61dmin?page=3&x=%2e"];
    for address in [None, Some("10.1.1.1"), Some("1.1.1.1"), Some("2001:db8::1"), Some("::")] {
        for target in targets {
            let asked = Asked {
                time: 1,
                method: b"PUT".to_vec(),
                address: address.and_then(|text| text.parse().ok()),
                host: b"a.b.example.com".to_vec(),
                target: target.to_vec(),
                headers: vec![
                    (b"Cookie".to_vec(), b"a=admin".to_vec()),
                    (b"User-Agent".to_vec(), b"curl/8".to_vec()),
                    (b"Referer".to_vec(), b"http://example.com/".to_vec()),
                    (b"X-A".to_vec(), b"abcdef".to_vec()),
                ],
                body: Some(b"admin=%61".to_vec()),
                country: Some(*b"CH"),
            };
            engines::by_files(&files, &asked, &mut scratch);
        }
    }
    // What is accepted can be turned back and asked why.
    let policy = files.snapshot.policy();
    for asked in requests {
        engines::explain(&policy, asked);
        engines::by_files(&files, asked, &mut scratch);
    }
    let told = (files.snapshot.meta(), files.snapshot.counts());
    assert!(!format!("{told:?}").is_empty());
}
