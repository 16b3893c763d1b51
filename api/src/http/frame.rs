//! What surrounds every request: its id, its log line, its metrics, its error body.
//!
//! The query is never logged: it may hold a key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::error::Failed;
use super::health;
use crate::failure::with_causes;
use crate::key;

/// Names a request in answers and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the server is: `primary`, `replica`, `read_only` or `fenced`.
const ROLE: HeaderName = HeaderName::from_static("x-nw-role");
/// Longest id that is taken over from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Longest path in a line of the log, in bytes: strangers may send 64 KiB.
const LOGGED_PATH_BYTES_MAX: usize = 512;

/// The id of a request, for answers that name it themselves.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The middleware around everything.
pub async fn frame(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = shown(request.uri().path());
    let call = call_label(request.extensions().get::<MatchedPath>());
    let client = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or_else(String::new, |ConnectInfo(address)| address.ip().to_string());

    let mut response = next.run(request).await;
    if let Some(Failed(why)) = response.extensions_mut().remove::<Failed>() {
        if response.status().is_server_error() {
            tracing::error!(request_id = %id, error = %with_causes(&*why), "a request failed");
        }
        let json = serde_json::to_vec(&why.body(&id)).expect("plain data has a JSON form");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(json.len()));
        *response.body_mut() = Body::from(json);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let role = app.role_name(app.service.role());
    response.headers_mut().insert(ROLE, HeaderValue::from_static(role));
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(no_store);

    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::counter!("nwaf_api_requests_total", "call" => call.clone(), "code" => status.to_string())
        .increment(1);
    metrics::histogram!("nwaf_api_request_duration_seconds", "call" => call)
        .record(elapsed.as_secs_f64());
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    // Balancers ask every second; that they do is no news.
    if health::PATHS.contains(&path.as_str()) {
        tracing::debug!(request_id = %id, %client, %method, path, status, ms, "request");
    } else {
        tracing::info!(request_id = %id, %client, %method, path, status, ms, "request");
    }
    response
}

/// As much of a path as goes into a line of the log.
fn shown(path: &str) -> String {
    match path.get(..LOGGED_PATH_BYTES_MAX) {
        // A cut within a character cannot be: a path is ASCII by then.
        Some(begin) if begin.len() < path.len() => format!("{begin}..."),
        _ => path.to_owned(),
    }
}

/// Says what the metrics mean; once per process, after a recorder is installed.
pub fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("nwaf_api_requests_total", "Answered requests by call and status code.");
    describe_histogram!("nwaf_api_request_duration_seconds", "Time to answer, waiting included.");
    describe_counter!("nwaf_api_auth_failures_total", "Requests with a wrong key.");
    describe_counter!("nwaf_api_writes_total", "Writes that made a new generation, by call.");
    describe_gauge!("nwaf_api_generation", "The generation of the policy.");
    describe_gauge!("nwaf_api_session", "The session of the policy.");
    describe_gauge!("nwaf_api_long_polls", "Nodes that wait for a change.");
    describe_gauge!("nwaf_api_watchers", "Connections that follow changes as events.");
    describe_counter!("nwaf_api_deltas_total", "Deltas asked for, by what came of it.");
    describe_counter!("nwaf_api_attacks_total", "Attacks handed in, by what became of them.");
    describe_gauge!("nwaf_api_bans", "Bans in force.");
    describe_gauge!("nwaf_api_read_only", "1 while every write is refused.");
}

/// The client's own id where it is harmless, else a random one.
fn request_id(headers: &HeaderMap) -> String {
    let is_harmless = |id: &&str| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_BYTES_MAX
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_harmless);
    given.map_or_else(
        || {
            let mut bytes = [0u8; 16];
            // An id that repeats is no danger; a request without an answer is.
            let _ = getrandom::fill(&mut bytes);
            key::hex(&bytes)
        },
        str::to_owned,
    )
}

/// The last piece of a known path, so that the number of labels is bounded.
fn call_label(path: Option<&MatchedPath>) -> String {
    let Some(path) = path else { return "unknown".to_owned() };
    // The name of what stands for an id says nothing.
    let mut pieces = path.as_str().rsplit('/').filter(|piece| !piece.starts_with('{'));
    pieces.next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_beginning_of_a_path() {
        assert_eq!(shown("/nw-api/get_dyn_bl"), "/nw-api/get_dyn_bl");
        assert_eq!(shown(&"/".repeat(60_000)).len(), LOGGED_PATH_BYTES_MAX + "...".len());
    }
}
