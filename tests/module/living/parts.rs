//! Subrequests: parts of a request that nginx asks itself for.

use support::wait::{PATIENCE, eventually};
use support::{Recorder, Site, among_others};

use super::{LISTED, judging, node, node_of};

#[test]
fn auth_request_is_asked_for_those_who_are_not_refused() {
    let _turn = among_others();
    let auth = Recorder::start();
    let node = node(&format!(
        "location / {{ auth_request /auth; PASS }} \
         location /denied {{ auth_request /no; PASS }} \
         location = /auth {{ internal; proxy_pass http://{}; proxy_pass_request_body off; \
             proxy_set_header Content-Length ''; proxy_set_header X-Target $request_uri; }} \
         location = /no {{ internal; return 401; }}",
        auth.address()
    ));
    let answer = judging(&node, 1, || node.visit("/page").method("POST").body("a=1").send());
    assert_eq!((answer.status, answer.json()["body_bytes"].as_u64()), (200, Some(3)));
    assert_eq!(auth.seen().len(), 1);
    assert_eq!(judging(&node, 1, || node.visit("/denied").status()), 401);
    // Decided before anybody is asked.
    for visit in [node.visit("/page").from(LISTED), node.visit("/secret")] {
        assert_eq!(judging(&node, 1, || visit.status()), 403);
    }
    assert_eq!(auth.seen().len(), 1, "no question about the refused");
    // By its body, when that is read: after the question.
    let evil = node.visit("/page").method("POST").body("evil=1");
    assert_eq!(judging(&node, 1, || evil.status()), 403);
}

#[test]
fn a_page_of_parts_is_judged_once() {
    let _turn = among_others();
    let node = node(
        "default_type text/html; \
         location = /ssi { ssi on; \
             return 200 '<<!--#include virtual=\"/a\" --><!--#include virtual=\"/b?secret\" -->>'; } \
         location = /added { add_before_body /a; add_after_body /b; return 200 middle; } \
         location = /open { nwaf off; ssi on; \
             return 200 '<<!--#include virtual=\"/a\" --><!--#include virtual=\"/b\" -->>'; } \
         location = /a { return 200 A; } \
         location = /b { PASS }",
    );
    let page = judging(&node, 1, || node.visit("/ssi").send());
    let text = page.text();
    assert!(page.status == 200 && text.starts_with("<A{") && text.ends_with("}\n>"), "{text}");
    let page = judging(&node, 1, || node.visit("/added").send());
    let text = page.text();
    assert!(page.status == 200 && text.starts_with("Amiddle{"), "{text}");
    assert_eq!(judging(&node, 1, || node.visit("/ssi").from(LISTED).status()), 403);
    // The page's own place protects nothing, those of its parts do.
    let page = judging(&node, 1, || node.visit("/open").from(LISTED).send());
    assert!(page.status == 200 && !page.text().contains("uri"), "{}", page.text());
    assert_eq!(node.nginx.status()["total"]["blocked"], 2);
}

#[test]
fn a_mirror_gets_what_passes_and_nothing_else() {
    let _turn = among_others();
    let mirror = Recorder::start();
    let node = node(&format!(
        "location / {{ mirror /mirror; PASS }} \
         location = /mirror {{ internal; proxy_pass http://{}$request_uri; }}",
        mirror.address()
    ));
    let post = |body: &str| node.visit("/page").method("POST").body(body);
    assert_eq!(judging(&node, 1, || post("good=1").status()), 200);
    eventually(PATIENCE, "the copy", || (mirror.whole_bodies() == [b"good=1"]).then_some(()));
    assert_eq!(judging(&node, 1, || post("evil=1").status()), 403);
    assert_eq!(judging(&node, 1, || post("good=1").from(LISTED).status()), 403);
    assert_eq!(judging(&node, 1, || node.visit("/secret").status()), 403);
    assert_eq!(mirror.seen().len(), 1);
}

#[test]
fn slices_of_a_file_are_one_request() {
    let _turn = among_others();
    let origin = support::net::free();
    let files = support::Folder::new();
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(files.path().join("file"), &content).expect("a file");
    let node = node_of(
        &format!(
            "location / {{ slice 64k; proxy_set_header Range $slice_range; \
             proxy_pass http://{origin}; proxy_http_version 1.1; }}"
        ),
        Site {
            servers: format!(
                "server {{ listen {origin}; nwaf off; root {}; }}",
                files.path().display()
            ),
            ..Site::default()
        },
    );
    let answer = judging(&node, 1, || node.visit("/file").send());
    assert_eq!((answer.status, answer.body == content), (200, true));
    assert_eq!(judging(&node, 1, || node.visit("/file").from(LISTED).status()), 403);
}
