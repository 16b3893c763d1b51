//! The traffic ring: what is in it of which requests, and what becomes of it when workers
//! come, go and are killed.

use std::path::PathBuf;
use std::time::Instant;

use ipc::events::ring::RingReader;
use ipc::events::traffic::{Field, Record};
use policy::{Action, Policy, RuleText};
use rustix::process::Signal;
use support::node::{Node, blocking, rule, settings};
use support::process::signal_pid;
use support::wait::{PATIENCE, eventually};
use support::{Load, Site, among_others};

const LISTED: &str = "198.51.100.7";

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn policy() -> Policy {
    Policy {
        // "attack", in the body
        rules: vec![rule(14, RuleText { body: text("YXR0YWNr"), ..RuleText::default() })],
        settings: settings(&[
            ("nwaf_ip_wl", "203.0.113.1"),
            ("nwaf_rmq_host_exclude", "private.test"),
            ("nwaf_body_exclude", "site.test/upload"),
        ]),
        ..blocking(&[LISTED])
    }
}

/// What a record says, so that it can be kept.
#[derive(Debug)]
struct Seen {
    action: Action,
    status: u16,
    address: String,
    uri: String,
    fields: Vec<(Field, String)>,
}

impl Seen {
    fn field(&self, wanted: Field) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == wanted).map(|(_, text)| text.as_str())
    }
}

/// A reader that keeps what it has read.
struct Reader {
    ring: RingReader,
    start: Instant,
    seen: Vec<Seen>,
}

impl Reader {
    fn new(ring: RingReader) -> Self {
        Self { ring, start: Instant::now(), seen: Vec::new() }
    }

    fn read(&mut self) {
        let mut bytes = Vec::new();
        while self.ring.next(self.start.elapsed().as_millis() as u64, &mut bytes) {
            let record = Record::read(&bytes).expect("a record that is whole");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.seen.push(Seen {
                action: record.action,
                status: record.status,
                address: record.address.map(|address| address.to_string()).unwrap_or_default(),
                uri: record.field(Field::Uri).map(text).unwrap_or_default(),
                fields: ipc::events::traffic::FIELDS
                    .iter()
                    .filter_map(|(field, ..)| Some((*field, text(record.field(*field)?))))
                    .collect(),
            });
        }
    }

    fn await_records(&mut self, count: usize) -> &[Seen] {
        eventually(PATIENCE, &format!("{count} records"), || {
            self.read();
            (self.seen.len() >= count).then_some(())
        });
        &self.seen
    }
}

/// A node with a ring, its path, and a reader of it.
fn telling(workers: u32, options: &str) -> (Node, PathBuf, Reader) {
    let mut node = Node::prepare(Site { workers, ..Site::default() });
    let path = node.folder.create("run").join("traffic.ring");
    let http = format!("nwaf on; nwaf_telemetry {} {options};", path.display());
    node.nginx.configure(|site| site.http = http);
    node.publish(&policy());
    // What is only tested makes no file.
    assert!(node.nginx.test().status.success() && !path.exists());
    node.nginx.run();
    node.in_step();
    let reader = Reader::new(RingReader::open(&path).expect("a ring"));
    (node, path, reader)
}

#[test]
fn judged_requests_are_recorded_and_no_others() {
    let _turn = among_others();
    let (node, _, mut reader) = telling(1, "");
    node.visit("/white").from("203.0.113.1").status();
    node.visit("/excluded").host("Private.test:80").status();
    node.visit("/listed").from(LISTED).status();
    node.visit("/page?pin=1&x=2")
        .from("2001:db8::1")
        .method("POST")
        .header("User-Agent", "probe/1")
        .header("Cookie", "sid=1; lang=de")
        .header("X-Requested-With", "XMLHttpRequest")
        .header("Authorization", "Basic abc")
        .body("user=a&password=b")
        .status();
    node.visit("/upload").method("POST").body("user=a").status();
    node.visit("/last").status();
    let seen = reader.await_records(4);
    let uris: Vec<_> = seen.iter().map(|seen| seen.uri.as_str()).collect();
    assert_eq!(uris, ["/listed", "/page", "/upload", "/last"]);
    let (listed, page, upload) = (&seen[0], &seen[1], &seen[2]);
    assert_eq!((listed.action, listed.status), (Action::Block, 403));
    assert_eq!(listed.address, LISTED);
    assert_eq!((page.action, page.status), (Action::Pass, 200));
    assert_eq!(page.address, "2001:db8::1");
    for (field, expected) in [
        (Field::Host, Some("site.test")),
        (Field::Method, Some("POST")),
        (Field::Args, Some("?pin=***&x=2")),
        (Field::UserAgent, Some("probe/1")),
        (Field::Cookie, Some("sid=***; lang=de")),
        (Field::RequestedWith, Some("XMLHttpRequest")),
        (Field::Referer, None),
        (Field::Body, Some("user=a&password=***")),
    ] {
        assert_eq!(page.field(field), expected, "{field:?}");
    }
    assert_eq!(upload.field(Field::Body), None, "its body is excluded");
    assert_eq!(node.nginx.status()["total"]["telemetry_records"], 4);
    assert_eq!(reader.ring.lost(), 0);
}

#[test]
fn every_request_of_many_workers_is_read_across_reloads_and_restarts() {
    let _turn = among_others();
    let (mut node, path, mut reader) = telling(4, "");
    let mut sent = 0;
    for round in 0..3 {
        let load = Load::start(node.nginx.address(), 4, &[node.visit("/a?x=1"), node.visit("/b")]);
        load.await_more(200);
        if round == 0 {
            node.nginx.reload();
            load.await_more(100);
        }
        let tally = load.stop();
        tally.assert_only(&[200]);
        sent += tally.answers() as usize;
        reader.await_records(sent);
        if round == 1 {
            node.nginx.restart();
        }
        assert!(reader.ring.is_at(&path), "the ring stays");
    }
    assert_eq!(reader.seen.len(), sent);
    assert_eq!(reader.ring.lost(), 0);
}

#[test]
fn a_reader_that_sleeps_loses_the_oldest_and_knows_how_many() {
    let _turn = among_others();
    let (node, _, mut reader) = telling(2, "size=1m");
    let visit = node.visit(&format!("/{0}?{0}", "a".repeat(1000)));
    let load = Load::start(node.nginx.address(), 4, &[visit]);
    load.await_more(1500);
    let sent = load.stop().answers();
    eventually(PATIENCE, "every record", || {
        (node.nginx.status()["total"]["telemetry_records"] == sent).then_some(())
    });
    reader.read();
    let read = reader.seen.len() as u64;
    assert!(read > 100 && read < sent, "{read} of {sent}");
    assert_eq!(read + reader.ring.lost(), sent);
}

#[test]
fn workers_that_are_killed_hold_up_nobody() {
    let _turn = among_others();
    let (mut node, _, mut reader) = telling(3, "");
    node.nginx.expect_in_log("exited on signal 9");
    let load = Load::start(node.nginx.address(), 6, &[node.visit("/a"), node.visit("/b?x=1")]);
    for _ in 0..6 {
        load.await_more(100);
        let victim = *node.nginx.workers().first().expect("a worker");
        signal_pid(victim, Signal::KILL);
        eventually(PATIENCE, "another worker", || {
            let now = node.nginx.workers();
            (now.len() == 3 && !now.contains(&victim)).then_some(())
        });
        reader.read();
    }
    load.await_more(200);
    // Requests of killed workers get no answer; that is nginx.
    let answered = load.stop().answers();
    assert!(answered > 500);
    node.visit("/the-last-one").status();
    eventually(PATIENCE, "the last record", || {
        reader.read();
        (reader.seen.last()?.uri == "/the-last-one").then_some(())
    });
    assert!(reader.seen.iter().all(|seen| ["/a", "/b", "/the-last-one"].contains(&&*seen.uri)));
    // Each answer had its record, or a worker died between the two.
    let known = reader.seen.len() as u64 + reader.ring.lost();
    assert!(known + 50 > answered, "{known} of {answered}");
}

#[test]
fn a_ring_that_was_shortened_is_let_go_and_made_again() {
    let _turn = among_others();
    let (mut node, path, _) = telling(2, "size=1m");
    node.nginx.expect_in_log("the file of nwaf_telemetry was shortened");
    node.nginx.expect_in_log("exited on signal 9");
    let workers = node.nginx.workers();
    std::fs::File::options().write(true).open(&path).and_then(|f| f.set_len(0)).expect("is cut");
    eventually(PATIENCE, "both workers to let go", || {
        (node.nginx.logged("nwaf_telemetry was shortened").len() == 2).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(node.visit("/a").status(), 200);
    }
    assert_eq!(node.nginx.workers(), workers, "a worker died");
    // One that is started later has the memory of the master, who does not know.
    signal_pid(*workers.first().expect("a worker"), Signal::KILL);
    eventually(PATIENCE, "the next worker to let go", || {
        (node.nginx.logged("nwaf_telemetry was shortened").len() == 3).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(node.visit("/a").status(), 200);
    }
    node.nginx.reload();
    let mut reader = Reader::new(RingReader::open(&path).expect("a ring"));
    assert_eq!(node.visit("/again").status(), 200);
    assert!(reader.await_records(1).iter().any(|seen| seen.uri == "/again"));
}

#[test]
fn another_ring_takes_over_with_a_reload() {
    let _turn = among_others();
    let (mut node, path, mut reader) = telling(1, "");
    node.visit("/old").status();
    reader.await_records(1);
    let inode = |path: &std::path::Path| {
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("is there"))
    };
    let before = inode(&path);
    // Another size.
    let http = format!("nwaf on; nwaf_telemetry {} size=2m;", path.display());
    node.nginx.configure(|site| site.http = http);
    node.nginx.reload();
    assert_ne!(inode(&path), before);
    assert!(!reader.ring.is_at(&path));
    let mut reader = Reader::new(RingReader::open(&path).expect("a ring"));
    node.visit("/new").status();
    assert_eq!(reader.await_records(1)[0].uri, "/new");
    // Somebody removed it.
    std::fs::remove_file(&path).expect("is removed");
    node.nginx.reload();
    let mut reader = Reader::new(RingReader::open(&path).expect("a ring"));
    node.visit("/newer").status();
    assert_eq!(reader.await_records(1)[0].uri, "/newer");
    // None any more.
    node.nginx.configure(|site| site.http = "nwaf on;".into());
    node.nginx.reload();
    node.visit("/silent").status();
    node.nginx.stop();
    reader.read();
    assert_eq!(reader.seen.len(), 1);
}

#[test]
fn bad_values_are_refused_and_a_missing_directory_is_a_warning() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());
    let run = node.folder.create("run");
    let open = node.folder.create("open");
    support::folder::set_mode(&open, 0o777);
    let (run, open) = (run.display(), open.display());
    let missing = node.folder.path().join("missing/traffic.ring");
    for (directive, reason) in [
        ("nwaf_telemetry ring".to_owned(), "must be the absolute path"),
        (format!("nwaf_telemetry {run}"), "is not a regular file"),
        (format!("nwaf_telemetry {open}/ring"), "its directory is writable by everybody"),
        (format!("nwaf_telemetry {run}/ring size=3m"), "size must be a power of two"),
        (format!("nwaf_telemetry {run}/ring size=512k"), "size must be a power of two"),
        (format!("nwaf_telemetry {run}/ring max=1m"), "size must be a power of two"),
        (format!("nwaf_telemetry {run}/a; nwaf_telemetry {run}/b"), "is duplicate"),
    ] {
        node.nginx.configure(|site| site.http = format!("nwaf on; {directive};"));
        let output = node.nginx.test();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{directive}: {said}");
    }
    let http = format!("nwaf on; nwaf_telemetry {};", missing.display());
    node.nginx.configure(|site| site.http = http);
    node.publish(&policy());
    let output = node.nginx.test();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("[warn] nwaf_telemetry"), "{said}");
    node.nginx.run();
    node.in_step();
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    let told = node.nginx.logged("cannot be opened");
    assert!(told.len() == 1 && told[0].contains("no traffic is recorded"), "{told:?}");
}
