//! What is hidden, and what is not.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const VISA: &str = "4111111111111111";

type Mask = fn(&Masks, &mut Vec<u8>, &[u8], usize) -> bool;

fn masked(mask: Mask, text: &[u8]) -> String {
    let mut out = Vec::new();
    assert!(mask(&Masks::default(), &mut out, text, 100_000), "is whole");
    String::from_utf8_lossy(&out).into_owned()
}

fn whole_body(masks: &Masks, out: &mut Vec<u8>, body: &[u8], limit: usize) -> bool {
    masks.body(out, body, false, limit)
}

fn check(mask: Mask, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(masked(mask, text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn secrets_of_queries() {
    check(
        Masks::args,
        &[
            ("?page=3&sort=price", "?page=3&sort=price"),
            ("?user=a&password=b&x=1", "?user=a&password=***&x=1"),
            ("PassWord=b", "PassWord=***"),
            ("?p%61ssword=b", "?p%61ssword=***"),
            ("?user[pass]=b&pass=", "?user[pass]=***&pass="),
            ("?newpassword=b&userPin=1&shipping=2", "?newpassword=***&userPin=***&shipping=2"),
            ("?csrfmiddlewaretoken=b", "?csrfmiddlewaretoken=***"),
            ("?a=1;token=b;c=2", "?a=1;token=***"),
            ("?a=1;token=b&c=2", "?a=1;token=***&c=2"),
            ("?a=token=b&key=c=d", "?a=token=***&key=***"),
            ("?monkey=1&keys=2&sort_key=3", "?monkey=1&keys=2&sort_key=***"),
            ("?pass1=b&2pin=c&PHPSESSID=d&sid=e", "?pass1=***&2pin=***&PHPSESSID=***&sid=e"),
            ("?X-Amz-Signature=b&sv=1&sig=c", "?X-Amz-Signature=***&sv=1&sig=***"),
            ("?x=1#access_token=b", "?x=1#access_token=***"),
            ("password", "password"),
            ("", ""),
        ],
    );
}

#[test]
fn names_that_are_too_long_to_look_at_are_secret() {
    let name = "%61".repeat(200);
    assert_eq!(masked(Masks::args, format!("{name}=1").as_bytes()), format!("{name}=***"));
    let name = "a".repeat(NAME_MAX);
    assert_eq!(masked(Masks::args, format!("{name}=1").as_bytes()), format!("{name}=1"));
}

#[test]
fn secrets_of_cookies_paths_and_addresses() {
    check(
        Masks::cookies,
        &[
            ("theme=dark; PHPSESSID=abc; lang=de", "theme=dark; PHPSESSID=***; lang=de"),
            ("sid=1; connect.sid=2; side=3", "sid=***; connect.sid=***; side=3"),
            ("ASP.NET_SessionId=a=b; x", "ASP.NET_SessionId=***; x"),
            (
                "wordpress_0123456789abcdef0123456789abcdef=a; REMEMBERME=b; .ASPXAUTH=c",
                "wordpress_0123456789abcdef0123456789abcdef=***; REMEMBERME=***; .ASPXAUTH=***",
            ),
            (
                "wordpress_logged_in_1=a; _oauth2_proxy=b; _ga=GA1.2.3.4",
                "wordpress_logged_in_1=***; _oauth2_proxy=***; _ga=GA1.2.3.4",
            ),
            (
                "u=%7B%22token%22%3A%22b%22%2C%22n%22%3A1%7D",
                "u=%7B%22token%22%3A%22***%22%2C%22n%22%3A1%7D",
            ),
        ],
    );
    check(
        Masks::path,
        &[
            ("/shop;jsessionid=abc/cart", "/shop;jsessionid=***/cart"),
            ("/pay/4111-1111-1111-1111/now", "/pay/***/now"),
        ],
    );
    check(
        Masks::url,
        &[
            ("https://a:b@site.test/x?token=1&y=2", "https://***@site.test/x?token=***&y=2"),
            ("https://site.test/x#id_token=1", "https://site.test/x#id_token=***"),
            ("/a@b?x=1", "/a@b?x=1"),
        ],
    );
}

#[test]
fn secrets_of_headers() {
    let masks = Masks::default();
    for (name, value, expected) in [
        ("Authorization", "Basic abc", "***"),
        ("Proxy-Authorization", "Basic abc", "***"),
        ("X-Api-Key", "abc", "***"),
        ("X-Session-Id", "abc", "***"),
        ("X-User", r#"{"name":"a","password":"b"}"#, r#"{"name":"a","password":"***"}"#),
        ("X-CSRF-Token", "abc", "***"),
        ("Accept", "*/*;q=0.8", "*/*;q=0.8"),
        ("X-Original-URL", "/a?password=b", "/a?password=***"),
        ("X-Note", "pay 4111 1111 1111 1111 now", "pay *** now"),
    ] {
        let mut out = Vec::new();
        assert!(masks.header(&mut out, name.as_bytes(), value.as_bytes(), 100));
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{name}");
    }
}

#[test]
fn secrets_of_bodies() {
    check(
        whole_body,
        &[
            ("user=a&password=b", "user=a&password=***"),
            ("user=a&password=b#c;d&x=1", "user=a&password=***&x=1"),
            ("user=a\r\npassword=b c\r\nx=1\r\n", "user=a\r\npassword=***\r\nx=1\r\n"),
            (r#"{"user":"a","password":"b\"c","n":1}"#, r#"{"user":"a","password":"***","n":1}"#),
            (r#" {"pin" : 1234, "x":2}"#, r#" {"pin" : "***", "x":2}"#),
            (r#"[{"pass\u0077ord":"b"}]"#, r#"[{"pass\u0077ord":"***"}]"#),
            (r#"{"card":{"n":[1,"}"]},"x":2}"#, r#"{"card":"***","x":2}"#),
            (r#"{"pin":1}"#, r#"{"pin":"***"}"#),
            (r#"{"token":"unfinished"#, r#"{"token":"***""#),
            (r#"{"a":"password","b":"c"}"#, r#"{"a":"password","b":"c"}"#),
            ("<a><Password>b</Password><x>1</x></a>", "<a><Password>***</Password><x>1</x></a>"),
            ("<a pin='1' x=\"2\"/><w:secret q='>'>b", "<a pin='***' x=\"2\"/><w:secret q='>'>***"),
            ("<secret/><b>c</b>", "<secret/><b>c</b>"),
            (
                "--X\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nb\r\nc\r\n\
                 --X\r\nContent-Disposition: form-data; filename=\"password\"; name=x\r\n\r\nd\r\n--X--\r\n",
                "--X\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n***\r\n\
                 --X\r\nContent-Disposition: form-data; filename=\"password\"; name=x\r\n\r\nd\r\n--X--\r\n",
            ),
            (
                "--X\nContent-Disposition: form-data; name=pin\n\n1234",
                "--X\nContent-Disposition: form-data; name=pin\n\n***",
            ),
        ],
    );
}

#[test]
fn secrets_inside_of_values() {
    check(
        Masks::args,
        &[
            ("?next=%2Flogin%3Ftoken%3Db%26x%3D1", "?next=%2Flogin%3Ftoken%3D***%26x%3D1"),
            ("?next=https%3A%2F%2Fa%3Ab%40h%2Fx", "?next=https%3A%2F%2F***%40h%2Fx"),
            ("?next=https://a:b@h/x", "?next=https://***@h/x"),
            ("?d=%7B%22pin%22%3A12%2C%22x%22:3%7D", "?d=%7B%22pin%22%3A***%2C%22x%22:3%7D"),
            ("?user%5Bpin%5D%3D1", "?user%5Bpin%5D%3D***"),
            ("?d=%22password%22%3A%22a%5C%22b%22%7D", "?d=%22password%22%3A%22***%22%7D"),
            ("?q=a:b&r=x%3Ay&t=12:30&u=http://h:80/", "?q=a:b&r=x%3Ay&t=12:30&u=http://h:80/"),
        ],
    );
    check(
        whole_body,
        &[
            (
                r#"{"d":"{\"password\":\"b\",\"x\":1}"}"#,
                r#"{"d":"{\"password\":\"***\",\"x\":1}"}"#,
            ),
            (r#"{"d":"{\"password\":\"b\\\"c\"}"}"#, r#"{"d":"{\"password\":\"***\"}"}"#),
            (r#"{"d":"{\"token\":[\"b\",1],\"x\":1}"}"#, r#"{"d":"{\"token\":***,\"x\":1}"}"#),
            (
                r#"{"query":"{login(password: \"b\", n: 1){id}}"}"#,
                r#"{"query":"{login(password: \"***\", n: 1){id}}"}"#,
            ),
            ("{'password': 'b', 'x': 1}", "{'password': '***', 'x': 1}"),
            ("user: a\npassword: b c\nx: 1", "user: a\npassword: ***\nx: 1"),
            (
                "--X\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\n{\"password\":\"b\"}\r\n--X--",
                "--X\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\n{\"password\":\"***\"}\r\n--X--",
            ),
            (r#"{"u":"https://a:b@h/","password":"#, r#"{"u":"https://***@h/","password":"#),
        ],
    );
    // What is cut in the middle of a value.
    let masks = Masks::default();
    let text = format!("?d=%7B%22password%22%3A%22{}%22%7D", "hidden".repeat(30));
    for limit in 0..text.len() {
        let mut out = Vec::new();
        masks.args(&mut out, text.as_bytes(), limit);
        assert!(!String::from_utf8_lossy(&out).contains("hi"), "{limit}");
        out.clear();
        masks.body(&mut out, &text.as_bytes()[..limit], true, 1000);
        assert!(!String::from_utf8_lossy(&out).contains("hi"), "{limit}");
    }
}

#[test]
fn card_numbers() {
    check(
        Masks::text,
        &[
            (VISA, "***"),
            ("n=4111 1111 1111 1111 12 25", "n=*** 12 25"),
            ("1 4111-1111-1111-1111", "1 ***"),
            ("%204111%201111%201111%201111", "%20***"),
            ("%F04111+1111+1111+1111.", "%F0***."),
            ("378282246310005,6304000000000000 x", "***,*** x"),
            ("4111111111111112", "4111111111111112"),
            ("41111111111111114111111111111111", "41111111111111114111111111111111"),
            ("12345678901", "12345678901"),
            // Times in milliseconds with a right check digit are none; old cards are.
            ("?_=1763820000000&_=1763820000018", "?_=1763820000000&_=1763820000018"),
            ("4222222222222 100000000000009", "*** ***"),
        ],
    );
}

#[test]
fn names_can_be_added() {
    let mut masks = Masks::default();
    masks.add("Geburtstag").unwrap();
    let mut out = Vec::new();
    masks.args(&mut out, b"?geburtstag=1&zebra=2", 100);
    assert_eq!(out, b"?geburtstag=***&zebra=2");
    masks.add("Z").unwrap();
    for (name, hidden) in [("z", true), ("Z", true), ("a-Z", true), ("Z.a", true), ("zz", false)] {
        assert_eq!(masks.is_secret(name.as_bytes()), hidden, "{name}");
    }
    assert_eq!(masks.add(""), Err(NameError::Length));
    assert_eq!(masks.add(&"a".repeat(129)), Err(NameError::Length));
    assert_eq!(masks.add("a b"), Err(NameError::Characters));
    assert_eq!(masks.add("a="), Err(NameError::Characters));
    for number in 2..NAMES_MAX {
        masks.add(&format!("name{number}")).unwrap();
    }
    assert_eq!(masks.add("more"), Err(NameError::Count));
}

#[test]
fn a_cut_shows_no_beginning_of_a_number() {
    let masks = Masks::default();
    let text = format!("a=1&n={VISA}&token=x");
    for limit in 0..text.len() {
        let mut out = Vec::new();
        masks.args(&mut out, text.as_bytes(), limit);
        assert!(out.len() <= limit && !String::from_utf8_lossy(&out).contains('4'), "{limit}");
    }
    for cut in 0..text.len() {
        let mut out = Vec::new();
        assert!(!masks.body(&mut out, &text.as_bytes()[..cut], true, 1000));
        assert!(!String::from_utf8_lossy(&out).contains('4'), "{cut}");
    }
}

const MASKS: [Mask; 6] =
    [Masks::path, Masks::args, Masks::cookies, Masks::url, Masks::text, whole_body];

#[test]
fn time_is_linear_in_hostile_text() {
    let masks = Masks::default();
    let repeated = |text: &str| text.repeat(100_000 / text.len());
    let texts = [
        "\"",
        "\"a\":",
        "{",
        "{\"pin\":[",
        "<a ",
        "<pin>",
        "<a b='",
        "--",
        "--a\r\n\r\n",
        "1 ",
        "4111111111111111 ",
        "%20",
        "=",
        "&",
        "a=",
        "pin=1&",
        "p",
        "%",
        "://@",
        ";",
        "<a='><!",
        "pin:",
        "pin=\"",
        "pin=\\\"",
        "pin:[",
        "pin=%22%5C%22",
        "://",
        "a:",
        "]:",
        "%3D",
        "pin%3A%20",
    ]
    .map(repeated);
    let start = Instant::now();
    let mut out = Vec::new();
    for text in &texts {
        for mask in MASKS {
            for prefix in ["", "{", "<", "--a\r\n"] {
                out.clear();
                mask(&masks, &mut out, [prefix, text].concat().as_bytes(), usize::MAX >> 1);
            }
        }
    }
    // 50 MB of text; what is quadratic would take hours.
    assert!(start.elapsed() < Duration::from_secs(100), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn any_bytes_are_taken(text in proptest::collection::vec(any::<u8>(), 0..200), limit in 0..250_usize) {
        for mask in MASKS {
            let mut out = b"before".to_vec();
            mask(&Masks::default(), &mut out, &text, limit);
            prop_assert!(out.starts_with(b"before") && out.len() <= limit + 6);
        }
    }

    #[test]
    fn structured_text_keeps_no_secret(
        before in "[a-z{}\\[\\]:,\"<>=& -]{0,20}",
        after in "[a-z{}\\[\\]:,\"<>=& -]{0,20}",
    ) {
        for text in [
            format!("{{{before}}}{VISA}{after}"),
            format!("<{before}{VISA}{after}"),
            format!("--{before}\r\n{VISA}{after}"),
            format!("{before}{VISA}{after}"),
        ] {
            prop_assert!(!masked(whole_body, text.as_bytes()).contains(VISA), "{}", text);
        }
    }

    #[test]
    fn text_without_names_and_numbers_stays(text in "[a-f/&;= {}\\[\\]\":<>.]{0,60}") {
        for mask in MASKS {
            prop_assert_eq!(masked(mask, text.as_bytes()), text.clone());
        }
    }
}
