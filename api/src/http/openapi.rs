//! The OpenAPI document, and the shapes of requests that exist only to be described.
//!
//! The shapes are what a client should send; what is accepted beyond that (texts for
//! booleans, aliases, forms) is described in words.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use wire::v2::Diff;

/// What a read sends; everything may come as a form or in the query as well.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct ReadRequest {
    /// The key, or its SHA-256 in hexadecimal; `token` is the same field. Not needed
    /// beside `Authorization: Bearer`.
    key: Option<String>,
    /// `yes` or `no`.
    extended: Option<String>,
    /// Only `json`.
    format: Option<String>,
    /// `get_event_log`: only entries with an id below this one.
    before: Option<u64>,
}

/// A write of settings: exactly one of `set` and `del`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct SettingsRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Take a policy that blocks everybody; needed only where none is in force yet.
    force: Option<bool>,
    /// Settings by name, each a text; `active` (default true) says whether they act.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    set: Option<()>,
    /// One name, names with commas between, or an array of names.
    del: Option<String>,
}

/// A write of the block list: exactly one of `set` and `del`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct BlockListRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Take a list that blocks everybody.
    force: Option<bool>,
    /// The whole new list.
    set: Option<BlockListSet>,
    /// `""` for every entry; one entry, entries with commas between, or an array.
    del: Option<String>,
}

/// The whole block list.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct BlockListSet {
    /// Whether the list acts; true where `bl` is given.
    active: Option<bool>,
    /// `[domain=PATTERN ]ADDRESS[ api=yes]`; or one text with commas between.
    bl: Option<Vec<String>>,
}

/// A write of rules: exactly one of `add`, `upd` and `del`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct RulesRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Take a rule that blocks everybody.
    force: Option<bool>,
    /// A new rule, without `id`.
    add: Option<RuleFields>,
    /// `id` and the fields that change; `""` clears one.
    upd: Option<RuleFields>,
    /// `id` of the rule to remove.
    del: Option<RuleName>,
}

/// Names a rule.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct RuleName {
    /// The id, or its decimal text.
    id: u64,
}

/// A rule. Texts are expressions: terms joined by `&` and `|`, each with an optional
/// `!`, from left to right. Every term but addresses is base64.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct RuleFields {
    /// `upd` only.
    id: Option<u64>,
    /// Addresses, networks, ranges; plain.
    ip: Option<String>,
    /// Host patterns; plain ones become base64.
    domain: Option<String>,
    /// ISO 3166-1 codes.
    country: Option<String>,
    /// Text in the path.
    url: Option<String>,
    /// Text in the query, with its `?`.
    args: Option<String>,
    /// Text in the body.
    body: Option<String>,
    /// Text in `Cookie`; `cookies` is the same field.
    cookie: Option<String>,
    /// Text in `User-Agent`.
    ua: Option<String>,
    /// Text in `Referer`.
    referer: Option<String>,
    /// `base64(name):base64(value)` conditions; all must hold.
    other_headers: Option<Vec<String>>,
    /// The request must have no cookie.
    no_cookie: Option<bool>,
    /// Observe, never block.
    lm: Option<bool>,
    /// Report hits.
    api: Option<bool>,
    /// Hits do not count for `nwaf_limit`.
    noban: Option<bool>,
    /// Whether the rule takes part.
    active: Option<bool>,
}

/// The answer to a write.
#[derive(Serialize, ToSchema)]
pub struct WriteAnswer {
    /// Always `success`.
    pub status: &'static str,
    /// The rule; answers of `set_dyn_erl` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Session of the policy after the write.
    pub session: u64,
    /// Generation of the policy after the write; unmoved where nothing changed.
    pub generation: u64,
    /// How much changed; answers to imports only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
}

/// The answer to a write with `validate=only`.
#[derive(Serialize, ToSchema)]
pub struct ValidateAnswer {
    /// Always `success`: the write would be carried out, with force if that is needed.
    pub status: &'static str,
    /// Always `only`.
    pub validate: &'static str,
    /// Session of the policy that was looked at.
    pub session: u64,
    /// Its generation.
    pub generation: u64,
    /// The generation the write would make; the same where nothing would change.
    pub next_generation: u64,
    /// Why it would need force; null where it would not.
    pub needs_force: Option<String>,
    /// The rule it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What would change.
    pub diff: Diff,
}

/// The whole document from the parts that the routers collected.
pub fn document(v1: OpenApi, v2: OpenApi) -> String {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let info = InfoBuilder::new().title("nwaf API").version(env!("CARGO_PKG_VERSION")).description(
        Some("Calls under /nw-api/ exist under /nw/agent/ and /nw/agent/public/ as well."),
    );
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(ComponentsBuilder::new().security_scheme("bearer", bearer).build()))
        .build()
        .nest("/nw-api", v1)
        .nest("/nw-api/v2", v2)
        .to_json()
        .expect("plain data has a JSON form")
}

/// The document as an answer.
pub fn answer(document: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_owned()).into_response()
}
