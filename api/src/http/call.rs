//! One request taken apart: who asks, and what was sent.
//!
//! Fields may come as a JSON object, as a form, in the query, or from several of
//! these at once; a field given twice is refused. `curl --data '{...}'` labels JSON
//! as a form, so a body that begins with `{` is JSON whatever its label says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use store::Scope;
use wire::v1::{Fields, Malformed};
use wire::v2::Revision;
use zeroize::Zeroizing;

use super::App;
use super::body::{self, READ_BODY_MAX};
use super::error::ApiError;
use crate::key;
use crate::service::{Actor, Tenant};

/// A request of the vendor's dialect.
pub struct Call {
    app: Arc<App>,
    /// What was sent, without the key.
    pub fields: Fields,
    /// Method, query and headers.
    pub parts: Parts,
    key: Option<Zeroizing<String>>,
    client: IpAddr,
    /// What the body took of the room for large ones; given back with the call.
    _room: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// A request for a read: the same, with a small body.
pub struct ReadCall(pub Call);

/// A request for a read that has fields of its own, which the handler judges.
pub struct QueryCall(pub Call);

/// A request for a read that knows several formats.
pub struct ExportCall(pub Call);

impl FromRequest<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        // Large bodies belong to writes, and writes to admins.
        let call = Self::read(request, app, app.live().body_limit, Some(&[])).await?;
        call.fields.expect_json()?;
        Ok(call)
    }
}

impl FromRequest<Arc<App>> for ReadCall {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let ExportCall(call) = ExportCall::from_request(request, app).await?;
        call.fields.expect_json()?;
        Ok(Self(call))
    }
}

impl FromRequest<Arc<App>> for ExportCall {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let call = Call::read(request, app, READ_BODY_MAX, None).await?;
        call.fields.expect_no_operation()?;
        Ok(Self(call))
    }
}

impl FromRequest<Arc<App>> for QueryCall {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        Call::read(request, app, READ_BODY_MAX, None).await.map(Self)
    }
}

impl Call {
    /// Takes a request apart. With `scopes`, a key that stands before the body is
    /// judged before the body is read.
    async fn read(
        request: Request,
        app: &Arc<App>,
        limit: usize,
        scopes: Option<&'static [Scope]>,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let client = client_address(parts.extensions.get());
        let early = early_key(&parts)?;
        if let (Some(key), Some(scopes)) = (&early, scopes)
            && let Err(why) = authorize(app, Some(key), client, scopes).await
        {
            return Err(body::refused(&parts.headers, body, why).await);
        }
        let room = early.is_none().then_some(&app.room);
        let (body, room) = body::read(&parts.headers, body, limit, room).await?;
        let mut fields = fields_of_body(&parts.headers, &body)?;
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            fields.add_pair(&name, &value)?;
        }
        if let Some(key) = bearer(&parts.headers)? {
            fields.add_pair("key", key)?;
        }
        let key = fields.key.take().map(Zeroizing::new);
        Ok(Self { app: Arc::clone(app), fields, parts, key, client, _room: room })
    }

    /// Lets a key in whose scope is one of `scopes`; admins always.
    ///
    /// # Errors
    /// No key, an unknown key, too many unknown keys, a key of another scope.
    pub async fn authorize(&self, scopes: &'static [Scope]) -> Result<Caller, ApiError> {
        authorize(&self.app, self.key.as_deref().map(String::as_str), self.client, scopes).await
    }
}

/// The key that stands before the body.
///
/// # Errors
/// The header has another form.
pub fn early_key(parts: &Parts) -> Result<Option<Zeroizing<String>>, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let bearer = bearer(&parts.headers)?;
    Ok(bearer.map(|key| Zeroizing::new(key.to_owned())).or_else(|| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| matches!(&**name, "key" | "token"))
            .map(|(_, key)| Zeroizing::new(key.into_owned()))
    }))
}

/// Who was let in, and to which policy.
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The policy the key opens.
    pub tenant: Arc<Tenant>,
    /// Where that policy stood when the key was judged.
    pub revision: Option<Revision>,
    /// Whether the server takes writes.
    is_writable: bool,
}

impl Caller {
    /// # Errors
    /// The server takes no writes now.
    pub fn expect_writable(&self) -> Result<(), ApiError> {
        if self.is_writable { Ok(()) } else { Err(ApiError::ReadOnly) }
    }
}

/// See [`Call::authorize`].
pub async fn authorize(
    app: &App,
    presented: Option<&str>,
    client: IpAddr,
    scopes: &'static [Scope],
) -> Result<Caller, ApiError> {
    let presented = presented.filter(|key| !key.is_empty()).ok_or(ApiError::NoKey)?;
    let pulse = app.service.pulse().await?;
    app.peers.check(&pulse)?;
    let keys = app.service.keys(&pulse).await?;
    let Some(found) = key::find(&keys, presented) else {
        metrics::counter!("nwaf_api_auth_failures_total").increment(1);
        tracing::warn!(%client, "a wrong key was shown");
        return Err(match app.limiter.count(client, Instant::now()) {
            Ok(()) => ApiError::UnknownKey,
            Err(wait) => ApiError::TooManyFailures { retry_seconds: wait.as_secs().max(1) },
        });
    };
    if found.scope != Scope::Admin && !scopes.contains(&found.scope) {
        let (name, scope) = (found.name.clone(), found.scope);
        return Err(ApiError::Forbidden { name, scope, needs: scopes });
    }
    Ok(Caller {
        actor: Actor { key: found.name.clone(), address: client.to_string() },
        tenant: app.service.tenant(found.waf),
        revision: pulse.waf(found.waf).map(|state| state.revision),
        is_writable: app.is_writable(&pulse),
    })
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
