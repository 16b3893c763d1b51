//! The writes. v2 has the same ones: their answers were JSON from the beginning.

use axum::response::Response;
use wire::v1::{BlockListWrite, RuleWrite, SettingsWrite, spaced_json};
use wire::v2::ErrorBody;

use super::answer;
use super::call::{Call, Caller};
use super::error::ApiError;
use super::openapi::{BlockListRequest, RulesRequest, SettingsRequest, WriteAnswer};
use crate::service::Write;

/// Sets (`set`) or removes (`del`) settings.
#[utoipa::path(
    post, path = "/set_dyn_settings", tag = "v1", request_body = SettingsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_dyn_settings(call: Call) -> Result<Response, ApiError> {
    run(call, |call| SettingsWrite::parse(&call.fields).map(Write::Settings)).await
}

/// Replaces the block list (`set`), or removes entries or all of it (`del`).
#[utoipa::path(
    post, path = "/set_dyn_bl", tag = "v1", request_body = BlockListRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_dyn_bl(call: Call) -> Result<Response, ApiError> {
    run(call, |call| BlockListWrite::parse(&call.fields).map(Write::BlockList)).await
}

/// Adds (`add`), changes (`upd`) or removes (`del`) an extended rule.
#[utoipa::path(
    post, path = "/set_dyn_erl", tag = "v1", request_body = RulesRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_dyn_erl(call: Call) -> Result<Response, ApiError> {
    run(call, |call| RuleWrite::parse(&call.fields).map(|write| Write::Rules(Box::new(write))))
        .await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_dyn_settings", tag = "v2", request_body = SettingsRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_dyn_settings(call: Call) -> Result<Response, ApiError> {
    set_dyn_settings(call).await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_dyn_bl", tag = "v2", request_body = BlockListRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_dyn_bl(call: Call) -> Result<Response, ApiError> {
    set_dyn_bl(call).await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_dyn_erl", tag = "v2", request_body = RulesRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_dyn_erl(call: Call) -> Result<Response, ApiError> {
    set_dyn_erl(call).await
}

/// One write: key before form, form before values, values before the store.
pub(super) async fn run(
    call: Call,
    parse: impl FnOnce(&Call) -> Result<Write, wire::v1::Malformed>,
) -> Result<Response, ApiError> {
    let caller = call.authorize(&[]).await?;
    caller.expect_writable()?;
    let write = parse(&call)?;
    make(caller, write, call.fields.force.unwrap_or(false)).await
}

/// Makes a change that was understood in form, for somebody who may.
pub(super) async fn make(caller: Caller, write: Write, force: bool) -> Result<Response, ApiError> {
    let name = write.call();
    let written = caller.tenant.write(caller.actor, write, force).await?;
    if written.moved {
        metrics::counter!("nwaf_api_writes_total", "call" => name).increment(1);
    }
    let body = WriteAnswer {
        status: "success",
        session: written.revision.session,
        generation: written.revision.generation,
        id: written.id,
    };
    Ok(answer::json_text(written.revision, spaced_json(&body)))
}
