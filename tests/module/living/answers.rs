//! Internal redirects and answers that nginx gives itself.

use support::{Folder, Site, among_others};

use super::{LISTED, VARIABLES, judging, node, node_of};

#[test]
fn files_and_their_detours_are_judged_once() {
    let _turn = among_others();
    let files = Folder::new();
    let folder = files.create("dir");
    std::fs::write(files.path().join("file.txt"), "0123456789").expect("a file");
    std::fs::write(folder.join("index.html"), "index").expect("a file");
    let node = node(&format!(
        "root {}; \
         location / {{ try_files $uri $uri/ @site; }} \
         location @site {{ PASS }} \
         location /code {{ try_files /nothing =404; }} \
         location /chain {{ rewrite ^ /chain2 last; }} location /chain2 {{ rewrite ^ /file.txt last; }} \
         location /around {{ rewrite ^ /around last; }} \
         location /broken {{ error_page 404 = @site; return 404; }} \
         location /page {{ error_page 404 /file.txt; return 404; }}",
        files.path().display()
    ));
    for (target, status, text) in [
        ("/file.txt", 200, "0123456789"),
        ("/dir/", 200, "index"),
        ("/chain", 200, "0123456789"),
        ("/code", 404, ""),
        ("/broken", 200, "body_bytes"),
        ("/page", 404, "0123456789"),
        ("/elsewhere", 200, "body_bytes"),
    ] {
        let answer = judging(&node, 1, || node.visit(target).send());
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.text().contains(text), "{target}: {}", answer.text());
        let refused = judging(&node, 1, || node.visit(target).from(LISTED).status());
        assert_eq!(refused, 403, "{target}");
    }
    // nginx gives up after ten rounds, and nothing else happens.
    assert_eq!(judging(&node, 1, || node.visit("/around").status()), 500);
    let part = judging(&node, 1, || node.visit("/file.txt").header("Range", "bytes=2-4").send());
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    let fresh = part.header("last-modified").expect("a date").to_owned();
    let visit = node.visit("/file.txt").header("If-Modified-Since", &fresh);
    assert_eq!(judging(&node, 1, || visit.status()), 304);
    assert_eq!(judging(&node, 1, || node.visit("/file.txt").method("HEAD").status()), 200);
}

#[test]
fn where_an_upstream_sends_a_request_on_it_is_not_judged_again() {
    let _turn = among_others();
    let origin = support::net::free();
    let files = Folder::new();
    std::fs::write(files.path().join("paid"), "goods").expect("a file");
    let node = node_of(
        &format!(
            "location / {{ proxy_pass http://{origin}; }} \
             location /files/ {{ internal; alias {}/; }} \
             location @named {{ PASS }}",
            files.path().display()
        ),
        Site {
            servers: format!(
                "server {{ listen {origin}; nwaf off; \
                 location /buy {{ add_header X-Accel-Redirect /files/paid; return 200 ''; }} \
                 location /name {{ add_header X-Accel-Redirect @named; return 200 ''; }} }}"
            ),
            ..Site::default()
        },
    );
    let bought = judging(&node, 1, || node.visit("/buy").send());
    assert_eq!((bought.status, bought.text().as_str()), (200, "goods"));
    let named = judging(&node, 1, || node.visit("/name").send());
    assert!(named.status == 200 && named.text().contains("body_bytes"));
    // Asked for by a client, it is not there: nginx says so before it enters the place.
    assert_eq!(judging(&node, 0, || node.visit("/files/paid").status()), 404);
    assert_eq!(judging(&node, 1, || node.visit("/buy").from(LISTED).status()), 403);
}

#[test]
fn an_answer_of_the_server_is_not_judged_and_leads_nowhere_unjudged() {
    let _turn = among_others();
    let node = node(
        "if ($arg_go = away) { return 301 https://elsewhere.test/; } \
         if ($arg_go = named) { return 418; } \
         if ($arg_go = page) { return 420; } \
         if ($arg_go = on) { rewrite ^ /inner last; } \
         error_page 418 = @site; error_page 420 =200 /inner; \
         location / { PASS } location /inner { PASS } location @site { PASS }",
    );
    // No location is chosen, and with it not whether the firewall is on: a redirect, no more.
    assert_eq!(judging(&node, 0, || node.visit("/?go=away").from(LISTED).status()), 301);
    // Whatever leads to a place is judged there.
    for target in ["/?go=named", "/?go=page", "/?go=on"] {
        assert_eq!(judging(&node, 1, || node.visit(target).from(LISTED).status()), 403, "{target}");
        let secret = target.replace("/?", "/secret?");
        assert_eq!(judging(&node, 1, || node.visit(&secret).status()), 403, "{target}");
    }
    for target in ["/?go=named", "/?go=on"] {
        assert_eq!(judging(&node, 1, || node.visit(target).status()), 200, "{target}");
    }
}

#[test]
fn a_refusal_is_a_status_like_any_other() {
    let _turn = among_others();
    let node = node(&format!(
        "{VARIABLES} recursive_error_pages on; \
         location / {{ PASS }} \
         location /site {{ error_page 403 = @site; PASS }} \
         location @site {{ PASS }} \
         location /chain {{ error_page 403 = /chain2; PASS }} \
         location = /chain2 {{ internal; error_page 404 = @site; return 404; }} \
         location /moved {{ error_page 403 https://sorry.test/; PASS }}",
    ));
    for (target, status) in [("/secret", 403), ("/site", 200), ("/chain", 200), ("/moved", 302)] {
        let answer = judging(&node, 1, || node.visit(target).from(LISTED).send());
        let seen = (answer.status, answer.header("x-action"), answer.header("x-type"));
        assert_eq!(seen, (status, Some("block"), Some("8")), "{target}");
    }
    assert_eq!(node.nginx.logged("blocked by rule ID 0 in zone IP").len(), 4);
}
