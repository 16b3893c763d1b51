//! Our own calls: whole bundles with long poll, reports of nodes, JSON reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use wire::v1::{Malformed, Provenance, RuleLine};
use wire::v2::{AgentReport, Bundle, ErrorBody, Revision, WAIT_SECONDS_MAX};

use super::App;
use super::answer;
use super::body::{self, READ_BODY_MAX};
use super::call::{self, ReadCall};
use super::error::ApiError;
use super::openapi::ReadRequest;
use super::read::{HISTORY_READERS, POLICY_READERS};
use crate::key::Scope;
use crate::service::{Current, Known, now_ms};
use crate::store::{AgentRow, Part};

/// Longest name of a node, in characters.
const NODE_CHARS_MAX: usize = 128;
/// Hexadecimal digits of a digest.
const DIGEST_CHARS: usize = 64;
/// Longest reason of a report, in characters.
const REASON_CHARS_MAX: usize = 1_024;

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
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn bundle(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let query = BundleQuery::parse(request.uri().query().unwrap_or_default())?;
    let key = match (call::bearer(request.headers())?, query.key.as_deref()) {
        (Some(header), Some(query)) if header != query => {
            return Err(field("key", "", "two different keys are given", "give one key, once"));
        }
        (header, query) => header.or(query),
    };
    call::authorize(&app, key, client, POLICY_READERS).await?;
    let current = match &query.known {
        None => app.service.current().await?,
        Some(known) => {
            let _waiting = LongPoll::begin();
            match app.service.changed(known, query.wait, app.stop.clone()).await? {
                Some(current) => {
                    // The key may have been revoked while the request waited.
                    call::authorize(&app, key, client, POLICY_READERS).await?;
                    current
                }
                None => {
                    let response = StatusCode::NO_CONTENT.into_response();
                    return Ok(answer::at_revision(response, known.revision));
                }
            }
        }
    };
    let revision = current.revision;
    let json = bundle_json(current).await?;
    let response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    Ok(answer::at_revision(response, revision))
}

async fn bundle_json(current: Arc<Current>) -> Result<Bytes, ApiError> {
    let json = if current.has_bundle() {
        current.bundle()
    } else {
        tokio::task::spawn_blocking(move || current.bundle())
            .await
            .map_err(crate::service::ServiceError::from)?
    };
    Ok(Bytes::from_owner(json))
}

struct BundleQuery {
    key: Option<String>,
    known: Option<Known>,
    wait: Duration,
}

impl BundleQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        const NAMES: [&str; 6] = ["key", "token", "session", "generation", "digest", "wait"];
        let mut given: HashMap<&'static str, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = NAMES.into_iter().find(|known| *known == name) else {
                let remedy = format!("the fields are {}", NAMES.join(", "));
                return Err(field(&name, &value, "there is no such field", &remedy));
            };
            let known = if known == "token" { "key" } else { known };
            if given.insert(known, value.into_owned()).is_some() {
                return Err(field(known, "", "the field is given twice", "give it once"));
            }
        }
        let digest = given.remove("digest");
        if let Some(digest) = &digest
            && (digest.len() != DIGEST_CHARS || !digest.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            let remedy = "give the digest of the bundle the node has, or leave it out";
            return Err(field("digest", digest, "not 64 hexadecimal digits", remedy));
        }
        let number = |name: &str| {
            let Some(text) = given.get(name) else { return Ok(None) };
            let parsed = text.parse::<u64>().map(Some);
            parsed.map_err(|_| field(name, text, "not a whole number", "write digits only"))
        };
        let known = match (number("session")?, number("generation")?) {
            (Some(session), Some(generation)) => {
                Some(Known { revision: Revision { session, generation }, digest })
            }
            (None, None) => None,
            (session, _) => {
                let missing = if session.is_none() { "session" } else { "generation" };
                let reason = "session and generation belong together";
                return Err(field(
                    missing,
                    "",
                    reason,
                    "give both, or none for the bundle at once",
                ));
            }
        };
        let wait = number("wait")?.unwrap_or(0).min(WAIT_SECONDS_MAX);
        Ok(Self { key: given.remove("key"), known, wait: Duration::from_secs(wait) })
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

/// What a node did with a bundle.
#[utoipa::path(
    post, path = "/report", tag = "v2", security(("bearer" = [])), request_body = AgentReport,
    responses((status = 200, description = "Kept"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn report(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let (parts, body) = request.into_parts();
    call::authorize(&app, call::bearer(&parts.headers)?, client, &[Scope::Node]).await?;
    let (body, _) = body::read(&parts.headers, body, READ_BODY_MAX, None).await?;
    if app.live().read_only {
        return Err(ApiError::ReadOnly);
    }
    let report: AgentReport = wire::v1::parse_body(&body)?;
    if report.node.is_empty()
        || report.node.chars().count() > NODE_CHARS_MAX
        || report.node.chars().any(char::is_control)
    {
        let reason = format!(
            "a name of a node has 1-{NODE_CHARS_MAX} characters, none of them a control character"
        );
        return Err(field("node", &report.node, &reason, "give the host's name"));
    }
    let reason = report.reason.as_deref().unwrap_or_default();
    if reason.chars().count() > REASON_CHARS_MAX {
        let why = format!("a reason has at most {REASON_CHARS_MAX} characters");
        return Err(field("reason", reason, &why, "shorten it"));
    }
    if reason.chars().any(char::is_control) {
        let why = "a reason is one line without control characters";
        return Err(field("reason", reason, why, "replace them by spaces"));
    }
    let Revision { session, generation } = report.revision;
    for (name, number) in [("revision.session", session), ("revision.generation", generation)] {
        if i64::try_from(number).is_err() {
            let why = format!("a number is at most {}", i64::MAX);
            return Err(field(name, &number.to_string(), &why, "give the bundle's revision"));
        }
    }
    let agent = AgentRow { report, address: client.to_string(), at_ms: now_ms() };
    app.service.store().put_agent(agent).await?;
    Ok(axum::Json(serde_json::json!({"status": "success"})).into_response())
}

/// A node's latest report.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agent {
    /// The report.
    #[serde(flatten)]
    report: AgentReport,
    /// The address it came from.
    address: String,
    /// When it came, RFC 3339.
    time: String,
}

/// The latest report of every node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agents {
    /// Always `success`.
    status: &'static str,
    /// The revision nodes should have.
    revision: Revision,
    /// By name.
    agents: Vec<Agent>,
}

/// Every node that ever reported, with its latest report.
#[utoipa::path(
    get, path = "/agents", tag = "v2", security(("bearer" = [])),
    responses((status = 200, description = "Nodes by name", body = Agents),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn agents(
    State(app): State<Arc<App>>,
    ReadCall(call): ReadCall,
) -> Result<Response, ApiError> {
    call.authorize(HISTORY_READERS).await?;
    let revision = app.service.store().revision().await?;
    let agents = app.service.store().agents().await?;
    let agents = agents
        .into_iter()
        .map(|row| Agent {
            report: row.report,
            address: row.address,
            time: answer::rfc3339(row.at_ms),
        })
        .collect();
    Ok(answer::json(revision, &Agents { status: "success", revision, agents }))
}

/// A setting with what is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingView {
    /// Its value.
    value: String,
    /// Whether it acts.
    active: bool,
    /// Given with `extended=yes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<Provenance>,
}

/// Every setting, inactive ones included.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingsView {
    /// By name.
    settings: std::collections::BTreeMap<String, SettingView>,
}

/// The block list.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockListView {
    /// Whether it acts.
    active: bool,
    /// Its entries, also where it does not act.
    bl: Vec<String>,
    /// By entry; given with `extended=yes`.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    provenance: HashMap<String, Provenance>,
}

/// Every rule, inactive ones included.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulesView {
    /// In the order of ids.
    erl: Vec<RuleLine>,
}

/// Every setting.
#[utoipa::path(
    method(get, post), path = "/get_dyn_settings", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "By name", body = SettingsView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_settings(
    State(app): State<Arc<App>>,
    ReadCall(call): ReadCall,
) -> Result<Response, ApiError> {
    call.authorize(POLICY_READERS).await?;
    let current = app.service.current().await?;
    let extended = call.fields.extended.unwrap_or(false);
    let mut provenance = answer::provenance(&app.service, Part::Settings, extended).await?;
    let settings = current.state.settings.iter().map(|(key, setting)| {
        let view = SettingView {
            value: setting.value.clone(),
            active: setting.active,
            provenance: provenance.remove(key.name()),
        };
        (key.name().to_owned(), view)
    });
    Ok(answer::json(current.revision, &SettingsView { settings: settings.collect() }))
}

/// The block list.
#[utoipa::path(
    method(get, post), path = "/get_dyn_bl", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "The list", body = BlockListView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_bl(
    State(app): State<Arc<App>>,
    ReadCall(call): ReadCall,
) -> Result<Response, ApiError> {
    call.authorize(POLICY_READERS).await?;
    let current = app.service.current().await?;
    let extended = call.fields.extended.unwrap_or(false);
    let provenance = answer::provenance(&app.service, Part::BlockList, extended).await?;
    let view = BlockListView {
        active: current.state.block_list_active,
        bl: (*current.state.block_list).clone(),
        provenance,
    };
    Ok(answer::json(current.revision, &view))
}

/// Every rule.
#[utoipa::path(
    method(get, post), path = "/get_dyn_erl", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "By id", body = RulesView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_erl(
    State(app): State<Arc<App>>,
    ReadCall(call): ReadCall,
) -> Result<Response, ApiError> {
    call.authorize(POLICY_READERS).await?;
    let current = app.service.current().await?;
    let extended = call.fields.extended.unwrap_or(false);
    let provenance = answer::provenance(&app.service, Part::Rules, extended).await?;
    let rules = current.state.rules.iter();
    let erl = rules.map(|(id, rule)| RuleLine::new(*id, rule, provenance.get(&id.to_string())));
    Ok(answer::json(current.revision, &RulesView { erl: erl.collect() }))
}

fn field(name: &str, value: &str, reason: &str, remedy: &str) -> ApiError {
    Malformed::field(name, value, reason, remedy).into()
}
