//! The snapshot reader: bytes that claim to be a snapshot.
//!
//! The input is a file, or a case (see `support::case`) whose snapshot is changed by
//! what follows the first zero byte, eight bytes a change (see `support::repair`). Both
//! are made to look whole, so that the reader has to look at what they hold.
//!
//! No bytes make the reader panic, and what it accepts answers every request and ends.
#![no_main]

use ipc::snapshot::Snapshot;
use ipc::snapshot::format::MAGIC;
use libfuzzer_sys::fuzz_target;
use policy::text::Scratch;
use support::case::Case;
use support::engines::{self, Asked};
use support::repair::{edit, repair};

fuzz_target!(|data: &[u8]| {
    if let Ok(snapshot) = engines::read(data) {
        ask(&snapshot, &[]);
    }
    if data.starts_with(&MAGIC) {
        let mut file = data.to_vec();
        repair(&mut file);
        if let Ok(snapshot) = engines::read(&file) {
            ask(&snapshot, &[]);
        }
        return;
    }
    let (text, edits) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let case = Case::parse(text);
    let policy = case.policy();
    let Some(mut file) = engines::compile(&policy) else { return };
    if edits.is_empty() {
        let whole = engines::read(&file).expect("what was compiled can be read");
        engines::check_same(&policy, &whole, &case.requests);
        return ask(&whole, &case.requests);
    }
    edit(&mut file, edits);
    let changed = engines::read(&file);
    repair(&mut file);
    for snapshot in [changed, engines::read(&file)] {
        match snapshot {
            Ok(snapshot) => ask(&snapshot, &case.requests),
            Err(why) => support::check_message(&why),
        }
    }
});

/// Asks what walks every section, and the requests of the case.
fn ask(snapshot: &Snapshot, requests: &[Asked]) {
    let mut scratch = Scratch::default();
    let targets: [&[u8]; 2] = [b"/", b"/a/admin/../%61dmin?page=3&x=%2e"];
    for address in [None, Some("10.1.1.1"), Some("1.1.1.1"), Some("2001:db8::1"), Some("::")] {
        for target in targets {
            let asked = Asked {
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
            engines::by_snapshot(snapshot, &asked, &mut scratch);
        }
    }
    for asked in requests {
        engines::by_snapshot(snapshot, asked, &mut scratch);
    }
    assert!(!format!("{:?} {:?}", snapshot.meta(), snapshot.counts()).is_empty());
}
