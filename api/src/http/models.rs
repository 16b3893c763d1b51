//! Behavioural models: the vendor's calls, and their bytes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policy::limits::MODEL_BYTES;
use policy::{HostPattern, Invalid};
use store::{ModelRow, Scope};
use utoipa::ToSchema;
use wire::v1::{Fields, ModelLine, ModelWrite, ModelsAnswer, models_text};
use wire::v2::ErrorBody;

use super::App;
use super::answer;
use super::body;
use super::call::{self, Call, Caller, ReadCall};
use super::condition;
use super::error::ApiError;
use super::openapi::{ReadRequest, WriteAnswer};
use super::read::POLICY_READERS;
use super::segment::Segment;
use super::write::{make, run};
use crate::service::{NewModel, ServiceError, Write, check_model_bytes};

/// Scopes that store models.
const TRAINERS: &[Scope] = &[Scope::Mlc];
/// The generation that stored the model of the answer.
const VERSION: HeaderName = HeaderName::from_static("x-nw-model-version");

/// Names a virtual host.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ModelName {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// The virtual host; `vhosts` is the same field.
    vhost: String,
}

/// Names two virtual hosts.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ModelCopy {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Whose model is copied.
    src: String,
    /// For whom.
    dst: String,
}

/// The virtual hosts that have a model.
#[utoipa::path(
    method(get, post), path = "/get_models_list_uri", tag = "v1", request_body = ReadRequest,
    responses((status = 200, description = "By name of the host", body = ModelsAnswer),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_models_list_uri(ReadCall(call): ReadCall) -> Result<Response, ApiError> {
    condition::read(call, POLICY_READERS, "", async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let lines = current.state.analysis.models.values().map(|model| ModelLine {
            vhost: model.vhost.clone(),
            version: model.version,
            size: model.size,
            sha256: model.sha256.clone(),
            author: model.author.clone(),
            updated: answer::rfc3339(model.updated_ms),
        });
        Ok(answer::json_text(current.revision, models_text(lines.collect())))
    })
    .await
}

/// Forgets the model of a virtual host.
#[utoipa::path(
    post, path = "/del_models_uri", tag = "v1", request_body = ModelName,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn del_models_uri(call: Call) -> Result<Response, ApiError> {
    run(call, |call| ModelWrite::parse_delete(&call.fields).map(Write::Models)).await
}

/// Gives a virtual host the model of another.
#[utoipa::path(
    post, path = "/rep_models_uri", tag = "v1", request_body = ModelCopy,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn rep_models_uri(call: Call) -> Result<Response, ApiError> {
    run(call, |call| ModelWrite::parse_copy(&call.fields).map(Write::Models)).await
}

/// As v1.
#[utoipa::path(
    method(get, post), path = "/get_models_list_uri", tag = "v2", request_body = ReadRequest,
    responses((status = 200, description = "By name of the host", body = ModelsAnswer),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn v2_get_models_list_uri(call: ReadCall) -> Result<Response, ApiError> {
    get_models_list_uri(call).await
}

/// As v1.
#[utoipa::path(
    post, path = "/del_models_uri", tag = "v2", request_body = ModelName,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_del_models_uri(call: Call) -> Result<Response, ApiError> {
    del_models_uri(call).await
}

/// As v1.
#[utoipa::path(
    post, path = "/rep_models_uri", tag = "v2", request_body = ModelCopy,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_rep_models_uri(call: Call) -> Result<Response, ApiError> {
    rep_models_uri(call).await
}

/// Stores the model of a virtual host: the body is the model.
#[utoipa::path(
    put, path = "/models/{vhost}", tag = "v2", security(("bearer" = [])),
    params(("vhost" = String, Path, description = "The virtual host")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn put_model(
    State(app): State<Arc<App>>,
    Segment(vhost): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let (parts, body) = request.into_parts();
    let admitted = async {
        let key = call::bearer(&parts.headers)?;
        let caller = call::authorize(&app, key, client, TRAINERS).await?;
        caller.expect_writable().map(|()| caller)
    };
    let caller = match admitted.await {
        Ok(caller) => caller,
        Err(why) => return Err(body::refused(&parts.headers, body, why).await),
    };
    let limit = MODEL_BYTES.min(app.live().body_limit);
    let (bytes, _) = body::read(&parts.headers, body, limit, None).await?;
    let terms = condition::terms(&parts.headers, &Fields::default(), || {
        condition::digest("put_model", [vhost.as_bytes(), &bytes])
    })?;
    make(caller, Write::PutModel(NewModel { vhost, bytes: bytes.into() }), terms).await
}

/// The model of a virtual host. `ETag` is its SHA-256.
#[utoipa::path(
    get, path = "/models/{vhost}", tag = "v2", security(("bearer" = [])),
    params(("vhost" = String, Path, description = "The virtual host")),
    responses((status = 200, description = "The model", body = Vec<u8>,
               content_type = "application/octet-stream"),
              (status = 304, description = "The client has it"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_model(
    State(app): State<Arc<App>>,
    Segment(vhost): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let headers = request.headers();
    let caller = call::authorize(&app, call::bearer(headers)?, client, POLICY_READERS).await?;
    let tenant = caller.tenant;
    let vhost = vhost
        .parse::<HostPattern>()
        .map_err(|why| ServiceError::Invalid(vec![why.in_field("vhost")]))?
        .to_string();
    let current = tenant.current().await?;
    let known = current.state.analysis.models.get(&vhost);
    if let Some(known) = known
        && has(headers, &known.sha256)
    {
        let response = described(StatusCode::NOT_MODIFIED.into_response(), known);
        return Ok(answer::at_revision(response, current.revision));
    }
    let Some(model) = tenant.store().model(tenant.waf(), &vhost).await? else {
        let reason = "this virtual host has no model";
        let remedy = "get_models_list_uri lists the hosts that have one";
        let why = Invalid::new("vhost", &vhost, reason, remedy);
        return Err(ServiceError::NotFound(why).into());
    };
    let checking = tokio::task::spawn_blocking(move || check_model_bytes(&model).map(|()| model));
    let model = checking.await.map_err(ServiceError::from)??;
    let label = [(header::CONTENT_TYPE, "application/octet-stream")];
    let response = described((label, model.bytes).into_response(), &model.row);
    Ok(answer::at_revision(response, current.revision))
}

fn described(mut response: Response, model: &ModelRow) -> Response {
    let headers = response.headers_mut();
    let tag = HeaderValue::from_str(&format!("\"{}\"", model.sha256));
    headers.insert(header::ETAG, tag.expect("hexadecimal"));
    headers.insert(VERSION, HeaderValue::from(model.version));
    response
}

/// Whether the client says that it has the model with this digest.
fn has(headers: &HeaderMap, sha256: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == sha256
    })
}
