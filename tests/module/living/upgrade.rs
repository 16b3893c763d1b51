//! Another binary for a running nginx: two masters for a while, and no failed request.

use rustix::process::Signal;
use support::node::blocking;
use support::process::{children, read, signal_pid};
use support::wait::{PATIENCE, eventually};
use support::{Load, Site, Start, among_others};

use super::{LISTED, node_of, policy};

fn site() -> Site {
    Site { start: Start::Daemon, workers: 2, ..Site::default() }
}

#[test]
fn changing_the_binary_under_load_fails_no_request() {
    let _turn = among_others();
    let mut node = node_of("location / { PASS }", site());
    let visits = [node.visit("/"), node.visit("/").from(LISTED), node.visit("/secret")];
    let load = Load::start(node.nginx.address(), 3, &visits);
    for _ in 0..2 {
        let old = node.nginx.pid();
        node.nginx.change_binary();
        assert_ne!(node.nginx.pid(), old);
        load.await_more(60);
        // The new workers follow like the old ones.
        node.change(&policy());
        assert_eq!(node.visit("/").from(LISTED).status(), 403);
    }
    load.stop().assert_only(&[200, 403]);
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
}

#[test]
fn a_change_of_the_binary_can_be_taken_back() {
    let _turn = among_others();
    let mut node = node_of("location / { PASS }", site());
    let old = node.nginx.pid();
    let file = node.nginx.folder().join("nginx.pid");
    let visits = [node.visit("/"), node.visit("/").from(LISTED)];
    let load = Load::start(node.nginx.address(), 2, &visits);
    signal_pid(old, Signal::USR2);
    let (new, _) = eventually(PATIENCE, "a new master", || {
        let pid: u32 = read(&file).trim().parse().ok()?;
        (pid != old && children(pid).len() == 2).then_some(pid)
    });
    // Both judge, each with a table of its own.
    load.await_more(40);
    signal_pid(old, Signal::WINCH);
    eventually(PATIENCE, "the end of the old workers", || {
        children(old).iter().all(|pid| *pid == new).then_some(())
    });
    load.await_more(40);
    // The operator does not like it: the old workers again, the new master ends.
    signal_pid(old, Signal::HUP);
    eventually(PATIENCE, "workers of the old master", || (children(old).len() == 3).then_some(()));
    signal_pid(new, Signal::QUIT);
    eventually(PATIENCE, "the end of the new master", || {
        (children(old).len() == 2 && read(&file).trim() == old.to_string()).then_some(())
    });
    load.await_more(40);
    load.stop().assert_only(&[200, 403]);
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
}
