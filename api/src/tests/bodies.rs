//! Bodies of requests that are refused, and answers that are long.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, header};
use hyper::body::Frame;

use super::support::{ADMIN, Api, NODE, READ};

/// Sends so much, and counts what is taken.
struct Counted {
    left: usize,
    taken: Arc<AtomicUsize>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.left.min(64 << 10);
        if size == 0 {
            return Poll::Ready(None);
        }
        self.left -= size;
        self.taken.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
    }
}

#[tokio::test]
async fn who_is_refused_may_send_on_and_hears_why() {
    const BYTES: usize = 3 << 20;
    let api = Api::start().await;
    for (method, path, key) in [
        (Method::POST, "v2/attacks?node=n", READ),
        (Method::PUT, "v2/models/a.com", NODE),
        (Method::POST, "v2/bans", NODE),
        (Method::POST, "v2/import/bl?mode=merge", NODE),
        (Method::POST, "set_dyn_bl", NODE),
    ] {
        let taken = Arc::new(AtomicUsize::new(0));
        let request = Request::builder()
            .method(method)
            .uri(format!("/nw-api/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .body(Body::new(Counted { left: BYTES, taken: Arc::clone(&taken) }))
            .unwrap();
        api.send(request).await.refused(403, "forbidden");
        // What is left unread resets the connection, and the answer may be lost with it.
        assert_eq!(taken.load(Ordering::Relaxed), BYTES, "{path}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_refused_and_not_stored() {
    let api = Api::start().await;
    for (method, path) in [
        (Method::POST, "set_dyn_bl"),
        (Method::POST, "v2/import/bl?mode=merge"),
        (Method::PUT, "v2/models/a.com"),
        (Method::POST, "v2/attacks?node=n"),
        (Method::POST, "v2/bans"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!("/nw-api/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header(header::CONTENT_ENCODING, "gzip")
            .body(Body::from("\u{1f}"))
            .unwrap();
        let message = api.send(request).await.refused(415, "unsupported_content_encoding");
        assert!(message.contains("gzip"), "{path}: {message}");
    }
    api.get("/nw-api/v2/models/a.com", ADMIN).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_long_list_is_made_while_it_is_sent() {
    let api = Api::start().await;
    for (count, is_whole) in [(10, true), (10_001, false)] {
        let entries: Vec<String> =
            (0..count).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
        api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{}"}}"#, entries.join(","))).await;
        let answer = api.get("/nw-api/get_dyn_bl", READ).await;
        let expected = format!("{}\n{{'status': 'success'}}\n", entries.join("\n"));
        assert_eq!(answer.text, expected);
        assert!(answer.header("etag").contains('.'));
        // Who does not hold the answer does not know how long it is.
        assert_eq!(answer.headers.contains_key(header::CONTENT_LENGTH), is_whole);
    }
}
