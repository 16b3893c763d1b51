//! The ground the other tests stand on: PostgreSQL's own behaviour when servers are lost.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use support::postgres::{Pair, Postgres};
use support::wait::{PATIENCE, eventually};

fn count(server: &Postgres) -> u32 {
    server.sql("select count(*) from changes").parse().expect("a number")
}

fn add(server: &Postgres) {
    server.sql("insert into changes default values");
}

#[test]
fn a_database_of_ones_own_is_empty_and_reached_with_a_password() {
    let server = Postgres::shared();
    let (one, other) = (server.fresh_database(), server.fresh_database());
    assert_ne!(one, other);
    let ask = |url: &str| {
        let output = server
            .tool("psql")
            .args(["-XqAt", url, "-c", "create table t(); select current_user"])
            .output()
            .expect("psql runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // The same table in both, and by the owner: two databases.
    assert_eq!(ask(&one), (true, "nwaf".to_owned()));
    assert_eq!(ask(&other), (true, "nwaf".to_owned()));
    assert!(!ask(&one.replace("nwaf-secret", "guessed")).0, "a wrong password is refused");
}

#[test]
fn a_killed_server_starts_again_with_everything() {
    let mut server = Postgres::start();
    server.sql("create table changes (id bigint generated always as identity)");
    add(&server);
    let pid = server.pid().expect("it runs");
    server.kill9();
    assert!(server.try_sql("select 1").is_err());
    server.start_again();
    assert_ne!(server.pid(), Some(pid));
    assert_eq!(count(&server), 1);
    server.stop();
    server.start_again();
    assert_eq!(count(&server), 1);
}

#[test]
fn a_replica_follows_refuses_writes_lags_and_takes_over() {
    let mut pair = Pair::start();
    pair.primary.sql("create table changes (id bigint generated always as identity)");
    add(&pair.primary);
    pair.in_step();
    assert!(!pair.primary.is_replica() && pair.replica.is_replica());
    assert_eq!(count(&pair.replica), 1);
    let refused = pair.replica.try_sql("insert into changes default values").unwrap_err();
    assert!(refused.contains("25006"), "{refused}");

    let frozen = pair.primary.freeze_senders();
    add(&pair.primary);
    assert_eq!((count(&pair.primary), count(&pair.replica)), (2, 1));
    pair.primary.kill9();
    drop(frozen);
    pair.replica.promote();
    add(&pair.replica);
    assert_eq!(count(&pair.replica), 2);

    // The old primary comes back, with a change nobody else has ever seen.
    pair.primary.start_again();
    assert!(!pair.primary.is_replica());
    add(&pair.primary);
    pair.primary.kill9();
    pair.primary.rewind_from(&pair.replica);
    assert!(pair.primary.is_replica());
    assert_eq!(count(&pair.primary), 2);
    add(&pair.replica);
    pair.primary.in_step_with(&pair.replica);
    assert_eq!(count(&pair.primary), 3);
}

#[test]
fn a_lagging_replica_catches_up() {
    let pair = Pair::start();
    pair.primary.sql("create table changes (id bigint generated always as identity)");
    pair.in_step();
    let frozen = pair.primary.freeze_senders();
    add(&pair.primary);
    assert_eq!(count(&pair.replica), 0);
    frozen.thaw();
    pair.in_step();
    assert_eq!(count(&pair.replica), 1);
}

#[test]
fn nothing_is_left_of_a_test_that_is_killed() {
    const VICTIM: &str = "NWAF_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let server = Postgres::start();
        println!("victim {} {}", server.pid().expect("it runs"), server.data().display());
        // Until it is killed; nothing but the pipe's end wakes it.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    // This very program and test again, in a process of its own.
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["servers::nothing_is_left_of_a_test_that_is_killed", "--exact", "--nocapture"])
        .env(VICTIM, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("victim "));
    let line = line.expect("the victim has started its server");
    let mut words = line.split("victim ").nth(1).expect("what follows").split(' ');
    let pid = words.next().expect("the pid").to_owned();
    let data = Path::new(words.next().expect("the folder")).to_owned();
    assert!(data.join("postmaster.pid").is_file());

    victim.kill().expect("it can be killed");
    victim.wait().expect("it is gone");
    let process = Path::new("/proc").join(&pid).join("cwd");
    eventually(PATIENCE, "nothing left", || {
        let gone = !data.parent().expect("a folder").exists() && process.read_link().is_err();
        gone.then_some(())
    });
}
