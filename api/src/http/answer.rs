//! Spelling answers.

use std::collections::HashMap;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::Part;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::v2::Revision;

use super::error::ApiError;
use crate::service::Tenant;

/// The session of the answer's policy.
pub const SESSION: HeaderName = HeaderName::from_static("x-nw-session");
/// The generation of the answer's policy.
pub const GENERATION: HeaderName = HeaderName::from_static("x-nw-generation");

/// Text of the vendor's dialect.
pub fn text(revision: Revision, text: String) -> Response {
    of_type("text/plain; charset=utf-8", revision, text)
}

/// JSON of the vendor's dialect, written already.
pub fn json_text(revision: Revision, text: String) -> Response {
    of_type("application/json", revision, text)
}

/// JSON of v2.
pub fn json(revision: Revision, value: &impl Serialize) -> Response {
    json_text(revision, serde_json::to_string(value).expect("plain data has a JSON form"))
}

/// Adds the headers that name a revision.
pub fn at_revision(mut response: Response, revision: Revision) -> Response {
    let headers = response.headers_mut();
    headers.insert(SESSION, HeaderValue::from(revision.session));
    headers.insert(GENERATION, HeaderValue::from(revision.generation));
    response
}

/// The revision that a response names.
pub fn revision(response: &Response) -> Option<Revision> {
    let number = |name| response.headers().get(name)?.to_str().ok()?.parse().ok();
    Some(Revision { session: number(SESSION)?, generation: number(GENERATION)? })
}

fn of_type(label: &'static str, revision: Revision, text: String) -> Response {
    at_revision(([(header::CONTENT_TYPE, label)], text).into_response(), revision)
}

/// Unix milliseconds as RFC 3339.
pub fn rfc3339(unix_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Who wrote the elements of `part`, if the client asks for it.
///
/// # Errors
/// The store does not answer.
pub async fn provenance(
    tenant: &Tenant,
    part: Part,
    extended: bool,
) -> Result<HashMap<String, wire::v1::Provenance>, ApiError> {
    if !extended {
        return Ok(HashMap::new());
    }
    let spelled = |row: store::Provenance| wire::v1::Provenance {
        author: row.author,
        created: rfc3339(row.created_ms),
        updated: rfc3339(row.updated_ms),
    };
    let rows = tenant.store().provenance(tenant.waf(), part).await?;
    Ok(rows.into_iter().map(|(name, row)| (name, spelled(row))).collect())
}
