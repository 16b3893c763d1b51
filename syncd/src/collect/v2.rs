//! Our own calls: whole bundles and deltas by long poll, and reports.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;
use wire::v2::{AgentReport, BUNDLE_BYTES, Bundle, DELTA_BYTES, Delta, Revision};

use super::Known;
use super::client::{self, AskError};
use crate::key::ApiKey;

/// Asks for a bundle that differs from `known` in revision or digest; `None`
/// where there is none after `wait`.
///
/// # Errors
/// See [`AskError`]. A body that is no bundle is an error of the endpoint
/// (a proxy's page, for example); whether a bundle may be used is decided later.
pub async fn bundle(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
    known: &Known,
    wait: Duration,
) -> Result<Option<Bundle>, AskError> {
    let mut url = call(endpoint, "v2/bundle")?;
    {
        let mut query = url.query_pairs_mut();
        if let Some(Revision { session, generation }) = known.revision {
            query.append_pair("session", &session.to_string());
            query.append_pair("generation", &generation.to_string());
            if let Some(digest) = &known.digest {
                query.append_pair("digest", digest);
            }
        }
        query.append_pair("wait", &wait.as_secs().to_string());
    }
    poll(client.get(url).bearer_auth(key.expose()), wait, "a bundle", BUNDLE_BYTES).await
}

/// Asks what changed since `known`; `None` where nothing did after `wait`.
///
/// # Errors
/// See [`AskError`]; status 410 where only the whole bundle can be had. Whether a delta
/// leads anywhere is decided later.
pub async fn delta(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
    known: &Known,
    wait: Duration,
) -> Result<Option<Delta>, AskError> {
    let mut url = call(endpoint, "v2/delta")?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("since", &known.revision.unwrap_or_default().to_string());
        if let Some(digest) = &known.digest {
            query.append_pair("digest", digest);
        }
        query.append_pair("wait", &wait.as_secs().to_string());
    }
    poll(client.get(url).bearer_auth(key.expose()), wait, "a delta", DELTA_BYTES).await
}

/// Sends a long poll and reads its answer; `None` where it came back without news.
async fn poll<T: DeserializeOwned + Send + 'static>(
    request: RequestBuilder,
    wait: Duration,
    expected: &'static str,
    limit: usize,
) -> Result<Option<T>, AskError> {
    let response = client::send(request, wait).await?;
    match response.status() {
        StatusCode::NO_CONTENT => return Ok(None),
        StatusCode::OK => {}
        other => {
            let reason = format!("status {} has no meaning here", other.as_u16());
            return Err(AskError::Content { expected, reason });
        }
    }
    let bytes = client::body(response, limit).await?;
    // A large answer keeps a core busy for a while.
    let parsed = spawn_blocking(move || serde_json::from_slice(&bytes)).await;
    match parsed {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(why)) => Err(AskError::Content { expected, reason: why.to_string() }),
        Err(_) => {
            Err(AskError::Content { expected, reason: "reading it failed unexpectedly".into() })
        }
    }
}

/// Tells the API what became of a bundle.
///
/// # Errors
/// See [`AskError`].
pub async fn report(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
    report: &AgentReport,
) -> Result<(), AskError> {
    let url = call(endpoint, "v2/report")?;
    let request = client.post(url).bearer_auth(key.expose()).json(report);
    client::send(request, Duration::ZERO).await.map(drop)
}

/// The address of a call; endpoints end in a slash.
pub(super) fn call(endpoint: &Url, name: &str) -> Result<Url, AskError> {
    endpoint.join(name).map_err(|why| AskError::Transport(why.to_string()))
}
