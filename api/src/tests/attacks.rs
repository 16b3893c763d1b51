//! The record of attacks as nodes and people use it.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::support::{ADMIN, Answer, Api, NODE, READ};
use crate::http::rfc3339;
use crate::service::now_ms;
use wire::v2::attack::{BATCH_BYTES, refused_index};

fn event(number: u32, at_ms: i64) -> Value {
    json!({
        "id": format!("a-1-{number}"), "time": rfc3339(at_ms), "request_id": format!("r{number}"),
        "action": if number.is_multiple_of(4) { "observe" } else { "block" }, "bt": 5, "rule": number % 3,
        "zone": "URL", "client": format!("10.0.{}.{}", number / 256, number % 256),
        "country": "DE", "host": format!("h{}.test", number % 3), "method": "GET",
        "uri": "=1,\"x\"\n", "args": null, "status": 403, "count": 2, "user_agent": "@probe",
    })
}

fn lines(events: impl IntoIterator<Item = Value>) -> String {
    events.into_iter().map(|event| format!("{event}\n")).collect()
}

async fn send(api: &Api, path: &str, key: &str, body: String) -> Answer {
    let request = Request::post(format!("/nw-api/v2/attacks{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/x-ndjson");
    api.send(request.body(Body::from(body)).unwrap()).await
}

async fn ids(api: &Api, query: &str) -> Vec<String> {
    let answer = api.get(&format!("/nw-api/v2/attacks?limit=1000{query}"), READ).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let attacks = answer.value()["attacks"].as_array().unwrap().clone();
    attacks.iter().map(|attack| attack["event"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_taken_once_and_as_a_whole() {
    let api = Api::start().await;
    let now = now_ms();
    let batch = lines((0..5).map(|n| event(n, now)));
    let answer = send(&api, "?node=web-1", NODE, batch.clone()).await;
    assert_eq!(answer.value(), json!({"status": "success", "accepted": 5, "duplicates": 0}));
    let again = batch.clone() + &lines([event(9, now)]);
    let answer = send(&api, "?node=web-1", NODE, again).await;
    assert_eq!(answer.value(), json!({"status": "success", "accepted": 1, "duplicates": 5}));
    let answer = send(&api, "?node=web-2", ADMIN, batch.clone()).await;
    assert_eq!(answer.value()["accepted"], 5);

    // One bad line refuses all, by its index; without it the rest is taken.
    let mut wrong = event(11, now);
    wrong["bt"] = json!(77);
    let bad = lines([event(10, now), wrong]) + "torn {\"id\":\n" + &lines([event(12, now)]);
    let answer = send(&api, "?node=web-1", NODE, bad.clone()).await;
    answer.refused(422, "invalid_value");
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["events[1].bt", "events[2]"]);
    assert_eq!(ids(&api, "").await.len(), 11);
    let refused: Vec<_> = fields.iter().filter_map(|field| refused_index(field)).collect();
    let rest = bad.lines().enumerate().filter(|(index, _)| !refused.contains(index));
    let rest: String = rest.map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(send(&api, "?node=web-1", NODE, rest).await.value()["accepted"], 2);

    for (path, status, code) in [
        ("", 400, "invalid_field"),
        ("?node=", 422, "invalid_value"),
        ("?node=a%0ab", 422, "invalid_value"),
        ("?node=a&node=b", 400, "invalid_field"),
        ("?node=a&x=1", 400, "invalid_field"),
    ] {
        send(&api, path, NODE, batch.clone()).await.refused(status, code);
    }
    send(&api, "?node=a", READ, batch.clone()).await.refused(403, "forbidden");
    send(&api, "?node=a", "wrong", batch.clone()).await.refused(401, "unknown_key");
    let huge = "x".repeat(BATCH_BYTES + 1);
    send(&api, "?node=a", NODE, huge).await.refused(413, "body_too_large");
    api.app.set_live(crate::http::Live { read_only: true, ..super::support::LIVE });
    let answer = send(&api, "?node=a", NODE, batch).await;
    answer.refused(503, "read_only");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(ids(&api, "").await.len(), 13);
}

#[tokio::test]
async fn people_filter_and_turn_pages() {
    let api = Api::start().await;
    let now = now_ms();
    let batch = lines((0..50).map(|n| event(n, now - i64::from(n) * 1_000)));
    assert_eq!(send(&api, "?node=web-1", NODE, batch).await.status, 200);
    for (query, count) in [
        ("", 50),
        ("&address=10.0.0.7", 1),
        ("&address=10.0.0.0/29", 8),
        ("&address=::ffff:10.0.0.7", 1),
        ("&address=2001:db8::/32", 0),
        ("&country=de", 50),
        ("&host=H1.test", 17),
        ("&rule=2", 16),
        ("&bt=5&action=observe", 13),
        ("&node=web-2", 0),
        ("&zone=URL", 50),
        ("&request_id=r17", 1),
    ] {
        assert_eq!(ids(&api, query).await.len(), count, "{query}");
    }
    let (from, to) = (now - 10_000, now - 5_000);
    let range = format!("&from={}&to={}", rfc3339(from), rfc3339(to));
    assert_eq!(ids(&api, &range).await, ["a-1-6", "a-1-7", "a-1-8", "a-1-9", "a-1-10"]);
    assert_eq!(ids(&api, &format!("&from={}", now / 1_000 + 1)).await.len(), 0);

    let (mut seen, mut before) = (Vec::new(), String::new());
    for page in 0.. {
        let path = format!("/nw-api/v2/attacks?limit=7{before}");
        let answer = api.get(&path, READ).await.value();
        let attacks = answer["attacks"].as_array().unwrap();
        seen.extend(attacks.iter().map(|a| a["event"]["id"].as_str().unwrap().to_owned()));
        // What comes in between is not seen, and moves nothing.
        send(&api, "?node=new", NODE, lines([event(100 + page, now)])).await;
        let Some(next) = answer["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, (0..50).map(|n| format!("a-1-{n}")).collect::<Vec<_>>());

    let newest = api.get("/nw-api/v2/attacks?limit=1&node=web-1", READ).await.value();
    let id = newest["attacks"][0]["id"].as_str().unwrap();
    let one = api.get(&format!("/nw-api/v2/attacks/{id}"), READ).await.value();
    assert_eq!(one["attack"], newest["attacks"][0]);
    assert_eq!(one["attack"]["event"], event(0, now));
    api.get("/nw-api/v2/attacks/1.1", READ).await.refused(404, "not_found");
    for bad in [
        "/x",
        "/1",
        "?before=5",
        "?limit=0",
        "?limit=1001",
        "?bt=12",
        "?from=soon",
        "?action=x",
        "?rule=-1",
        "?foo=1",
        "/summary?top=0",
        "/export?format=xml",
        "?to=99999999999999999999",
    ] {
        api.get(&format!("/nw-api/v2/attacks{bad}"), READ).await.refused(400, "invalid_field");
    }
    api.get("/nw-api/v2/attacks?address=1.1.1", READ).await.refused(422, "invalid_value");
    for path in ["", "/1.1", "/summary", "/export"] {
        api.get(&format!("/nw-api/v2/attacks{path}"), NODE).await.refused(403, "forbidden");
    }
}

#[tokio::test]
async fn summaries_and_exports_have_the_same_conditions() {
    let api = Api::start().await;
    let now = now_ms();
    // More than an export reads at a time.
    for batch in 0..3 {
        let events = (0..400).map(|n| event(batch * 400 + n, now - i64::from(n)));
        assert_eq!(send(&api, "?node=web-1", NODE, lines(events)).await.status, 200);
    }
    let summary = api.get("/nw-api/v2/attacks/summary?top=2", READ).await.value();
    assert_eq!((&summary["events"], &summary["requests"]), (&json!(1_200), &json!(2_400)));
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["bt"], json!([{"value": "5", "events": 1_200, "requests": 2_400}]));
    let hosts = summary["host"].as_array().unwrap();
    assert_eq!(hosts[0], json!({"value": "h0.test", "events": 400, "requests": 800}));
    assert_eq!(hosts.len(), 2);
    let one = api.get("/nw-api/v2/attacks/summary?host=h2.test&rule=1", READ).await.value();
    assert_eq!((&one["events"], &one["address"]), (&json!(0), &json!([])));

    let answer = api.get("/nw-api/v2/attacks/export?host=h1.test", READ).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let exported: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(exported.len(), 400);
    assert!(exported.iter().all(|line| line["event"]["host"] == "h1.test"));
    let answer = api.get("/nw-api/v2/attacks/export?format=csv", READ).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(answer.text.lines().count(), 1_201);
    assert!(answer.text.starts_with("id,time,node,action,"));
    assert!(answer.text.contains(",\"'=1,\"\"x\"\"\\u000a\","), "{}", &answer.text[..400]);
    assert!(answer.text.contains(",\"'@probe\","));
    let nothing = api.get("/nw-api/v2/attacks/export?format=csv&bt=7", READ).await;
    assert_eq!(nothing.text.lines().count(), 1);
}
