//! A panic in any function that nginx calls ends there: a wrong configuration is refused,
//! a worker works, a request is answered.
//!
//! The module with fault injection panics where `NWAF_FAULT` says. Panics while a
//! request is judged are in `panics`.

use std::process::Command;

use rustix::process::Signal;
use support::node::{Node, blocking};
use support::process::signal_pid;
use support::wait::{PATIENCE, eventually};
use support::{Site, among_others, artifacts};

const LISTED: &str = "198.51.100.7";

fn site() -> Site {
    Site {
        module: artifacts::faulty_module(),
        http: "nwaf on; nwaf_block_status 429; nwaf_on_error pass;".into(),
        server: "add_header X-Action $nwaf_action always; location / { proxy_pass http://echo; }"
            .into(),
        ..Site::default()
    }
}

/// nginx with a panic in `edge` of everything that runs under it.
fn node(edge: &str) -> Node {
    let mut node = Node::prepare(Site {
        main: "env NWAF_FAULT;".into(),
        environment: vec![("NWAF_FAULT".into(), edge.into())],
        ..site()
    });
    node.nginx.expect_in_log(&format!("a panic in {edge}"));
    node.publish(&blocking(&[LISTED]));
    node.nginx.run();
    node
}

/// How often the log tells of a panic in `edge`.
fn told(node: &Node, edge: &str) -> usize {
    node.nginx.logged(&format!("a panic in {edge}")).len()
}

#[test]
fn a_panic_over_a_configuration_refuses_it() {
    let _turn = among_others();
    let mut node = Node::prepare(site());
    node.publish(&blocking(&[]));
    for edge in [
        "hooks::before_configuration",
        "hooks::create_main",
        "hooks::create_location",
        "hooks::merge_location",
        "hooks::after_configuration",
        "commands::set_mode",
        "commands::set_block_status",
        "commands::set_on_error",
        "commands::set_snapshot",
        "commands::set_status",
        "shared::init",
    ] {
        let log = node.nginx.folder().join(format!("{}.log", edge.replace("::", "-")));
        let output = Command::new(artifacts::nginx())
            .args(["-t", "-e", &log.display().to_string(), "-p"])
            .arg(node.nginx.folder())
            .args(["-c", &node.nginx.folder().join("nginx.conf").display().to_string()])
            .env("NWAF_FAULT", edge)
            .output()
            .expect("nginx -t runs");
        assert_eq!(output.status.code(), Some(1), "{edge}: {output:?}");
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &support::process::read(&log);
        assert!(said.contains(&format!("a panic in {edge}")), "{edge}: {said}");
    }
    assert!(node.nginx.test().status.success());
}

#[test]
fn a_panic_at_the_start_or_end_of_a_worker_ends_no_service() {
    let _turn = among_others();
    // Without the thread that follows: as without a snapshot.
    let node = node("hooks::start_process");
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    assert!(told(&node, "hooks::start_process") >= 1);

    for edge in ["hooks::end_process", "hooks::after_cycle"] {
        let mut node = self::node(edge);
        assert_eq!(node.visit("/").from(LISTED).status(), 429, "{edge}");
        node.nginx.reload();
        assert_eq!(node.visit("/").from(LISTED).status(), 429, "{edge}");
        assert!(told(&node, edge) >= 1, "{edge}");
        assert!(node.nginx.logged("exited on signal").is_empty(), "{edge}");
    }
}

#[test]
fn a_panic_while_an_old_configuration_goes_leaves_the_new_one() {
    let _turn = among_others();
    for kind in ["MainConf", "LocationConf"] {
        let edge = format!("hooks::keep::release<ngx_http_nwaf_module::directives::{kind}>");
        let mut node = node(&edge);
        let master = node.nginx.pid();
        for _ in 0..2 {
            node.nginx.reload();
            assert_eq!(node.visit("/").from(LISTED).status(), 429, "{kind}");
        }
        assert_eq!(node.nginx.pid(), master);
        assert!(told(&node, &edge) >= 2, "{kind}");
    }
}

#[test]
fn a_panic_over_a_request_costs_no_other() {
    let _turn = among_others();
    for (edge, clean, listed) in [
        // What nginx cannot find out, it leaves out.
        ("variables::get", 200, 429),
        // The memory of the request's judgement is gone with its pool.
        ("request::forget", 200, 429),
        ("body::filter", 500, 429),
    ] {
        let node = node(edge);
        let workers = node.nginx.workers();
        for _ in 0..3 {
            let post = node.visit("/").method("POST").body("a=1").send();
            assert_eq!(post.status, clean, "{edge}");
            assert_eq!(node.visit("/").from(LISTED).status(), listed, "{edge}");
        }
        assert!(told(&node, edge) >= 3, "{edge}");
        assert_eq!(node.nginx.workers(), workers, "{edge}: a worker died");
    }
}

#[test]
fn a_panic_of_the_status_page_is_an_answer() {
    let _turn = among_others();
    let site = Site {
        main: "env NWAF_FAULT;".into(),
        server: "location / { proxy_pass http://echo; } location = /status { nwaf_status; }".into(),
        // The harness itself asks for the status.
        environment: vec![("NWAF_FAULT".into(), "handlers::nothing".into())],
        ..site()
    };
    let mut node = Node::prepare(site);
    node.nginx.expect_in_log("a panic in handlers::report");
    node.publish(&blocking(&[LISTED]));
    node.nginx.run();
    assert_eq!(node.visit("/status").status(), 200);
    // nginx gives its workers what their configuration says.
    node.nginx.configure(|site| site.main = "env NWAF_FAULT=handlers::report;".into());
    let old = node.nginx.workers();
    signal_pid(node.nginx.pid(), Signal::HUP);
    eventually(PATIENCE, "a new worker", || {
        let new = node.nginx.workers();
        (new.is_disjoint(&old) && new.len() == 1).then_some(())
    });
    assert_eq!(node.visit("/status").status(), 500);
    assert_eq!(node.visit("/").from(LISTED).status(), 429);
}
