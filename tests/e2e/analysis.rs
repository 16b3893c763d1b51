//! The specification's `curl` lines on behavioural analysis, virtual hosts, exclusions,
//! models, training and the action log, as they are printed there, in both URL forms; and
//! a client of the original product that copies everything from one API to another.

use serde_json::{Value, json};
use support::api::KEY;
use support::artifacts::project;
use support::curl::Outcome;
use support::{Api, Folder, Postgres, curl};

/// The lines of one form.
struct Form {
    get_mlc: &'static str,
    get_vhosts: &'static str,
    set_vhosts: &'static str,
    set_mlc: &'static str,
    del_mlc: &'static str,
    get_wl: &'static str,
    get_wl_extended: &'static str,
    add_wl: &'static str,
    upd_wl: &'static str,
    del_wl: &'static str,
    get_models: &'static str,
    del_model: &'static str,
    rep_model: &'static str,
    get_training: &'static str,
    set_duration: &'static str,
    begin: &'static str,
    begin_by_vhost: &'static str,
    begin_for_days: &'static str,
    event_logs: &'static [&'static str],
}

const ENTERPRISE: Form = Form {
    get_mlc: r#"curl http://api.example.com:8080/nw-api/get_mlc_settings?format=json --data 'key=%License key%'"#,
    get_vhosts: r#"curl http://api.example.com:8080/nw-api/get_vhosts_list --data 'key=%License key%'"#,
    set_vhosts: r#"curl http://api.example.com:8080/nw-api/set_vhosts_list --header 'Content-type: application/json' --data '{"key": "%License key%", "vhosts_list": "example.com, example.org"}'"#,
    set_mlc: r#"curl http://api.example.com:8080/nw-api/set_mlc_settings --header 'Content-type: application/json' --data '{"key": "%License key%", set": {"main__ai_extra": "false", "brute__interval": "11", "brute__brute_detect": ["example.com/a1", "example.com/b1"], "active": "true"}}'"#,
    del_mlc: r#"curl http://api.example.com:8080/nw-api/set_mlc_settings --header 'Content-type: application/json' --data '{"key": "%License key%", "del": "brute_detect"}'"#,
    get_wl: r#"curl http://api.example.com:8080/nw-api/get_dyn_wl --data 'key=%License key%'"#,
    get_wl_extended: r#"curl http://api.example.com:8080/nw-api/get_dyn_wl?extended=yes --data 'key=%License key%'"#,
    add_wl: r#"curl http://api.example.com:8080/nw-api/set_dyn_wl --header 'Content-type: application/json' --data '{"key": "%License key%", "add": {"rl_id": "50001", "domain": "example.com", "mz": "URL", "extension": "$URL_X:/test"}}'"#,
    upd_wl: r#"curl http://api.example.com:8080/nw-api/set_dyn_wl --header 'Content-type: application/json' --data '{"key": "%License key%", "upd": {"rid": "50001", "pattern": "ABC"}}'"#,
    del_wl: r#"curl http://api.example.com:8080/nw-api/set_dyn_wl --header 'Content-type: application/json' --data '{"key": "%License key%", "del": {"rid": "50001"}}'"#,
    get_models: r#"curl http://api.example.com:8080/nw-api/get_models_list_uri --data 'token=%Identification token%'"#,
    del_model: r#"curl http://api.example.com:8080/nw-api/del_models_uri --data 'key=%License key%&vhost=example.com'"#,
    rep_model: r#"curl http://api.example.com:8080/nw-api/rep_models_uri --data 'key=%License key%&src=example.com&dst=example.ru'"#,
    get_training: r#"curl http://api.example.com:8080/nw-api/get_training_uri --data 'key=%License key%&vhost=example.com'"#,
    set_duration: r#"curl http://api.example.com:8080/nw-api/set_training_uri --data 'key=%License key%&vhosts=example.com&duration=4'"#,
    begin: r#"curl http://api.example.com:8080/nw-api/set_training_uri --data 'key=%License key%&vhosts=*.example.com&complete=no'"#,
    begin_by_vhost: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/set_training_uri' --data 'token=%Identification token%&vhost=*.example.com&complete=no'"#,
    begin_for_days: r#"curl http://api.example.com:8080/nw-api/set_training_uri --data 'key=%License key%&vhosts=.example.com&duration=4&complete=no'"#,
    event_logs: &[],
};

const CLOUD: Form = Form {
    get_mlc: r#"curl https://nemesida-security.com/nw/agent/get_mlc_settings?format=json --data 'token=%Identification token%'"#,
    get_vhosts: r#"curl https://nemesida-security.com/nw/agent/get_vhosts_list --data 'token=%Identification token%'"#,
    set_vhosts: r#"curl https://nemesida-security.com/nw/agent/public/set_vhosts_list --header 'Content-type: application/json' --data '{"token": "%Identification token%", "vhosts_list": "example.com, example.org"}'"#,
    set_mlc: r#"curl https://nemesida-security.com/nw/agent/public/set_mlc_settings --header 'Content-type: application/json' --data '{"token": "%Identification token%", set": {"main__ai_extra": "false", "brute__interval": "11", "brute__brute_detect": ["example.com/a1", "example.com/b1"], "active": "true"}}'"#,
    del_mlc: r#"curl https://nemesida-security.com/nw/agent/public/set_mlc_settings --header 'Content-type: application/json' --data '{"token": "%Identification token%", "del": "brute_detect"}'"#,
    get_wl: r#"curl https://nemesida-security.com/nw/agent/get_dyn_wl --data 'token=%Identification token%'"#,
    get_wl_extended: r#"curl https://nemesida-security.com/nw/agent/get_dyn_wl?extended=yes --data 'token=%Identification token%'"#,
    add_wl: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_wl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "add": {"rl_id": "50001", "domain": "example.com", "mz": "URL", "extension": "$URL_X:/test"}}'"#,
    upd_wl: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_wl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "upd": {"rid": "50001", "pattern": "ABC"}}'"#,
    del_wl: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_wl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "del": {"rid": "50001"}}'"#,
    get_models: r#"curl https://nemesida-security.com/nw/ml/mgmt/get_models_list_uri --data 'token=%Identification token%'"#,
    del_model: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/del_models_uri' --data 'token=%Identification token%&vhost=example.com'"#,
    rep_model: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/rep_models_uri' --data 'token=%Identification token%&src=example.com&dst=example.ru'"#,
    get_training: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/get_training_uri' --data 'token=%Identification token%&vhost=example.com'"#,
    set_duration: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/set_training_uri' --data 'token=%Identification token%&vhosts=example.com&duration=4'"#,
    begin: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/set_training_uri' --data 'token=%Identification token%&vhosts=*.example.com&complete=no'"#,
    begin_by_vhost: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/set_training_uri' --data 'token=%Identification token%&vhost=*.example.com&complete=no'"#,
    begin_for_days: r#"curl 'https://nemesida-security.com/nw/ml/mgmt/set_training_uri' --data 'token=%Identification token%&vhosts=.example.com&duration=4&complete=no'"#,
    event_logs: &[
        r#"curl https://nemesida-security.com/nw/agent/get_event_log --data 'token=%Identification token%'"#,
        r#"curl https://nemesida-security.com/nw/ml/mgmt/get_event_log --data 'token=%Identification token%'"#,
    ],
};

/// The values of the specification's table, sent as it prints them.
const TABLE: [&str; 22] = [
    r#""main__ai_extra": "true""#,
    r#""ddos__enable": "true""#,
    r#""ddos__wl_ip": ["127.0.0.1", "192.168.1.0/24"]"#,
    r#""ddos__wl_url": ["example.com/feed", ".example.com/feed", "*.example.com/feed", "*/feed"]"#,
    r#""ddos__interval": "10""#,
    r#""ddos__latest_only": "true""#,
    r#""ddos__send_possible": "true""#,
    r#""brute__enable": "true""#,
    r#""brute__wl_host": ["example.com", ".example.org", "*.example.us"]"#,
    r#""brute__interval": "10""#,
    r#""brute__mav_val": "15""#,
    r#""brute__max_val": "15""#,
    r#""brute__brute_detect": ["example.com/auth", ".example.com/auth"]"#,
    r#""brute__brute_detect": ["*.example.com/auth"]"#,
    r#""brute__flood_detect": ["example.com/auth", ".example.com/auth"]"#,
    r#""brute__flood_detect": ["*.example.com/auth"]"#,
    r#""brute__latest_only": "true""#,
    r#""brute__send_possible": "true""#,
    r#""main__ai_extra": "false""#,
    r#""ddos__wl_ip": "127.0.0.1 192.168.1.0/24""#,
    r#""ddos__wl_url": "example.com, */feed""#,
    r#""active": "false", "ddos__interval": 10"#,
];

#[test]
fn enterprise() {
    let folder = Folder::new();
    story(&Api::start(folder.path()), &ENTERPRISE);
}

#[test]
fn cloud() {
    let folder = Folder::new();
    story(&Api::start(folder.path()), &CLOUD);
}

#[test]
fn both_forms_on_postgres() {
    for form in [&ENTERPRISE, &CLOUD] {
        let folder = Folder::new();
        let database = Postgres::shared().fresh_database();
        story(&Api::start_on(folder.path(), &database), form);
    }
}

fn story(api: &Api, form: &Form) {
    settings(api, form);
    exclusions(api, form);
    models_and_training(api, form);
    for line in form.event_logs {
        let events = value(&done(api, line));
        let calls: Vec<_> = events["events"].as_array().expect("events").iter().collect();
        assert!(calls.iter().any(|event| event["call"] == "set_mlc_settings"), "{events}");
        assert!(calls.iter().any(|event| event["call"] == "rep_models_uri"), "{events}");
    }
}

/// Runs a line and expects success.
fn done(api: &Api, line: &str) -> String {
    let Outcome { status, body } = curl(api, line);
    assert_eq!(status, 200, "{line}: {body}");
    assert!(body.contains("success"), "{line}: {body}");
    body
}

/// Runs a line and expects a refusal that changes nothing; its message.
fn refused(api: &Api, line: &str, status: u16, code: &str) -> String {
    let before = api.generation();
    let outcome = curl(api, line);
    assert_eq!(outcome.status, status, "{line}: {}", outcome.body);
    let error = value(&outcome.body);
    assert_eq!(error["code"], code, "{line}: {error}");
    assert_eq!(api.generation(), before, "a refused call changed something");
    error["message"].as_str().expect("a message").to_owned()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn settings(api: &Api, form: &Form) {
    let text = done(api, form.get_mlc);
    assert!(text.contains(r#""status": "success""#), "{text}");
    // As printed it lacks a quote.
    let message = refused(api, form.set_mlc, 400, "invalid_json");
    assert!(message.contains("line 1 column "), "{message}");
    done(api, &form.set_mlc.replace(", set\":", ", \"set\":"));
    let settings = value(&done(api, form.get_mlc));
    assert_eq!(
        (&settings["main__ai_extra"], &settings["brute__interval"]),
        (&json!(false), &json!(11))
    );
    assert_eq!(settings["brute__brute_detect"], json!(["example.com/a1", "example.com/b1"]));
    done(api, form.del_mlc);
    let settings = value(&done(api, form.get_mlc));
    assert_eq!(
        (settings.get("brute__brute_detect"), &settings["brute__interval"]),
        (None, &json!(11))
    );

    for pair in TABLE {
        let fields: Value = value(&format!("{{{pair}}}"));
        api.call("set_mlc_settings", json!({"set": fields}));
    }
    // A quote stands in the middle of one of the table's addresses.
    let misprint = r#"{"set": {"ddos__wl_url": ["example.com/feed", ".example.com"/feed]}}"#;
    let answer = api.post("/nw-api/set_mlc_settings", "application/json", misprint);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("line 1 column 61"), "{}", answer.text());

    assert_eq!(done(api, form.get_vhosts).trim_end(), "{'status': 'success', 'vhosts_list': '[]'}");
    done(api, form.set_vhosts);
    assert_eq!(
        done(api, form.get_vhosts).trim_end(),
        r#"{'status': 'success', 'vhosts_list': '["example.com", "example.org"]'}"#
    );
}

fn exclusions(api: &Api, form: &Form) {
    assert_eq!(done(api, form.get_wl).trim_end(), "{'status': 'success'}");
    let added = value(&done(api, form.add_wl));
    assert_eq!((&added["status"], &added["id"]), (&json!("success"), &json!(1)));
    // The samples name a signature where the id of the exclusion belongs.
    let message = refused(api, form.upd_wl, 404, "not_found");
    assert!(message.contains("rl_id is the id of a signature"), "{message}");
    refused(api, form.del_wl, 404, "not_found");
    let own = |line: &str| line.replace(r#""rid": "50001""#, r#""rid": "1""#);
    done(api, &own(form.upd_wl));
    let line = r#"id: 1 active: True rule: wl:50001 domain=example.com "Z:URL|$URL_X:/test" pattern="ABC""#;
    assert_eq!(done(api, form.get_wl), format!("{line}\n{{'status': 'success'}}\n"));
    let extended = done(api, form.get_wl_extended);
    assert!(extended.starts_with(&format!("{line} author=\"bootstrap\" created=\"")), "{extended}");
    done(api, &own(form.del_wl));
    assert_eq!(done(api, form.get_wl).trim_end(), "{'status': 'success'}");
}

fn models_and_training(api: &Api, form: &Form) {
    assert_eq!(value(&done(api, form.get_models))["models"], json!([]));
    refused(api, form.del_model, 404, "not_found");
    refused(api, form.rep_model, 404, "not_found");
    let put = format!(
        "PUT /nw-api/v2/models/example.com HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: 5\r\n\r\nmodel"
    );
    assert_eq!(api.send(put.as_bytes()).status, 200);
    done(api, form.rep_model);
    let models = value(&done(api, form.get_models));
    let hosts: Vec<_> = models["models"].as_array().expect("models").iter().collect();
    assert_eq!(
        (&hosts[0]["vhost"], &hosts[1]["vhost"]),
        (&json!("example.com"), &json!("example.ru"))
    );
    assert_eq!(hosts[0]["sha256"], hosts[1]["sha256"]);
    done(api, form.del_model);
    assert_eq!(value(&done(api, form.get_models))["models"][0]["vhost"], "example.ru");

    let training = || value(&done(api, form.get_training))["training"][0].clone();
    assert_eq!((&training()["state"], &training()["duration"]), (&json!("idle"), &json!(4)));
    done(api, form.set_duration);
    // The list has no host below example.com yet.
    for line in [form.begin, form.begin_by_vhost] {
        let message = refused(api, line, 409, "not_listed");
        assert!(message.contains("set_vhosts_list"), "{message}");
    }
    done(api, form.begin_for_days);
    assert_eq!(training()["state"], "training");
    done(api, &form.begin_for_days.replace("complete=no", "complete=yes"));
    assert_eq!(training()["state"], "stopped");
    api.call(
        "set_vhosts_list",
        json!({"vhosts_list": "a.example.com, *.example.com, example.com"}),
    );
    for line in [form.begin, form.begin_by_vhost] {
        done(api, line);
        let all = value(&done(api, &form.get_training.replace("vhost=example.com", "vhost=*")));
        let states: Vec<_> = all["training"].as_array().expect("trainings").iter().collect();
        let states: Vec<_> = states.iter().map(|training| &training["state"]).collect();
        assert_eq!(states, ["training", "training", "stopped"], "{all}");
    }
}

/// A client of the original product copies everything; both APIs then say the same.
#[test]
fn an_old_client_copies_everything() {
    let folder = Folder::new();
    let [from, to] = ["from", "to"].map(|name| Api::start(&folder.path().join(name)));
    from.call("set_dyn_settings", json!({"set": {"nwaf_ip_wl": "127.0.0.1, 127.0.0.2", "nwaf_limit": "rate=5r/m block_time=600"}}));
    from.call("set_mlc_settings", json!({"set": {"brute__max_val": 20, "brute__brute_detect": ["example.com/auth"], "main__ai_extra": true}}));
    from.call(
        "set_dyn_bl",
        json!({"set": {"bl": ["domain=example.com 1.1.1.1", "3.3.3.0/24 api=yes"]}}),
    );
    from.call("set_vhosts_list", json!({"vhosts_list": "example.com, *.example.org"}));
    for add in [
        json!({"rl_id": "50001", "domain": "example.com", "mz": "URL", "extension": "$URL_X:^/a\\.php$|$ARGS:b|c"}),
        json!({"rl_id": "*", "mz": "ARGS|BODY", "active": false}),
        json!({"rl_id": 7, "extension": "$x-api:1"}),
    ] {
        from.call("set_dyn_wl", json!({"add": add}));
    }
    for add in [
        json!({"ip": "1.1.1.1|2.2.2.2", "active": "true"}),
        json!({"url": "L2E=", "other_headers": ["dGVzdA==:"], "lm": true, "api": false}),
    ] {
        from.call("set_dyn_erl", json!({"add": add}));
    }
    let output = std::process::Command::new(project().join("tests/e2e/old-client.sh"))
        .args([from.endpoint().as_str(), KEY, to.endpoint().as_str(), KEY])
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!((said.trim_end(), complained.as_ref()), ("copied", ""));
    for call in [
        "get_dyn_settings?format=json",
        "get_mlc_settings?format=json",
        "get_dyn_bl",
        "get_vhosts_list",
        "get_dyn_wl",
        "get_dyn_erl",
    ] {
        let ask = |api: &Api| api.call(call, json!({})).text();
        assert_eq!(ask(&to), ask(&from), "{call}");
    }
    let content = |api: &Api| value(&api.call("v2/get_dyn_wl", json!({})).text())["wl"].clone();
    assert_eq!(content(&to).as_array().map(Vec::len), Some(3));
}
