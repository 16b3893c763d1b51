//! Revisions as server-sent events.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{Request, header};
use axum::response::Response;
use tower::ServiceExt as _;

use super::support::{ADMIN, Api, NODE};

/// Nothing here takes that long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(api: &Api, last: Option<&str>) -> Self {
        let response = request(api, NODE, last).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                assert!(event.contains("event: revision\n"), "{event}");
                return Some(event);
            }
            let body = &mut self.body;
            let frame =
                std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
            let frame = tokio::time::timeout(PATIENCE, frame).await.expect("something comes")?;
            let bytes = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

async fn request(api: &Api, key: &str, last: Option<&str>) -> Response {
    let request = Request::get("/nw-api/v2/watch");
    let mut request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn event(generation: u64) -> Option<String> {
    Some(format!(
        "id: 1000.{generation}\nevent: revision\ndata: {{\"session\":1000,\"generation\":{generation}}}"
    ))
}

#[tokio::test]
async fn a_change_is_an_event() {
    let api = Api::start().await;
    let (mut all, mut known) =
        (Events::open(&api, None).await, Events::open(&api, Some("1000.1")).await);
    assert_eq!(all.next().await, event(1));
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    assert_eq!(all.next().await, event(2));
    // Who had the first one is told of the next.
    assert_eq!(known.next().await, event(2));
    assert_eq!(request(&api, NODE, Some("x")).await.status(), 400);
    assert_eq!(request(&api, "nobody", None).await.status(), 401);
    let _ = api.stop.send(true);
    assert_eq!((all.next().await, known.next().await), (None, None));
}

#[tokio::test]
async fn it_ends_with_the_key_and_hears_of_other_processes() {
    let api = Api::start().await;
    tokio::spawn(std::sync::Arc::clone(&api.app.service).follow(api.stop.subscribe()));
    let mut events = Events::open(&api, None).await;
    assert_eq!(events.next().await, event(1));
    api.tamper("UPDATE waf SET generation = 9").await;
    assert_eq!(events.next().await, event(9));
    assert!(
        api.app.service.store().remove_key("n1", None, store::Action::default()).await.unwrap()
    );
    assert_eq!(events.next().await, None);
    let admin = request(&api, ADMIN, None).await;
    assert_eq!(admin.status(), 200);
}

#[tokio::test]
async fn there_is_room_for_so_many() {
    let api = Api::start().await;
    let mut open = Vec::new();
    loop {
        let response = request(&api, ADMIN, None).await;
        if response.status() == 503 {
            break;
        }
        open.push(response);
    }
    assert_eq!(open.len(), crate::http::WATCHERS_MAX);
    // Who leaves makes room.
    drop(open);
    let made_room = async {
        while request(&api, ADMIN, None).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, made_room).await.unwrap();
}
