//! Requests that contradict themselves, and bytes that are no text.

use support::node::Node;
use support::{Recorder, Site, among_others};

use super::{assert_well, node, policy, request, say, status_of};

#[test]
fn no_request_is_smuggled_past_the_judgement() {
    let _turn = among_others();
    let upstream = Recorder::start();
    for buffering in ["on", "off"] {
        let server = format!(
            "location / {{ proxy_pass http://{}; proxy_http_version 1.1; \
             proxy_request_buffering {buffering}; }}",
            upstream.address()
        );
        let node = Node::start(&policy(), Site { server, ..Site::default() });
        let workers = node.nginx.workers();
        let hidden = b"GET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n";
        let length = format!("Content-Length: {}", hidden.len());
        let length = length.as_bytes();
        let chunked = b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n";
        // A head that says two things about its body, and the body.
        let cases: [(&[&[u8]], &[u8]); 17] = [
            (&[b"Content-Length: 5", b"Transfer-Encoding: chunked"], chunked),
            (&[b"Transfer-Encoding: chunked", b"Content-Length: 5"], chunked),
            (&[b"Content-Length: 0", length], hidden),
            (&[length, b"Content-Length: 0"], hidden),
            (&[b"Content-Length: 0, 41"], hidden),
            (&[b"Content-Length: +0"], hidden),
            (&[b"Content-Length: 0x29"], hidden),
            (&[b"Content-Length : 41"], hidden),
            (&[b"Transfer-Encoding: xchunked"], chunked),
            (&[b"Transfer-Encoding : chunked"], chunked),
            (&[b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], chunked),
            (&[b"Transfer-Encoding: identity, chunked"], chunked),
            (&[b"Transfer-Encoding:\x0bchunked"], chunked),
            (&[b"Transfer-Encoding:\tchunked"], chunked),
            (&[b"X: y\nTransfer-Encoding: chunked"], chunked),
            (&[b"X: y\rTransfer-Encoding: chunked"], chunked),
            (&[b" Transfer-Encoding: chunked"], chunked),
        ];
        for (lines, body) in cases {
            let mut head: Vec<&[u8]> = vec![b"POST /page HTTP/1.1", b"Host: site.test"];
            head.extend(lines);
            say(&node.nginx, &request(&head, body));
        }
        for bytes in [
            &b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
               1;x=\"\r\n\"\r\nZ\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
               ffffffffffffffff0\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
               -1\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /page HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
               0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /page\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            say(&node.nginx, bytes);
        }
        for seen in upstream.seen() {
            let seen = String::from_utf8_lossy(&seen).into_owned();
            assert!(!seen.contains("evil"), "reached the site: {seen}");
        }
        // The site answers everything, so what passes is a 200.
        assert_eq!(node.visit("/clean").status(), 200);
        assert_eq!(node.nginx.workers(), workers, "a worker died");
    }
}

#[test]
fn a_target_with_scheme_and_host_is_a_target() {
    let _turn = among_others();
    let node = node("location / { return 200 ok; }", "");
    let workers = node.nginx.workers();
    for (target, status) in [
        ("http://site.test/clean", 200),
        ("http://site.test/evil", 403),
        ("http://site.test?evil", 403),
        ("http://site.test/clean?a=evil", 403),
        ("HTTP://SITE.TEST/%65vil", 403),
        ("http://evil.test/clean", 403),
        ("http://evil.test:80/clean", 403),
        ("ftp://site.test/evil", 403),
        ("//site.test/evil", 403),
        ("/./a/../evil", 403),
        ("/a/%2e%2e/%65%76%69%6c", 403),
        ("/clean/..;/evil", 403),
        ("http:///evil", 400),
        ("site.test/evil", 400),
        ("*", 400),
    ] {
        let line = format!("GET {target} HTTP/1.1");
        let sent = request(&[line.as_bytes(), b"Host: site.test"], b"");
        assert_eq!(status_of(&node.nginx, &sent), Some(status), "{target}");
    }
    assert_well(&node, &workers);
}

#[test]
fn bytes_that_are_no_text_hide_nothing() {
    let _turn = among_others();
    let node = node("location / { return 200 ok; }", "");
    let workers = node.nginx.workers();
    let noise: [&[u8]; 8] = [
        b"\xff\xfe",
        b"\xc0\x80",
        b"\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\x7f\x01\x1f",
        b"\xc3\xa9\xcc\x81",
    ];
    for noise in noise {
        for word in [&b"evil"[..], b"good"] {
            let expected = if word == b"evil" { 403 } else { 200 };
            let text = [noise, word, noise].concat();
            let encoded: Vec<u8> =
                text.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect();
            let host: &[u8] = b"Host: site.test";
            let head = |first: &[u8], value: &[u8]| [first, value].concat();
            let end: &[u8] = b" HTTP/1.1";
            // nginx takes no control characters in a target; encoded ones it does.
            let plain = !noise.contains(&1);
            let mut cases = vec![
                request(&[&[b"GET /", &encoded[..], end].concat(), host], b""),
                request(&[&[b"GET /?", &encoded[..], end].concat(), host], b""),
                request(&[b"GET / HTTP/1.1", host, &head(b"X-Any: ", &text)], b""),
                request(&[b"GET / HTTP/1.1", host, &head(b"Cookie: ", &text)], b""),
                request(&[b"GET / HTTP/1.1", host, &head(b"User-Agent: ", &text)], b""),
            ];
            if plain {
                cases.push(request(&[&[b"GET /", &text[..], end].concat(), host], b""));
                cases.push(request(&[&[b"GET /?a=", &text[..], end].concat(), host], b""));
            }
            let length = format!("Content-Length: {}", text.len());
            let lines: [&[u8]; 3] = [b"POST /echo HTTP/1.1", host, length.as_bytes()];
            cases.push(request(&lines, &text));
            for bytes in cases {
                let said = String::from_utf8_lossy(&bytes).into_owned();
                assert_eq!(status_of(&node.nginx, &bytes), Some(expected), "{said:?}");
            }
        }
    }
    assert_well(&node, &workers);
}

#[test]
fn zero_bytes_are_refused_by_nginx_or_judged() {
    let _turn = among_others();
    let node = node("location / { return 200 ok; }", "");
    let workers = node.nginx.workers();
    let host: &[u8] = b"Host: site.test";
    for (lines, body, status) in [
        (&[&b"GET /\0evil HTTP/1.1"[..], host][..], &b""[..], 400),
        (&[b"GET /%00evil HTTP/1.1", host], b"", 400),
        (&[b"GET /?a=\0evil HTTP/1.1", host], b"", 400),
        (&[b"GET /?a=%00evil HTTP/1.1", host], b"", 403),
        (&[b"GET /?a=%00good HTTP/1.1", host], b"", 200),
        (&[b"GET / HTTP/1.1", host, b"X-Any: a\0evil"], b"", 400),
        (&[b"GET / HTTP/1.1", host, b"X-\0Any: evil"], b"", 400),
        (&[b"GET / HTTP/1.1", b"Host: site\0.test"], b"", 400),
        (&[b"GET / HTTP/1.1", b"Host: \xff\xfe.test"], b"", 200),
        (&[b"GET /evil HTTP/1.1", b"Host: \xff\xfe.test"], b"", 403),
        (&[b"POST /echo HTTP/1.1", host, b"Content-Length: 9"], b"\0\0evil\0\0\0", 403),
        (&[b"POST /echo HTTP/1.1", host, b"Content-Length: 9"], b"\0\0good\0\0\0", 200),
        (&[b"POST /echo HTTP/1.1", host, b"Content-Length: 9"], b"ev\0il\0\0\0\0", 200),
    ] {
        let sent = request(lines, body);
        let said = String::from_utf8_lossy(&sent).into_owned();
        assert_eq!(status_of(&node.nginx, &sent), Some(status), "{said:?}");
    }
    assert_well(&node, &workers);
}
