//! Connections that trickle, end in the middle, or change their mind.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use support::h2::{self, H2};
use support::nginx::resident_kib;
use support::wait::{PATIENCE, eventually};
use support::{Load, among_others};

use super::{LISTED, assert_well, node, say};

/// Places whose bodies are read in different ways.
const PLACES: &str = "\
    location / { proxy_pass http://echo; proxy_http_version 1.1; } \
    location /flowing { proxy_request_buffering off; proxy_pass http://echo; \
        proxy_http_version 1.1; } \
    location /file { client_body_in_file_only clean; proxy_pass http://echo; } \
    location /small { client_body_buffer_size 16; proxy_pass http://echo; } \
    location /answer { return 200 ok; }";

fn post(target: &str, framing: &str, body: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: site.test\r\n{framing}\r\n\r\n{body}").into_bytes()
}

#[test]
fn uploads_that_end_at_any_byte_harm_nobody() {
    let _turn = among_others();
    let node = node(PLACES, "");
    let workers = node.nginx.workers();
    for target in ["/", "/flowing", "/file", "/small", "/answer"] {
        for whole in [
            post(target, "Content-Length: 24", "good=1&good=2&good=3&x=1"),
            post(target, "Content-Length: 24\r\nExpect: 100-continue", "good=1&good=2&good=3&x=1"),
            post(
                target,
                "Transfer-Encoding: chunked",
                "6\r\ngood=1\r\n7;a=b\r\n&good=2\r\n0\r\nA: b\r\n\r\n",
            ),
        ] {
            for end in 0..whole.len() {
                if end % 2 == 0 {
                    // Gone, perhaps while nginx reads.
                    let mut stream = TcpStream::connect(node.nginx.address()).expect("connects");
                    stream.write_all(&whole[..end]).expect("is sent");
                } else {
                    // Says no more, and waits for what comes back.
                    say(&node.nginx, &whole[..end]);
                }
            }
        }
    }
    assert_well(&node, &workers);
}

#[test]
fn hundreds_that_trickle_hold_up_nobody_and_are_judged_in_the_end() {
    const SLOW: usize = 200;
    let _turn = among_others();
    let node = node(PLACES, "");
    let workers = node.nginx.workers();
    let mut slow: Vec<(TcpStream, Vec<u8>, &str)> = (0..SLOW)
        .map(|number| {
            let target = ["/", "/flowing", "/small"][number % 3];
            let (body, status) =
                [("good=1&good=2&good", "200"), ("good=1&good=2&evil", "403")][number % 2];
            let framing = "Content-Length: 18\r\nConnection: close";
            let stream = TcpStream::connect(node.nginx.address()).expect("connects");
            stream.set_nodelay(true).expect("a socket option");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
            (stream, post(target, framing, body), status)
        })
        .collect();
    let load =
        Load::start(node.nginx.address(), 2, &[node.visit("/"), node.visit("/").from(LISTED)]);
    let longest = slow.iter().map(|(_, bytes, _)| bytes.len()).max().expect("there are some");
    for at in 0..longest {
        for (stream, bytes, _) in &mut slow {
            if let Some(byte) = bytes.get(at) {
                stream.write_all(&[*byte]).expect("is sent");
            }
        }
    }
    for (mut stream, bytes, status) in slow {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(&answer, expected.as_bytes(), "{}", String::from_utf8_lossy(&bytes));
    }
    load.stop().assert_only(&[200, 403]);
    assert_well(&node, &workers);
}

#[test]
fn streams_that_are_reset_at_once_cost_what_they_cost_nginx() {
    const ROUNDS: u32 = 30;
    let _turn = among_others();
    let node = node(PLACES, "http2");
    let workers = node.nginx.workers();
    let worker = *workers.first().expect("a worker");
    let mut settled = 0;
    let started = Instant::now();
    for round in 0..ROUNDS {
        // nginx gives up on a connection after a thousand or so; until then it works.
        let mut connection = H2::connect(node.nginx.address()).expect("connects");
        for number in 0..500 {
            let stream = 2 * number + 1;
            let path: &[u8] = [&b"/"[..], b"/evil", b"/flowing", b"/answer"][number as usize % 4];
            let fields = h2::request(path, b"192.0.2.1");
            let flags =
                if number % 3 == 0 { h2::END_HEADERS } else { h2::END_HEADERS | h2::END_STREAM };
            let head = h2::frame(h2::HEADERS, flags, stream, &h2::block(&fields));
            let reset = h2::frame(h2::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if connection.send(&[head, reset].concat()).is_err() {
                break;
            }
        }
        connection.drain();
        if round == ROUNDS / 3 {
            settled = resident_kib(worker);
        }
    }
    let grown = resident_kib(worker).saturating_sub(settled);
    assert!(grown < 4096, "{grown} KiB more, {:?}", started.elapsed());
    let mut connection = H2::connect(node.nginx.address()).expect("connects");
    for (stream, path, status) in [(1, &b"/answer"[..], 200), (3, b"/evil", 403)] {
        connection.ask(stream, &h2::request(path, b"192.0.2.1")).expect("is sent");
        assert_eq!(connection.status(stream).expect("an answer"), status);
    }
    assert_eq!(node.nginx.workers(), workers, "a worker died");
    eventually(PATIENCE, "the end of all requests", || {
        (node.nginx.status()["total"]["errors"] == 0).then_some(())
    });
}
