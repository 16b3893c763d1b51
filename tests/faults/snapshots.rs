//! Files that are no snapshot: the previous one stays, one warning, no worker dies.

use std::mem::offset_of;
use std::os::unix::fs::chown;

use ipc::snapshot::format::{FORMAT_VERSION, Header};
use support::node::{Node, blocking};
use support::wait::{PATIENCE, eventually};
use support::{Load, Site, among_others};

const LISTED: &str = "198.51.100.7";
const WORKERS: u32 = 2;

/// A published generation 1, and the bytes of a good generation 2.
fn node() -> (Node, Vec<u8>) {
    let site = Site { workers: WORKERS, ..Site::default() };
    let mut node = Node::start(&blocking(&[LISTED]), site);
    let bytes = node.compile(&blocking(&["203.0.113.9"]));
    (node, bytes)
}

/// Puts a bad file in place and checks everything that must hold then.
fn refused(what: &str, reason: &str, place: impl FnOnce(&Node, Vec<u8>)) {
    let (mut node, good) = node();
    let workers = node.nginx.workers();
    let visits = [node.visit("/").from(LISTED), node.visit("/").from("203.0.113.9")];
    let load = Load::start(node.nginx.address(), 1, &visits);
    place(&node, good);
    eventually(PATIENCE, "a refusal by every worker", || {
        let status = node.nginx.status();
        let workers = status["workers"].as_array()?.clone();
        workers.iter().all(|w| w["refusals"].as_u64() > Some(0)).then_some(())
    });
    // Long enough that a worker that repeats itself would have done so.
    load.await_more(300);
    load.stop().assert_only(&[200, 403]);
    assert_eq!(node.visit("/").from(LISTED).status(), 403, "{what}: the previous one is gone");
    assert_eq!(node.visit("/").from("203.0.113.9").status(), 200, "{what}: it was believed");
    assert_eq!(node.nginx.generations(), vec![1; WORKERS as usize], "{what}");
    assert_eq!(node.nginx.workers(), workers, "{what}: a worker died");
    let status = node.nginx.status();
    assert_eq!(status["total"]["refusals"], WORKERS, "{what}: once by each worker: {status}");
    let lines = node.nginx.logged("refused");
    assert_eq!(lines.len(), 1, "{what}: one warning for all workers: {lines:#?}");
    assert!(lines[0].contains("[warn]") && lines[0].contains(reason), "{what}: {lines:#?}");

    // The next good one heals it.
    node.change(&blocking(&["203.0.113.9"]));
    assert_eq!(node.visit("/").from("203.0.113.9").status(), 403, "{what}");
    assert_eq!(node.visit("/").from(LISTED).status(), 200, "{what}");
}

#[test]
fn an_empty_file() {
    let _turn = among_others();
    refused("empty", "0 bytes", |node, _| node.replace_current(b"", 0o644));
}

#[test]
fn a_truncated_file() {
    let _turn = among_others();
    refused("truncated", "should have", |node, good| {
        node.replace_current(&good[..good.len() / 2], 0o644)
    });
}

#[test]
fn a_header_without_its_end() {
    let _turn = among_others();
    refused("half a header", "should have", |node, good| {
        node.replace_current(&good[..size_of::<Header>() / 2], 0o644);
    });
}

#[test]
fn a_changed_byte() {
    let _turn = among_others();
    refused("corrupt", "checksum", |node, mut good| {
        let last = good.len() - 1;
        good[last] ^= 1;
        node.replace_current(&good, 0o644);
    });
}

#[test]
fn a_future_format() {
    let _turn = among_others();
    refused("future", "update the module", |node, mut good| {
        // Both versions lie behind magic and byte order; a reader that understands
        // neither must say so before it looks at anything else.
        let next = FORMAT_VERSION + 1;
        let (version, reader) =
            (offset_of!(Header, format_version), offset_of!(Header, min_reader));
        good[version..version + size_of_val(&next)].copy_from_slice(&next.to_le_bytes());
        good[reader..reader + size_of_val(&next)].copy_from_slice(&next.to_le_bytes());
        node.replace_current(&good, 0o644);
    });
}

#[test]
fn a_file_anybody_may_write() {
    let _turn = among_others();
    refused("world-writable", "writable", |node, good| node.replace_current(&good, 0o666));
}

#[test]
fn a_file_of_somebody_else() {
    let _turn = among_others();
    // Only root can give files away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    refused("foreign", "belongs to", |node, good| {
        let path = node.snapshot.join("foreign");
        std::fs::write(&path, good).unwrap();
        support::folder::set_mode(&path, 0o644);
        chown(&path, Some(54_321), None).unwrap();
        std::fs::rename(&path, node.current()).unwrap();
    });
}

#[test]
fn something_else_than_a_file() {
    let _turn = among_others();
    // Opening a pipe that nobody writes to would hang a careless reader for ever.
    refused("a pipe", "regular file", |node, _| {
        let path = node.snapshot.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        std::fs::rename(&path, node.current()).unwrap();
    });
}
