//! Bans: made, extended, lifted, waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use super::support::{ADMIN, Answer, Api, MLC, NODE, READ};

async fn post(api: &Api, key: &str, body: Value) -> Answer {
    let request =
        Request::post("/nw-api/v2/bans").header(header::AUTHORIZATION, format!("Bearer {key}"));
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn bans(api: &Api, query: &str) -> Value {
    let answer = api.get(&format!("/nw-api/v2/bans{query}"), NODE).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.value()
}

fn addresses(answer: &Value) -> Vec<&str> {
    let bans = answer["bans"].as_array().unwrap();
    bans.iter().map(|ban| ban["address"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn bans_are_made_extended_and_lifted() {
    let api = Api::start().await;
    let generation = api.revision().await;
    let one = json!({"address": "1.1.1.9/24", "bt": 7, "seconds": 600, "reason": "too often",
                     "domain": ".Example.com", "rule": 5});
    let made = post(&api, MLC, one.clone()).await.value();
    let ban = &made["bans"][0];
    assert_eq!((&ban["address"], &ban["domain"]), (&json!("1.1.1.0/24"), &json!(".example.com")));
    assert_eq!((&ban["source"], &ban["rule"], &ban["bt"]), (&json!("m1"), &json!(5), &json!(7)));
    let again = post(&api, ADMIN, json!({"bans": [one, {"address": "2.2.2.2", "seconds": 60}]}));
    let again = again.await.value();
    assert_eq!(again["bans"][0]["id"], ban["id"]);
    assert_eq!(again["bans"][0]["start"], ban["start"]);
    assert_eq!(again["bans"][1]["bt"], 8);
    assert_eq!(addresses(&bans(&api, "").await), ["1.1.1.0/24", "2.2.2.2"]);
    assert_eq!(addresses(&bans(&api, "?address=1.1.1.77").await), ["1.1.1.0/24"]);
    assert_eq!(addresses(&bans(&api, "?bt=8").await), ["2.2.2.2"]);

    let delete = async |path: &str, key| {
        api.method(Method::DELETE, &format!("/nw-api/v2/bans{path}"), key).await
    };
    for (path, status, code) in [
        ("", 400, "invalid_field"),
        ("?address=1.1.1", 422, "invalid_value"),
        ("?address=9.9.9.9", 404, "not_found"),
        ("?address=2.2.2.2&bt=7", 404, "not_found"),
        ("?address=2.2.2.2&bt=x", 400, "invalid_field"),
        ("/99", 404, "not_found"),
        ("/x", 400, "invalid_field"),
        ("/-1", 400, "invalid_field"),
    ] {
        delete(path, MLC).await.refused(status, code);
    }
    let lifted = delete("?address=1.1.1.0-1.1.1.255&domain=.example.com", MLC).await.value();
    assert_eq!(lifted["bans"][0]["lifted"], true);
    let id = again["bans"][1]["id"].as_i64().unwrap();
    assert_eq!(delete(&format!("/{id}"), ADMIN).await.status, 200);
    assert_eq!(addresses(&bans(&api, "").await), [""; 0]);

    // Every one is in the action log; the policy has not moved.
    assert_eq!(api.revision().await, generation);
    let log = api.get("/nw-api/get_event_log", READ).await.value();
    let calls: Vec<_> = log["events"].as_array().unwrap().iter().map(|e| &e["call"]).collect();
    assert_eq!(calls, ["lift_bans", "lift_bans", "add_bans", "add_bans"]);
    assert_eq!(log["events"][0]["before"][0]["address"], "2.2.2.2");
    assert_eq!(log["events"][3]["after"][0]["reason"], "too often");
}

#[tokio::test]
async fn bad_bans_change_nothing() {
    let api = Api::start().await;
    for (body, status, code) in [
        (json!({"address": "1.1.1.1"}), 422, "invalid_value"),
        (json!({"address": "0.0.0.0/0", "seconds": 5}), 422, "invalid_value"),
        (json!({"seconds": 5}), 400, "invalid_field"),
        (json!({"address": "1.1.1.1", "seconds": "5"}), 400, "invalid_field"),
        (json!({"address": "1.1.1.1", "seconds": 5, "x": 1}), 400, "invalid_field"),
        (json!({"bans": []}), 400, "invalid_field"),
        (json!({"bans": [{"address": "1.1.1.1", "seconds": 5}], "x": 1}), 400, "invalid_field"),
        (json!([]), 400, "invalid_field"),
    ] {
        post(&api, MLC, body).await.refused(status, code);
    }
    let many = json!({"bans": [{"address": "1.1.1.1", "seconds": 5}, {"address": "x", "bt": 5}]});
    let answer = post(&api, MLC, many).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["bans[1].address", "bans[1].bt", "bans[1].seconds"]);
    let good = json!({"address": "1.1.1.1", "seconds": 5});
    let too_many = json!({"bans": vec![good.clone(); 1_001]});
    post(&api, MLC, too_many).await.refused(400, "invalid_field");
    for key in [NODE, READ] {
        post(&api, key, good.clone()).await.refused(403, "forbidden");
    }
    api.app.set_live(crate::http::Live { read_only: true, ..super::support::LIVE });
    post(&api, MLC, good).await.refused(503, "read_only");
    assert_eq!(bans(&api, "").await["bans"], json!([]));
    for query in [
        "?since=1",
        "?since=x.1",
        "?limit=0",
        "?limit=10001",
        "?after=x",
        "?bt=256",
        "?address=1.1.1.0/24",
        "?since=1.1&after=1",
        "?since=1.1&bt=7",
    ] {
        let answer = api.get(&format!("/nw-api/v2/bans{query}"), NODE).await;
        answer.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn nodes_are_told_what_changed() {
    let api = Arc::new(Api::start().await);
    let first = bans(&api, "").await;
    let since = |answer: &Value| format!("?since={}", answer["revision"].as_str().unwrap());
    let nothing = api.get(&format!("/nw-api/v2/bans{}", since(&first)), NODE).await;
    assert_eq!((nothing.status.as_u16(), nothing.text.as_str()), (204, ""));

    let waiting = tokio::spawn({
        let (api, query) = (Arc::clone(&api), format!("{}&wait=30", since(&first)));
        async move { (bans(&api, &query).await, Instant::now()) }
    });
    // The poll has to be under way; nothing outside shows it, so it gets a little time.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    post(&api, MLC, json!({"address": "1.1.1.1", "seconds": 60})).await;
    let made = Instant::now();
    let (told, woken) = waiting.await.unwrap();
    assert!(woken.saturating_duration_since(made) < Duration::from_millis(500));
    assert_eq!(addresses(&told), ["1.1.1.1"]);

    // In pages, to the end; lifted ones are flagged.
    let many: Vec<Value> =
        (0..5).map(|n| json!({"address": format!("2.2.2.{n}"), "seconds": 60})).collect();
    post(&api, MLC, json!({"bans": many})).await;
    api.method(Method::DELETE, "/nw-api/v2/bans?address=1.1.1.1", MLC).await;
    let (mut seen, mut at) = (Vec::new(), told);
    loop {
        at = bans(&api, &format!("{}&limit=2", since(&at))).await;
        seen.extend(at["bans"].as_array().unwrap().clone());
        if at["more"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), 6);
    assert_eq!((&seen[5]["address"], &seen[5]["lifted"]), (&json!("1.1.1.1"), &json!(true)));
    let mut all = bans(&api, "?limit=3").await;
    assert_eq!((all["more"].clone(), &all["revision"]), (json!(true), &at["revision"]));
    let last = all["bans"][2]["number"].as_u64().unwrap();
    all = bans(&api, &format!("?limit=3&after={last}")).await;
    assert_eq!(addresses(&all), ["2.2.2.3", "2.2.2.4"]);

    // What cannot be known: another session, a number that never was.
    let revision = at["revision"].as_str().unwrap();
    let (session, number) = revision.split_once('.').unwrap();
    for gone in [format!("1.{number}"), format!("{session}.99")] {
        let answer = api.get(&format!("/nw-api/v2/bans?since={gone}&wait=9"), NODE).await;
        answer.refused(410, "bans_gone");
    }
}
