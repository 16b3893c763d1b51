//! Requests that nobody sends by accident: as large as nginx takes them, broken, cut
//! off, contradicting themselves. nginx lives, its memory stays, and verdicts are right.

mod bytes;
mod generated;
mod size;
mod streams;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule};
use support::wait::{PATIENCE, at_this_pace};
use support::{Nginx, Site};

const LISTED: &str = "198.51.100.7";

/// One word that is refused in each part of a request: `evil` there.
fn policy() -> Policy {
    // "evil"
    let evil = || Some("ZXZpbA==".to_owned());
    let texts = [
        RuleText { url: evil(), ..RuleText::default() },
        RuleText { args: evil(), ..RuleText::default() },
        RuleText { body: evil(), ..RuleText::default() },
        RuleText { cookie: evil(), ..RuleText::default() },
        RuleText { ua: evil(), ..RuleText::default() },
        RuleText { referer: evil(), ..RuleText::default() },
        // Any header.
        RuleText { other_headers: vec![":ZXZpbA==".into()], ..RuleText::default() },
        // "evil.test"
        RuleText { domain: Some("ZXZpbC50ZXN0".into()), ..RuleText::default() },
    ];
    let rules = (1..).zip(texts).map(|(id, text)| rule(id, text)).collect();
    Policy { rules, ..blocking(&[LISTED]) }
}

/// nginx with these settings of its server, and `/echo` for what is to be read.
fn node(server: &str, listen: &str) -> Node {
    let server = format!("{server} location /echo {{ proxy_pass http://echo; }}");
    let site = Site { server, listen: listen.into(), ..Site::default() };
    Node::start(&policy(), site)
}

/// Sends bytes, says that this is all, and returns everything that comes back.
fn say(nginx: &Nginx, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(nginx.address()).expect("a connection");
    stream.set_read_timeout(Some(at_this_pace(PATIENCE))).expect("a socket option");
    // nginx may have answered and closed before everything was sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Sends bytes and returns the status of the first answer; nothing if there is none.
fn status_of(nginx: &Nginx, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(nginx.address()).expect("a connection");
    stream.set_read_timeout(Some(at_this_pace(PATIENCE))).expect("a socket option");
    let _ = stream.write_all(bytes);
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    std::str::from_utf8(start.strip_prefix(b"HTTP/1.1 ")?).ok()?.parse().ok()
}

/// A request whose first line and further lines are `lines`, from nobody in particular.
fn request(lines: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Fails unless nginx is as it should be: the same workers, clean and evil told apart.
fn assert_well(node: &Node, workers: &std::collections::BTreeSet<u32>) {
    assert_eq!(&node.nginx.workers(), workers, "a worker died");
    assert_eq!(node.visit("/clean").status(), 200);
    assert_eq!(node.visit("/evil").status(), 403);
    assert_eq!(node.visit("/echo").method("POST").body("evil").status(), 403);
    assert_eq!(node.visit("/echo").method("POST").body("good").status(), 200);
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    let errors = node.nginx.status()["total"]["errors"].as_u64();
    assert_eq!(errors, Some(0), "the module failed over a request");
}
