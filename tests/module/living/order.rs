//! Who comes first: limits of nginx, caches, variables in the places that read them.

use support::process::read;
use support::wait::{PATIENCE, eventually};
use support::{Client, Site, among_others};

use super::{LISTED, judging, node_of};

#[test]
fn who_is_refused_uses_up_no_limit_of_nginx() {
    let _turn = among_others();
    let site = Site {
        http: "nwaf on; limit_req_zone $server_name zone=r:32k rate=1r/m; \
               limit_conn_zone $server_name zone=c:32k;"
            .into(),
        ..Site::default()
    };
    let node = node_of("location / { limit_req zone=r; limit_conn c 1; PASS }", site);
    for _ in 0..5 {
        assert_eq!(judging(&node, 1, || node.visit("/").from(LISTED).status()), 403);
    }
    assert_eq!(node.visit("/").status(), 200);
    // Refused by nginx: it was judged all the same.
    assert_eq!(judging(&node, 1, || node.visit("/").status()), 503);
    assert_eq!(judging(&node, 1, || node.visit("/").from(LISTED).status()), 403);
}

#[test]
fn a_cache_neither_serves_the_refused_nor_keeps_refusals() {
    let _turn = among_others();
    let folder = support::Folder::new();
    let cache = folder.create("cache");
    support::folder::set_mode(&cache, 0o777);
    let site = Site {
        http: format!("nwaf on; proxy_cache_path {} keys_zone=k:1m;", cache.display()),
        ..Site::default()
    };
    let node = node_of(
        "add_header X-Cache $upstream_cache_status always; \
         location / { proxy_cache k; proxy_cache_valid any 10m; proxy_cache_key $uri; \
         proxy_force_ranges on; PASS }",
        site,
    );
    // Refused first: nothing of it is kept.
    assert_eq!(node.visit("/page").from(LISTED).status(), 403);
    for expected in ["MISS", "HIT", "HIT"] {
        let answer = judging(&node, 1, || node.visit("/page").send());
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some(expected)));
    }
    let answer = judging(&node, 1, || node.visit("/page").from(LISTED).send());
    assert_eq!((answer.status, answer.header("x-cache")), (403, None));
    let part = node.visit("/page").header("Range", "bytes=0-3").send();
    assert_eq!((part.status, part.header("x-cache"), part.body.len()), (206, Some("HIT"), 4));
}

#[test]
fn variables_are_right_in_every_place_that_reads_them() {
    const PLACES: &str = "add_header X-Told $told always; add_header X-Kind $kind always; \
         error_page 403 /sorry; \
         location / { set $seen $nwaf_action; if ($nwaf_action = pass) { return 200 $seen; } \
             return 200 never; } \
         location = /sorry { internal; if ($nwaf_block_type = 8) { return 403 listed; } \
             return 403 ruled; } \
         location = /default { nwaf off; return 200 '$nwaf_action-$nwaf_block_type-$nwaf_rule'; }";
    let _turn = among_others();
    let folder = support::Folder::new();
    support::folder::set_mode(folder.path(), 0o777);
    let log = folder.path().join("access.log");
    let site = Site {
        http:
            "nwaf on; log_format waf '$nwaf_action/$nwaf_block_type/$nwaf_rule/$nwaf_generation'; \
             map $nwaf_action $told { block refused; bypass trusted; default $nwaf_action; } \
             map $nwaf_action $worth { pass 0; default 1; } \
             map $nwaf_block_type $kind { 5 rule; 8 list; default none; }"
                .into(),
        ..Site::default()
    };
    let server = format!("access_log {} waf if=$worth; {PLACES}", log.display());
    let node = node_of(&server, site);
    for (visit, told, kind, text) in [
        (node.visit("/"), "pass", "none", "pass"),
        (node.visit("/").from(LISTED), "refused", "list", "listed"),
        (node.visit("/secret"), "refused", "rule", "ruled"),
        (node.visit("/default"), "pass", "none", "pass-0-"),
    ] {
        let answer = visit.send();
        let seen = (answer.header("x-told"), answer.header("x-kind"), answer.text());
        assert_eq!(seen, (Some(told), Some(kind), text.to_owned()));
    }
    let lines = "block/8/-/1\nblock/5/1/1\n";
    eventually(PATIENCE, "two lines", || (read(&log) == lines).then_some(()));
}

#[test]
fn requests_of_one_connection_have_verdicts_of_their_own() {
    let _turn = among_others();
    let node = node_of("location / { PASS }", Site::default());
    let mut client = Client::new(node.nginx.address());
    let evil = node.visit("/page").method("POST").body("evil=1");
    for (visit, status) in [
        (node.visit("/"), 200),
        (node.visit("/").from(LISTED), 403),
        (node.visit("/"), 200),
        (node.visit("/secret"), 403),
        (node.visit("/").method("POST").body("a=1"), 200),
        (evil, 403),
        (node.visit("/"), 200),
    ] {
        let answer = judging(&node, 1, || client.send(&visit.bytes())).expect("an answer");
        assert_eq!(answer.status, status, "{visit:?}");
    }
}

#[test]
fn requests_sent_in_one_breath_are_answered_in_order() {
    use std::io::Write as _;
    let _turn = among_others();
    let node = node_of("location / { PASS }", Site::default());
    let mut all = Vec::new();
    for visit in [
        node.visit("/1"),
        node.visit("/secret"),
        node.visit("/2").method("POST").body("a=1"),
        node.visit("/3").from(LISTED),
        // With a body that nobody has asked for yet.
        node.visit("/secret").method("POST").body("good=1"),
        node.visit("/4").header("Connection", "close"),
    ] {
        all.extend(visit.bytes());
    }
    let text = judging(&node, 6, || {
        let mut stream = super::connect(&node.nginx);
        stream.write_all(&all).expect("is sent");
        super::heard(stream)
    });
    let statuses: Vec<_> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "403", "200", "403", "403", "200"], "{text}");
}
