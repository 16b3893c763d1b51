//! The forms of a body: a line with its type, then the body.
//!
//! Against readers that share no code: a JSON parser, and a naive reading of XML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::text::{Scratch, contains};
use policy::{Host, Request};
use serde_json::Value;
use support::naive::content;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut scratch = Scratch::default();
    // What is known of one request must not be believed of the next.
    forms(&mut scratch, b"multipart/json+xml; boundary=--", b"{<\\u0041&#65;%41");
    scratch.begin();
    let all = forms(&mut scratch, line, body);
    assert_eq!(forms(&mut scratch, line, body), all, "as remembered");
    assert_eq!(all[0], body);
    let is_in_a_form = |text: &[u8]| all.iter().any(|form| contains(form, text));
    for form in forms(&mut Scratch::default(), b"", body) {
        assert!(all.contains(&form), "{line:?} takes {form:?} away");
    }
    assert!(all.len() <= 6 && all.iter().all(|form| form.len() <= 2 * body.len()));
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        each_string(&value, &mut |text| {
            assert!(is_in_a_form(text.as_bytes()), "{text:?} of {body:?} is in no form");
        });
    }
    let is_wide = matches!(body, [0, ..] | [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [_, 0, ..]);
    if body.starts_with(b"<") && !is_wide {
        let plain = content::xml(body);
        // An instruction that only stands before everything cuts no text and may stay.
        assert!(is_in_a_form(&plain), "{plain:?} of {body:?} is missing");
    }
});

/// Every form, in the order in which they are searched.
fn forms(scratch: &mut Scratch, line: &[u8], body: &[u8]) -> Vec<Vec<u8>> {
    let headers = vec![("Content-Type", line)];
    let get = Request::new(Host::normalised(b""), b"/", &headers);
    let mut seen = Vec::new();
    let found = scratch.any_body_form(&Request { body: Some(body), ..get }, |form| {
        seen.push(form.to_vec());
        false
    });
    assert!(!found, "found although nothing was taken");
    seen
}

fn each_string(value: &Value, look: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(values) => values.iter().for_each(|value| each_string(value, look)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            look(name);
            each_string(value, look);
        }),
        _ => {}
    }
}
