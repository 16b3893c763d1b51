//! The configurations that are handed to operators work, every line of them.

use std::fs;
use std::process::Command;

use support::node::{Node, blocking};
use support::{Folder, Site, among_others, artifacts, net};

fn example(name: &str) -> String {
    let path = artifacts::project().join("nginx-conf").join(name);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Replaces a word that depends on the machine, and must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the example");
    text.replace(from, to)
}

/// The file with the directives in its comments; prose has one blank after the `#`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(code) if !code.starts_with(' ') || code.starts_with("    ") => code.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Directives that are no settings of the API (those are counted), without
/// `nwaf_snapshot`, which the harness names itself.
const DIRECTIVES: [&str; 13] = [
    "nwaf",
    "nwaf_block_status",
    "nwaf_on_error",
    "nwaf_body_limit",
    "nwaf_body_overflow",
    "nwaf_geoip2",
    "nwaf_zone",
    "nwaf_journal",
    "nwaf_telemetry",
    "nwaf_mask",
    "nwaf_status",
    "nwaf_metrics",
    "nwaf_bans",
];

#[test]
fn the_include_file_is_accepted_with_all_it_suggests() {
    let _turn = among_others();
    let mut node = Node::prepare(Site { realip: false, ..Site::default() });
    node.publish(&blocking(&[]));
    let snapshot = node.snapshot.display().to_string();
    // The harness names the folder of snapshots itself.
    let text = replaced(&example("nwaf.conf"), "\nnwaf_snapshot /var/lib/nwaf/snapshot;\n", "\n");
    assert!(!text.contains(&snapshot));
    let mut all = uncommented(&text);
    let folder = Folder::new();
    folder.create("log");
    for (from, to) in [
        ("127.0.0.1:8089", net::free().to_string()),
        ("/var/log/nwaf", folder.path().join("log").display().to_string()),
        ("/run/nwaf", folder.path().display().to_string()),
    ] {
        all = replaced(&all, from, &to);
    }
    assert!(all.contains("\nserver {"), "{all}");
    for name in DIRECTIVES {
        let is_there =
            all.lines().any(|line| line.trim_start().split([' ', ';']).next() == Some(name));
        assert!(is_there, "{name} is not in the include file");
    }
    for (text, settings) in [(text, false), (all, true)] {
        assert_eq!(text.contains("\nnwaf_put_body_exclude "), settings);
        node.nginx.configure(|site| site.http = text);
        let output = node.nginx.test();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // And nginx runs by it.
    node.nginx.run();
    node.in_step();
    let local = node.nginx.status()["local"]["in_force"].as_array().map(Vec::len);
    assert_eq!(local, Some(13), "every setting is shown");
    assert!(folder.path().join("traffic.ring").is_file(), "the ring is where it says");
}

#[test]
fn the_whole_example_is_accepted() {
    let _turn = among_others();
    let folder = Folder::new();
    let (path, snapshot) = (folder.path().display().to_string(), folder.create("snapshot"));
    let mut text = example("example/nginx.conf");
    for (from, to) in [
        ("modules/ngx_http_nwaf_module.so", artifacts::module().display().to_string()),
        ("user www-data;\n", String::new()),
        ("/run/nginx.pid", format!("{path}/nginx.pid")),
        ("/var/log/nginx", path.clone()),
        ("nwaf_journal /var/log/nwaf", format!("nwaf_journal {}", folder.create("log").display())),
        ("/var/lib/nwaf/snapshot", snapshot.display().to_string()),
        ("listen 80;", format!("listen {};", net::free())),
        ("127.0.0.1:8089", net::free().to_string()),
    ] {
        text = replaced(&text, from, &to);
    }
    let conf = folder.path().join("nginx.conf");
    fs::write(&conf, text).unwrap();
    let mut command = Command::new(artifacts::nginx());
    command.args(["-t", "-e", &format!("{path}/test.log"), "-p", &path, "-c"]).arg(&conf);
    let output = command.output().expect("nginx -t runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
