//! Signature exclusions: `get_dyn_wl` and `set_dyn_wl`, in both dialects.

use axum::response::Response;
use serde::Serialize;
use store::Part;
use utoipa::ToSchema;
use wire::v1::{ExclusionLine, ExclusionWrite, exclusions_text};
use wire::v2::ErrorBody;

use super::answer;
use super::call::{Call, Caller, ReadCall};
use super::condition;
use super::error::ApiError;
use super::openapi::{ReadRequest, WriteAnswer};
use super::read::{POLICY_READERS, form};
use super::write::run;
use crate::service::Write;

/// A write of exclusions: exactly one of `add`, `upd` and `del`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ExclusionsRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// A new exclusion, without `rid`.
    add: Option<ExclusionFields>,
    /// `rid` and the fields that change; `""` clears one.
    upd: Option<ExclusionFields>,
    /// `rid` of the exclusion to remove.
    del: Option<ExclusionName>,
}

/// Names an exclusion.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ExclusionName {
    /// The id, or its decimal text; `id` is the same field.
    rid: u64,
}

/// An exclusion. What it does not name is no restriction.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ExclusionFields {
    /// `upd` only; `id` is the same field.
    rid: Option<u64>,
    /// Number of a signature, or `*`.
    rl_id: Option<String>,
    /// Host pattern, plain or base64.
    domain: Option<String>,
    /// Zones joined by `|`: URL, ARGS, BODY, HEADERS, COOKIE, UA, REFERER.
    mz: Option<String>,
    /// Conditions on the request: `$URL:text|$ARGS_X:regex`.
    extension: Option<String>,
    /// What the text that was found has to contain.
    pattern: Option<String>,
    /// For people.
    comment: Option<String>,
    /// Whether it takes part.
    active: Option<bool>,
}

/// An exclusion as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExclusionView {
    /// Identity.
    id: u64,
    /// Whether it takes part.
    active: bool,
    /// Number of a signature, or `*`.
    rl_id: String,
    /// Host pattern.
    domain: String,
    /// Zones joined by `|`; empty for all.
    mz: String,
    /// Conditions on the request.
    extension: String,
    /// What the text that was found has to contain.
    pattern: String,
    /// For people.
    comment: String,
    /// Given with `extended=yes`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    provenance: Option<wire::v1::Provenance>,
}

/// Every exclusion, inactive ones included.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExclusionsView {
    /// In the order of ids.
    wl: Vec<ExclusionView>,
}

/// Every exclusion, a line each; with `extended=yes` with comment, author and times.
#[utoipa::path(
    method(get, post), path = "/get_dyn_wl", tag = "v1", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "Exclusions, then the line {'status': 'success'}",
               body = String, content_type = "text/plain"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_dyn_wl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let provenance = answer::provenance(&tenant, Part::Exclusions, extended).await?;
        let lines = current.state.exclusions.iter().map(|(id, exclusion)| ExclusionLine {
            id: *id,
            exclusion,
            provenance: provenance.get(&id.to_string()),
        });
        Ok(answer::text(current.revision, exclusions_text(lines, extended)))
    })
    .await
}

/// Adds (`add`), changes (`upd`) or removes (`del`) a signature exclusion.
#[utoipa::path(
    post, path = "/set_dyn_wl", tag = "v1", request_body = ExclusionsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_dyn_wl(call: Call) -> Result<Response, ApiError> {
    run(call, |call| {
        ExclusionWrite::parse(&call.fields).map(|write| Write::Exclusions(Box::new(write)))
    })
    .await
}

/// Every exclusion.
#[utoipa::path(
    method(get, post), path = "/get_dyn_wl", tag = "v2", request_body = ReadRequest,
    params(("extended" = Option<String>, Query, description = "yes or no")),
    responses((status = 200, description = "By id", body = ExclusionsView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn v2_get_dyn_wl(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    let extended = call.fields.extended.unwrap_or(false);
    let form = form(extended);
    condition::read(call, POLICY_READERS, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let mut provenance = answer::provenance(&tenant, Part::Exclusions, extended).await?;
        let wl = current.state.exclusions.iter().map(|(id, exclusion)| {
            let text = (**exclusion).clone();
            ExclusionView {
                id: *id,
                active: text.active,
                rl_id: text.rl_id,
                domain: text.domain,
                mz: text.mz,
                extension: text.extension,
                pattern: text.pattern,
                comment: text.comment,
                provenance: provenance.remove(&id.to_string()),
            }
        });
        Ok(answer::json(current.revision, &ExclusionsView { wl: wl.collect() }))
    })
    .await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_dyn_wl", tag = "v2", request_body = ExclusionsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_dyn_wl(call: Call) -> Result<Response, ApiError> {
    set_dyn_wl(call).await
}
