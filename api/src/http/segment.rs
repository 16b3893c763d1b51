//! A piece of the path that names something: a key, a virtual host, an id.
//!
//! It is text of visible characters, or the request is refused before anybody looks for what
//! it names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use wire::v1::Malformed;

use super::error::ApiError;

/// What stands in the place of the only `{...}` of a path, decoded.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |value: &str, reason| {
            let remedy = "write the name in UTF-8, other than a-z A-Z 0-9 - _ . as %XX";
            ApiError::from(Malformed::field("path", value, reason, remedy))
        };
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(refuse(parts.uri.path(), "a name in it is not UTF-8"));
        };
        if text.chars().any(char::is_control) {
            return Err(refuse(&text, "a name in it has a control character"));
        }
        Ok(Self(text))
    }
}
