//! The reads of the vendor's dialect.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;
use store::{Part, Scope};
use utoipa::ToSchema;
use wire::v1::{RuleLine, SettingLine, spaced_json};
use wire::v2::ErrorBody;

use super::answer;
use super::call::{Caller, ReadCall};
use super::condition;
use super::error::ApiError;
use super::openapi::ReadRequest;
use super::stream;
use crate::service::Current;

/// Scopes that read the policy.
pub const POLICY_READERS: &[Scope] = &[Scope::Node, Scope::Mlc, Scope::Read];
/// Scopes that read what people did.
pub const HISTORY_READERS: &[Scope] = &[Scope::Read];
/// Entries of a block list that is held as one text for each who reads it. A longer one is
/// made while it is sent: many that read slowly would fill the memory.
const WHOLE_ENTRIES_MAX: usize = 10_000;
/// Entries of the action log in one answer.
const ACTIONS_MAX: u32 = 500;

/// The form of an answer, for its entity tag.
pub fn form(extended: bool) -> condition::Form {
    if extended { "extended" } else { "" }
}

/// The active settings; with `extended=yes` the inactive ones, authors and times too.
#[utoipa::path(
    method(get, post), path = "/get_dyn_settings", tag = "v1", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no"),
           ("format" = Option<String>, Query, description = "json; the answer is the same without")),
    responses((status = 200, description = "A flat object: status, active, and a text per setting",
               body = Object),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_settings(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::Settings, extended).await?;
        let lines: Vec<SettingLine<'_>> = current
            .state
            .settings
            .iter()
            .map(|(key, setting)| SettingLine {
                name: key.name(),
                value: &setting.value,
                active: setting.active,
                provenance: provenance.get(key.name()),
            })
            .collect();
        Ok(answer::json_text(current.revision, wire::v1::settings_text(&lines, extended)))
    })
    .await
}

/// The block list in force, an entry a line; with `extended=yes` a JSON object a line.
#[utoipa::path(
    method(get, post), path = "/get_dyn_bl", tag = "v1", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "Entries, then the line {'status': 'success'}",
               body = String, content_type = "text/plain"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_bl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::BlockList, extended).await?;
        let state = &current.state;
        if !extended && state.acting_entries() > WHOLE_ENTRIES_MAX {
            return Ok(long_list(current));
        }
        let entries = state.block_list.iter().map(String::as_str);
        let text = if extended {
            let lines = entries.map(|entry| (entry, provenance.get(entry)));
            wire::v1::block_list_extended_text(state.block_list_active, lines)
        } else {
            wire::v1::block_list_text(entries.take(state.acting_entries()))
        };
        Ok(answer::text(current.revision, text))
    })
    .await
}

/// The acting entries, made while they are sent.
fn long_list(current: Arc<Current>) -> Response {
    let revision = current.revision;
    let (mut writer, body) = stream::body();
    tokio::spawn(async move {
        for entry in current.state.block_list.iter().take(current.state.acting_entries()) {
            writer.buffer().extend_from_slice(entry.as_bytes());
            writer.buffer().push(b'\n');
            // Who left has no use for the rest.
            writer.pass_on().await?;
        }
        let end = wire::v1::block_list_text(std::iter::empty());
        writer.buffer().extend_from_slice(end.as_bytes());
        writer.flush().await
    });
    let label = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    answer::at_revision((label, body).into_response(), revision)
}

/// Every rule, a JSON object a line; with `extended=yes` with author and times.
#[utoipa::path(
    method(get, post), path = "/get_dyn_erl", tag = "v1", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "Rules, then the line {'status': 'success'}",
               body = String, content_type = "text/plain"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_erl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::Rules, extended).await?;
        let lines = current
            .state
            .rules
            .iter()
            .map(|(id, rule)| RuleLine::new(*id, rule, provenance.get(&id.to_string())));
        Ok(answer::text(current.revision, wire::v1::rules_text(lines)))
    })
    .await
}

/// The action log: who changed what, newest first.
#[utoipa::path(
    method(get, post), path = "/get_event_log", tag = "v1", request_body = ReadRequest,
    params(("before" = Option<u64>, Query, description = "Only entries with an id below this one")),
    responses((status = 200, description = "Newest first", body = EventLog),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_event_log(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let Caller { tenant, .. } = call.authorize(HISTORY_READERS).await?;
    let before = call.fields.before.and_then(|id| i64::try_from(id).ok()).unwrap_or(i64::MAX);
    let revision = tenant.stored_revision().await?;
    let actions = tenant.store().actions(tenant.waf(), before, ACTIONS_MAX).await?;
    let logged = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let events = actions
        .into_iter()
        .map(|action| Event {
            id: action.id,
            time: answer::rfc3339(action.at_ms),
            key: action.author,
            address: action.address,
            call: action.call,
            generation: action.generation,
            before: logged(action.before),
            after: logged(action.after),
        })
        .collect();
    let text = spaced_json(&EventLog { status: "success", events });
    Ok(answer::json_text(revision, text))
}

/// The action log, newest entry first.
#[derive(Serialize, ToSchema)]
pub struct EventLog {
    /// Always `success`.
    status: &'static str,
    /// At most 500; older ones with `before`.
    events: Vec<Event>,
}

/// One accepted write.
#[derive(Serialize, ToSchema)]
pub struct Event {
    /// Grows with every entry.
    id: i64,
    /// RFC 3339.
    time: String,
    /// Name of the key.
    key: String,
    /// The client's address.
    address: String,
    /// For example `set_dyn_bl`.
    call: String,
    /// The generation the write made.
    generation: u64,
    /// What was there.
    before: Value,
    /// What is there now.
    after: Value,
}
