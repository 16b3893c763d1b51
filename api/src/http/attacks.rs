//! The record of attacks: nodes hand it in, people ask it.

mod export;
mod filter;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{AttackFilter, AttackId, AttackRow, SUMMARY_EVENTS, Scope, Share, StoreError};
use utoipa::ToSchema;
use wire::v2::ErrorBody;
use wire::v2::attack::{AttackView, BATCH_BYTES, check_node, parse_batch};

use super::App;
use super::answer::rfc3339;
use super::body;
use super::call::{self, Caller};
use super::error::ApiError;
use super::poll::{self, Query};
use super::read::HISTORY_READERS;
use super::segment::Segment;
use super::v2::field;
use crate::service::{ServiceError, now_ms};

pub use export::{__path_export, export};
use filter::FilterQuery;
pub(super) use filter::span;

/// Scopes that hand in attacks.
const WRITERS: &[Scope] = &[Scope::Node];
/// Attacks of one page, and of one that does not say.
const PAGE_MAX: u32 = 1_000;
const PAGE: u32 = 100;
/// Values of each kind in a summary, and in one that does not say.
const TOP_MAX: u32 = 1_000;
const TOP: u32 = 10;

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    /// Always `success`.
    status: &'static str,
    /// Events that are stored now and were not before.
    accepted: u64,
    /// Events that were there already.
    duplicates: u64,
}

/// Hands in attacks: lines of a node's journal, as they are. All or nothing; an event that
/// is there already is counted and not stored twice.
#[utoipa::path(
    post, path = "/attacks", tag = "v2", security(("bearer" = [])),
    params(("node" = String, Query, description = "The node's name, 1-128 characters")),
    request_body(content = String, content_type = "application/x-ndjson",
                 description = "One JSON object a line; at most 1,000 lines and 4 MiB"),
    responses((status = 200, description = "Stored", body = Taken),
              (status = 422, description = "Nothing is stored; errors[].field is events[N]... of each refused line",
               body = ErrorBody),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn ingest(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, body) = request.into_parts();
    let (caller, node) = match admit(&app, &request).await {
        Ok(admitted) => admitted,
        Err(why) => return Err(body::refused(&request.headers, body, why).await),
    };
    let (body, _) = body::read(&request.headers, body, BATCH_BYTES, None).await?;
    let now = now_ms();
    let parsed = tokio::task::spawn_blocking(move || parse_batch(&body, now));
    let attacks = match parsed.await.map_err(ServiceError::from)? {
        Ok(attacks) => attacks,
        Err(refused) => {
            count("refused", refused.len() as u64);
            return Err(ServiceError::Invalid(refused).into());
        }
    };
    let (waf, store) = (caller.tenant.waf(), caller.tenant.store());
    let accepted = store.events().add_attacks(waf, &node, now, &attacks).await?;
    let duplicates = attacks.len() as u64 - accepted;
    count("accepted", accepted);
    count("duplicate", duplicates);
    Ok(axum::Json(Taken { status: "success", accepted, duplicates }).into_response())
}

/// Everything that can be refused before the batch is read; the caller and the node.
async fn admit(app: &App, request: &Parts) -> Result<(Caller, String), ApiError> {
    let mut query = Query::parse(request, &["key", "token", "node"])?;
    let caller = authorize(app, request, &mut query, WRITERS).await?;
    caller.expect_writable()?;
    let Some(node) = query.given.remove("node") else {
        return Err(field("node", "", "the field is missing", "add ?node=NAME to the address"));
    };
    check_node(&node).map_err(|why| ServiceError::Invalid(vec![why]))?;
    Ok((caller, node))
}

fn count(result: &'static str, events: u64) {
    metrics::counter!("nwaf_api_attacks_total", "result" => result).increment(events);
}

/// A page of the record.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attacks {
    /// Always `success`.
    status: &'static str,
    /// Newest first.
    attacks: Vec<AttackView>,
    /// What to give as `before` for the next page; null where this is the last one.
    next: Option<String>,
}

/// Attacks, newest first. Pages stay the same while new ones arrive.
#[utoipa::path(
    get, path = "/attacks", tag = "v2", security(("bearer" = [])),
    params(FilterQuery,
           ("before" = Option<String>, Query, description = "Only attacks before this id: `next` of the page before"),
           ("limit" = Option<u32>, Query, description = "1-1000, 100 by default")),
    responses((status = 200, description = "A page", body = Attacks),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query = Query::parse(&request, &filter::names(&["before", "limit"]))?;
    let caller = authorize(&app, &request, &mut query, HISTORY_READERS).await?;
    let wanted = filter::parse(&query)?;
    let before = query.given.get("before").map(|text| attack_id("before", text)).transpose()?;
    let limit = limit(&query, "limit", PAGE, PAGE_MAX)?;
    let (waf, store) = (caller.tenant.waf(), caller.tenant.store());
    // One more than is shown tells whether there is another page.
    let mut rows = store.events().attacks(waf, &wanted, before, limit + 1).await?;
    let is_last = rows.len() <= limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| !is_last).map(|row| row.id.to_string());
    let attacks = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(axum::Json(Attacks { status: "success", attacks, next }).into_response())
}

/// One attack.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneAttack {
    /// Always `success`.
    status: &'static str,
    /// It.
    attack: AttackView,
}

/// One attack by its id.
#[utoipa::path(
    get, path = "/attacks/{id}", tag = "v2", security(("bearer" = [])),
    params(("id" = String, Path, description = "As in `attacks[].id`")),
    responses((status = 200, description = "It", body = OneAttack),
              (status = 404, description = "There is none", body = ErrorBody),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn one(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query = Query::parse(&request, &["key", "token"])?;
    let caller = authorize(&app, &request, &mut query, HISTORY_READERS).await?;
    let wanted = attack_id("id", &id)?;
    let (waf, store) = (caller.tenant.waf(), caller.tenant.store());
    let Some(row) = store.events().attack(waf, wanted).await? else {
        let reason = "there is no attack with this id, or it was forgotten";
        let why = policy::Invalid::new("id", &id, reason, "see GET /nw-api/v2/attacks");
        return Err(ServiceError::NotFound(why).into());
    };
    Ok(axum::Json(OneAttack { status: "success", attack: view(row)? }).into_response())
}

/// How often a value was met.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareView {
    /// The value; null where events have none.
    value: Option<String>,
    /// Lines of the record.
    events: u64,
    /// Requests they stand for.
    requests: u64,
}

impl From<Share> for ShareView {
    fn from(Share { value, events, requests }: Share) -> Self {
        Self { value, events, requests }
    }
}

/// What a range of the record amounts to; of each kind the most frequent values by requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct SummaryView {
    /// Always `success`.
    status: &'static str,
    /// Events that were counted.
    events: u64,
    /// Requests they stand for.
    requests: u64,
    /// False where older events were left out: at most 1,000,000 are counted.
    complete: bool,
    /// By block type.
    bt: Vec<ShareView>,
    /// By deciding rule.
    rule: Vec<ShareView>,
    /// By host.
    host: Vec<ShareView>,
    /// By client.
    address: Vec<ShareView>,
}

/// Counts by block type, rule, host and address.
#[utoipa::path(
    get, path = "/attacks/summary", tag = "v2", security(("bearer" = [])),
    params(FilterQuery,
           ("top" = Option<u32>, Query, description = "Values of each kind, 1-1000, 10 by default")),
    responses((status = 200, description = "Counts", body = SummaryView),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn summary(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query = Query::parse(&request, &filter::names(&["top"]))?;
    let caller = authorize(&app, &request, &mut query, HISTORY_READERS).await?;
    let wanted: AttackFilter = filter::parse(&query)?;
    let top = limit(&query, "top", TOP, TOP_MAX)?;
    let (waf, store) = (caller.tenant.waf(), caller.tenant.store());
    let found = store.events().summarize(waf, &wanted, top).await?;
    let views = |shares: Vec<Share>| shares.into_iter().map(ShareView::from).collect();
    let view = SummaryView {
        status: "success",
        events: found.events,
        requests: found.requests,
        complete: found.events < u64::from(SUMMARY_EVENTS),
        bt: views(found.bt),
        rule: views(found.rule),
        host: views(found.host),
        address: views(found.address),
    };
    Ok(axum::Json(view).into_response())
}

/// Finds the key in header or query and judges it.
pub(super) async fn authorize(
    app: &App,
    request: &Parts,
    query: &mut Query,
    scopes: &'static [Scope],
) -> Result<Caller, ApiError> {
    let address = call::client_address(request.extensions.get());
    let key = poll::given_key(&request.headers, query.given.remove("key"))?;
    call::authorize(app, key.as_deref(), address, scopes).await
}

/// A number of the query within 1 and `most`.
pub(super) fn limit(query: &Query, name: &str, usual: u32, most: u32) -> Result<u32, ApiError> {
    let Some(number) = query.number(name)? else { return Ok(usual) };
    let fits = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
    fits.ok_or_else(|| {
        let reason = format!("not within 1-{most}");
        let remedy = format!("write a number of 1-{most}; ask for the rest afterwards");
        field(name, &number.to_string(), &reason, &remedy)
    })
}

fn attack_id(name: &str, text: &str) -> Result<AttackId, ApiError> {
    let remedy = "give an id as in attacks[].id, for example 1763820000123.42";
    text.parse().map_err(|()| field(name, text, "this is no id of an attack", remedy))
}

fn view(row: AttackRow) -> Result<AttackView, ApiError> {
    let AttackRow { id, node, received_ms, event } = row;
    let event = RawValue::from_string(event).map_err(|why| StoreError::Corrupt {
        row: format!("attack {id}"),
        reason: why.to_string(),
    })?;
    Ok(AttackView { id: id.to_string(), node, received: rfc3339(received_ms), event })
}
