//! One request taken apart: who asks, and what was sent.
//!
//! Fields may come as a JSON object, as a form, in the query, or from several of
//! these at once; a field given twice is refused. `curl --data '{...}'` labels JSON
//! as a form, so a body that begins with `{` is JSON whatever its label says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::{HeaderMap, header};
use wire::v1::{Fields, Malformed};
use zeroize::Zeroizing;

use super::App;
use super::error::ApiError;
use crate::key::{self, Scope};
use crate::service::Actor;

/// Largest body of a call that only reads, in bytes: a key and two words.
pub const READ_BODY_MAX: usize = 64 << 10;
/// Bytes beyond the limit that are read to be polite, and thrown away.
const DISCARDED_MAX: usize = 64 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A request of the vendor's dialect.
pub struct Call {
    app: Arc<App>,
    /// What was sent, without the key.
    pub fields: Fields,
    key: Option<Zeroizing<String>>,
    client: IpAddr,
}

/// A request for a read: the same, with a small body.
pub struct ReadCall(pub Call);

impl FromRequest<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        Self::read(request, app, app.live().body_limit).await
    }
}

impl FromRequest<Arc<App>> for ReadCall {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let call = Call::read(request, app, READ_BODY_MAX).await?;
        call.fields.expect_no_operation()?;
        Ok(Self(call))
    }
}

impl Call {
    async fn read(request: Request, app: &Arc<App>, limit: usize) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, limit).await?;
        let mut fields = fields_of_body(&parts.headers, &body)?;
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            fields.add_pair(&name, &value)?;
        }
        if let Some(key) = bearer(&parts.headers)? {
            fields.add_pair("key", key)?;
        }
        let key = fields.key.take().map(Zeroizing::new);
        let client = client_address(parts.extensions.get());
        Ok(Self { app: Arc::clone(app), fields, key, client })
    }

    /// Lets a key in whose scope is one of `scopes`; admins always.
    ///
    /// # Errors
    /// No key, an unknown key, too many unknown keys, a key of another scope.
    pub async fn authorize(&self, scopes: &'static [Scope]) -> Result<Actor, ApiError> {
        authorize(&self.app, self.key.as_deref().map(String::as_str), self.client, scopes).await
    }
}

/// See [`Call::authorize`].
pub async fn authorize(
    app: &App,
    presented: Option<&str>,
    client: IpAddr,
    scopes: &'static [Scope],
) -> Result<Actor, ApiError> {
    let presented = presented.filter(|key| !key.is_empty()).ok_or(ApiError::NoKey)?;
    let keys = app.service.store().keys().await?;
    let Some(found) = key::find(&keys, presented) else {
        metrics::counter!("nwaf_api_auth_failures_total").increment(1);
        tracing::warn!(%client, "a wrong key was shown");
        return Err(match app.limiter.count(client, Instant::now()) {
            Ok(()) => ApiError::UnknownKey,
            Err(wait) => ApiError::TooManyFailures { retry_seconds: wait.as_secs().max(1) },
        });
    };
    if found.scope != Scope::Admin && !scopes.contains(&found.scope) {
        let needs = match scopes {
            [] => "admin",
            [Scope::Read] => "admin or read",
            [Scope::Node] => "admin or node",
            _ => "admin, node or read",
        };
        return Err(ApiError::Forbidden { name: found.name.clone(), scope: found.scope, needs });
    }
    Ok(Actor { key: found.name.clone(), address: client.to_string() })
}

/// The key of an `Authorization: Bearer` header.
///
/// # Errors
/// The header has another form.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let key = value.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    key.map(Some).ok_or_else(|| {
        let reason = "the header is not of the form Bearer KEY";
        Malformed::field("Authorization", "", reason, "write Authorization: Bearer KEY").into()
    })
}

/// The address a request came from; `127.0.0.1` where there is no connection (tests).
pub fn client_address(connection: Option<&ConnectInfo<SocketAddr>>) -> IpAddr {
    let address =
        connection.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip());
    policy::address::canonical(address)
}

/// The whole body, at most `limit` bytes.
///
/// # Errors
/// It is larger, breaks off or takes too long.
pub async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > limit && headers.contains_key(header::EXPECT) {
        // The client asked before sending.
        return Err(ApiError::BodyTooLarge(limit));
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body, announced.min(limit), limit))
        .await
        .unwrap_or(Err(ApiError::BodyIncomplete))
}

/// Reads on beyond the limit without keeping anything: a client that is cut off
/// while it sends sees a broken connection instead of the answer.
async fn collect(mut body: Body, announced: usize, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(announced.min(READ_BODY_MAX));
    let mut total = 0usize;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let data = match frame {
            None if total > limit => return Err(ApiError::BodyTooLarge(limit)),
            None => return Ok(bytes),
            Some(Err(_)) => return Err(ApiError::BodyIncomplete),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        total = total.saturating_add(data.len());
        if total <= limit {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
            if total - limit > DISCARDED_MAX {
                return Err(ApiError::BodyTooLarge(limit));
            }
        }
    }
}

fn fields_of_body(headers: &HeaderMap, body: &[u8]) -> Result<Fields, ApiError> {
    let label = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let label = label.as_deref().map(|label| label.split(';').next().unwrap_or("").trim());
    let text = wire::v1::body_text(body)?;
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Fields::default());
    }
    match label {
        Some("application/json") => Ok(Fields::from_json(text)?),
        _ if trimmed.starts_with('{') => Ok(Fields::from_json(text)?),
        None | Some("application/x-www-form-urlencoded") => {
            let mut fields = Fields::default();
            for (name, value) in form_urlencoded::parse(trimmed.as_bytes()) {
                fields.add_pair(&name, &value)?;
            }
            Ok(fields)
        }
        Some(other) => Err(ApiError::ContentType(other.to_owned())),
    }
}
