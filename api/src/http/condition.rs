//! Requests on a condition: reads of what changed, writes to what one has seen, writes
//! that happen once.
//!
//! An entity tag is the revision, `"SESSION.GENERATION"`, and a word where parameters choose
//! another form of the answer. A read that matches costs a question to the store and
//! renders nothing. As HTTP has it, a match is 304 for GET, and 412 for POST; who reads by
//! POST gives `rev`, for which a match is 204.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use store::Scope;
use wire::v1::{Fields, Malformed};
use wire::v2::Revision;

use super::answer;
use super::call::{Call, Caller};
use super::error::ApiError;
use crate::key;
use crate::service::{Once, Terms};

/// Names a write for who may have to repeat it.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is that to an earlier request.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Characters of an `Idempotency-Key`; a UUID has 36.
const IDEMPOTENCY_KEY_MAX: usize = 128;
/// Entity tags in one header.
const TAGS_MAX: usize = 32;

/// The form of an answer that parameters choose; empty for the usual one.
pub type Form = &'static str;

/// Answers a read whose form is `form`: by `render`, or with the news that there are none.
///
/// # Errors
/// No key of `scopes`, a condition that cannot be understood, whatever `render` says.
pub async fn read<Render, Rendered>(
    call: Call,
    scopes: &'static [Scope],
    form: Form,
    render: Render,
) -> Result<Response, ApiError>
where
    Render: FnOnce(Call, Caller) -> Rendered,
    Rendered: Future<Output = Result<Response, ApiError>>,
{
    let caller = call.authorize(scopes).await?;
    if let Some(present) = caller.revision {
        if call.fields.rev == Some(present) {
            return Ok(unchanged(StatusCode::NO_CONTENT, present, form));
        }
        if none_match(&call.parts.headers)?.iter().any(|known| known.is(present, form)) {
            return match call.parts.method {
                Method::GET | Method::HEAD => {
                    Ok(unchanged(StatusCode::NOT_MODIFIED, present, form))
                }
                _ => Err(ApiError::Unchanged(present)),
            };
        }
    }
    let response = render(call, caller).await?;
    Ok(match answer::revision(&response) {
        Some(revision) => tagged(response, revision, form),
        None => response,
    })
}

/// That the client has the present answer.
pub fn unchanged(status: StatusCode, present: Revision, form: Form) -> Response {
    tagged(answer::at_revision(status.into_response(), present), present, form)
}

/// Adds the entity tag.
pub fn tagged(mut response: Response, revision: Revision, form: Form) -> Response {
    let dot = if form.is_empty() { "" } else { "." };
    let tag = HeaderValue::from_str(&format!("\"{revision}{dot}{form}\""));
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// An entity tag of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// `*`, which matches whatever there is.
    Any,
    /// One of ours: the revision, and the form.
    Ours(Revision, String),
    /// Another one, which matches nothing.
    Foreign,
}

impl Known {
    /// Whether it names an answer.
    fn is(&self, revision: Revision, form: Form) -> bool {
        match self {
            Self::Any => true,
            Self::Ours(of, known_form) => *of == revision && known_form == form,
            Self::Foreign => false,
        }
    }
}

/// What the client has, by `If-None-Match`.
///
/// # Errors
/// The header is no list of entity tags.
pub fn none_match(headers: &HeaderMap) -> Result<Vec<Known>, ApiError> {
    tags(headers, &header::IF_NONE_MATCH)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Known>, ApiError> {
    let mut known = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or("\u{fffd}");
        for tag in text.split(',').map(str::trim) {
            let refuse = |reason| {
                let remedy = "write an entity tag in quotation marks: \"SESSION.GENERATION\"";
                ApiError::from(Malformed::field(name.as_str(), text, reason, remedy))
            };
            if known.len() == TAGS_MAX {
                return Err(refuse("there are more than 32 entity tags"));
            }
            if tag == "*" {
                known.push(Known::Any);
                continue;
            }
            // A proxy that compresses calls the tag weak; it names the same revision.
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let inner = inner.ok_or_else(|| refuse("this is no entity tag"))?;
            let numbers: Vec<&str> = inner.splitn(3, '.').collect();
            let form = numbers.get(2).copied().unwrap_or_default().to_owned();
            let revision = numbers.get(..2).and_then(|two| two.join(".").parse().ok());
            known.push(revision.map_or(Known::Foreign, |revision| Known::Ours(revision, form)));
        }
    }
    Ok(known)
}

/// The terms of a write: its conditions from the headers, `digest` of what it asks.
///
/// # Errors
/// A header cannot be understood.
pub fn terms(
    headers: &HeaderMap,
    fields: &Fields,
    digest: impl FnOnce() -> String,
) -> Result<Terms, ApiError> {
    let once = idempotency_key(headers)?.map(|key| Once { key, digest: digest() });
    Ok(Terms {
        force: fields.force.unwrap_or(false),
        only_at: only_at(headers)?,
        validate_only: fields.validate_only,
        once,
        progress: None,
    })
}

/// The revisions a write is for; `None` where any will do.
fn only_at(headers: &HeaderMap) -> Result<Option<Vec<Revision>>, ApiError> {
    let known = tags(headers, &header::IF_MATCH)?;
    if known.is_empty() || known.contains(&Known::Any) {
        return Ok(None);
    }
    let revisions = known.into_iter().filter_map(|known| match known {
        Known::Ours(revision, _) => Some(revision),
        Known::Any | Known::Foreign => None,
    });
    Ok(Some(revisions.collect()))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = |reason| {
        let given = String::from_utf8_lossy(value.as_bytes());
        let remedy = "give one key of 1-128 visible ASCII characters, a new one for each change";
        Err(Malformed::field("Idempotency-Key", &given, reason, remedy).into())
    };
    if values.next().is_some() {
        return refuse("the header is given twice");
    }
    match value.to_str() {
        Ok(key) if key.len() > IDEMPOTENCY_KEY_MAX => refuse("the key is too long"),
        Ok(key) if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.to_owned()))
        }
        _ => refuse("the key is empty, or has other than visible ASCII characters"),
    }
}

/// What tells one request from another: the call and all that it says, but the key.
pub fn digest<'a>(call: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in std::iter::once(call.as_bytes()).chain(parts) {
        // The length tells where a part ends.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    key::hex(&hasher.finalize())
}

/// As [`digest`], of a call of the dialect.
pub fn fields_digest(call: &str, fields: &Fields) -> String {
    let force = if fields.force == Some(true) { "force" } else { "" };
    let texts = [
        ("set", &fields.set),
        ("del", &fields.del),
        ("add", &fields.add),
        ("upd", &fields.upd),
        ("vhosts_list", &fields.vhosts_list),
        ("vhost", &fields.vhost),
        ("src", &fields.src),
        ("dst", &fields.dst),
    ];
    // An operation that is absent is another one than an empty one, and its name goes in.
    let given = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
    let named = given.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    let rest = format!("{force} {:?} {:?}", fields.duration, fields.complete);
    digest(call, named.chain([rest.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn entity_tags_are_read_as_http_has_them() {
        let known = |text: &str| none_match(&headers(header::IF_NONE_MATCH, text));
        let at = |session, generation| Revision { session, generation };
        assert_eq!(known("\"1.2\"").unwrap(), [Known::Ours(at(1, 2), String::new())]);
        assert_eq!(
            known("W/\"1.2.extended\", \"x\", *").unwrap(),
            [Known::Ours(at(1, 2), "extended".into()), Known::Foreign, Known::Any]
        );
        for foreign in ["\"1\"", "\"1.x\"", "\"\"", "\"1.-2\"", "\"1.+2\""] {
            assert_eq!(known(foreign).unwrap(), [Known::Foreign], "{foreign}");
        }
        for bad in ["1.2", "\"1.2", "", "\"1.2\" \"1.3\" x"] {
            assert!(known(bad).is_err(), "{bad}");
        }
        assert!(known(&vec!["*"; TAGS_MAX + 1].join(",")).is_err());
    }

    #[test]
    fn keys_are_short_and_visible() {
        let key = |text: &str| idempotency_key(&headers(IDEMPOTENCY_KEY, text));
        assert_eq!(key("a-1").unwrap().as_deref(), Some("a-1"));
        assert!(key(&"x".repeat(IDEMPOTENCY_KEY_MAX)).is_ok());
        for bad in ["", "a b", &"x".repeat(IDEMPOTENCY_KEY_MAX + 1)] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_requests_have_other_digests() {
        let of = |json: &str| fields_digest("c", &Fields::from_json(json).unwrap());
        let all = [
            of(r#"{"set": {"a": 1}}"#),
            of(r#"{"add": {"a": 1}}"#),
            of(r#"{"set": {"a": 1}, "force": true}"#),
            of(r#"{"del": ""}"#),
            of("{}"),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one));
        }
        assert_eq!(of(r#"{"key": "a", "del": ""}"#), of(r#"{"key": "b", "del": ""}"#));
    }
}
