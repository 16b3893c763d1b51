//! Our own calls but the long polls: reports of nodes, JSON reads.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::{AgentRow, Part, Scope};
use utoipa::ToSchema;
use wire::v1::{Malformed, Provenance, RuleLine};
use wire::v2::{AgentReport, AgentState, ErrorBody, Revision};

use super::App;
use super::answer;
use super::body::{self, READ_BODY_MAX};
use super::call::{self, Caller, ReadCall};
use super::condition;
use super::error::ApiError;
use super::openapi::ReadRequest;
use super::read::{HISTORY_READERS, POLICY_READERS, form};
use crate::service::now_ms;

/// Scopes that report.
const REPORTERS: &[Scope] = &[Scope::Node];
/// Longest name of a node, in characters.
const NODE_CHARS_MAX: usize = 128;
/// Longest reason of a report, in characters.
const REASON_CHARS_MAX: usize = 1_024;

/// What a node did with a bundle.
#[utoipa::path(
    post, path = "/report", tag = "v2", security(("bearer" = [])), request_body = AgentReport,
    responses((status = 200, description = "Kept"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn report(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let (parts, body) = request.into_parts();
    let caller = call::authorize(&app, call::bearer(&parts.headers)?, client, REPORTERS).await?;
    let (body, _) = body::read(&parts.headers, body, READ_BODY_MAX, None).await?;
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
    let is_writable = caller.expect_writable().is_ok();
    app.service.put_agent(caller.tenant.waf(), agent, is_writable).await?;
    Ok(axum::Json(serde_json::json!({"status": "success"})).into_response())
}

/// A node's latest report.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agent {
    /// Name of the node.
    node: String,
    /// The bundle the report is about.
    revision: Revision,
    /// What became of it.
    state: AgentState,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
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
    let Caller { tenant, .. } = call.authorize(HISTORY_READERS).await?;
    let revision = tenant.stored_revision().await?;
    let agents = app.service.agents(tenant.waf()).await?;
    let agents = agents
        .into_iter()
        .map(|row| Agent {
            node: row.report.node,
            revision: row.report.revision,
            state: row.report.state,
            reason: row.report.reason,
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
pub async fn get_dyn_settings(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let mut provenance = answer::provenance(&tenant, Part::Settings, extended).await?;
        let settings = current.state.settings.iter().map(|(key, setting)| {
            let view = SettingView {
                value: setting.value.clone(),
                active: setting.active,
                provenance: provenance.remove(key.name()),
            };
            (key.name().to_owned(), view)
        });
        Ok(answer::json(current.revision, &SettingsView { settings: settings.collect() }))
    })
    .await
}

/// The block list.
#[utoipa::path(
    method(get, post), path = "/get_dyn_bl", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "The list", body = BlockListView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_bl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::BlockList, extended).await?;
        let view = BlockListView {
            active: current.state.block_list_active,
            bl: (*current.state.block_list).clone(),
            provenance,
        };
        Ok(answer::json(current.revision, &view))
    })
    .await
}

/// Every rule.
#[utoipa::path(
    method(get, post), path = "/get_dyn_erl", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "By id", body = RulesView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_erl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::Rules, extended).await?;
        let rules = current.state.rules.iter();
        let erl = rules.map(|(id, rule)| RuleLine::new(*id, rule, provenance.get(&id.to_string())));
        Ok(answer::json(current.revision, &RulesView { erl: erl.collect() }))
    })
    .await
}

/// A field of a request that cannot be used.
pub(super) fn field(name: &str, value: &str, reason: &str, remedy: &str) -> ApiError {
    Malformed::field(name, value, reason, remedy).into()
}
