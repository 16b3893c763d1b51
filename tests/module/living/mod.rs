//! Living with the rest of nginx: what other modules do is unaffected, and each request
//! of a client is judged once, whatever nginx makes of it.

mod answers;
mod life;
mod order;
mod parts;
mod protocols;
mod upgrade;

use std::io::Read as _;
use std::net::TcpStream;

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule};
use support::wait::{PATIENCE, at_this_pace};
use support::{Nginx, Site};

const LISTED: &str = "198.51.100.7";
/// The pass through `proxy_pass` to the site.
const PASS: &str = "proxy_pass http://echo; proxy_set_header Host $http_host; \
    proxy_http_version 1.1; proxy_set_header Connection '';";
/// The variables, as headers of every answer.
const VARIABLES: &str = "add_header X-Action $nwaf_action always; \
    add_header X-Type $nwaf_block_type always; add_header X-Rule $nwaf_rule always;";

/// An address, a path and a body that are refused.
fn policy() -> Policy {
    let text = |value: &str| Some(value.to_owned());
    Policy {
        rules: vec![
            // "/secret"
            rule(1, RuleText { url: text("L3NlY3JldA=="), ..RuleText::default() }),
            // "evil=1"
            rule(2, RuleText { body: text("ZXZpbD0x"), ..RuleText::default() }),
        ],
        ..blocking(&[LISTED])
    }
}

/// nginx with these locations, `PASS` in them spelled out.
fn node(server: &str) -> Node {
    node_of(server, Site::default())
}

/// The same with more said about it.
fn node_of(server: &str, site: Site) -> Node {
    let server = server.replace("PASS", PASS);
    let servers = site.servers.replace("PASS", PASS);
    Node::start(&policy(), Site { server, servers, ..site })
}

/// Requests judged so far, by the status page.
fn judged(node: &Node) -> u64 {
    node.nginx.status()["total"]["requests"].as_u64().expect("a count")
}

/// Fails unless `act` made nginx judge exactly `count` requests.
fn judging<T>(node: &Node, count: u64, act: impl FnOnce() -> T) -> T {
    let before = judged(node);
    let result = act();
    assert_eq!(judged(node) - before, count, "requests that were judged");
    result
}

fn connect(nginx: &Nginx) -> TcpStream {
    let stream = TcpStream::connect(nginx.address()).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(at_this_pace(PATIENCE))).expect("a socket option");
    stream
}

/// Everything a server says until it closes.
fn heard(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
