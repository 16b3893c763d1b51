//! The forms in which texts are searched: lines with a path, a query, a body, and
//! header values.
//!
//! Against a decoder that shares no code: no form is missing and none is invented.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::text::{Scratch, contains};
use policy::{Host, Request};
use support::naive::text;

struct Sent<'a> {
    path: &'a [u8],
    args: &'a [u8],
    body: &'a [u8],
    headers: Vec<(&'static str, &'a [u8])>,
}

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let line = |number: usize| lines.get(number).copied().unwrap_or_default();
    let mut scratch = Scratch::default();
    // What is known of one request must not be believed of the next.
    let first = Sent {
        path: b"/o/%2e%2e/ther",
        args: b"?%41+",
        body: b"%41+",
        headers: vec![("x", b"%41+"), ("x", b"%"), ("x", b"%41")],
    };
    check(&mut scratch, &first);
    scratch.begin();
    let second = Sent {
        path: line(0),
        args: line(1),
        body: line(2),
        headers: lines.iter().skip(3).map(|value| ("x", *value)).collect(),
    };
    check(&mut scratch, &second);
});

fn check(scratch: &mut Scratch, sent: &Sent<'_>) {
    let Sent { path, args, body, headers } = sent;
    let plain = text::decoded(text::without_fragment(path), false);
    let mut wanted = vec![path.to_vec(), plain.clone()];
    // Anything else is no path of HTTP, but for `*`.
    if plain.starts_with(b"/") {
        let served = text::served(path);
        assert_eq!(scratch.path_as_served(path), served, "as served: {path:?}");
        wanted.push(served);
    }
    // Twice: as worked out now, and as remembered.
    for _ in 0..2 {
        let forms = seen(|visit| scratch.any_path_form(path, visit));
        compare(&forms, &wanted, plain.starts_with(b"/"), path);
        let forms = seen(|visit| scratch.any_args_form(args, visit));
        compare(&forms, &[args.to_vec(), text::decoded(args, true)], true, args);
        let get = Request::new(Host::normalised(b""), path, headers);
        let forms =
            seen(|visit| scratch.any_body_form(&Request { body: Some(body), ..get }, visit));
        // What its contents ask for is for the target `content`.
        compare(&forms, &[body.to_vec(), text::decoded(body, true)], false, body);
        let forms =
            seen(|visit| scratch.any_header_form(headers, |_| Some(()), |(), form| visit(form)));
        let wanted: Vec<_> = headers
            .iter()
            .flat_map(|(_, value)| [value.to_vec(), text::decoded(value, false)])
            .collect();
        compare(&forms, &wanted, true, body);
    }
}

/// Every form that is shown while none is taken.
fn seen(search: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> bool) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let found = search(&mut |form| {
        forms.push(form.to_vec());
        false
    });
    assert!(!found, "found although nothing was taken");
    forms
}

/// A form may be left out where another one contains it: it cannot be found there alone.
fn compare(forms: &[Vec<u8>], wanted: &[Vec<u8>], only: bool, raw: &[u8]) {
    for form in wanted {
        assert!(forms.iter().any(|other| contains(other, form)), "{form:?} of {raw:?} is missing");
    }
    for form in forms.iter().filter(|_| only) {
        assert!(wanted.contains(form), "{form:?} is no form of {raw:?}");
    }
}
