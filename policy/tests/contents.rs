//! Forms of bodies, whatever they are said to be and whatever they hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::text::{Scratch, contains};
use policy::{Host, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const TYPES: [&str; 6] = [
    "application/json",
    "text/xml; charset=utf-8",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "multipart/mixed; boundary=b, application/json+xml",
];

/// Every form, in the order in which they are searched.
fn forms(
    scratch: &mut Scratch,
    types: &[&str],
    body: &[u8],
    decoded: Option<&[u8]>,
) -> Vec<Vec<u8>> {
    let headers: Vec<_> = types.iter().map(|value| ("CONTENT-TYPE", value)).collect();
    let request = Request {
        body: Some(body),
        decoded_body: decoded,
        ..Request::new(Host::normalised(b""), b"/", &headers)
    };
    let mut seen = Vec::new();
    let found = scratch.any_body_form(&request, |form| {
        seen.push(form.to_vec());
        false
    });
    assert!(!found);
    seen
}

fn has(types: &[&str], body: &[u8], text: &str) -> bool {
    let all = forms(&mut Scratch::default(), types, body, None);
    all.iter().any(|form| contains(form, text.as_bytes()))
}

/// Text of the words that decoders look for.
fn tangle() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "\\",
        "\\u",
        "\\u00",
        "\\u0041",
        "\\ud83d",
        "\\ude00",
        "&",
        "&#",
        "&#x",
        "&#65;",
        "&lt;",
        ";",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "--b",
        "--",
        "\r\n",
        "\n",
        "\r\n\r\n",
        "=",
        "=4",
        "=41",
        "ZXZp",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Type: multipart/mixed; boundary=c",
        "{",
        "\"",
        "%41",
        "+",
        "\0",
        "\u{e9}",
        "a",
    ];
    prop_oneof![
        vec(select(words), 0..40).prop_map(|words| words.concat().into_bytes()),
        vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn forms_are_bounded_and_only_ever_added(
        body in tangle(),
        decoded in proptest::option::of(tangle()),
        types in vec(select(TYPES.to_vec()), 0..3),
        other in tangle(),
    ) {
        let mut scratch = Scratch::default();
        let all = forms(&mut scratch, &types, &body, decoded.as_deref());
        prop_assert_eq!(&all[0], &body);
        prop_assert!(decoded.iter().all(|decoded| all.contains(decoded)));
        let longest = body.len().max(decoded.as_ref().map_or(0, Vec::len));
        prop_assert!(all.iter().all(|form| form.len() <= 2 * longest));
        // At most two texts, with six forms each.
        prop_assert!(all.len() <= 12);
        // A type adds forms and takes none away.
        let plain = forms(&mut Scratch::default(), &[], &body, None);
        prop_assert!(plain.iter().all(|form| all.contains(form)));
        // Nothing of one request is believed of the next.
        scratch.begin();
        let next = forms(&mut scratch, &types, &other, None);
        prop_assert_eq!(next, forms(&mut Scratch::default(), &types, &other, None));
    }

    #[test]
    fn escaped_text_is_found(text in "[a-z\u{80}-\u{10ffff}]{1,12}", wrong in select(TYPES.to_vec())) {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let quoted = format!(" {{\"a\": \"{units}\"}}");
        prop_assert!(has(&["application/json"], units.as_bytes(), &text));
        prop_assert!(has(&[wrong], quoted.as_bytes(), &text));
        let references: String = text.chars().map(|c| format!("&#{};", u32::from(c))).collect();
        prop_assert!(has(&["application/xml"], references.as_bytes(), &text));
        let element = format!("<a>{references}</a>");
        prop_assert!(has(&[wrong], element.as_bytes(), &text));
        let cut: String = text.chars().map(|c| format!("<![CDATA[{c}]]>")).collect();
        let element = format!("<a>{cut}</a>");
        prop_assert!(has(&[wrong], element.as_bytes(), &text));
        let wide: Vec<u8> = format!("\u{feff}<a>{references}").encode_utf16().flat_map(u16::to_be_bytes).collect();
        prop_assert!(has(&[wrong], &wide, &text));
    }

    #[test]
    fn encoded_parts_are_found(text in "[a-z\u{80}-\u{10ffff}]{1,12}", crlf: bool, end: bool) {
        let quoted: String = text.bytes().map(|byte| format!("={byte:02X}")).collect();
        for (encoding, content) in [("base64", STANDARD.encode(&text)), ("quoted-printable", quoted)] {
            let end = if end { "\n--b--\n" } else { "" };
            let body = format!("--b\nContent-Transfer-Encoding: {encoding}\n\n{content}{end}");
            let body = if crlf { body.replace('\n', "\r\n") } else { body };
            for boundary in ["b", "\"b\"", "c", "\"\""] {
                let line = format!("multipart/form-data; boundary={boundary}");
                prop_assert!(has(&[&line], body.as_bytes(), &text), "{boundary}");
            }
        }
    }
}
