//! What a body does to connections: who waits for it, who does not, and what comes after it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use support::among_others;
use support::wait::{PATIENCE, eventually};

use super::{Front, LISTED, chunked, head, heard, noise, policy};

#[test]
fn nobody_waits_for_a_body_that_cannot_decide() {
    let _turn = among_others();
    let front = Front::new();
    let expecting = "Content-Length: 6\r\nExpect: 100-continue\r\nConnection: close\r\n";
    // Refused by its address: nginx does not even ask for the body.
    let listed = String::from_utf8(head("POST", "/", expecting)).expect("text");
    let listed = listed.replace("192.0.2.1", LISTED);
    let mut stream = front.connect();
    stream.write_all(listed.as_bytes()).expect("is sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer before the body");
    assert_eq!(&start, b"HTTP/1.1 403");
    // Asked for, then judged.
    for (body, status) in [(b"evil=1", "HTTP/1.1 403"), (b"evil=2", "HTTP/1.1 200")] {
        let mut stream = front.connect();
        stream.write_all(&head("POST", "/", expecting)).expect("is sent");
        let mut start = [0; 25];
        stream.read_exact(&mut start).expect("nginx asks for the body");
        assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body).expect("is sent");
        assert!(heard(stream).starts_with(status));
    }
}

#[test]
fn slow_and_vanished_senders_hold_up_nobody() {
    let _turn = among_others();
    for buffering in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let mut front = Front::with("nwaf on;", &format!("{buffering} location / {{ PASS }}"), "");
        let workers = front.node.nginx.workers();
        let start = head("POST", "/", "Content-Length: 5006\r\nConnection: close\r\n");
        let body = noise(5_000);
        let mut slow: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = front.connect();
                stream.write_all(&start).expect("is sent");
                stream.write_all(&body[..2_500]).expect("is sent");
                stream
            })
            .collect();
        front.settle();
        assert_eq!(front.node.visit("/").method("POST").body("a=1").status(), 200);
        // Some go away, half-closed or not; the policy changes under the others.
        for stream in slow.drain(..5) {
            drop(stream);
        }
        for stream in slow.drain(..5) {
            stream.shutdown(Shutdown::Write).expect("is closed");
            assert!(!heard(stream).starts_with("HTTP/1.1 200"));
        }
        front.node.change(&policy());
        for (number, mut stream) in slow.into_iter().enumerate() {
            let (end, status) =
                if number % 2 == 0 { (b"evil=1", "403") } else { (b"evil=2", "200") };
            stream.write_all(&body[2_500..]).expect("is sent");
            stream.write_all(end).expect("is sent");
            assert!(heard(stream).starts_with(&format!("HTTP/1.1 {status}")));
        }
        assert_eq!(front.node.nginx.workers(), workers, "a worker died");
        eventually(PATIENCE, "the requests of those who left are over", || {
            let open = front.upstream.bodies().iter().filter(|body| body.len() == 5_006).count();
            (open == 5).then_some(())
        });
    }
}

#[test]
fn the_next_request_of_a_connection_is_the_next_request() {
    let _turn = among_others();
    let streaming = "location / { PASS proxy_request_buffering off; proxy_http_version 1.1; }";
    let (front, unbuffered) = (Front::new(), Front::with("nwaf on;", streaming, ""));
    let next = head("GET", "/next", "Connection: close\r\n");
    for (framing, harmless, evil) in [
        ("Content-Length: 6\r\n", b"evil=2".to_vec(), b"evil=1".to_vec()),
        ("Transfer-Encoding: chunked\r\n", chunked(b"evil=2", 4), chunked(b"evil=1", 4)),
    ] {
        let start = head("POST", "/", framing);
        for split in [start.len(), start.len() + 3] {
            let both = [&start[..], &harmless, &next].concat();
            for front in [&front, &unbuffered] {
                let said = front.say(&[&both[..split], &both[split..]]);
                assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
                assert_eq!(said.matches("Connection: keep-alive").count(), 1, "{said}");
            }
            let before = front.upstream.seen().len();
            let both = [&start[..], &evil, &next].concat();
            let said = front.say(&[&both[..split], &both[split..]]);
            assert!(said.starts_with("HTTP/1.1 403"), "{said}");
            assert!(said.contains("Connection: close"), "{said}");
            assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
            assert_eq!(front.upstream.seen().len(), before, "nothing behind it was served");
        }
    }
    // What is refused before it is complete hides no request in its rest.
    let front = Front::with("nwaf on; nwaf_body_limit 10;", "location / { PASS }", "");
    let start = head("POST", "/", &format!("Content-Length: {}\r\n", 20 + next.len()));
    let said = front.say(&[&[&start[..], b"evil=1 and fourteen"].concat(), b"x", &next]);
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.starts_with("HTTP/1.1 403") && front.upstream.seen().is_empty(), "{said}");
}

#[test]
fn error_pages_get_nothing_of_a_refused_body() {
    let _turn = among_others();
    for buffering in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let front = Front::with(
            "nwaf on; nwaf_body_limit 1000; proxy_ignore_client_abort on;",
            &format!(
                "{buffering} error_page 403 @page; location / {{ PASS }} \
                 location /static {{ error_page 403 =402 /sorry; PASS }} \
                 location = /sorry {{ internal; return 402 sorry; }} location @page {{ PASS }}"
            ),
            "",
        );
        for framing in ["Content-Length: 9000\r\n", "Transfer-Encoding: chunked\r\n"] {
            // At once, or after nginx has taken some of it.
            for (filler, first) in [(0, 3_000), (500, 300)] {
                let mut body = noise(9_000);
                body[filler..filler + 6].copy_from_slice(b"evil=1");
                let sent = if framing.starts_with('T') { chunked(&body, 200) } else { body };
                let start = head("POST", "/", framing);
                let said = front.say(&[&start, &sent[..first], &sent[first..]]);
                let what = format!("{buffering:?} {framing:?} {filler}");
                // The page of the upstream, under the status of the refusal.
                assert!(said.starts_with("HTTP/1.1 403"), "{what}: {said:?}");
                assert!(said.ends_with("\r\n\r\nok"), "{what}: {said:?}");
                let mut seen = front.upstream.seen().into_iter();
                let asked = seen.rfind(|asked| asked.starts_with(b"POST / "));
                let asked = asked.expect("a request for the page");
                let asked = String::from_utf8_lossy(&asked).into_owned();
                assert!(asked.ends_with("\r\n\r\n"), "{what}: {asked:?}");
                assert!(!asked.to_ascii_lowercase().contains("chunked"), "{what}: {asked:?}");
                let start = head("POST", "/static", framing);
                let said = front.say(&[&start, &sent[..first], &sent[first..]]);
                assert!(said.starts_with("HTTP/1.1 402"), "{what}: {said}");
            }
        }
        assert_eq!(front.node.nginx.logged("blocked by rule ID 1 in zone BODY").len(), 8);
    }
}
