//! Writes while the API dies, and while others write: nothing acknowledged is lost,
//! nothing happens twice or by half, and the generation has no gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::api::KEY;
use support::{Api, Client, Folder, Postgres, Response, among_others};

/// Writes of a story.
const WRITES: usize = 1_000;
/// Clients that write at the same time.
const WRITERS: usize = 4;
/// Acknowledged writes between two deaths.
const BETWEEN_DEATHS: usize = 150;

fn post(api: &Api, call: &str, header: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /nw-api/{call} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\n{header}\r\nContent-Length: {}\r\n\r\n{body}",
        api.address(),
        body.len()
    )
    .into_bytes()
}

fn get(api: &Api, target: &str) -> Response {
    let address = api.address();
    let head = format!("GET /nw-api/{target} HTTP/1.1\r\nHost: {address}\r\n");
    let response = api.send(format!("{head}Authorization: Bearer {KEY}\r\n\r\n").as_bytes());
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

/// The address that the rule of write `n` names.
fn address(n: usize) -> String {
    format!("10.0.{}.{}", n / 250, n % 250)
}

/// What the policy has: ids by address, and the generation. The bundle checks itself.
fn rules(api: &Api) -> (BTreeMap<String, u64>, u64) {
    let bundle = get(api, "v2/bundle").json();
    let rules = bundle["content"]["rules"].as_array().expect("rules");
    let told = rules.iter().map(|rule| {
        let ip = rule["ip"].as_str().expect("an address").to_owned();
        (ip, rule["id"].as_u64().expect("an id"))
    });
    let by_address: BTreeMap<_, _> = told.collect();
    assert_eq!(by_address.len(), rules.len(), "a rule is there twice");
    assert_eq!(bundle["count"].as_u64(), Some(rules.len() as u64));
    (by_address, bundle["revision"]["generation"].as_u64().expect("a generation"))
}

/// Every generation that the action log tells of.
fn logged(api: &Api) -> BTreeSet<u64> {
    let (mut generations, mut before) = (BTreeSet::new(), i64::MAX);
    loop {
        let page = get(api, &format!("get_event_log?before={before}")).json();
        let events = page["events"].as_array().expect("events");
        let Some(last) = events.last() else { return generations };
        before = last["id"].as_i64().expect("an id");
        let rules = events.iter().filter(|event| event["call"] == "set_dyn_erl");
        for event in rules {
            let generation = event["generation"].as_u64().expect("a generation");
            assert!(generations.insert(generation), "generation {generation} is logged twice");
        }
    }
}

/// Writers add rules, each under a key of its own, and ask again until they are answered,
/// while the API is killed again and again.
fn dies_while_writing(mut api: Api) {
    let (_, first) = rules(&api);
    let next = AtomicUsize::new(0);
    let acknowledged = Mutex::new(BTreeMap::new());
    let is_over = AtomicBool::new(false);
    let requests: Vec<Vec<u8>> = (0..WRITES)
        .map(|n| {
            let body = json!({"add": {"ip": address(n)}});
            post(&api, "set_dyn_erl", &format!("Idempotency-Key: write-{n}"), &body)
        })
        .collect();
    let server = api.address();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = Client::new(server);
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Some(request) = requests.get(n) else { break };
                    let answer = loop {
                        match client.send(request) {
                            Ok(answer) if answer.status == 200 => break answer.json(),
                            // Dead, or just coming up.
                            Ok(_) | Err(_) => {
                                assert!(!is_over.load(Ordering::SeqCst), "write {n} has no answer");
                                std::thread::yield_now();
                            }
                        }
                    };
                    let (id, generation) = (answer["id"].as_u64(), answer["generation"].as_u64());
                    acknowledged.lock().expect("no panic").insert(n, (id, generation));
                }
            });
        }
        let mut deaths = 0;
        loop {
            let done = acknowledged.lock().expect("no panic").len();
            if done == WRITES {
                break;
            }
            if done >= (deaths + 1) * BETWEEN_DEATHS {
                api.kill();
                deaths += 1;
                api.run();
                // What was acknowledged is there, whatever died since.
                let known: Vec<usize> =
                    acknowledged.lock().expect("no panic").keys().copied().collect();
                let (there, _) = rules(&api);
                for n in known {
                    assert!(there.contains_key(&address(n)), "write {n} is lost");
                }
            }
            std::thread::yield_now();
        }
        assert!(deaths >= 3, "{deaths}");
        is_over.store(true, Ordering::SeqCst);
    });
    let (there, last) = rules(&api);
    assert_eq!(there.len(), WRITES);
    // One generation a write: none was given twice, or without a change.
    assert_eq!(last - first, WRITES as u64);
    assert_eq!(logged(&api), (first + 1..=last).collect());
    let mut generations = BTreeSet::new();
    for (n, (id, generation)) in acknowledged.into_inner().expect("no panic") {
        assert_eq!(there.get(&address(n)).copied(), id, "the answer to write {n} is another's");
        assert!(generations.insert(generation), "two answers name {generation:?}");
    }
}

#[test]
fn no_write_is_lost_when_the_api_is_killed() {
    let _turn = among_others();
    let folder = Folder::new();
    dies_while_writing(Api::start(folder.path()));
}

#[test]
fn no_write_is_lost_when_the_api_is_killed_on_postgresql() {
    let _turn = among_others();
    let folder = Folder::new();
    let database = Postgres::shared().fresh_database();
    dies_while_writing(Api::start_on(folder.path(), &database));
}

#[test]
fn two_apis_on_one_database_lose_no_update() {
    let _turn = among_others();
    let (one, two) = (Folder::new(), Folder::new());
    let database = Postgres::shared().fresh_database();
    let apis = [Api::start_on(one.path(), &database), Api::start_on(two.path(), &database)];
    // Each reads the list, adds its entry, and writes the list back if nobody else did.
    std::thread::scope(|scope| {
        for (writer, api) in apis.iter().enumerate() {
            scope.spawn(move || {
                for n in 0..50 {
                    loop {
                        let read = get(api, "v2/get_dyn_bl");
                        let tag = read.header("etag").expect("a tag").to_owned();
                        let mut list = read.json()["bl"].as_array().expect("a list").clone();
                        list.push(json!(format!("10.1.{writer}.{n}")));
                        let condition = format!("If-Match: {tag}");
                        let body = json!({"set": {"bl": list}});
                        let answer = api.send(&post(api, "v2/set_dyn_bl", &condition, &body));
                        if answer.status == 200 {
                            break;
                        }
                        assert_eq!(answer.status, 412, "{}", answer.text());
                    }
                }
            });
        }
    });
    let list = get(&apis[0], "v2/get_dyn_bl").json();
    assert_eq!(list["bl"].as_array().map(Vec::len), Some(100), "{list}");
}
