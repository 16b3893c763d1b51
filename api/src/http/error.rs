//! Every way a call can fail, with its status, code and words.
//!
//! What a client may read and what the log gets are different texts: a client
//! learns nothing about files, statements or addresses of the server.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policy::Invalid;
use store::{Scope, StoreError};
use wire::v1::Malformed;
use wire::v2::{ErrorBody, FieldError, FileError, Revision};

use crate::peers::Fenced;
use crate::service::ServiceError;

/// Refused values that one answer lists; further ones are counted in the message.
const ERRORS_MAX: usize = 1_000;
/// `Retry-After` of answers whose cause passes soon, in seconds.
const RETRY_SOON_SECONDS: u64 = 1;
/// `Retry-After` of the read-only mode, in seconds.
const RETRY_READ_ONLY_SECONDS: u64 = 30;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request's form is wrong.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The body is of a type that is not understood.
    #[error("the content type {0:?} is not understood")]
    ContentType(String),
    /// The body is compressed.
    #[error("the body is compressed ({0:?})")]
    ContentEncoding(String),
    /// The body broke off, or came too slowly.
    #[error("the body of the request did not arrive")]
    BodyIncomplete,
    /// The body is too large.
    #[error("the body has more than {0} bytes")]
    BodyTooLarge(usize),
    /// Too many large bodies without a key in front are under way.
    #[error("the server is busy with large requests")]
    Overloaded,
    /// Too many connections that last are open.
    #[error("too many {0} are under way")]
    Crowded(&'static str),
    /// No key is given.
    #[error("no key is given")]
    NoKey,
    /// The key is not known.
    #[error("the key is not known")]
    UnknownKey,
    /// Too many wrong keys from one address.
    #[error("too many wrong keys came from this address")]
    TooManyFailures {
        /// When to try again, in seconds.
        retry_seconds: u64,
    },
    /// The key may not do this.
    #[error("the key {name:?} has the scope {}, which does not allow this call", scope.name())]
    Forbidden {
        /// The key's name.
        name: String,
        /// Its scope.
        scope: Scope,
        /// Scopes that would do, beside admin.
        needs: &'static [Scope],
    },
    /// There is no such path.
    #[error("there is no such call")]
    NoSuchCall,
    /// The path exists, the method does not.
    #[error("this call does not have this method")]
    MethodNotAllowed,
    /// A node cannot be told what changed since the bundle it has.
    #[error(
        "there is no delta since {0}: it is too old, of another history or content, or too much changed"
    )]
    DeltaGone(Revision),
    /// The name of a key is taken, maybe in another WAF id.
    #[error("a key with the name {0:?} exists")]
    KeyExists(String),
    /// A read by POST on the condition that the policy has changed, which it has not.
    #[error("the policy is still at {0}, as If-None-Match says")]
    Unchanged(Revision),
    /// A node cannot be told which bans changed since the number it has.
    #[error("what changed in the bans since {0} is not known")]
    BansGone(Revision),
    /// The server takes no writes.
    #[error("the server is in read-only mode")]
    ReadOnly,
    /// See [`Fenced`].
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// See [`ServiceError`].
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A bug; the request's task panicked.
    #[error("the server failed at this request")]
    Panicked,
}

impl From<FileError> for ApiError {
    fn from(why: FileError) -> Self {
        match why {
            FileError::Malformed(why) => Self::Malformed(why),
            FileError::Lines(bad) => Self::Service(ServiceError::BadLines(bad)),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(why: StoreError) -> Self {
        Self::Service(ServiceError::Store(why))
    }
}

impl ApiError {
    /// Status and code.
    pub fn kind(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed(Malformed::Json { .. }) => (S::BAD_REQUEST, "invalid_json"),
            Self::Malformed(Malformed::Field(_)) => (S::BAD_REQUEST, "invalid_field"),
            Self::ContentType(_) => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type"),
            Self::ContentEncoding(_) => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding"),
            Self::BodyIncomplete => (S::REQUEST_TIMEOUT, "body_incomplete"),
            Self::BodyTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Overloaded | Self::Crowded(_) => (S::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NoKey => (S::UNAUTHORIZED, "missing_key"),
            Self::UnknownKey => (S::UNAUTHORIZED, "unknown_key"),
            Self::TooManyFailures { .. } => (S::TOO_MANY_REQUESTS, "too_many_failures"),
            Self::Forbidden { .. } => (S::FORBIDDEN, "forbidden"),
            Self::NoSuchCall => (S::NOT_FOUND, "no_such_call"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::DeltaGone(_) => (S::GONE, "delta_gone"),
            Self::KeyExists(_) => (S::CONFLICT, "exists"),
            Self::Unchanged(_) => (S::PRECONDITION_FAILED, "unchanged"),
            Self::BansGone(_) => (S::GONE, "bans_gone"),
            Self::ReadOnly => (S::SERVICE_UNAVAILABLE, "read_only"),
            Self::Fenced(_) => (S::SERVICE_UNAVAILABLE, "fenced"),
            Self::Panicked => (S::INTERNAL_SERVER_ERROR, "internal"),
            Self::Service(why) => match why {
                ServiceError::Invalid(_) | ServiceError::BadLines(_) => {
                    (S::UNPROCESSABLE_ENTITY, "invalid_value")
                }
                ServiceError::ChangedSince(_) => (S::PRECONDITION_FAILED, "changed_since"),
                ServiceError::OtherRequest(_) => (S::UNPROCESSABLE_ENTITY, "idempotency_mismatch"),
                ServiceError::NotFound(_) => (S::NOT_FOUND, "not_found"),
                ServiceError::NotListed(_) => (S::CONFLICT, "not_listed"),
                ServiceError::Contradicts(_) => (S::CONFLICT, "contradicts"),
                ServiceError::NeedsForce(_) => (S::UNPROCESSABLE_ENTITY, "needs_force"),
                ServiceError::Died(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
                ServiceError::Store(why) => match why {
                    StoreError::Corrupt { .. } => (S::INTERNAL_SERVER_ERROR, "store_corrupt"),
                    StoreError::Exists | StoreError::TooManyWafs | StoreError::TooManyKeys => {
                        (S::CONFLICT, "exists")
                    }
                    StoreError::ReadOnly => (S::SERVICE_UNAVAILABLE, "read_only"),
                    // Removed after the key was found; the key went with it.
                    StoreError::NoWaf(_) => (S::UNAUTHORIZED, "unknown_key"),
                    StoreError::Conflict { .. } | StoreError::Busy(_) => {
                        (S::SERVICE_UNAVAILABLE, "store_busy")
                    }
                    StoreError::Schema(_)
                    | StoreError::NoDatabase(_)
                    | StoreError::NoPermission(_)
                    | StoreError::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable"),
                },
            },
        }
    }

    /// The words for the client.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        let (_, code) = self.kind();
        let refused = self.refused();
        let message = match (self, refused.as_slice()) {
            (_, [only]) if self.refusals() == 1 => only.to_string(),
            (_, [first, ..]) => {
                format!("{first} (and {} more; see errors)", self.refusals() - 1)
            }
            _ => match self.remedy() {
                Some(remedy) => format!("{self}; {remedy}"),
                None => self.to_string(),
            },
        };
        ErrorBody {
            status: "error".to_owned(),
            code: code.to_owned(),
            message,
            errors: refused.into_iter().take(ERRORS_MAX).cloned().map(FieldError::from).collect(),
            request_id: request_id.to_owned(),
        }
    }

    /// Seconds after which it makes sense to try again.
    pub fn retry_seconds(&self) -> Option<u64> {
        match (self, self.kind().1) {
            (Self::TooManyFailures { retry_seconds }, _) => Some(*retry_seconds),
            (_, "read_only" | "fenced") => Some(RETRY_READ_ONLY_SECONDS),
            (_, "store_busy" | "store_unavailable" | "overloaded") => Some(RETRY_SOON_SECONDS),
            _ => None,
        }
    }

    fn refused(&self) -> Vec<&Invalid> {
        match self {
            Self::Malformed(Malformed::Field(why))
            | Self::Service(
                ServiceError::NotFound(why)
                | ServiceError::NotListed(why)
                | ServiceError::Contradicts(why),
            ) => vec![why],
            Self::Service(ServiceError::Invalid(all)) => all.iter().collect(),
            Self::Service(ServiceError::BadLines(bad)) => bad.first.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// How many values are refused, named or not.
    fn refusals(&self) -> usize {
        match self {
            Self::Service(ServiceError::BadLines(bad)) => bad.count,
            other => other.refused().len(),
        }
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Malformed(_) => "correct the text at this position".to_owned(),
            Self::ContentType(_) => {
                "send application/json or application/x-www-form-urlencoded".to_owned()
            }
            Self::ContentEncoding(_) => "send it as it is, without Content-Encoding".to_owned(),
            Self::BodyIncomplete => "send the whole body at once".to_owned(),
            Self::BodyTooLarge(_) => {
                "send less; of a write, body_limit in the server's configuration decides".to_owned()
            }
            Self::Overloaded => {
                "try again; a request with \"Authorization: Bearer KEY\" is not kept waiting"
                    .to_owned()
            }
            Self::Crowded(_) => "end one of yours, or try again later".to_owned(),
            Self::NoKey => {
                "give key (or token) in the body or query, or \"Authorization: Bearer KEY\""
                    .to_owned()
            }
            Self::UnknownKey => "check it, or create one with nwaf-api key create".to_owned(),
            Self::TooManyFailures { retry_seconds } => {
                format!("try again in {retry_seconds} s with the right key")
            }
            Self::Forbidden { needs, .. } => {
                let others: Vec<&str> = needs.iter().map(|scope| scope.name()).collect();
                let scopes = match others.split_last() {
                    None => "admin".to_owned(),
                    Some((last, [])) => format!("admin or {last}"),
                    Some((last, others)) => format!("admin, {} or {last}", others.join(", ")),
                };
                format!("use a key with the scope {scopes}")
            }
            Self::NoSuchCall => "the calls are listed in /nw-api/v2/openapi.json".to_owned(),
            Self::MethodNotAllowed => "the header Allow names those it has".to_owned(),
            Self::DeltaGone(_) => "take the whole policy with GET /nw-api/v2/bundle".to_owned(),
            Self::KeyExists(_) => "choose another name".to_owned(),
            Self::BansGone(_) => "read all bans with GET /nw-api/v2/bans".to_owned(),
            Self::ReadOnly => "write to the primary server, or try again later".to_owned(),
            Self::Fenced(_) => "use that server; bring this one back as its replica".to_owned(),
            Self::Unchanged(_) => "use GET, which is answered with 304".to_owned(),
            Self::Service(ServiceError::ChangedSince(_)) => {
                "read it again, and decide anew whether this change is still wanted".to_owned()
            }
            Self::Service(ServiceError::OtherRequest(_)) => {
                "use a new key for each change".to_owned()
            }
            Self::Service(ServiceError::NeedsForce(_)) => {
                "if this is meant, send it again with \"force\": true beside the key".to_owned()
            }
            Self::Service(ServiceError::Store(why)) => match why {
                StoreError::ReadOnly => Self::ReadOnly.remedy()?,
                StoreError::Corrupt { .. } => {
                    "repair or remove this row, or restore the database from a backup".to_owned()
                }
                _ => "try again".to_owned(),
            },
            _ => return None,
        })
    }
}

/// Carries an error to the frame, which knows the request's id and makes the body.
#[derive(Clone)]
pub struct Failed(pub std::sync::Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind().0;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(Failed(std::sync::Arc::new(self)));
        response
    }
}
