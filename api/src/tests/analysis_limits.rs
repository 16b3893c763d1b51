//! Behavioural analysis at its limits: too many hosts, a server that only reads, rows
//! changed by hand, orders and reports at once.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use policy::limits::VHOSTS;

use super::support::{ADMIN, Answer, Api, LIVE, MLC, NODE, READ};
use crate::http::Live;

async fn order(api: &Api, fields: &str) -> Answer {
    api.form("/nw-api/set_training_uri", &format!("key={ADMIN}&{fields}")).await
}

async fn report(api: &Api, progress: u8) -> Answer {
    let body = json!({"vhost": "a.com", "progress": progress, "samples": 1});
    let request = Request::post("/nw-api/v2/training/report")
        .header(header::AUTHORIZATION, format!("Bearer {MLC}"));
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn put_model(api: &Api, vhost: &str) -> Answer {
    let request = Request::put(format!("/nw-api/v2/models/{vhost}"))
        .header(header::AUTHORIZATION, format!("Bearer {MLC}"));
    api.send(request.body(Body::from(vhost.to_owned())).unwrap()).await
}

#[tokio::test]
async fn virtual_hosts_and_models_have_a_number() {
    let api = Api::start().await;
    let list = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|n| format!("h{n}.com")).collect();
        format!(r#""vhosts_list": {}"#, json!(hosts))
    };
    api.write("set_vhosts_list", &list(VHOSTS)).await;
    let why = api.try_write("set_vhosts_list", &list(VHOSTS + 1)).await;
    assert!(why.refused(422, "invalid_value").contains("more than 1000"), "{}", why.text);
    for n in 0..VHOSTS {
        let stored = put_model(&api, &format!("h{n}.com")).await;
        assert_eq!(stored.status, 200, "{}", stored.text);
    }
    let why = put_model(&api, "one-more.com").await;
    assert!(why.refused(422, "invalid_value").contains("1000 models"), "{}", why.text);
    assert_eq!(put_model(&api, "h1.com").await.status, 200);
}

#[tokio::test]
async fn read_only_refuses_orders_reports_and_models_and_serves_reads() {
    let api = Api::start().await;
    api.write("set_vhosts_list", r#""vhosts_list": "a.com""#).await;
    assert_eq!(order(&api, "vhost=a.com&complete=no").await.status, 200);
    assert_eq!(put_model(&api, "a.com").await.status, 200);
    let before = api.revision().await;
    api.app.set_live(Live { read_only: true, ..LIVE });
    for answer in [
        api.try_write("set_dyn_wl", r#""add": {"rl_id": "1"}"#).await,
        api.try_write("set_mlc_settings", r#""del": "max_val""#).await,
        api.try_write("set_vhosts_list", r#""vhosts_list": """#).await,
        order(&api, "vhost=a.com&complete=yes").await,
        api.form("/nw-api/del_models_uri", &format!("key={ADMIN}&vhost=a.com")).await,
        report(&api, 5).await,
        put_model(&api, "b.com").await,
    ] {
        answer.refused(503, "read_only");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    for call in [
        "get_dyn_wl",
        "get_mlc_settings",
        "get_vhosts_list",
        "get_models_list_uri",
        "get_training_uri",
        "v2/get_mlc_settings",
        "v2/models/a.com",
    ] {
        let answer = api.get(&format!("/nw-api/{call}"), READ).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.text);
    }
    assert_eq!(api.revision().await, before);
}

#[tokio::test]
async fn corrupt_rows_are_named_not_skipped() {
    for (statement, row) in [
        ("UPDATE exclusion SET mz = 'PATH'", "exclusion 1"),
        ("UPDATE waf SET next_exclusion_id = 1", "exclusion 1"),
        ("UPDATE mlc_setting SET value = '0'", "setting ddos__interval"),
        ("UPDATE mlc_setting SET value = 'x'", "setting ddos__interval"),
        ("UPDATE mlc_setting SET name = 'ddos__x'", "setting ddos__x"),
        ("UPDATE vhost SET name = 'a..b'", "virtual host a..b"),
        ("UPDATE vhost SET state = 'x'", "virtual host a.com"),
        ("UPDATE vhost SET progress = 999", "virtual host a.com"),
    ] {
        let api = Api::start().await;
        api.write("set_dyn_wl", r#""add": {"rl_id": "1"}"#).await;
        api.write("set_mlc_settings", r#""set": {"ddos__interval": 5}"#).await;
        api.write("set_vhosts_list", r#""vhosts_list": "a.com""#).await;
        api.tamper(statement).await;
        let api = api.restart().await;
        let message =
            api.get("/nw-api/get_training_uri", ADMIN).await.refused(500, "store_corrupt");
        assert!(message.contains(row), "{statement}: {message}");
    }
}

#[tokio::test]
async fn a_corrupt_model_is_named_and_not_handed_out() {
    for statement in [
        "UPDATE model SET sha256 = 'a' || char(10)",
        "UPDATE model SET sha256 = 'x' || substr(sha256, 2)",
        "UPDATE model SET bytes = x'00'",
        "UPDATE model SET vhost = 'a..b'",
    ] {
        let api = Api::start().await;
        assert_eq!(put_model(&api, "a.com").await.status, 200);
        api.tamper(statement).await;
        let api = api.restart().await;
        let answer = api.get("/nw-api/v2/models/a.com", NODE).await;
        let message = answer.refused(500, "store_corrupt");
        assert!(message.contains("model a.") && message.contains("corrupt"), "{message}");
    }
}

/// Whatever comes first: a training that is complete was never stopped, nor the other way
/// round, and the action log tells the orders.
#[tokio::test]
async fn orders_and_reports_at_once_leave_one_state() {
    let api = Api::start().await;
    api.write("set_vhosts_list", r#""vhosts_list": "a.com""#).await;
    for round in 0..20 {
        assert_eq!(order(&api, "vhost=a.com&complete=no").await.status, 200);
        let (stopped, half, all) = tokio::join!(
            order(&api, "vhost=a.com&complete=yes"),
            report(&api, 50),
            report(&api, 100)
        );
        assert_eq!(stopped.status, 200, "{}", stopped.text);
        let answer = api.get("/nw-api/get_training_uri", MLC).await.value();
        let training = &answer["training"][0];
        let (state, progress) = (&training["state"], &training["progress"]);
        // Whoever was told that all is done was told the truth.
        if all.status == 200 {
            assert_eq!((state, progress), (&Value::from("complete"), &100.into()), "{round}");
        } else {
            assert_eq!(state, "stopped", "{round}: {answer}");
            assert_eq!(progress, &if half.status == 200 { 50 } else { 0 }, "{round}: {answer}");
        }
    }
}
