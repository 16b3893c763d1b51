//! Keys of the caller's WAF id: who may come in. Admins only.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use policy::Invalid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Action, KeyRow, Scope, StoreError};
use utoipa::ToSchema;
use wire::v2::ErrorBody;

use super::App;
use super::answer;
use super::body::{self, READ_BODY_MAX};
use super::call::{self, Caller, ReadCall};
use super::error::ApiError;
use super::segment::Segment;
use super::v2::field;
use crate::key::{self, Digest};
use crate::service::{ServiceError, now_ms};

/// A key by its name.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Its name.
    name: String,
    /// What it may do: admin, node, mlc or read.
    scope: &'static str,
    /// When it was created, RFC 3339.
    created: String,
}

/// Every key of a WAF id.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysView {
    /// Always `success`.
    status: &'static str,
    /// By name.
    keys: Vec<KeyView>,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// A name, unique in the installation: 1-64 of `a-z A-Z 0-9 - _ . @`.
    name: String,
    /// admin, node, mlc or read.
    scope: String,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeKey {
    /// Always `success`.
    status: &'static str,
    /// Its name.
    name: String,
    /// What it may do.
    scope: &'static str,
    /// The key. It cannot be shown again.
    key: String,
}

/// Names and scopes of the keys of this WAF id.
#[utoipa::path(
    get, path = "/keys", tag = "v2", security(("bearer" = [])),
    responses((status = 200, description = "By name", body = KeysView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn list(
    State(app): State<Arc<App>>,
    ReadCall(call): ReadCall,
) -> Result<Response, ApiError> {
    let Caller { tenant, .. } = call.authorize(&[]).await?;
    let (_, keys) = app.service.store().keys().await?;
    let keys = keys.into_iter().filter(|key| key.waf == tenant.waf());
    let keys = keys.map(|key| KeyView {
        name: key.name,
        scope: key.scope.name(),
        created: answer::rfc3339(key.created_ms),
    });
    let view = KeysView { status: "success", keys: keys.collect() };
    Ok(answer::json(tenant.stored_revision().await?, &view))
}

/// Makes a key of this WAF id and shows it, once.
#[utoipa::path(
    post, path = "/keys", tag = "v2", security(("bearer" = [])), request_body = NewKey,
    responses((status = 201, description = "The key, which cannot be shown again", body = MadeKey),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let (parts, body) = request.into_parts();
    let caller = call::authorize(&app, call::bearer(&parts.headers)?, client, &[]).await?;
    caller.expect_writable()?;
    let (body, _) = body::read(&parts.headers, body, READ_BODY_MAX, None).await?;
    let NewKey { name, scope } = wire::v1::parse_body(&body)?;
    key::check_name("key", &name)
        .map_err(|reason| field("name", &name, &reason, "choose another name"))?;
    let scope: Scope = scope
        .parse()
        .map_err(|reason: String| field("scope", &scope, &reason, "choose one of them"))?;
    let key = key::generate().map_err(|why| StoreError::Unavailable(why.to_string().into()))?;
    let row = KeyRow {
        name: name.clone(),
        waf: caller.tenant.waf(),
        scope,
        digest: Digest::of_key(&key).into_string(),
        created_ms: now_ms(),
    };
    let after = json!({"name": name, "scope": scope.name()});
    let action = action(&caller, "keys", json!(null), after);
    match app.service.store().add_key(row, action).await {
        Err(StoreError::Exists) => return Err(ApiError::KeyExists(name)),
        other => other?,
    }
    let made = MadeKey { status: "success", name, scope: scope.name(), key: String::clone(&key) };
    let revision = caller.tenant.stored_revision().await?;
    Ok((StatusCode::CREATED, answer::json(revision, &made)).into_response())
}

/// Revokes a key of this WAF id, at once.
#[utoipa::path(
    delete, path = "/keys/{name}", tag = "v2", security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the key")),
    responses((status = 200, description = "Revoked"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn revoke(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let caller = call::authorize(&app, call::bearer(request.headers())?, client, &[]).await?;
    caller.expect_writable()?;
    if name == caller.actor.key {
        let reason = "a key does not revoke itself";
        return Err(field("name", &name, reason, "use another admin key, or nwaf-api key revoke"));
    }
    let action = action(&caller, "keys", json!({"name": name}), json!(null));
    let waf = caller.tenant.waf();
    if !app.service.store().remove_key(&name, Some(waf), action).await? {
        let reason = "there is no key with this name";
        let why = Invalid::new("name", &name, reason, "GET /nw-api/v2/keys lists them");
        return Err(ServiceError::NotFound(why).into());
    }
    Ok(axum::Json(json!({"status": "success"})).into_response())
}

/// An entry of the action log.
fn action(
    caller: &Caller,
    call: &str,
    before: serde_json::Value,
    after: serde_json::Value,
) -> Action {
    Action {
        at_ms: now_ms(),
        author: caller.actor.key.clone(),
        address: caller.actor.address.clone(),
        call: call.to_owned(),
        before: before.to_string(),
        after: after.to_string(),
        ..Action::default()
    }
}
