//! As large as nginx takes them: headers, cookies, arguments, paths; and how long that takes.

use std::time::Duration;

use support::nginx::resident_kib;
use support::wait::at_this_pace;
use support::{Visit, among_others};

use super::{assert_well, node};

/// Lets nginx read more than anybody should.
const LARGE: &str = "client_header_buffer_size 4k; large_client_header_buffers 16 2m; \
    client_max_body_size 32m; location / { return 200 ok; } \
    location /read { client_body_buffer_size 4m; proxy_pass http://echo; }";
/// Longest time one of these requests may take; a worker does nothing else meanwhile.
const SECONDS: Duration = Duration::from_secs(2);

/// Sends the visit clean and with an attack, and expects to be told so.
fn both(clean: &Visit, evil: &Visit, what: &str) {
    for (visit, status) in [(clean, 200), (evil, 403)] {
        let asked = std::time::Instant::now();
        assert_eq!(visit.status(), status, "{what}");
        let took = asked.elapsed();
        assert!(took < at_this_pace(SECONDS), "{what}: {took:?}");
    }
}

#[test]
fn an_attack_is_found_at_the_end_of_anything_large() {
    let _turn = among_others();
    let node = node(LARGE, "");
    let workers = node.nginx.workers();
    let worker = *workers.first().expect("a worker");
    let million = "x".repeat(1 << 20);
    let evil = format!("{million}evil");
    let mut settled = 0;
    for round in 0..4 {
        for name in ["X-Other", "User-Agent", "Referer", "Cookie"] {
            let with = |value: &str| node.visit("/").header(name, value);
            both(&with(&million), &with(&evil), name);
        }
        let path = |value: &str| node.visit(&format!("/{value}"));
        both(&path(&million), &path(&evil), "path");
        let args = |value: &str| node.visit(&format!("/?{value}"));
        both(&args(&million), &args(&evil), "args");
        // Nothing of it is kept: the second round needs no more than the first.
        if round == 1 {
            settled = resident_kib(worker);
        }
    }
    let grown = resident_kib(worker).saturating_sub(settled);
    assert!(grown < 4096, "{grown} KiB more after two more rounds");
    assert_well(&node, &workers);
}

#[test]
fn a_hundred_thousand_arguments_and_ten_thousand_cookies() {
    let _turn = among_others();
    let node = node(LARGE, "");
    let workers = node.nginx.workers();
    let list = |count: usize, separator: &str, last: &str| {
        let mut text: String =
            (0..count).map(|n| format!("a{n}=%{:02x}{separator}", n % 256)).collect();
        text.push_str(last);
        text
    };
    let args = |last: &str| node.visit(&format!("/?{}", list(100_000, "&", last)));
    both(&args("z=1"), &args("z=evil"), "100,000 arguments");
    both(&args("z=1"), &args("z=%65%76il"), "100,000 arguments, encoded");
    let cookies = |last: &str| node.visit("/").header("Cookie", &list(10_000, "; ", last));
    both(&cookies("z=1"), &cookies("z=evil"), "10,000 cookies in a line");
    let form = |last: &str| {
        let visit = node.visit("/read").method("POST").body(list(10_000, "&", last));
        visit.header("Content-Type", "application/x-www-form-urlencoded")
    };
    both(&form("z=1"), &form("z=evil"), "10,000 fields of a form");
    assert_well(&node, &workers);
}

#[test]
fn floods_of_header_lines() {
    let _turn = among_others();
    let node = node(LARGE, "");
    let workers = node.nginx.workers();
    let many = |count: usize, name: &str, value: &str, last: (&str, &str)| {
        let visit = (0..count).fold(node.visit("/"), |visit, _| visit.header(name, value));
        visit.header(last.0, last.1)
    };
    both(
        &many(900, "A", "b", ("A", "c")),
        &many(900, "A", "b", ("A", "evil")),
        "900 lines of a name",
    );
    both(
        &many(900, "Cookie", "a=1", ("Cookie", "b=1")),
        &many(900, "Cookie", "a=1", ("Cookie", "b=evil")),
        "900 lines of cookies",
    );
    // Some nginx take a thousand lines by themselves, others any number.
    for (last, statuses) in [("b=1", [200, 400]), ("b=evil", [403, 400])] {
        let status = many(10_000, "Cookie", "a=1", ("Cookie", last)).status();
        assert!(statuses.contains(&status), "{status} for {last} after 10,000 lines");
    }
    // Cut into two of many lines: seen as the site sees it.
    let cut = (0..900).fold(node.visit("/"), |visit, _| visit.header("Cookie", "a=1"));
    assert_eq!(cut.header("Cookie", "b=ev").header("Cookie", "il").status(), 200);
    assert_well(&node, &workers);
}

#[test]
fn what_is_too_large_for_nginx_is_nginxs_to_refuse() {
    let _turn = among_others();
    let node = node("location / { return 200 ok; }", "");
    let workers = node.nginx.workers();
    let long = "x".repeat(100_000);
    for (visit, status) in [
        (node.visit(&format!("/{long}")), 414),
        (node.visit("/").header("A", &long), 400),
        ((0..40).fold(node.visit("/"), |v, _| v.header("A", &long[..7_000])), 400),
        (node.visit("/").method("POST").header("Content-Length", "99999999999"), 413),
        (node.visit("/").method("POST").header("Content-Length", "99999999999999999999999"), 400),
        (node.visit("/").method("POST").header("Content-Length", "-1"), 400),
    ] {
        assert_eq!(visit.status(), status);
    }
    assert_well(&node, &workers);
}
