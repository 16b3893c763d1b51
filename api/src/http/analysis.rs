//! What behavioural analysis is told: its settings, and the list of virtual hosts.

use axum::response::Response;
use policy::MlcKey;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use store::{Part, Scope};
use utoipa::ToSchema;
use wire::v1::{MlcLine, MlcWrite, Provenance, VhostsWrite, mlc_json, mlc_text, vhosts_text};
use wire::v2::ErrorBody;

use super::answer;
use super::call::{Call, Caller, ReadCall};
use super::condition;
use super::error::ApiError;
use super::openapi::{ReadRequest, WriteAnswer};
use super::read::{POLICY_READERS, form};
use super::write::run;
use crate::service::Write;

/// Scopes that read how detection is set and how far training is.
pub const ANALYSIS_READERS: &[Scope] = &[Scope::Mlc, Scope::Read];

/// A write of settings: exactly one of `set` and `del`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct MlcRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Settings by name: flags, numbers, arrays of texts; texts are understood for all of
    /// them. `active` (default true) says whether they act.
    #[schema(value_type = Option<Object>)]
    set: Option<()>,
    /// One name, names with commas between, or an array of names; `brute__`, `ddos__` and
    /// `main__` may be left out where the rest is unique.
    del: Option<String>,
}

/// A write of the list of virtual hosts.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct VhostsRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// The whole new list: names with commas between, or an array.
    vhosts_list: String,
}

/// A setting with what is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlcView {
    /// A flag, a number or an array of texts.
    value: Value,
    /// Whether it acts.
    active: bool,
    /// Given with `extended=yes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<Provenance>,
}

/// Every setting.
#[derive(Debug, Serialize, ToSchema)]
pub struct MlcSettingsView {
    /// Those that are set, inactive ones included, by name.
    settings: BTreeMap<String, MlcView>,
    /// What is in force: of every setting what is set and acts, else its default.
    effective: BTreeMap<String, Value>,
}

/// The list of virtual hosts.
#[derive(Debug, Serialize, ToSchema)]
pub struct VhostsView {
    /// In the order in which they were given.
    vhosts: Vec<String>,
}

/// The settings of behavioural analysis that are set and act; with `extended=yes` the
/// inactive ones, authors and times too.
#[utoipa::path(
    method(get, post), path = "/get_mlc_settings", tag = "v1", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no"),
           ("format" = Option<String>, Query, description = "json; the answer is the same without")),
    responses((status = 200, description = "A flat object: status, active, and a value per setting",
               body = Object),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_mlc_settings(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, ANALYSIS_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::Mlc, extended).await?;
        let settings = current.state.analysis.mlc.iter();
        let lines: Vec<MlcLine<'_>> = settings
            .map(|(key, setting)| MlcLine {
                key: *key,
                value: &setting.value,
                active: setting.active,
                provenance: provenance.get(key.name()),
            })
            .collect();
        Ok(answer::json_text(current.revision, mlc_text(&lines, extended)))
    })
    .await
}

/// Sets (`set`) or removes (`del`) settings of behavioural analysis.
#[utoipa::path(
    post, path = "/set_mlc_settings", tag = "v1", request_body = MlcRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_mlc_settings(call: Call) -> Result<Response, ApiError> {
    run(call, |call| MlcWrite::parse(&call.fields).map(Write::Mlc)).await
}

/// The virtual hosts that models are made for and applied to.
#[utoipa::path(
    method(get, post), path = "/get_vhosts_list", tag = "v1", request_body = ReadRequest,
    responses((status = 200, description = "{'status': 'success', 'vhosts_list': '[\"a.com\"]'}",
               body = String, content_type = "text/plain"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_vhosts_list(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    condition::read(call, POLICY_READERS, "", async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let vhosts = current.state.analysis.vhosts.iter().map(String::as_str);
        Ok(answer::text(current.revision, vhosts_text(vhosts)))
    })
    .await
}

/// Replaces the list of virtual hosts. Who is no longer listed loses the training, not
/// the model.
#[utoipa::path(
    post, path = "/set_vhosts_list", tag = "v1", request_body = VhostsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_vhosts_list(call: Call) -> Result<Response, ApiError> {
    run(call, |call| VhostsWrite::parse(&call.fields).map(Write::Vhosts)).await
}

/// The settings of behavioural analysis: those that are set, and what is in force.
#[utoipa::path(
    method(get, post), path = "/get_mlc_settings", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "By name", body = MlcSettingsView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn v2_get_mlc_settings(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, ANALYSIS_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let mut provenance = answer::provenance(&tenant, Part::Mlc, extended).await?;
        let analysis = &current.state.analysis;
        let settings = analysis.mlc.iter().map(|(key, setting)| {
            let view = MlcView {
                value: mlc_json(&setting.value),
                active: setting.active,
                provenance: provenance.remove(key.name()),
            };
            (key.name().to_owned(), view)
        });
        let in_force = analysis.settings();
        let effective =
            MlcKey::ALL.map(|key| (key.name().to_owned(), mlc_json(&in_force.value(key))));
        let view = MlcSettingsView { settings: settings.collect(), effective: effective.into() };
        Ok(answer::json(current.revision, &view))
    })
    .await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_mlc_settings", tag = "v2", request_body = MlcRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_mlc_settings(call: Call) -> Result<Response, ApiError> {
    set_mlc_settings(call).await
}

/// The virtual hosts that models are made for and applied to.
#[utoipa::path(
    method(get, post), path = "/get_vhosts_list", tag = "v2", request_body = ReadRequest,
    responses((status = 200, description = "The list", body = VhostsView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn v2_get_vhosts_list(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    condition::read(call, POLICY_READERS, "", async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let vhosts = (*current.state.analysis.vhosts).clone();
        Ok(answer::json(current.revision, &VhostsView { vhosts }))
    })
    .await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_vhosts_list", tag = "v2", request_body = VhostsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_vhosts_list(call: Call) -> Result<Response, ApiError> {
    set_vhosts_list(call).await
}
