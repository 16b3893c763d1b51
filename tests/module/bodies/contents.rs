//! What bodies hold: by type, by encoding, however they arrive, and what cannot be decoded.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use support::among_others;
use support::nginx::resident_kib;

use super::{Front, chunked, head, noise};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("is packed");
    encoder.finish().expect("is packed")
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("is packed");
    encoder.finish().expect("is packed")
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("is packed");
    encoder.finish().expect("is packed")
}

#[test]
fn encoded_bodies_are_judged_and_pass_as_they_were_sent() {
    let _turn = among_others();
    for settings in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let front = Front::with(
            "nwaf on;",
            &format!("client_body_buffer_size 1k; {settings} location / {{ PASS }}"),
            "",
        );
        for (filler, end) in [(0, "evil=1"), (0, "evil=2"), (9_000, "evil%3d1"), (9_000, "evil=2")]
        {
            let text = [&noise(filler)[..], end.as_bytes()].concat();
            let twice = zlib(&gzip(&text));
            for (encoding, body) in [
                ("gzip", gzip(&text)),
                ("deflate", zlib(&text)),
                ("Deflate", deflate(&text)),
                ("gzip, deflate", twice),
            ] {
                let line = format!("Content-Encoding: {encoding}\r\nConnection: close\r\n");
                let announced = format!("Content-Length: {}\r\n{line}", body.len());
                let plain = [head("POST", "/", &announced), body.clone()].concat();
                let (start, rest) = plain.split_at(plain.len() - body.len() / 2);
                let mut in_chunks =
                    head("POST", "/", &format!("Transfer-Encoding: chunked\r\n{line}"));
                in_chunks.extend_from_slice(&chunked(&body, 7));
                for way in [&[&plain[..]][..], &[start, rest], &[&in_chunks]] {
                    let whole = front.upstream.whole_bodies().len();
                    let said = front.say(way);
                    let what = format!("{settings:?} {encoding} {filler} {end}");
                    let evil = end != "evil=2";
                    let status = if evil { "HTTP/1.1 403" } else { "HTTP/1.1 200" };
                    assert!(said.starts_with(status), "{what}: {said}");
                    if evil {
                        assert_eq!(front.upstream.whole_bodies().len(), whole, "{what}");
                    } else {
                        assert!(front.upstream.bodies().last() == Some(&body), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn http2_bodies_are_decoded_too() {
    let _turn = among_others();
    let front = Front::with("nwaf on;", "location / { PASS }", "http2");
    let file = front.node.folder.path().join("sent");
    for (text, status) in [("a=1&evil=1", "2 403"), ("a=1&evil=2", "2 200")] {
        for options in [&["--data-binary", "@-"][..], &["-T", "-"]] {
            std::fs::write(&file, gzip(text.as_bytes())).expect("is written");
            let output = std::process::Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-m", "20"])
                .args(["--http2-prior-knowledge", "-X", "POST", "-H", "Content-Encoding: gzip"])
                .args(options)
                .arg(format!("http://{}/", front.node.nginx.address()))
                .stdin(std::fs::File::open(&file).expect("is there"))
                .output()
                .expect("curl runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), status, "{options:?} {text}");
        }
    }
    assert!(front.upstream.bodies().iter().all(|body| *body == gzip(b"a=1&evil=2")));
}

#[test]
fn what_cannot_be_decoded_is_a_part_that_was_not_judged() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on; nwaf_body_limit 1m;",
        "location / { PASS }
         location /block { nwaf_body_overflow block; PASS }
         location /short { nwaf_body_overflow block; nwaf_body_limit 100; PASS }
         location /passive { nwaf passive; nwaf_body_overflow block; PASS }
         location /upload { nwaf_body_overflow block; PASS }",
        "",
    );
    let (broken, too_long) = ("cannot be decoded as its Content-Encoding says", "once decoded");
    let text = b"a=1&b=2&c=3&d=4&e=5";
    let cut = |text: &[u8]| {
        let packed = gzip(text);
        packed[..packed.len() - 9].to_vec()
    };
    let bomb = gzip(&vec![b'x'; 900_000]);
    let lines =
        |count: u32| (0..count).flat_map(|n| n.to_string().into_bytes()).collect::<Vec<_>>();
    let long = gzip(&lines(200_000));
    assert!(long.len() < 1 << 20 && lines(200_000).len() < long.len() * 200);
    for (encoding, body, why) in [
        ("gzip", gzip(text), ""),
        ("identity", text.to_vec(), ""),
        ("br", Vec::new(), ""),
        ("br", text.to_vec(), broken),
        ("zstd", text.to_vec(), broken),
        ("gzip", text.to_vec(), broken),
        ("gzip", cut(text), broken),
        ("gzip", [gzip(text), b"more".to_vec()].concat(), broken),
        ("gzip, gzip, gzip", gzip(&gzip(&gzip(text))), broken),
        ("gzip", bomb, too_long),
        ("gzip", long, too_long),
        ("gzip, gzip", gzip(&gzip(&vec![0; 30 << 20])), too_long),
    ] {
        for (target, status) in [
            ("/", 200),
            ("/block", if why.is_empty() { 200 } else { 403 }),
            ("/passive", 200),
            ("/upload", 200),
        ] {
            let visit =
                front.node.visit(target).method("POST").header("Content-Encoding", encoding);
            let answer = visit.body(body.clone()).send();
            let what = format!("{encoding} {why} {target}");
            assert_eq!(answer.status, status, "{what}");
            if status == 200 {
                assert!(body.is_empty() || front.upstream.bodies().last() == Some(&body), "{what}");
            } else {
                assert_eq!(answer.header("x-type"), Some("11"), "{what}");
                let told = front.node.nginx.logged(answer.header("x-id").expect("a request id"));
                assert!(told.iter().any(|line| line.contains(why)), "{what}: {told:?}");
            }
        }
    }
    // What came out is judged, and by its rule.
    for (encoding, body) in [
        ("gzip", cut(b"evil=1 and so on, and so on")),
        ("br, gzip", gzip(b"evil=1")),
        ("br", b"evil=1".to_vec()),
        ("gzip", gzip(&[&b"evil=1"[..], &vec![0; 30 << 20]].concat())),
    ] {
        for target in ["/", "/block"] {
            let visit =
                front.node.visit(target).method("POST").header("Content-Encoding", encoding);
            let answer = visit.body(body.clone()).send();
            assert_eq!((answer.status, answer.header("x-type")), (403, Some("5")), "{encoding}");
        }
    }
    // Of a body beyond the limit, the first part of what was sent is decoded.
    for (start, block_type) in [("evil=1", "5"), ("evil=2", "11")] {
        let body = gzip(&[start.as_bytes(), &noise(500)].concat());
        assert!(body.len() > 100);
        let visit = front.node.visit("/short").method("POST").header("Content-Encoding", "gzip");
        let answer = visit.body(body).send();
        assert_eq!((answer.status, answer.header("x-type")), (403, Some(block_type)), "{start}");
    }
    // The limit holds for what comes out, to the byte.
    for (length, at, status, block_type) in
        [(100, 94, 403, "5"), (100, 200, 200, "0"), (101, 200, 403, "11"), (101, 94, 403, "5")]
    {
        let mut text = vec![b'x'; length];
        if let Some(place) = text.get_mut(at..at + 6) {
            place.copy_from_slice(b"evil=1");
        }
        let visit = front.node.visit("/short").method("POST").header("Content-Encoding", "gzip");
        let answer = visit.body(gzip(&text)).send();
        assert_eq!(
            (answer.status, answer.header("x-type")),
            (status, Some(block_type)),
            "{length}"
        );
    }
}

#[test]
fn bombs_cost_no_memory() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on; nwaf_body_limit 16m;",
        "client_max_body_size 20m; location / { PASS }",
        "",
    );
    let worker = *front.node.nginx.workers().first().expect("a worker");
    let bomb = gzip(&vec![b'{'; 60 << 20]);
    let throw = || {
        let visit = front.node.visit("/").method("POST").header("Content-Encoding", "gzip");
        assert_eq!(visit.body(bomb.clone()).status(), 200);
    };
    let small = front.node.visit("/").method("POST").header("Content-Encoding", "gzip");
    assert_eq!(small.body(gzip(b"a=1")).status(), 200);
    let before = resident_kib(worker);
    (0..40).for_each(|_| throw());
    assert_eq!(front.node.visit("/").method("POST").body("a=1").status(), 200);
    let after = resident_kib(worker);
    // One decoded to nwaf_body_limit, and not one whole.
    assert!(after < before + (24 << 10), "{before} KiB, then {after} KiB");
}

#[test]
fn escapes_references_and_parts_hide_nothing() {
    let _turn = among_others();
    let front = Front::with("nwaf on;", "client_body_buffer_size 1k; location / { PASS }", "");
    let part = |encoding: &str, content: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n{content}\r\n--b--\r\n"
        )
    };
    let filler = "x".repeat(5_000);
    for (content_type, body, rule) in [
        ("application/json", r#"{"q":"\u0027 or 1"}"#.to_owned(), Some("5")),
        ("application/json", r#"{"q":"\u0027\u0020\u006fr 1"}"#.to_owned(), Some("5")),
        ("text/plain", r#" {"q":"\u0027 or 1"}"#.to_owned(), Some("5")),
        ("application/json", r#"{"q":"\\u0027 or 1"}"#.to_owned(), None),
        ("application/json", format!(r#"{{"f":"{filler}","q":"ev\u0069l\u003d1"}}"#), Some("1")),
        ("text/xml", "<q>&#39; or 1</q>".to_owned(), Some("5")),
        ("image/png", "<q>&apos;<![CDATA[ ]]>o<!-- -->r</q>".to_owned(), Some("5")),
        ("text/xml", "<q>&#38;#39; or 1</q>".to_owned(), None),
        ("multipart/form-data; boundary=b", part("base64", "ZXZp\r\nbD0x"), Some("1")),
        ("multipart/form-data; boundary=b", part("8bit", "ZXZp\r\nbD0x"), None),
        ("multipart/form-data; boundary=b", part("quoted-printable", "=65vil=\r\n=3D1"), Some("1")),
        (
            "multipart/form-data; boundary=\"b\"",
            part("binary", &format!("{filler}evil=1")),
            Some("1"),
        ),
    ] {
        let lines = format!(
            "Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        let all = [head("POST", "/", &lines), body.clone().into_bytes()].concat();
        // In one piece, and in packets of a few bytes around the interesting end.
        let (start, end) = all.split_at(all.len() - body.len().min(60));
        let packets: Vec<&[u8]> = [start].into_iter().chain(end.chunks(5)).collect();
        for way in [&[&all[..]][..], &packets] {
            let said = front.say(way);
            let status = if rule.is_some() { "HTTP/1.1 403" } else { "HTTP/1.1 200" };
            assert!(said.starts_with(status), "{content_type} {body}: {said}");
            if let Some(rule) = rule {
                assert!(
                    said.contains(&format!("X-Rule: {rule}\r\n")),
                    "{content_type} {body}: {said}"
                );
            } else {
                assert!(front.upstream.bodies().last().is_some_and(|got| *got == body.as_bytes()));
            }
        }
    }
}
