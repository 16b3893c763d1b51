//! The engines that are a live nginx: it maps the snapshot of each case, and has the
//! settings from there, or from its own configuration.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use ipc::snapshot::{Meta, compile, compile_bans, publish, publish_bans};
use policy::{Action, Settings};
use support::{Client, Folder, Mmdb, Nginx, Site, eventually, net};

use crate::case::{Asked, Case, all};

/// The site answers from a second server of the same nginx, and says in headers what it decided.
fn site(upstream: std::net::SocketAddrV4, countries: &Path) -> Site {
    Site {
        http: http(countries),
        server: "add_header X-Action $nwaf_action always;
                 add_header X-Block-Type $nwaf_block_type always;
                 add_header X-Rule $nwaf_rule always;
                 add_header X-Generation $nwaf_generation always;
                 location / { proxy_pass http://echo; proxy_http_version 1.1;
                              proxy_set_header Connection ''; proxy_set_header Host $host; }"
            .into(),
        servers: format!(
            "server {{ listen {upstream}; nwaf off; location / {{ return 200 ok; }} }}"
        ),
        ..Site::default()
    }
}

fn http(countries: &Path) -> String {
    format!(
        "nwaf on; nwaf_geoip2 \"{}\"; underscores_in_headers on; merge_slashes on;\n",
        countries.display()
    )
}

/// The settings of a case as somebody would write them into nginx's configuration.
fn directives(settings: &BTreeMap<String, String>) -> String {
    let line = |(name, value): (&String, &String)| {
        // Blanks are nginx's business then.
        let plain = |c: char| c.is_ascii_alphanumeric() || " ,.:*/=-_[]%+".contains(c);
        if value.trim().is_empty() || !value.chars().all(plain) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name} \"{escaped}\";\n")
        } else {
            format!("{name} {value};\n")
        }
    };
    settings.iter().map(line).collect()
}

fn bytes(asked: &Asked) -> Vec<u8> {
    // Only HTTP/1.0 may do without a host.
    let mut text = if asked.host.is_empty() {
        format!("{} {} HTTP/1.0\r\nConnection: keep-alive\r\n", asked.method, asked.target)
    } else {
        format!("{} {} HTTP/1.1\r\nHost: {}\r\n", asked.method, asked.target, asked.host)
    };
    text.push_str(&format!("X-Forwarded-For: {}\r\n", asked.client()));
    for (name, value) in &asked.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let Some(body) = asked.sent_body() else { return (text + "\r\n").into_bytes() };
    // An empty one is a body too, and can be told from none.
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [text.into_bytes(), body].concat()
}

/// A database in which every client of the cases is where its request says.
fn countries() -> Mmdb {
    let mut known = BTreeMap::new();
    for case in all().iter().filter(|case| case.live) {
        for request in case.request.iter().filter(|request| request.can_be_sent()) {
            let before = known.insert(request.client(), request.country.clone());
            let same = before.is_none_or(|before| before == request.country);
            assert!(same, "{case}: {request}: another request has this client in another country");
        }
    }
    known.iter().fold(Mmdb::default(), |all, (client, country)| match country {
        Some(country) => all.put(&client.to_string(), country),
        None => all,
    })
}

fn action(word: Option<&str>) -> Option<Action> {
    [Action::Pass, Action::Bypass, Action::Observe, Action::Block]
        .into_iter()
        .find(|action| Some(action.as_str()) == word)
}

#[test]
fn nginx() {
    let asked = ask(From::Policy, |_| true);
    assert!(asked > 600, "only {asked} requests were sent");
}

#[test]
fn nginx_with_local_settings() {
    let asked = ask(From::Configuration, |case| !case.settings.is_empty());
    assert!(asked > 200, "only {asked} requests were sent");
}

/// Where nginx has the settings of a case from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Policy,
    Configuration,
}

/// Sends every request of these cases and checks the answers; returns how many there were.
fn ask(from: From, is_asked: impl Fn(&Case) -> bool) -> usize {
    let folder = Folder::new();
    let snapshots = folder.create("snapshot");
    assert!(std::fs::metadata(&snapshots).unwrap().uid() == rustix::process::geteuid().as_raw());
    let upstream = net::free();
    let publish_generation = |generation: u64, policy: &policy::Policy| {
        let meta = Meta { session: 1, generation, created_ms: 0 };
        publish(&snapshots, &compile(policy, meta).expect("compiles")).expect("is published");
    };
    let publish_bans_of = |generation: u64, bans: &[policy::Ban]| {
        let meta = Meta { session: 1, generation, created_ms: 0 };
        let bytes = compile_bans(bans, meta).expect("compiles");
        publish_bans(&snapshots, &bytes).expect("are published");
    };
    publish_generation(1, &policy::Policy::default());
    let database = folder.path().join("countries.mmdb");
    countries().publish(&database);
    let site = site(upstream, &database);
    let mut nginx = Nginx::start(folder.path(), &snapshots, &upstream.to_string(), site);
    let mut client = Client::new(nginx.address());
    let mut differences = Vec::new();
    let mut asked_of_nginx = 0;
    let cases = all().into_iter().filter(|case| case.live && is_asked(case));
    for (case, generation) in cases.zip(2..) {
        publish_bans_of(generation, &case.bans());
        let policy = case.policy();
        match from {
            From::Policy => publish_generation(generation, &policy),
            From::Configuration => {
                let settings = Settings::default();
                publish_generation(generation, &policy::Policy { settings, ..policy });
                nginx.configure(|site| {
                    site.http = http(&database) + &directives(&case.settings);
                });
                nginx.reload();
            }
        }
        eventually(Duration::from_secs(10), "the case's policy and bans", || {
            let status = nginx.status();
            let mut workers = status["workers"].as_array()?.iter();
            let bans = workers.all(|worker| worker["bans_generation"] == generation);
            (bans && nginx.generations().iter().all(|g| *g == generation)).then_some(())
        });
        for request in case.request.iter().filter(|request| request.can_be_sent()) {
            asked_of_nginx += 1;
            let response = client.send(&bytes(request)).expect("an answer");
            let outcome = action(response.header("x-action"))
                .ok_or(format!("answered {} without a verdict", response.status))
                .and_then(|action| {
                    let number = |name| response.header(name).and_then(|text| text.parse().ok());
                    let status = if action == Action::Block { 403 } else { 200 };
                    if response.status != status {
                        return Err(format!("{action:?} answered {}", response.status));
                    }
                    if number("x-generation") != Some(generation) {
                        return Err("another generation decided".into());
                    }
                    let block_type = number("x-block-type").ok_or("no block type")? as u8;
                    request.decides(action, block_type, number("x-rule"))
                });
            if let Err(why) = outcome {
                differences.push(format!("{case}: {request}: {why}"));
            }
        }
    }
    assert!(differences.is_empty(), "nginx differs:\n{}", differences.join("\n"));
    asked_of_nginx
}
