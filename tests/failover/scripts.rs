//! The operator's scripts do what they say: a pair is made, the replica takes over, the old
//! primary returns, a replica that has lost the thread is copied anew.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::Postgres;
use support::folder::set_mode;
use support::postgres::give;
use support::process::read;
use support::wait::{PATIENCE, eventually};

/// A pair made by the scripts, with a table to look at.
fn pair() -> (Postgres, Postgres) {
    let mut primary = Postgres::start();
    primary.make_primary(&[]);
    primary.sql("create table changes (id bigint generated always as identity)");
    let mut replica = Postgres::vacant();
    replica.make_replica(&primary, &[]);
    (primary, replica)
}

fn count(server: &Postgres) -> u32 {
    server.sql("select count(*) from changes").parse().expect("a number")
}

fn add(server: &Postgres) {
    server.sql("insert into changes default values");
}

/// Whether a role gets into a database over the network, with the password of the file.
fn enters(server: &Postgres, role: &str, database: &str) -> bool {
    let mut psql = server.tool("psql");
    psql.args(["-XqAtw", "-h", &server.address().ip().to_string(), "-U", role, "-d", database]);
    psql.args(["-p", &server.address().port().to_string(), "-c", "select 1"]);
    psql.output().expect("psql runs").status.success()
}

#[test]
fn a_pair_from_nothing_and_a_second_run_changes_nothing() {
    let mut primary = Postgres::vacant();
    std::fs::remove_file(primary.password_file()).expect("it is there");
    let made = primary.make_primary(&["--create"]);
    assert!(made.said.contains("making up passwords"), "{}", made.said);
    let mode = std::fs::metadata(primary.password_file()).expect("it was made").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert!(enters(&primary, "nwaf", "nwaf"));
    assert!(enters(&primary, "replicator", "postgres"), "pg-status and pg-rewind ask there");
    assert!(!enters(&primary, "replicator", "nwaf"), "not the business of who replicates");
    assert_eq!(primary.sql("show wal_level; show data_checksums"), "replica\non");

    // No password gets into the log, not even when the server logs every statement.
    primary.sql("alter system set log_statement = 'all'");
    primary.sql("select pg_reload_conf()");
    let (pid, settings) = (primary.pid(), read(&primary.data().join("nwaf.conf")));
    let again = primary.make_primary(&[]);
    assert_eq!(again.said.matches("as it should be").count(), 2, "{}", again.said);
    assert_eq!((primary.pid(), read(&primary.data().join("nwaf.conf"))), (pid, settings));
    assert!(!again.said.contains("restarting"), "{}", again.said);
    for line in read(&primary.password_file()).lines() {
        let password = line.rsplit(':').next().expect("a password");
        assert!(password.len() >= 48 && !primary.log().contains(password));
    }

    let mut replica = Postgres::vacant();
    std::fs::copy(primary.password_file(), replica.password_file()).expect("copied");
    replica.make_replica(&primary, &[]);
    assert!(replica.is_replica());
    replica.in_step_with(&primary);
    let (pid, again) = (replica.pid(), replica.make_replica(&primary, &[]));
    assert!(again.said.contains("nothing was copied"), "{}", again.said);
    assert_eq!(replica.pid(), pid);
    for server in [&primary, &replica] {
        let status = server.script("pg-status", &[]).done();
        assert!(status.said.contains("OK: primary"), "{}", status.said);
    }
}

#[test]
fn the_replica_takes_over_and_the_old_primary_returns() {
    let (mut old, mut new) = pair();
    add(&old);
    new.in_step_with(&old);
    let (port, hba) = (old.sql("show port"), read(&old.data().join("pg_hba.conf")));

    // Confirmed by the old primary, and never sent.
    let frozen = old.freeze_senders();
    add(&old);
    old.kill9();
    drop(frozen);
    let status = new.script("pg-status", &[]);
    assert_eq!(status.status, 2, "{}", status.said);
    assert!(status.said.contains("no primary among those asked"), "{}", status.said);
    // Without --yes it only says how things are.
    let shown = new.script("pg-promote", &[]);
    assert_eq!(shown.status, 1, "{}", shown.complained);
    assert!(shown.said.contains("does not answer"), "{}", shown.said);
    assert!(new.is_replica());

    let promoted = new.script("pg-promote", &["--yes"]).done();
    println!("pg-promote: {:?}", promoted.took);
    assert!(promoted.said.contains("timeline 2"), "{}", promoted.said);
    assert!(!new.is_replica());
    add(&new);
    assert_eq!(count(&new), 2);
    let again = new.script("pg-promote", &["--yes"]).done();
    assert!(again.said.contains("already a primary"), "{}", again.said);

    // The old one is started by mistake: monitoring sees two primaries.
    old.start_again();
    add(&old);
    let other = old.address().to_string();
    let status = new.script("pg-status", &["--other", &other]);
    assert_eq!(status.status, 2, "{}", status.said);
    assert!(status.said.contains("two primaries"), "{}", status.said);

    let primary = new.address().to_string();
    let rewound = old.script("pg-rewind", &["--primary", &primary, "--stop", "--yes"]).done();
    println!("pg-rewind: {:?}", rewound.took);
    old.adopt();
    assert!(old.is_replica());
    assert_eq!(count(&old), 2, "what it had alone is gone");
    add(&new);
    old.in_step_with(&new);
    assert_eq!(count(&old), 3);
    assert_eq!((old.sql("show port"), read(&old.data().join("pg_hba.conf"))), (port, hba));
    // A slot nobody reads would keep WAL until the disk is full.
    assert_eq!(old.sql("select count(*) from pg_replication_slots"), "0");
    for server in [&old, &new] {
        server.script("pg-status", &[]).done();
    }
    let again = old.script("pg-rewind", &["--primary", &primary, "--yes"]).done();
    assert!(again.said.contains("nothing to do"), "{}", again.said);

    // And back: a planned change of roles loses nothing.
    new.stop();
    old.script("pg-promote", &["--yes"]).done();
    add(&old);
    let primary = old.address().to_string();
    new.script("pg-rewind", &["--primary", &primary, "--yes"]).done();
    new.adopt();
    new.in_step_with(&old);
    assert_eq!((count(&old), count(&new), new.is_replica()), (4, 4, true));
}

#[test]
fn a_replica_that_lost_the_thread_is_copied_anew() {
    let (primary, mut replica) = pair();
    let hba = format!("{}# of this machine\n", read(&replica.data().join("pg_hba.conf")));
    for how in ["", "--discard"] {
        std::fs::write(replica.data().join("pg_hba.conf"), &hba).expect("written");
        replica.stop();
        // The primary forgets the replica, and throws away what it had kept for it.
        primary.sql("select pg_drop_replication_slot('replica')");
        primary.sql("alter system set wal_keep_size = 0");
        primary.sql("select pg_reload_conf()");
        for _ in 0..3 {
            add(&primary);
            primary.sql("select pg_switch_wal()");
        }
        primary.sql("checkpoint");
        primary.sql("select pg_create_physical_replication_slot('replica', true)");
        replica.start_again();
        eventually(PATIENCE, "a replica without a thread", || {
            replica.log().contains("has already been removed").then_some(())
        });
        let status = replica.script("pg-status", &[]);
        assert_eq!(status.status, 2, "{}", status.said);
        assert!(status.said.contains("not receiving"), "{}", status.said);

        let words: Vec<&str> = [how].into_iter().filter(|word| !word.is_empty()).collect();
        let copied = replica.script("pg-resync", &words).done();
        println!("pg-resync {how}: {:?}", copied.took);
        replica.adopt();
        replica.in_step_with(&primary);
        assert_eq!(count(&replica), count(&primary));
        assert_eq!(read(&replica.data().join("pg_hba.conf")), hba, "its own is kept");
        assert!(copied.said.contains("+# of this machine"), "the diff is shown: {}", copied.said);
        assert_eq!(copied.said.contains("the old data is in"), how.is_empty());
        replica.script("pg-status", &[]).done();
        // What tells the replica from before is not in the log any more.
        std::fs::write(replica.sockets().with_file_name("postgres.log"), "").expect("emptied");
    }
    let kept = std::fs::read_dir(replica.data().parent().expect("a folder")).expect("readable");
    let kept = kept
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().contains(".before-"));
    assert_eq!(kept.count(), 1, "the data before --discard is gone, the other is kept");
}

#[test]
fn replication_goes_through_tls_where_that_is_asked_for() {
    let mut primary = Postgres::start();
    let nets = ["--api", "127.0.0.0/8", "--peer", "127.0.0.0/8", "--tls"];
    primary.script("pg-primary", &nets).refused(78, &["pg_hba.conf line", "SSL is disabled"]);
    let port = format!("port = {}\n", primary.address().port());
    assert!(read(&primary.data().join("nwaf.conf")).contains(&port), "its port stays what it was");
    let [key, certificate] = ["server.key", "server.crt"].map(|name| primary.data().join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for file in [&key, &certificate] {
        set_mode(file, 0o600);
        give(file);
    }
    primary.configure("ssl = on");
    primary.stop();
    primary.start_again();
    primary.make_primary(&["--tls"]);
    let mut replica = Postgres::vacant();
    replica.make_replica(&primary, &["--tls"]);
    let ask = "select ssl from pg_stat_ssl join pg_stat_replication using (pid)";
    assert_eq!(primary.sql(ask), "t");
}

#[test]
fn status_sees_a_replica_that_lags() {
    let (primary, replica) = pair();
    let frozen = primary.freeze_senders();
    add(&primary);
    let ((), took) = eventually(PATIENCE, "a lag that is seen", || {
        let status = primary.script("pg-status", &["--max-lag", "1"]);
        (status.status == 1 && status.said.contains("lags by")).then_some(())
    });
    println!("a lag of more than 1 s is seen after {took:?}");
    eventually(PATIENCE, "the silence seen from the replica", || {
        (replica.script("pg-status", &["--max-lag", "1"]).status != 0).then_some(())
    });
    frozen.thaw();
    eventually(PATIENCE, "both well again", || {
        let well = |server: &Postgres| server.script("pg-status", &["--max-lag", "5"]).status == 0;
        (well(&primary) && well(&replica)).then_some(())
    });
}
