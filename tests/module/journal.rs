//! The attack journal: what is written of whom, where, and what when that does not work.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use policy::{Ban, BanKind, HostPattern, Policy, RuleText};
use serde_json::Value;
use support::folder::{give_to_workers, set_mode};
use support::node::{Node, blocking, rule, settings};
use support::wait::{PATIENCE, eventually};
use support::{Client, Load, Site, among_others};

const LISTED: &str = "198.51.100.7";

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn policy() -> Policy {
    Policy {
        rules: vec![
            // "/secret"
            rule(13, RuleText { url: text("L3NlY3JldA=="), ..RuleText::default() }),
            // "attack", in the body
            rule(14, RuleText { body: text("YXR0YWNr"), api: false, ..RuleText::default() }),
            // "/watched", observed
            rule(19, RuleText { url: text("L3dhdGNoZWQ="), lm: true, ..RuleText::default() }),
        ],
        settings: settings(&[("nwaf_ip_wl", "203.0.113.1")]),
        ..blocking(&[LISTED])
    }
}

/// A node that keeps a journal, and where.
fn journalling(workers: u32, options: &str, change: impl FnOnce(&mut Site)) -> (Node, PathBuf) {
    let mut node = Node::prepare(Site { workers, ..Site::default() });
    let dir = node.folder.create("journal");
    // Workers run as another user when the tests run as root.
    give_to_workers(&dir);
    let http = format!("nwaf on; nwaf_journal {} {options};", dir.display());
    node.nginx.configure(|site| {
        site.http = http;
        site.server = "add_header X-Id $request_id always;".into();
        change(site);
    });
    node.publish(&policy());
    node.nginx.run();
    node.in_step();
    (node, dir)
}

/// Every whole line of every file of a journal.
fn lines(dir: &std::path::Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(name.starts_with("attacks-") && name.ends_with(".jsonl"), "{name}");
        let bytes = std::fs::read(&path).expect("is readable");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            let value = serde_json::from_slice(line)
                .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(line)));
            lines.push(value);
        }
    }
    lines
}

fn await_lines(dir: &std::path::Path, count: usize) -> Vec<Value> {
    let what = format!("{count} lines in the journal");
    eventually(PATIENCE, &what, || Some(lines(dir)).filter(|lines| lines.len() >= count)).0
}

#[test]
fn a_request_that_was_blocked_or_observed_is_one_line() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |_| {});
    node.visit("/clean").status();
    node.visit("/secret").from("203.0.113.1").status();
    let blocked = node
        .visit("/a/secret?user=a&password=hunter2")
        .host("Shop.test")
        .method("POST")
        .header("User-Agent", "probe/1")
        .header("Referer", "https://shop.test/?token=hunter2")
        .header("Cookie", "lang=de; PHPSESSID=hunter2")
        .header("Authorization", "Basic hunter2")
        .header("X-Card", "4111 1111 1111 1111")
        .send();
    assert_eq!(blocked.status, 403);
    assert_eq!(node.visit("/watched").status(), 200);
    let by_body = node.visit("/f").method("POST").body("pin=12345&text=attack").send();
    assert_eq!(by_body.status, 403);
    let lines = await_lines(&dir, 3);
    assert_eq!(lines.len(), 3, "{lines:#?}");

    let line = &lines[0];
    for (field, expected) in [
        ("action", "block".into()),
        ("bt", 5.into()),
        ("rule", 13.into()),
        ("zone", "URL".into()),
        ("api", true.into()),
        ("reasons_found", 1.into()),
        ("client", "198.51.100.99".into()),
        ("country", Value::Null),
        ("host", "shop.test".into()),
        ("server", "_".into()),
        ("method", "POST".into()),
        ("uri", "/a/secret".into()),
        ("args", "?user=a&password=***".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 403.into()),
        ("user_agent", "probe/1".into()),
        ("referer", "https://shop.test/?token=***".into()),
        ("cookie", "lang=de; PHPSESSID=***".into()),
        ("generation", 1.into()),
        ("session", support::node::SESSION.into()),
        ("count", 1.into()),
        ("truncated", Value::Array(Vec::new())),
        ("request_id", blocked.header("x-id").expect("an id").into()),
    ] {
        assert_eq!(line[field], expected, "{field} in {line:#}");
    }
    let header = |name: &str| {
        let headers = line["headers"].as_array().expect("headers").iter();
        headers.filter(|header| header[0] == name).map(|header| header[1].clone()).next()
    };
    assert_eq!(header("Authorization"), Some("***".into()));
    assert_eq!(header("X-Card"), Some("***".into()));
    assert_eq!(header("Cookie"), None);
    assert!(!line.to_string().contains("hunter2") && !line.to_string().contains("4111"));

    let observed = &lines[1];
    assert_eq!((&observed["action"], &observed["status"]), (&"observe".into(), &200.into()));
    assert_eq!(observed["reasons"][0]["observed"], true);
    assert_eq!(observed["body"], Value::Null);

    let by_body = &lines[2];
    assert_eq!((&by_body["rule"], &by_body["zone"]), (&14.into(), &"BODY".into()));
    assert_eq!((&by_body["api"], &by_body["body"]), (&false.into(), &"pin=***&text=attack".into()));

    let ids: HashSet<_> = lines.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    eventually(PATIENCE, "the counter", || {
        let status = node.nginx.status();
        (status["total"]["journal_lines"] == 3 && status["total"]["journal_dropped"] == 0)
            .then_some(())
    });
}

#[test]
fn the_final_fate_of_a_request_is_written() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |site| {
        site.server = "location / { error_page 403 =429 /sorry; return 200 ok; } \
            location = /sorry { return 200 'go away'; } \
            location /passive { nwaf passive; return 204; } \
            location /failed { nwaf_body_limit 10; nwaf_body_overflow block; \
                proxy_pass http://echo; }"
            .into();
    });
    assert_eq!(node.visit("/secret").status(), 429);
    assert_eq!(node.visit("/passive/secret").status(), 204);
    assert_eq!(node.visit("/failed").method("POST").body("01234567890").status(), 403);
    let lines = await_lines(&dir, 3);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line["action"].as_str(), line["status"].as_u64(), line["bt"].as_u64()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("block"), Some(429), Some(5)),
            (Some("observe"), Some(204), Some(5)),
            (Some("block"), Some(403), Some(11)),
        ],
        "{lines:#?}"
    );
    assert_eq!(lines[2]["error"], "its body is longer than nwaf_body_limit");
    assert_eq!((&lines[2]["rule"], &lines[2]["reasons"]), (&Value::Null, &Value::Array(vec![])));
}

#[test]
fn hostile_bytes_make_valid_lines() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |_| {});
    let mut sent = 0;
    for byte in (1..=255_u8).filter(|byte| !b" \r\n".contains(byte)) {
        let mut request = b"GET /secret?x=".to_vec();
        request.extend_from_slice(&[byte, byte, b'x']);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: site.test\r\nUser-Agent: \\x41");
        request.extend_from_slice(&[byte, b'"']);
        request.extend_from_slice(b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        let answer = Client::new(node.nginx.address()).send(&request);
        sent += usize::from(answer.is_ok_and(|answer| answer.status == 403));
    }
    assert!(sent > 200, "{sent}");
    let lines = await_lines(&dir, sent);
    assert_eq!(lines.len(), sent);
    let agent = ipc::events::json::bytes_of(lines[0]["user_agent"].as_str().expect("text"));
    assert!(agent.starts_with(b"\\x41"), "{agent:?}");
}

#[test]
fn a_flood_is_written_once_and_counted() {
    let _turn = among_others();
    let (mut node, dir) = journalling(2, "", |_| {});
    node.ban(&[Ban {
        range: "192.0.2.66".parse().expect("an address"),
        domain: HostPattern::Any,
        kind: BanKind::BruteForce,
        rule: 5,
        until: u64::MAX,
    }]);
    let visits = [node.visit("/a?pin=1").from(LISTED), node.visit("/b").from("192.0.2.66")];
    let load = Load::start(node.nginx.address(), 4, &visits);
    load.await_more(400);
    let tally = load.stop();
    tally.assert_only(&[403]);
    // One line a client and worker now; the rest when the workers end.
    let first = await_lines(&dir, 2);
    assert!(first.len() <= 4 && first.iter().all(|line| line["count"] == 1), "{first:#?}");
    node.nginx.stop();
    let lines = lines(&dir);
    assert!(lines.len() <= 8, "{lines:#?}");
    let sum = |client: &str| -> u64 {
        let own = lines.iter().filter(|line| line["client"] == client);
        own.map(|line| line["count"].as_u64().expect("a number")).sum()
    };
    assert_eq!(sum(LISTED) + sum("192.0.2.66"), tally.answers());
    assert!(sum("192.0.2.66") > 100 && sum(LISTED) > 100);
    let last = lines.iter().find(|line| line["client"] == LISTED && line["count"] != 1);
    let last = last.expect("a line that sums up");
    assert_eq!((&last["uri"], &last["args"]), (&"/a".into(), &"?pin=***".into()));
    assert_eq!((&last["bt"], &last["reasons"][0]["source"]), (&8.into(), &"block_list".into()));
    let ban = lines.iter().find(|line| line["client"] == "192.0.2.66").expect("a line");
    assert_eq!((&ban["bt"], &ban["rule"]), (&7.into(), &5.into()));
}

#[test]
fn a_reload_and_a_stop_lose_no_line() {
    let _turn = among_others();
    let (mut node, dir) = journalling(2, "", |_| {});
    let visits = [node.visit("/secret")];
    let load = Load::start(node.nginx.address(), 4, &visits);
    for _ in 0..2 {
        load.await_more(100);
        node.nginx.reload();
    }
    load.await_more(100);
    let tally = load.stop();
    tally.assert_only(&[403]);
    node.nginx.stop();
    let lines = lines(&dir);
    assert_eq!(lines.len() as u64, tally.answers());
    let ids: HashSet<_> = lines.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), lines.len());
    // As many files as workers, whatever came and went.
    assert!(std::fs::read_dir(&dir).expect("a directory").count() <= 2);
}

#[test]
fn a_file_that_was_rotated_away_is_replaced() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |_| {});
    let file = dir.join("attacks-0.jsonl");
    let aside = node.folder.path().join("rotated");
    node.visit("/secret?1").status();
    await_lines(&dir, 1);
    let mode = std::fs::metadata(&file).expect("is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    std::fs::rename(&file, &aside).expect("is renamed");
    eventually(PATIENCE, "another file", || file.exists().then_some(()));
    node.visit("/secret?2").status();
    assert_eq!(await_lines(&dir, 1)[0]["args"], "?2");
    std::fs::remove_file(&file).expect("is removed");
    eventually(PATIENCE, "a third file", || file.exists().then_some(()));
    node.visit("/secret?3").status();
    assert_eq!(await_lines(&dir, 1)[0]["args"], "?3");
    let old = std::fs::read_to_string(&aside).expect("is there");
    assert_eq!(old.lines().count(), 1);
}

#[test]
fn a_full_journal_drops_counts_and_goes_on() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "max_size=64k", |_| {});
    let visit = node.visit(&format!("/secret/{}", "a".repeat(2000)));
    let mut client = Client::new(node.nginx.address());
    for _ in 0..60 {
        assert_eq!(client.send(&visit.bytes()).expect("an answer").status, 403);
    }
    let total = eventually(PATIENCE, "every line in a counter", || {
        let total = node.nginx.status()["total"].clone();
        let sum = total["journal_lines"].as_u64()? + total["journal_dropped"].as_u64()?;
        (sum == 60).then_some(total)
    })
    .0;
    let written = lines(&dir).len() as u64;
    assert!(written > 10 && written < 40, "{written}");
    assert_eq!(total["journal_lines"], written);
    let file = dir.join("attacks-0.jsonl");
    assert!(std::fs::metadata(&file).expect("is there").len() <= 64 << 10);
    // The event loop writes what the journal's thread has to say.
    let told = eventually(PATIENCE, "a line about it", || {
        let told = node.nginx.logged("has reached max_size (65536 bytes)");
        (!told.is_empty()).then_some(told)
    })
    .0;
    assert!(told.len() == 1 && told[0].contains("[error]"), "{told:?}");
    // Truncated by an operator: there is room again.
    std::fs::File::options().write(true).open(&file).and_then(|f| f.set_len(0)).expect("is cut");
    assert_eq!(visit.status(), 403);
    await_lines(&dir, 1);
}

#[test]
fn what_was_dropped_since_the_last_complaint_is_told_at_the_end() {
    let _turn = among_others();
    let (mut node, dir) = journalling(1, "max_size=64k", |_| {});
    node.nginx.expect_in_log("has reached max_size");
    let visit = node.visit(&format!("/secret/{}", "a".repeat(2000)));
    let mut client = Client::new(node.nginx.address());
    let mut dropped = 0_u64;
    while dropped < 10 {
        assert_eq!(client.send(&visit.bytes()).expect("an answer").status, 403);
        dropped = node.nginx.status()["total"]["journal_dropped"].as_u64().expect("a number");
    }
    // The trouble is over; its lines stay dropped, and why is still known.
    std::fs::remove_file(dir.join("attacks-0.jsonl")).expect("is removed");
    assert_eq!(visit.status(), 403);
    await_lines(&dir, 1);
    let dropped = node.nginx.status()["total"]["journal_dropped"].as_u64().expect("a number");
    node.nginx.stop();
    let told = node.nginx.logged("lines were dropped");
    let number = |line: &String| -> u64 {
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.iter().position(|word| *word == "lines").expect("a number of lines");
        words[at - 1].parse().expect("a number")
    };
    assert_eq!(told.iter().map(number).sum::<u64>(), dropped, "{told:?}");
    assert!(told.iter().all(|line| line.contains("has reached max_size")), "{told:?}");
}

#[test]
fn a_body_that_cannot_be_read_is_not_shown() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |site| {
        site.server = "location / { nwaf_body_overflow block; proxy_pass http://echo; }".into();
    });
    let visit = node.visit("/f").method("POST").header("Content-Encoding", "br");
    assert_eq!(visit.body("what only brotli can read").status(), 403);
    let lines = await_lines(&dir, 1);
    assert_eq!((&lines[0]["bt"], &lines[0]["body"]), (&11.into(), &"".into()), "{lines:#?}");
    assert_eq!(lines[0]["truncated"], serde_json::json!(["body"]));
}

#[test]
fn a_directory_workers_may_not_write_to_is_told_and_followed() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());
    let dir = node.folder.path().join("journal");
    node.nginx.configure(|site| site.http = format!("nwaf on; nwaf_journal {};", dir.display()));
    node.publish(&policy());
    // It does not exist: a warning, and nginx starts.
    let output = node.nginx.test();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("[warn] nwaf_journal: value"), "{said}");
    node.nginx.run();
    node.in_step();
    eventually(PATIENCE, "a complaint", || {
        (!node.nginx.logged("attacks-0.jsonl: it cannot be opened").is_empty()).then_some(())
    });
    assert_eq!(node.visit("/secret").status(), 403);
    eventually(PATIENCE, "a drop", || {
        (node.nginx.status()["total"]["journal_dropped"] == 1).then_some(())
    });
    // Created later, it is used without a reload.
    std::fs::create_dir(&dir).expect("is created");
    give_to_workers(&dir);
    assert_eq!(node.visit("/secret").status(), 403);
    await_lines(&dir, 1);
    assert_eq!(node.nginx.logged("it cannot be opened").len(), 1, "once a minute");
}

#[test]
fn bad_values_are_refused() {
    let _turn = among_others();
    let node = Node::prepare(Site::default());
    let (file, open) = (node.folder.path().join("file"), node.folder.create("open"));
    std::fs::write(&file, "").expect("is written");
    set_mode(&open, 0o777);
    let here = node.folder.create("here");
    let mut node = node;
    for (directive, reason) in [
        ("nwaf_journal logs".to_owned(), "must be an absolute path"),
        (format!("nwaf_journal {}", file.display()), "is not a directory"),
        (format!("nwaf_journal {}", open.display()), "is writable by everybody"),
        (format!("nwaf_journal {} max_size=1k", here.display()), "max_size must be 64k or more"),
        (format!("nwaf_journal {} size=64m", here.display()), "max_size must be 64k or more"),
        (format!("nwaf_journal {0}; nwaf_journal {0}", here.display()), "is duplicate"),
        ("nwaf_mask".to_owned(), "invalid number of arguments"),
        ("nwaf_mask a=b".to_owned(), "must be visible ASCII"),
        (format!("nwaf_mask {}", "a".repeat(129)), "must have 1 to 128 bytes"),
    ] {
        node.nginx.configure(|site| site.http = format!("{directive};"));
        let output = node.nginx.test();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{directive}: {said}");
    }
}

#[test]
fn operators_add_names_to_hide() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |site| site.http.push_str("nwaf_mask email Birthday;"));
    node.visit("/secret?e-mail=a&EMAIL=b&birthday=c").header("X-Email", "d").status();
    let lines = await_lines(&dir, 1);
    assert_eq!(lines[0]["args"], "?e-mail=a&EMAIL=***&birthday=***");
    assert!(lines[0]["headers"].to_string().contains(r#"["X-Email","***"]"#), "{}", lines[0]);
}

#[test]
fn a_panic_costs_one_line() {
    let _turn = among_others();
    let (mut node, dir) =
        journalling(1, "", |site| site.module = support::artifacts::faulty_module());
    node.nginx.expect_in_log("X-Nwaf-Fault");
    node.nginx.expect_in_log("nwaf: panic at");
    let workers = node.nginx.workers();
    assert_eq!(node.visit("/secret?1").header("X-Nwaf-Fault", "log panic").status(), 403);
    assert_eq!(node.visit("/secret?2").status(), 403);
    assert_eq!(await_lines(&dir, 1)[0]["args"], "?2");
    assert_eq!(node.nginx.logged("nwaf: panic at").len(), 1);
    assert_eq!(node.nginx.workers(), workers, "a worker died");
}

#[test]
fn requests_that_end_early_are_written() {
    let _turn = among_others();
    let (node, dir) = journalling(1, "", |_| {});
    // The client goes before its body has come; the request was observed by then.
    let mut stream = std::net::TcpStream::connect(node.nginx.address()).expect("a connection");
    let head = "POST /watched HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-For: 192.0.2.1\r\n\
        Content-Length: 100\r\n\r\nhalf";
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("is sent");
    eventually(PATIENCE, "the request to be judged", || {
        (node.nginx.status()["total"]["observed"] == 1).then_some(())
    });
    drop(stream);
    let lines = await_lines(&dir, 1);
    assert_eq!(
        (&lines[0]["action"], &lines[0]["client"]),
        (&"observe".into(), &"192.0.2.1".into())
    );
}
