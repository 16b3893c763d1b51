//! What the operator's scripts refuse, and that a refusal changes nothing.

use std::path::Path;

use support::postgres::{Script, script};
use support::{Folder, Postgres};

/// Everything a folder holds directly, with sizes.
fn look(folder: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder).expect("readable").filter_map(Result::ok);
    let mut all: Vec<_> = entries
        .map(|entry| {
            let size =
                entry.metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
            (entry.file_name().to_string_lossy().into_owned(), size)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_primary_that_runs_is_never_overwritten() {
    let (mut one, other) = (Postgres::start(), Postgres::start());
    let before = (one.pid(), look(one.data()));
    let primary = other.address().to_string();
    for words in [["--primary", &primary, "--replace"], ["--primary", &primary, "--discard"]] {
        one.script("pg-replica", &words).refused(1, &["never overwritten", "stop it first"]);
    }
    one.script("pg-resync", &[]).refused(1, &["is no replica"]);
    assert_eq!((one.pid(), look(one.data())), before);

    // Stopped, it is kept unless its replacement is asked for, and never discarded.
    one.stop();
    let mut other = other;
    other.make_primary(&[]);
    let before = look(one.data());
    one.script("pg-replica", &["--primary", &primary]).refused(1, &["is not empty", "--replace"]);
    one.script("pg-replica", &["--primary", &primary, "--discard"])
        .refused(1, &["was no replica", "--replace"]);
    assert_eq!(look(one.data()), before);
    one.make_replica(&other, &["--replace"]);
    assert!(one.is_replica());
}

#[test]
fn a_replica_is_not_made_a_primary_by_accident() {
    let (mut primary, mut replica) = (Postgres::start(), Postgres::vacant());
    primary.make_primary(&[]);
    replica.make_replica(&primary, &[]);
    replica
        .script("pg-primary", &["--api", "127.0.0.1", "--peer", "127.0.0.1"])
        .refused(1, &["is a replica", "pg-promote"]);
    replica.script("pg-promote", &["--yes"]).refused(1, &["still runs", "Stop it first"]);
    // One that lets nobody in is not dead either.
    let passwords = support::process::read(&replica.password_file());
    let wrong = passwords.replace("replicator-secret", "another-secret");
    std::fs::write(replica.password_file(), wrong).expect("written");
    let refused = replica.script("pg-promote", &["--yes"]).refused(1, &["still runs"]);
    assert!(refused.said.contains("answers, but only with"), "{}", refused.said);
    std::fs::write(replica.password_file(), passwords).expect("written");
    assert!(replica.is_replica());
    // A replica is nobody's primary.
    let third = Postgres::vacant();
    third
        .script("pg-replica", &["--primary", &replica.address().to_string()])
        .refused(1, &["is itself a replica"]);
    assert!(!third.data().exists());
    // With the operator's word that nobody else reaches the old one, it is done.
    replica.script("pg-promote", &["--yes", "--primary-is-lost"]).done();
    assert!(!replica.is_replica());
    let successor = replica.address().to_string();
    primary
        .script("pg-rewind", &["--primary", &successor, "--yes"])
        .refused(1, &["this server runs", "--stop"]);
    // Backwards, the history does not fit.
    let (old, words) = (primary.address().to_string(), ["--stop", "--yes", "--primary"]);
    let words: Vec<&str> = words.into_iter().chain([old.as_str()]).collect();
    replica.script("pg-rewind", &words).refused(1, &["not the successor"]);
    assert!(!replica.is_replica() && !primary.is_replica());
}

#[test]
fn another_installation_is_no_successor() {
    let (mut one, mut other) = (Postgres::start(), Postgres::start());
    other.make_primary(&[]);
    one.stop();
    let before = look(one.data());
    one.script("pg-rewind", &["--primary", &other.address().to_string(), "--yes"])
        .refused(1, &["another installation"]);
    assert_eq!(look(one.data()), before);
    one.start_again();
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_begun() {
    let mut primary = Postgres::start();
    let (there, nobody) = (primary.address().to_string(), support::net::free().to_string());
    let place = Postgres::vacant();
    place.script("pg-replica", &["--primary", &nobody]).refused(69, &[&nobody, "does not let"]);
    primary.make_primary(&[]);
    std::fs::write(place.password_file(), "*:*:*:replicator:wrong-password\n").expect("written");
    place
        .script("pg-replica", &["--primary", &there])
        .refused(69, &["password authentication failed"]);
    support::folder::set_mode(&place.password_file(), 0o644);
    place.script("pg-replica", &["--primary", &there]).refused(77, &["chmod 600"]);
    std::fs::remove_file(place.password_file()).expect("it is there");
    place.script("pg-replica", &["--primary", &there]).refused(78, &["pg-primary wrote"]);
    assert!(!place.data().exists());

    for (name, words, complaint) in [
        ("pg-primary", &["--api", "127.0.0.1"][..], "--peer is missing"),
        ("pg-primary", &["--peer", "127.0.0.1"], "--api is missing"),
        ("pg-primary", &["--api", "somewhere"], "neither an address nor a network"),
        ("pg-primary", &["--port", "70000"], "no number from 1 to 65535"),
        ("pg-primary", &["--port"], "--port needs a value"),
        ("pg-replica", &[], "--primary is missing"),
        ("pg-replica", &["--primary", "a b"], "no HOST, HOST:PORT"),
        ("pg-replica", &["--slot", "drop table", "--primary", "x"], "a-z, 0-9 and _"),
        ("pg-rewind", &["--yse"], "unknown word --yse"),
        ("pg-promote", &["--cluster", "15/main"], "exclude each other"),
    ] {
        place.script(name, words).refused(2, &[complaint, "--help"]);
    }
    // Monitoring knows four answers only.
    place.script("pg-status", &["--max-lag", "soon"]).refused(3, &["number of seconds"]);
    place.script("pg-status", &[]).refused(3, &["no PostgreSQL server"]);
}

#[test]
fn a_folder_with_something_else_is_left_alone() {
    let folder = Folder::new();
    let data = folder.create("letters");
    std::fs::write(data.join("letter"), "dear").expect("written");
    // As the server's user would have it; root's folders are refused before.
    support::postgres::give(&data);
    let before = look(&data);
    let words = ["--api", "127.0.0.1", "--peer", "127.0.0.1", "--create", "--data"];
    let tried = Script::run(script("pg-primary").args(words).arg(&data));
    tried.refused(1, &["not empty", "nothing was changed"]);
    assert_eq!(look(&data), before);
}

#[test]
fn every_script_teaches() {
    let names = ["pg-primary", "pg-replica", "pg-status", "pg-promote", "pg-resync", "pg-rewind"];
    for name in names {
        let help = Script::run(script(name).arg("--help")).done();
        for word in ["Usage: ", name, "--cluster", "--data", "Exit codes"] {
            assert!(help.said.contains(word), "{name}: no {word}");
        }
    }
}
