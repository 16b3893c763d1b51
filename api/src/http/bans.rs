//! Bans: made by detectors and by hand, read by people and nodes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use store::{Action, BanFilter, BanRow, Lift, NewBan, Scope, address_bytes};
use utoipa::ToSchema;
use wire::v2::ErrorBody;
use wire::v2::Revision;
use wire::v2::ban::{BANS_AT_ONCE, BanRequest, BanView, range, spelled};

use super::App;
use super::answer::rfc3339;
use super::attacks::{authorize, limit, span};
use super::body;
use super::call::Caller;
use super::error::ApiError;
use super::poll::Query;
use super::read::POLICY_READERS;
use super::segment::Segment;
use super::v2::field;
use crate::service::{Actor, ServiceError, now_ms};

/// Scopes that ban and lift.
const WRITERS: &[Scope] = &[Scope::Mlc];
/// Bytes of a request for bans: all that one may hold, with reasons of usual length.
const BODY_MAX: usize = 1 << 20;
/// Bans of one answer, and of one that does not say.
const PAGE_MAX: u32 = 10_000;
const PAGE: u32 = 1_000;

/// Bans to be made.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BansRequest {
    /// At most 1,000.
    bans: Vec<BanRequest>,
}

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct BansWritten {
    /// Always `success`.
    status: &'static str,
    /// For `since`.
    revision: String,
    /// The bans as they are now.
    bans: Vec<BanView>,
}

/// Bans addresses or networks: one (an object as in `bans`), or `{"bans": [...]}`. A ban of
/// the same address, domain and block type is extended, never shortened.
#[utoipa::path(
    post, path = "/bans", tag = "v2", security(("bearer" = [])), request_body = BansRequest,
    responses((status = 200, description = "Banned", body = BansWritten),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn add(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, body) = request.into_parts();
    let admitted = async {
        let mut query = Query::parse(&request, &["key", "token"])?;
        let caller = authorize(&app, &request, &mut query, WRITERS).await?;
        caller.expect_writable().map(|()| caller)
    };
    let caller = match admitted.await {
        Ok(caller) => caller,
        Err(why) => return Err(body::refused(&request.headers, body, why).await),
    };
    let (body, _) = body::read(&request.headers, body, BODY_MAX, None).await?;
    let is_many =
        wire::v1::parse_body::<std::collections::HashMap<String, serde::de::IgnoredAny>>(&body)?
            .contains_key("bans");
    let asked = if is_many {
        wire::v1::parse_body::<BansRequest>(&body)?.bans
    } else {
        vec![wire::v1::parse_body::<BanRequest>(&body)?]
    };
    if asked.is_empty() || asked.len() > BANS_AT_ONCE {
        let reason = format!("a request has 1-{BANS_AT_ONCE} bans");
        return Err(field("bans", "", &reason, "send the rest in another request"));
    }
    let now = now_ms();
    let (mut bans, mut refused) = (Vec::with_capacity(asked.len()), Vec::new());
    for (index, request) in asked.iter().enumerate() {
        match request.parse(now) {
            Ok(ban) => bans.push(NewBan {
                address: spelled(ban.range),
                span: span(ban.range),
                domain: ban.domain.to_string(),
                bt: ban.bt,
                rule: ban.rule,
                reason: ban.reason,
                until_ms: ban.until_ms,
            }),
            Err(why) if is_many => refused.extend(why.into_iter().map(|why| {
                let name = format!("bans[{index}].{}", why.field);
                why.in_field(name)
            })),
            Err(why) => refused.extend(why),
        }
    }
    if !refused.is_empty() {
        return Err(ServiceError::Invalid(refused).into());
    }
    let after = json!(asked).to_string();
    let action = action(&caller.actor, "add_bans", now, after);
    let (waf, tenant) = (caller.tenant.waf(), &caller.tenant);
    let rows = tenant.store().add_bans(waf, &bans, now, action).await?;
    metrics::counter!("nwaf_api_writes_total", "call" => "add_bans").increment(1);
    written(&caller, rows, now).await
}

/// Lifts one ban.
#[utoipa::path(
    delete, path = "/bans/{id}", tag = "v2", security(("bearer" = [])),
    params(("id" = i64, Path, description = "As in `bans[].id`")),
    responses((status = 200, description = "Lifted", body = BansWritten),
              (status = 404, description = "No such ban is in force", body = ErrorBody),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn lift_one(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let query = Query::parse(&request, &["key", "token"])?;
    let parsed = id.parse::<i64>().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()));
    let wanted = parsed
        .map(Lift::Id)
        .ok_or_else(|| field("id", &id, "not a whole number", "give an id as in bans[].id"));
    lift(&app, &request, query, |_| wanted, ("id", &id)).await
}

/// Lifts the bans of an address, or those of a domain or block type among them.
#[utoipa::path(
    delete, path = "/bans", tag = "v2", security(("bearer" = [])),
    params(("address" = String, Query, description = "Address, network or range as it was banned"),
           ("domain" = Option<String>, Query, description = "Only bans of this host pattern"),
           ("bt" = Option<u8>, Query, description = "Only bans of this block type")),
    responses((status = 200, description = "Lifted", body = BansWritten),
              (status = 404, description = "No such ban is in force", body = ErrorBody),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn lift_address(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let query = Query::parse(&request, &["key", "token", "address", "domain", "bt"])?;
    let text = query.given.get("address").cloned().unwrap_or_default();
    let wanted = |query: &Query| {
        let refused = |why: policy::Invalid, field: &str| {
            ApiError::from(ServiceError::Invalid(vec![why.in_field(field)]))
        };
        let Some(address) = query.given.get("address") else {
            let remedy = "add ?address=ADDRESS, or lift one ban with DELETE /nw-api/v2/bans/ID";
            return Err(field("address", "", "the field is missing", remedy));
        };
        let address = range(address).map_err(|why| refused(why, "address"))?;
        let domain = query.given.get("domain").map(|text| text.parse::<policy::HostPattern>());
        let domain = domain.transpose().map_err(|why| refused(why, "domain"))?;
        Ok(Lift::Address {
            address: spelled(address),
            domain: domain.map(|domain| domain.to_string()),
            bt: block_type(query)?,
        })
    };
    lift(&app, &request, query, wanted, ("address", &text)).await
}

async fn lift(
    app: &App,
    request: &Parts,
    mut query: Query,
    wanted: impl FnOnce(&Query) -> Result<Lift, ApiError>,
    (name, value): (&str, &str),
) -> Result<Response, ApiError> {
    let caller = authorize(app, request, &mut query, WRITERS).await?;
    caller.expect_writable()?;
    let wanted = wanted(&query)?;
    let now = now_ms();
    let (waf, tenant) = (caller.tenant.waf(), &caller.tenant);
    let action = action(&caller.actor, "lift_bans", now, "null".to_owned());
    let rows = tenant.store().lift_bans(waf, &wanted, now, action).await?;
    if rows.is_empty() {
        let reason = "no such ban is in force";
        let why = policy::Invalid::new(name, value, reason, "see GET /nw-api/v2/bans");
        return Err(ServiceError::NotFound(why).into());
    }
    metrics::counter!("nwaf_api_writes_total", "call" => "lift_bans").increment(1);
    written(&caller, rows, now).await
}

async fn written(caller: &Caller, rows: Vec<BanRow>, now: i64) -> Result<Response, ApiError> {
    let number = rows.iter().map(|row| row.revision).max().unwrap_or(0);
    caller.tenant.announce_bans(number);
    let session = caller.tenant.stored_revision().await?.session;
    let revision = Revision { session, generation: number }.to_string();
    let bans = rows.into_iter().map(|row| view(row, now)).collect();
    Ok(axum::Json(BansWritten { status: "success", revision, bans }).into_response())
}

/// Bans.
#[derive(Debug, Serialize, ToSchema)]
pub struct BansView {
    /// Always `success`.
    status: &'static str,
    /// What to give as `since` for what changes from here on. Of several pages without
    /// `since`, that of the first one.
    revision: String,
    /// In the order of their latest changes.
    bans: Vec<BanView>,
    /// Whether there are more: with `since`, ask again with `revision`; without, with
    /// `after` and the number of the last ban.
    more: bool,
}

/// Bans in force; with `since` what changed, once something did.
#[utoipa::path(
    get, path = "/bans", tag = "v2", security(("bearer" = [])),
    params(("since" = Option<String>, Query,
            description = "`revision` of an earlier answer: bans and lifts after it"),
           ("wait" = Option<u64>, Query, description = "With since: seconds to wait for a change, at most 60"),
           ("after" = Option<u64>, Query, description = "Without since: the next page, after this number"),
           ("limit" = Option<u32>, Query, description = "1-10000, 1000 by default"),
           ("address" = Option<String>, Query, description = "Only bans that hold for this address"),
           ("bt" = Option<u8>, Query, description = "Only bans of this block type")),
    responses((status = 200, description = "Bans", body = BansView),
              (status = 204, description = "Nothing changed after `since`"),
              (status = 410, description = "What changed is not known any more: read all bans", body = ErrorBody),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let names = ["key", "token", "since", "wait", "after", "limit", "address", "bt"];
    let mut query = Query::parse(&request, &names)?;
    let key = query.given.get("key").cloned();
    let caller = authorize(&app, &request, &mut query, POLICY_READERS).await?;
    let limit = limit(&query, "limit", PAGE, PAGE_MAX)?;
    let since = query.given.contains_key("since").then(|| query.since()).transpose()?;
    let mut filter = BanFilter {
        after: query.number("after")?.unwrap_or(0),
        gone: since.is_some(),
        address: address(&query)?,
        bt: block_type(&query)?,
    };
    for (name, other) in [("after", "since"), ("address", "since"), ("bt", "since")] {
        if since.is_some() && query.given.contains_key(name) {
            let reason = format!("it does not go with {other}");
            return Err(field(name, &query.given[name], &reason, "leave out one of both"));
        }
    }
    let tenant = &caller.tenant;
    let session = match since {
        None => tenant.stored_revision().await?.session,
        Some(since) => {
            let wait = query.wait()?;
            let state = tenant.bans_moved(since, wait, app.stop.clone()).await?;
            if state.revision.session != since.session || state.bans < since.generation {
                return Err(ApiError::BansGone(since));
            }
            if !wait.is_zero() {
                // The key may have been revoked while the request waited.
                if let Some(key) = key {
                    query.given.insert("key", key);
                }
                authorize(&app, &request, &mut query, POLICY_READERS).await?;
            }
            if state.bans == since.generation {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            filter.after = since.generation;
            since.session
        }
    };
    let now = now_ms();
    // One more than is shown tells whether there is more.
    let (state, mut rows) = tenant.store().bans(tenant.waf(), &filter, now, limit + 1).await?;
    if let Some(since) = since
        && since.generation < state.floor
    {
        return Err(ApiError::BansGone(since));
    }
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more && since.is_some()).map(|row| row.revision);
    let generation = last.unwrap_or(state.revision);
    let view = BansView {
        status: "success",
        revision: Revision { session, generation }.to_string(),
        bans: rows.into_iter().map(|row| view(row, now)).collect(),
        more,
    };
    Ok(axum::Json(view).into_response())
}

fn address(query: &Query) -> Result<Option<[u8; 16]>, ApiError> {
    let Some(text) = query.given.get("address") else { return Ok(None) };
    let address: std::net::IpAddr = text.parse().map_err(|_| {
        let remedy = "write one IPv4 or IPv6 address";
        field("address", text, "this is no IP address", remedy)
    })?;
    Ok(Some(address_bytes(address)))
}

fn block_type(query: &Query) -> Result<Option<u8>, ApiError> {
    let Some(number) = query.number("bt")? else { return Ok(None) };
    u8::try_from(number).map(Some).map_err(|_| {
        field("bt", &number.to_string(), "not a block type", "write 4, 6, 7, 8, 9 or 10")
    })
}

fn action(actor: &Actor, call: &str, now: i64, after: String) -> Action {
    Action {
        at_ms: now,
        author: actor.key.clone(),
        address: actor.address.clone(),
        call: call.to_owned(),
        before: "null".to_owned(),
        after,
        ..Action::default()
    }
}

fn view(row: BanRow, now: i64) -> BanView {
    BanView {
        id: row.id,
        number: row.revision,
        address: row.address,
        domain: row.domain,
        bt: row.bt,
        rule: row.rule,
        reason: row.reason,
        source: row.source,
        start: rfc3339(row.start_ms),
        until: rfc3339(row.until_ms),
        lifted: row.lifted || row.until_ms <= now,
    }
}
