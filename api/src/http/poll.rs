//! What nodes wait for: the whole policy, or what changed of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wire::v2::{Bundle, Delta, ErrorBody, Revision, WAIT_SECONDS_MAX};

use super::App;
use super::answer;
use super::call;
use super::condition;
use super::error::ApiError;
use super::read::POLICY_READERS;
use super::v2::field;
use crate::service::{Current, Known, ServiceError, Tenant};

/// Hexadecimal digits of a digest.
const DIGEST_CHARS: usize = 64;

/// The whole policy, once it is not the one the client has.
#[utoipa::path(
    get, path = "/bundle", tag = "v2", security(("bearer" = [])),
    params(("session" = Option<u64>, Query, description = "Session of the bundle the client has"),
           ("generation" = Option<u64>, Query, description = "Its generation"),
           ("digest" = Option<String>, Query,
            description = "Its digest; the same revision with another one is another bundle"),
           ("wait" = Option<u64>, Query,
            description = "Seconds to wait for another one, at most 60; longer is cut")),
    responses((status = 200, description = "Another bundle than the client has", body = Bundle),
              (status = 204, description = "Still the same after the wait"),
              (status = 304, description = "Still the one of If-None-Match after the wait"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn bundle(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query =
        Query::parse(&request, &["key", "token", "session", "generation", "digest", "wait"])?;
    let digest = query.digest()?;
    let known = match (query.number("session")?, query.number("generation")?) {
        (Some(session), Some(generation)) => {
            Some(Known { revision: Revision { session, generation }, digest: digest.clone() })
        }
        (None, None) => None,
        (session, _) => {
            let missing = if session.is_none() { "session" } else { "generation" };
            let reason = "session and generation belong together";
            return Err(field(missing, "", reason, "give both, or none for the bundle at once"));
        }
    };
    let tagged = tagged(&request.headers)?.filter(|_| known.is_none());
    let unchanged_status =
        if tagged.is_some() { StatusCode::NOT_MODIFIED } else { StatusCode::NO_CONTENT };
    let known = known.or_else(|| tagged.map(|revision| Known { revision, digest }));
    let wait = query.wait()?;
    let client = Client::authorize(&app, &request, &mut query).await?;
    let current = match known {
        None => client.tenant.current().await?,
        Some(known) => match client.changed(&app, &known, wait).await? {
            Some(current) => current,
            None => return Ok(condition::unchanged(unchanged_status, known.revision, "")),
        },
    };
    let revision = current.revision;
    let json = bundle_json(current).await?;
    Ok(condition::tagged(json_at(revision, json), revision, ""))
}

/// What changed since the bundle the client has, once something did.
#[utoipa::path(
    get, path = "/delta", tag = "v2", security(("bearer" = [])),
    params(("since" = String, Query,
            description = "Session and generation of the bundle the client has, as SESSION.GENERATION"),
           ("digest" = Option<String>, Query,
            description = "Its digest; the same revision with another one has no delta"),
           ("wait" = Option<u64>, Query,
            description = "Seconds to wait for a change, at most 60; longer is cut")),
    responses((status = 200, description = "The way from that bundle to the current one", body = Delta),
              (status = 204, description = "Still the same after the wait"),
              (status = 410, description = "There is none: take the bundle", body = ErrorBody),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn delta(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query = Query::parse(&request, &["key", "token", "since", "digest", "wait"])?;
    let known = Known { revision: query.since()?, digest: query.digest()? };
    let wait = query.wait()?;
    let client = Client::authorize(&app, &request, &mut query).await?;
    let Some(current) = client.changed(&app, &known, wait).await? else {
        return Ok(unchanged(known.revision));
    };
    let made = client.tenant.delta(&known, &current).await?;
    let result = if made.is_some() { "sent" } else { "gone" };
    metrics::counter!("nwaf_api_deltas_total", "result" => result).increment(1);
    let json = made.ok_or(ApiError::DeltaGone(known.revision))?;
    Ok(json_at(current.revision, Bytes::from_owner(json)))
}

/// The revision that `If-None-Match` names; the newest, should it name several.
fn tagged(headers: &HeaderMap) -> Result<Option<Revision>, ApiError> {
    let known = condition::none_match(headers)?.into_iter().filter_map(|known| match known {
        condition::Known::Ours(revision, form) if form.is_empty() => Some(revision),
        _ => None,
    });
    Ok(known.max())
}

fn json_at(revision: Revision, json: Bytes) -> Response {
    let response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    answer::at_revision(response, revision)
}

fn unchanged(known: Revision) -> Response {
    answer::at_revision(StatusCode::NO_CONTENT.into_response(), known)
}

async fn bundle_json(current: Arc<Current>) -> Result<Bytes, ApiError> {
    let json = if current.has_bundle() {
        current.bundle()
    } else {
        tokio::task::spawn_blocking(move || current.bundle()).await.map_err(ServiceError::from)?
    };
    Ok(Bytes::from_owner(json))
}

/// Who polls.
struct Client {
    key: Option<String>,
    address: IpAddr,
    tenant: Arc<Tenant>,
}

impl Client {
    /// Finds the key in header or query and judges it.
    async fn authorize(app: &App, request: &Parts, query: &mut Query) -> Result<Self, ApiError> {
        let address = call::client_address(request.extensions.get());
        let key = given_key(&request.headers, query.given.remove("key"))?;
        let caller = call::authorize(app, key.as_deref(), address, POLICY_READERS).await?;
        Ok(Self { key, address, tenant: caller.tenant })
    }

    /// The policy once it is not the known one; `None` where it is after the wait.
    async fn changed(
        &self,
        app: &App,
        known: &Known,
        wait: Duration,
    ) -> Result<Option<Arc<Current>>, ApiError> {
        let _waiting = LongPoll::begin();
        let changed = self.tenant.changed(known, wait, app.stop.clone()).await?;
        if changed.is_some() {
            // The key may have been revoked while the request waited.
            call::authorize(app, self.key.as_deref(), self.address, POLICY_READERS).await?;
        }
        Ok(changed)
    }
}

pub(super) fn given_key(
    headers: &HeaderMap,
    query: Option<String>,
) -> Result<Option<String>, ApiError> {
    match (call::bearer(headers)?, query) {
        (Some(header), Some(query)) if header != query => {
            Err(field("key", "", "two different keys are given", "give one key, once"))
        }
        (header, query) => Ok(header.map(str::to_owned).or(query)),
    }
}

/// The fields of a poll, none twice.
pub(super) struct Query {
    /// Values by name; `token` is `key`.
    pub(super) given: HashMap<&'static str, String>,
}

impl Query {
    pub(super) fn parse(request: &Parts, names: &[&'static str]) -> Result<Self, ApiError> {
        let query = request.uri.query().unwrap_or_default();
        let mut given: HashMap<&'static str, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = names.iter().find(|known| **known == name) else {
                let remedy = format!("the fields are {}", names.join(", "));
                return Err(field(&name, &value, "there is no such field", &remedy));
            };
            let known = if *known == "token" { "key" } else { known };
            if given.insert(known, value.into_owned()).is_some() {
                return Err(field(known, "", "the field is given twice", "give it once"));
            }
        }
        Ok(Self { given })
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.given.get(name) else { return Ok(None) };
        let parsed = text.parse::<u64>().map(Some);
        parsed.map_err(|_| field(name, text, "not a whole number", "write digits only"))
    }

    pub(super) fn wait(&self) -> Result<Duration, ApiError> {
        let seconds = self.number("wait")?.unwrap_or(0).min(WAIT_SECONDS_MAX);
        Ok(Duration::from_secs(seconds))
    }

    fn digest(&mut self) -> Result<Option<String>, ApiError> {
        let digest = self.given.remove("digest");
        if let Some(digest) = &digest
            && (digest.len() != DIGEST_CHARS || !digest.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            let remedy = "give the digest of the bundle the node has, or leave it out";
            return Err(field("digest", digest, "not 64 hexadecimal digits", remedy));
        }
        Ok(digest)
    }

    pub(super) fn since(&self) -> Result<Revision, ApiError> {
        let remedy = "write SESSION.GENERATION of the bundle the node has";
        let Some(text) = self.given.get("since") else {
            return Err(field("since", "", "the field is missing", remedy));
        };
        text.parse().map_err(|_| field("since", text, "not two whole numbers", remedy))
    }
}

/// Counts a waiting node for as long as it lives.
struct LongPoll;

impl LongPoll {
    fn begin() -> Self {
        metrics::gauge!("nwaf_api_long_polls").increment(1.0);
        Self
    }
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        metrics::gauge!("nwaf_api_long_polls").decrement(1.0);
    }
}
