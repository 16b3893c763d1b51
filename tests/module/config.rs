//! `nginx -t`: values without a meaning are refused with directive, value and
//! reason; what is merely not there yet is a warning.

use support::folder::set_mode;
use support::node::{Node, blocking};
use support::{Site, among_others};

/// What `nginx -t` says about a site, and whether it would start.
fn tested(node: &mut Node, change: impl FnOnce(&mut Site)) -> (bool, String) {
    node.nginx.configure(|site| *site = Site::default());
    node.nginx.configure(change);
    let output = node.nginx.test();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn bad_values_are_refused_with_directive_value_and_reason() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());
    node.publish(&blocking(&[]));
    let cases = [
        ("nwaf maybe;", &["nwaf", "maybe", "on, off or passive"][..]),
        ("nwaf;", &["invalid number of arguments in \"nwaf\""]),
        ("nwaf on; nwaf off;", &["nwaf", "duplicate"]),
        ("nwaf_block_status 200;", &["nwaf_block_status", "200", "400-599"]),
        ("nwaf_block_status 999;", &["nwaf_block_status", "999", "400-599"]),
        ("nwaf_block_status abc;", &["nwaf_block_status", "abc", "400-599"]),
        ("nwaf_block_status -403;", &["nwaf_block_status", "-403", "400-599"]),
        ("nwaf_block_status 403 404;", &["invalid number of arguments"]),
        ("nwaf_on_error maybe;", &["nwaf_on_error", "maybe", "pass or block"]),
        ("nwaf_body_overflow maybe;", &["nwaf_body_overflow", "maybe", "pass or block"]),
        ("nwaf_body_limit 0;", &["nwaf_body_limit", "0", "1 to 16m"]),
        ("nwaf_body_limit 17m;", &["nwaf_body_limit", "17m", "1 to 16m"]),
        ("nwaf_body_limit 1g;", &["nwaf_body_limit", "1g", "1 to 16m"]),
        ("nwaf_body_limit k;", &["nwaf_body_limit", "k", "1 to 16m"]),
        ("nwaf_body_limit +1k;", &["nwaf_body_limit", "+1k", "1 to 16m"]),
        ("nwaf_body_limit 99999999999999999999;", &["nwaf_body_limit", "1 to 16m"]),
        ("nwaf_body_limit 1k; nwaf_body_limit 2k;", &["nwaf_body_limit", "duplicate"]),
    ];
    for (line, words) in cases {
        let (accepted, said) = tested(&mut node, |site| site.http = line.into());
        assert!(!accepted, "{line} was accepted");
        for word in words {
            assert!(said.contains(word), "{line}: {word:?} is not in {said}");
        }
        assert!(said.contains("nginx.conf:"), "{line}: no file and line in {said}");
    }
    let (accepted, said) = tested(&mut node, |site| {
        site.server = "nwaf_snapshot /tmp; location / { return 200; }".into();
    });
    assert!(!accepted && said.contains("nwaf_snapshot"), "{said}");
    let (accepted, said) = tested(&mut node, |site| {
        site.server = "location / { nwaf_status now; }".into();
    });
    assert!(!accepted && said.contains("nwaf_status"), "{said}");
    for (line, why) in [
        ("nwaf_bans; nwaf_status;", "nwaf_status: this is the page of nwaf_bans already"),
        ("nwaf_status; nwaf_metrics;", "nwaf_metrics: this is the page of nwaf_status already"),
        ("nwaf_metrics; nwaf_bans lift;", "nwaf_bans: this is the page of nwaf_metrics already"),
        ("nwaf_metrics; nwaf_metrics;", "\"nwaf_metrics\" directive is duplicate"),
    ] {
        let server = format!("location /page {{ {line} }}");
        let (accepted, said) = tested(&mut node, |site| site.server = server);
        assert!(!accepted && said.contains(why), "{line}: {said}");
    }
    // None of this is known to nginx without the module; with it, good values pass.
    let (accepted, said) = tested(&mut node, |site| {
        site.http = "nwaf passive; nwaf_block_status 444; nwaf_on_error block; \
            nwaf_body_limit 16M; nwaf_body_overflow block;"
            .into();
    });
    assert!(accepted, "{said}");
    assert!(!said.contains("warn"), "{said}");
}

#[test]
fn the_snapshot_folder_is_looked_at() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());

    // Not there yet, or not usable yet: nginx must start, or an installation could not.
    let (accepted, said) = tested(&mut node, |_| ());
    assert!(accepted && said.contains("[warn]") && said.contains("nwaf_snapshot"), "{said}");
    std::fs::write(node.current(), b"not a snapshot").unwrap();
    let (accepted, said) = tested(&mut node, |_| ());
    assert!(accepted && said.contains("[warn]") && said.contains("nwaf_snapshot"), "{said}");

    // Anybody could publish there.
    set_mode(&node.snapshot, 0o777);
    let (accepted, said) = tested(&mut node, |_| ());
    assert!(!accepted && said.contains("writable by everybody"), "{said}");

    // Not a folder.
    std::fs::remove_dir_all(&node.snapshot).unwrap();
    std::fs::write(&node.snapshot, b"").unwrap();
    let (accepted, said) = tested(&mut node, |_| ());
    assert!(!accepted && said.contains("not a directory"), "{said}");
    std::fs::remove_file(&node.snapshot).unwrap();
    let (accepted, said) = tested(&mut node, |_| ());
    assert!(accepted && said.contains("[warn]") && said.contains("does not exist"), "{said}");
}

#[test]
fn another_nginx_relative_paths_and_duplicates() {
    let _turn = among_others();
    let folder = support::Folder::new();
    let nginx = support::Nginx::new(
        folder.path(),
        std::path::Path::new("relative/dir"),
        "unix:/x",
        Site::default(),
    );
    let output = nginx.test();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("relative/dir") && said.contains("absolute"),
        "{said}"
    );

    let mut node = Node::prepare(Site::default());
    let (accepted, said) = tested(&mut node, |site| site.http = "nwaf_snapshot /tmp;".into());
    assert!(!accepted && said.contains("duplicate"), "{said}");
}

#[test]
fn what_is_accepted_and_hardly_meant_is_a_warning() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());
    node.publish(&blocking(&[]));
    for (line, warning) in [
        ("nwaf_ip_wl 0.0.0.0/0;", Some("nwaf_ip_wl covers every address of a family")),
        ("nwaf_ip_lm ::/1, 8000::/1;", Some("nwaf_ip_lm covers every address of a family")),
        ("nwaf_ip_wl 0.0.0.0/1;", None),
        ("nwaf_ip_wl domain=example.com 0.0.0.0/0;", None),
        (
            "nwaf_journal /nowhere/journal;",
            Some("\"/nowhere/journal\": does not exist yet; create"),
        ),
        ("nwaf_telemetry /nowhere/ring;", Some("its directory does not exist yet")),
    ] {
        let (accepted, said) = tested(&mut node, |site| {
            site.http = format!("nwaf on; {line}");
        });
        assert!(accepted, "{line}: {said}");
        assert_eq!(said.contains("[warn]"), warning.is_some(), "{line}: {said}");
        assert!(warning.is_none_or(|words| said.contains(words)), "{line}: {said}");
    }
}
