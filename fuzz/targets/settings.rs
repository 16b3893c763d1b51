//! Every setting: the input is the value.
//!
//! Values that are accepted one by one are accepted together, and what was
//! understood can be written down again and is understood as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{AddressEntry, BodyExclusion, HostPattern, Key, Limit, Settings};

fuzz_target!(|data: &[u8]| {
    let value = String::from_utf8_lossy(data);
    let mut accepted = Vec::new();
    for key in Key::ALL {
        match Settings::parse([(key.name(), &*value)]) {
            Ok(settings) => {
                accepted.push((key.name(), &*value));
                check_written(key, &settings);
            }
            Err(refused) => {
                assert!(!refused.is_empty(), "{key} is refused without a reason");
                refused.iter().for_each(support::check_message);
            }
        }
    }
    Settings::parse(accepted).expect("each is accepted");
    // Names are input too.
    if let Some((name, value)) = value.split_once('=') {
        let _ = Settings::parse([(name, value)]).map_err(|refused| {
            refused.iter().for_each(support::check_message);
        });
    }
});

fn check_written(key: Key, settings: &Settings) {
    let text = match key {
        Key::Limit => list(&settings.limit, Limit::to_string),
        Key::IpWl => list(&settings.ip_wl, entry),
        Key::IpLm => list(&settings.ip_lm, entry),
        Key::BodyExclude => {
            // What was decoded may hold what cannot be written, and what means something else.
            let special = |byte: &u8| !matches!(byte, b' '..=b'~') || b"%?#,".contains(byte);
            let mut paths = settings.body_exclude.iter().filter_map(|e| e.path.as_ref());
            if paths.any(|path| path.iter().any(special) || path.ends_with(b" ")) {
                return;
            }
            list(&settings.body_exclude, BodyExclusion::to_string)
        }
        _ => list(&settings.hosts[&key], HostPattern::to_string),
    };
    let again = Settings::parse([(key.name(), &*text)]);
    assert_eq!(again.as_ref(), Ok(settings), "{key}: {text:?} is read as something else");
}

fn list<T>(elements: &[T], written: impl Fn(&T) -> String) -> String {
    elements.iter().map(written).collect::<Vec<_>>().join(", ")
}

fn entry(entry: &AddressEntry) -> String {
    let report = if entry.api { " api=yes" } else { "" };
    format!("domain={} {}{report}", entry.domain, entry.range)
}
