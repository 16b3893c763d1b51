//! The writes. v2 has the same ones: their answers were JSON from the beginning.

use axum::http::HeaderValue;
use axum::response::Response;
use wire::v1::{BlockListWrite, RuleWrite, SettingsWrite, spaced_json};
use wire::v2::ErrorBody;

use super::answer;
use super::call::{Call, Caller};
use super::condition::{self, IDEMPOTENCY_REPLAYED};
use super::error::ApiError;
use super::openapi::{
    BlockListRequest, RulesRequest, SettingsRequest, ValidateAnswer, WriteAnswer,
};
use crate::service::{Foreseen, Outcome, Terms, Write};

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
    if !call.fields.validate_only {
        caller.expect_writable()?;
    }
    let write = parse(&call)?;
    let terms = condition::terms(&call.parts.headers, &call.fields, || {
        condition::fields_digest(write.call(), &call.fields)
    })?;
    // The texts of the operation are not needed any more, and may be large.
    drop(call);
    make(caller, write, terms).await
}

/// Makes a change that was understood in form, for somebody who may.
pub(super) async fn make(caller: Caller, write: Write, terms: Terms) -> Result<Response, ApiError> {
    let name = write.call();
    answer(name, caller.tenant.write(caller.actor, write, terms).await?)
}

/// Spells what came of a write.
pub fn answer(call: &'static str, outcome: Outcome) -> Result<Response, ApiError> {
    let (written, is_replayed) = match outcome {
        Outcome::Foreseen(foreseen) => return Ok(foreseen_answer(foreseen)),
        Outcome::Done(written) => (written, false),
        Outcome::Replayed(written) => (written, true),
    };
    if written.moved && !is_replayed {
        metrics::counter!("nwaf_api_writes_total", "call" => call).increment(1);
    }
    let revision = written.revision;
    let body = WriteAnswer {
        status: "success",
        session: revision.session,
        generation: revision.generation,
        id: written.id,
        diff: written.diff,
    };
    let response = answer::json_text(revision, spaced_json(&body));
    let mut response = condition::tagged(response, revision, "");
    if is_replayed {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn foreseen_answer(foreseen: Foreseen) -> Response {
    let Foreseen { base, next, needs_force, id, diff } = foreseen;
    let body = ValidateAnswer {
        status: "success",
        validate: "only",
        session: base.session,
        generation: base.generation,
        next_generation: next.generation,
        needs_force: needs_force.map(|danger| danger.to_string()),
        id,
        diff,
    };
    answer::json_text(base, spaced_json(&body))
}
