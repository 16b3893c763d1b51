//! One HTTP exchange with one endpoint, with a limit on everything.
//!
//! | limit | value |
//! |---|---|
//! | connecting | [`CONNECT`] |
//! | until the first byte of an answer | [`FIRST_BYTE`], and the wait that was asked for |
//! | whole body | [`BODY_BASE`], and a second for each MiB received |
//! | size of a body | the caller's |
//!
//! Redirects are not followed, because the key would follow them; proxies of the
//! environment are not used; answers are not decompressed.

use std::error::Error;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use tokio::time::{Instant, timeout, timeout_at};
use wire::v2::ErrorBody;

/// Longest time for TCP and TLS to be set up.
pub const CONNECT: Duration = Duration::from_millis(500);
/// Longest time until the head of an answer is there.
pub const FIRST_BYTE: Duration = Duration::from_secs(2);
/// Time for a small body; a large one earns more with each MiB that arrives.
pub const BODY_BASE: Duration = Duration::from_secs(10);
/// Slowest link that can still carry a large bundle.
const BODY_BYTES_PER_SECOND: u64 = 1 << 20;
/// Most of an error body that is looked at, in bytes.
const ERROR_BYTES: usize = 64 << 10;
/// Most of a server's message that is repeated, in characters.
const MESSAGE_CHARS: usize = 300;

/// Why an endpoint gave nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The key is not accepted, or its scope does not allow the call.
    #[error("the API refuses the key of api.key_file ({status}): {message}")]
    Unauthorised {
        /// 401 or 403.
        status: u16,
        /// What the API said.
        message: String,
    },
    /// The API does not know the call.
    #[error("the API has no such call (404): {message}")]
    NoSuchCall {
        /// What the API said.
        message: String,
    },
    /// Any other status.
    #[error("the API answered {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the API said.
        message: String,
        /// How long the API wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection, or one that broke.
    #[error("{0}")]
    Transport(String),
    /// It took too long.
    #[error("no {what} within {limit:?}")]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The body is larger than allowed.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is not what was asked for.
    #[error("the answer is not {expected}: {reason}")]
    Content {
        /// What was asked for.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl AskError {
    /// How long the API wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A word for the metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unauthorised { .. } => "auth",
            Self::Slow { .. } => "timeout",
            Self::TooLarge { .. } | Self::Content { .. } => "invalid",
            Self::NoSuchCall { .. } | Self::Status { .. } | Self::Transport(_) => "error",
        }
    }
}

/// The client cannot be set up; the text says why.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP client cannot be set up: {0}; https needs trusted certificates (ca-certificates, or SSL_CERT_FILE)"
)]
pub struct ClientError(String);

/// Builds the client that all endpoints share. Servers are verified by the
/// certificates the system trusts.
///
/// # Errors
/// Where an endpoint is https and no certificate is trusted.
pub fn build(endpoints: &[Url]) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT)
        // Below the time after which the API closes an idle connection.
        .pool_idle_timeout(Duration::from_secs(8))
        .tcp_keepalive(Duration::from_secs(15))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("nwaf-syncd/", env!("CARGO_PKG_VERSION")));
    if endpoints.iter().all(|url| url.scheme() == "http") {
        // A host without any certificate must do for plain http on loopback.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|why| ClientError(chain(&why)))
}

/// Sends a request and returns the answer where its status is 2xx.
///
/// `wait` is how long the API was asked to hold the request.
///
/// # Errors
/// Every status but 2xx, and what [`AskError`] says about the network.
pub async fn send(request: RequestBuilder, wait: Duration) -> Result<Response, AskError> {
    let limit = wait + FIRST_BYTE;
    let response = timeout(limit, request.send())
        .await
        .map_err(|_| AskError::Slow { what: "answer", limit })?
        .map_err(transport)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let message = message(response).await;
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            AskError::Unauthorised { status: status.as_u16(), message }
        }
        StatusCode::NOT_FOUND => AskError::NoSuchCall { message },
        _ => AskError::Status { status: status.as_u16(), message, retry_after },
    })
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// A body that is larger, slower than the module's limits, or cut short.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, AskError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(AskError::TooLarge { limit });
    }
    let start = Instant::now();
    // An announced length is a claim; memory follows what arrives.
    let mut bytes = Vec::new();
    loop {
        let earned = Duration::from_secs(bytes.len() as u64 / BODY_BYTES_PER_SECOND);
        let allowed = BODY_BASE + earned;
        let chunk = timeout_at(start + allowed, response.chunk())
            .await
            .map_err(|_| AskError::Slow { what: "complete answer", limit: allowed })?
            .map_err(transport)?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        if bytes.len() + chunk.len() > limit {
            return Err(AskError::TooLarge { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The server's own words about an error, as far as they can be had.
async fn message(response: Response) -> String {
    let reason = response.status().canonical_reason().unwrap_or("no reason given").to_owned();
    let Ok(bytes) = body(response, ERROR_BYTES).await else { return reason };
    // A proxy's page is of no use in a log line.
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(error) => {
            let message = error.message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS);
            format!("{} (request {})", message.collect::<String>(), error.request_id)
        }
        Err(_) => reason,
    }
}

fn transport(error: reqwest::Error) -> AskError {
    // The caller knows the URL and names it.
    AskError::Transport(chain(&error.without_url()))
}

/// An error with all its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
