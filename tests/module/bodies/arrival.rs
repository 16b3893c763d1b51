//! However a body arrives and is passed on: it is judged, and what passes is whole.

use std::io::Write as _;

use support::among_others;
use support::wait::{PATIENCE, eventually};

use super::{Front, chunked, head, heard, noise};

#[test]
fn however_a_body_arrives_it_is_judged_and_passed_on_whole() {
    let _turn = among_others();
    for settings in [
        "",
        "client_body_buffer_size 1k;",
        "client_body_in_file_only clean;",
        "client_body_in_single_buffer on;",
        "proxy_request_buffering off; proxy_http_version 1.1;",
        "proxy_request_buffering off; proxy_http_version 1.1; client_body_buffer_size 1k;",
    ] {
        let front = Front::with("nwaf on;", &format!("{settings} location / {{ PASS }}"), "");
        for (filler, evil_at) in [(0, 0), (300, 0), (300, 297), (5_000, 4_990), (60_000, 59_000)] {
            for evil in [false, true] {
                let mut body = noise(filler);
                body.splice(evil_at..evil_at, *if evil { b"evil=1" } else { b"evil=2" });
                let middle = evil_at + 3;
                let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
                let plain = head("POST", "/", &length);
                let in_chunks =
                    head("POST", "/", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
                let at_once = [&plain[..], &body].concat();
                let fine = [&in_chunks[..], &chunked(&body, 5)].concat();
                let coarse = chunked(&body, 4_000);
                let ways: [&[&[u8]]; 5] = [
                    &[&at_once],
                    &[&plain, &body[..middle], &body[middle..]],
                    &[&at_once[..plain.len() + middle], &body[middle..]],
                    &[&fine],
                    &[&in_chunks, &coarse[..coarse.len() / 2], &coarse[coarse.len() / 2..]],
                ];
                for (number, way) in ways.iter().enumerate() {
                    let before = front.upstream.seen().len();
                    let (bodies, whole) = (front.upstream.bodies(), front.upstream.whole_bodies());
                    let said = front.say(way);
                    let what = format!("{settings:?}, {filler} bytes, way {number}, evil {evil}");
                    let status = if evil { "HTTP/1.1 403 " } else { "HTTP/1.1 200 " };
                    assert!(said.starts_with(status), "{what}: {said:?}");
                    let now = front.upstream.bodies();
                    if !evil {
                        assert!(now.last() == Some(&body), "{what}: the site got another body");
                    } else if settings.contains("buffering off") {
                        // The head may have gone ahead, and pieces of a stream have.
                        let empty = now[bodies.len()..].iter().all(Vec::is_empty);
                        assert!(number >= 3 || empty, "{what}");
                        assert_eq!(front.upstream.whole_bodies().len(), whole.len(), "{what}");
                    } else {
                        assert_eq!(front.upstream.seen().len(), before, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_unbuffered_body_waits_for_its_verdict() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on; nwaf_body_limit 1000;",
        "location / { PASS proxy_request_buffering off; proxy_http_version 1.1; }",
        "",
    );
    let body = noise(3_000);
    let mut stream = front.connect();
    stream
        .write_all(&head("POST", "/", "Content-Length: 3000\r\nConnection: close\r\n"))
        .expect("is sent");
    stream.write_all(&body[..500]).expect("is sent");
    eventually(PATIENCE, "the head at the site", || {
        (!front.upstream.bodies().is_empty()).then_some(())
    });
    front.settle();
    assert_eq!(front.upstream.bodies(), [b""], "not judged yet");
    stream.write_all(&body[500..1_500]).expect("is sent");
    // Judged: from now on it flows.
    eventually(PATIENCE, "the first part at the site", || {
        (front.upstream.bodies()[0] == body[..1_500]).then_some(())
    });
    stream.write_all(&body[1_500..2_000]).expect("is sent");
    eventually(PATIENCE, "more at the site", || {
        (front.upstream.bodies()[0] == body[..2_000]).then_some(())
    });
    stream.write_all(&body[2_000..]).expect("is sent");
    assert!(heard(stream).starts_with("HTTP/1.1 200"));
    assert!(front.upstream.bodies()[0] == body);
}

#[test]
fn a_stream_flows_and_its_end_waits_for_the_verdict() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on;",
        "location / { PASS proxy_request_buffering off; proxy_http_version 1.1; }",
        "",
    );
    for (first, second, status) in
        [("evil", "=1", "403"), ("evil", "=2", "200"), ("evil=1", "", "403")]
    {
        let before = front.upstream.whole_bodies().len();
        let mut stream = front.connect();
        let start = head("POST", "/", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
        stream.write_all(&start).expect("is sent");
        stream.write_all(format!("{:x}\r\n{first}\r\n", first.len()).as_bytes()).expect("is sent");
        // Whoever waits for an answer to this gets the chance.
        eventually(PATIENCE, "the first piece at the site", || {
            (front.upstream.bodies().last()? == first.as_bytes()).then_some(())
        });
        let second = if second.is_empty() { Vec::new() } else { second.as_bytes().to_vec() };
        stream.write_all(&chunked(&second, 10)).expect("is sent");
        assert!(heard(stream).starts_with(&format!("HTTP/1.1 {status}")));
        let reached = front.upstream.whole_bodies().len() - before;
        assert_eq!(reached, usize::from(status == "200"), "what is refused has no end");
    }
}

#[test]
fn http2_bodies_are_judged_and_passed_on_whole() {
    let _turn = among_others();
    for settings in [
        "",
        "client_body_buffer_size 1k;",
        "proxy_request_buffering off; proxy_http_version 1.1;",
        "proxy_request_buffering off; proxy_http_version 1.1; http2_body_preread_size 64k;",
    ] {
        let front = Front::with("nwaf on;", &format!("{settings} location / {{ PASS }}"), "http2");
        let file = front.node.folder.path().join("sent");
        let send = |body: &[u8], options: &[&str]| {
            std::fs::write(&file, body).expect("is written");
            let output = std::process::Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-m", "20"])
                .args(["--http2-prior-knowledge", "-X", "POST", "-H", "Expect:"])
                .args(options)
                .arg(format!("http://{}/", front.node.nginx.address()))
                .stdin(std::fs::File::open(&file).expect("is there"))
                .output()
                .expect("curl runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // With and without a length.
        for options in [&["--data-binary", "@-"][..], &["-T", "-"]] {
            for (filler, at) in [(0, 0), (5_000, 4_000), (300_000, 100_000), (300_000, 200_000)] {
                let mut body = noise(filler);
                body.splice(at..at, *b"evil=2");
                let what = format!("{settings:?} {options:?} {filler} {at}");
                assert_eq!(send(&body, options), "2 200", "{what}");
                assert!(front.upstream.bodies().last() == Some(&body), "{what}");
                let (bodies, whole) = (front.upstream.bodies(), front.upstream.whole_bodies());
                body[at..at + 6].copy_from_slice(b"evil=1");
                // This curl may lose an answer that comes before all was sent.
                let (answer, blocked) = (send(&body, options), at < 128 << 10);
                assert_eq!(answer != "2 200", blocked, "{what}: {answer}");
                if blocked {
                    let empty = front.upstream.bodies()[bodies.len()..].iter().all(Vec::is_empty);
                    let streams = settings.contains("buffering off") && options[0] == "-T";
                    assert!(empty || streams, "{what}");
                    assert_eq!(front.upstream.whole_bodies().len(), whole.len(), "{what}");
                }
            }
        }
        let blocked = front.node.nginx.logged("blocked by rule ID 1 in zone BODY");
        assert_eq!(blocked.len(), 6, "{blocked:?}");
    }
}

#[test]
fn many_at_once_over_one_worker() {
    let _turn = among_others();
    let front = Front::with("nwaf on;", "client_body_buffer_size 1k; location / { PASS }", "");
    let address = front.node.nginx.address();
    let threads: Vec<_> = (0..8)
        .map(|number: usize| {
            std::thread::spawn(move || {
                for round in 0..30 {
                    let evil = (number + round).is_multiple_of(3);
                    let mut body = noise(200 * round);
                    body.extend_from_slice(if evil { b"evil=1" } else { b"evil=2" });
                    let status =
                        support::Visit::new(address, "/").method("POST").body(body).status();
                    assert_eq!(status, if evil { 403 } else { 200 });
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every answer is right");
    }
    let status = front.node.nginx.status();
    assert_eq!(status["total"]["blocked"], 80, "{status}");
    assert_eq!(status["total"]["errors"], 0, "{status}");
}
