//! Trainings of behavioural models: `get_training_uri`, `set_training_uri`, and the
//! reports of `nwaf-mlc`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use policy::training::ReportRefused;
use policy::{HostPattern, Invalid, Training};
use serde::Serialize;
use store::{Reported, Scope};
use utoipa::ToSchema;
use wire::v1::{TrainingAnswer, TrainingLine, TrainingReport, TrainingWrite, training_text};
use wire::v2::ErrorBody;

use super::App;
use super::analysis::ANALYSIS_READERS;
use super::answer;
use super::body::{self, READ_BODY_MAX};
use super::call::{self, Call, Caller, QueryCall};
use super::error::ApiError;
use super::openapi::WriteAnswer;
use super::write::run;
use crate::service::{ServiceError, Write};

/// Scopes that report progress.
const REPORTERS: &[Scope] = &[Scope::Mlc];
const DAY_MS: i64 = 86_400_000;

/// What is asked about trainings.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct TrainingQuery {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Names or patterns with commas between; all where it is left out. `vhosts` is the
    /// same field.
    vhost: Option<String>,
}

/// An order about trainings. At least one of `duration` and `complete` is given.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct TrainingRequest {
    /// The key; `token` is the same field.
    key: Option<String>,
    /// Names or patterns with commas between, each of which covers listed virtual hosts;
    /// `vhosts` is the same field.
    vhost: String,
    /// Days, 1-365.
    duration: Option<u64>,
    /// `no` begins the training, `yes` stops it.
    complete: Option<String>,
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportAnswer {
    /// Always `success`.
    status: &'static str,
    /// The training now.
    training: TrainingLine,
}

/// How far the trainings of listed virtual hosts are.
#[utoipa::path(
    method(get, post), path = "/get_training_uri", tag = "v1", request_body = TrainingQuery,
    params(("vhost" = Option<String>, Query, description = "Names or patterns with commas between")),
    responses((status = 200, description = "In the order of the list", body = TrainingAnswer),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn get_training_uri(QueryCall(call): QueryCall) -> Result<Response, ApiError> {
    let Caller { tenant, .. } = call.authorize(ANALYSIS_READERS).await?;
    let asked = TrainingWrite::parse_query(&call.fields)?;
    let current = tenant.current().await?;
    let mut wanted = BTreeSet::new();
    for text in &asked {
        let pattern: HostPattern = text
            .parse()
            .map_err(|why: Invalid| ServiceError::Invalid(vec![why.in_field("vhost")]))?;
        let covered = current.state.analysis.covered(&pattern);
        if covered.is_empty() {
            let reason = "no virtual host of the list is meant by this";
            let remedy = "get_vhosts_list shows the list, set_vhosts_list adds to it";
            return Err(ServiceError::NotFound(Invalid::new("vhost", text, reason, remedy)).into());
        }
        wanted.extend(covered);
    }
    let trainings = tenant.store().trainings(tenant.waf()).await?;
    let lines = trainings
        .into_iter()
        .filter(|(vhost, _)| asked.is_empty() || wanted.contains(vhost.as_str()))
        .map(|(vhost, training)| line(vhost, training));
    Ok(answer::json_text(current.revision, training_text(lines.collect())))
}

fn line(vhost: String, training: Training) -> TrainingLine {
    let started = training.started_ms;
    let ends = started.map(|ms| ms.saturating_add(i64::from(training.duration_days) * DAY_MS));
    TrainingLine {
        vhost,
        state: training.state,
        duration: training.duration_days,
        started: started.map(answer::rfc3339),
        ends: ends.map(answer::rfc3339),
        progress: training.progress,
        samples: training.samples,
    }
}

/// Begins (`complete=no`) or stops (`complete=yes`) trainings, or sets how long they take.
#[utoipa::path(
    post, path = "/set_training_uri", tag = "v1", request_body = TrainingRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn set_training_uri(call: Call) -> Result<Response, ApiError> {
    run(call, |call| TrainingWrite::parse(&call.fields).map(Write::Training)).await
}

/// As v1.
#[utoipa::path(
    method(get, post), path = "/get_training_uri", tag = "v2", request_body = TrainingQuery,
    params(("vhost" = Option<String>, Query, description = "Names or patterns with commas between")),
    responses((status = 200, description = "In the order of the list", body = TrainingAnswer),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn v2_get_training_uri(call: QueryCall) -> Result<Response, ApiError> {
    get_training_uri(call).await
}

/// As v1.
#[utoipa::path(
    post, path = "/set_training_uri", tag = "v2", request_body = TrainingRequest,
    responses((status = 200, description = "Done", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn v2_set_training_uri(call: Call) -> Result<Response, ApiError> {
    set_training_uri(call).await
}

/// Takes down how far a training is; 100 per cent complete it.
#[utoipa::path(
    post, path = "/training/report", tag = "v2", security(("bearer" = [])),
    request_body = TrainingReport,
    responses((status = 200, description = "Kept", body = ReportAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn report(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = call::client_address(request.extensions().get());
    let (parts, body) = request.into_parts();
    let caller = call::authorize(&app, call::bearer(&parts.headers)?, client, REPORTERS).await?;
    caller.expect_writable()?;
    let (body, _) = body::read(&parts.headers, body, READ_BODY_MAX, None).await?;
    let TrainingReport { vhost, progress, samples } = wire::v1::parse_body(&body)?;
    let vhost = vhost
        .parse::<HostPattern>()
        .map_err(|why| ServiceError::Invalid(vec![why.in_field("vhost")]))?
        .to_string();
    if i64::try_from(samples).is_err() {
        let reason = format!("a number is at most {}", i64::MAX);
        let why = Invalid::new("samples", &samples.to_string(), reason, "count from 0");
        return Err(ServiceError::Invalid(vec![why]).into());
    }
    let tenant = caller.tenant;
    let store = tenant.store();
    let refused = |why: ReportRefused| {
        let remedy = match why {
            ReportRefused::NotTraining(_) => "begin it with set_training_uri, complete=no",
            ReportRefused::Progress => "report 0 to 100",
            ReportRefused::Falls(_) => "report what was reached, or begin the training anew",
        };
        let value = progress.to_string();
        let invalid = Invalid::new("progress", &value, why.to_string(), remedy);
        match why {
            ReportRefused::Progress => ServiceError::Invalid(vec![invalid]),
            _ => ServiceError::Contradicts(invalid),
        }
    };
    match store.report_training(tenant.waf(), &vhost, progress, samples).await? {
        Reported::Kept(training) => {
            let revision = tenant.stored_revision().await?;
            let answer = ReportAnswer { status: "success", training: line(vhost, training) };
            Ok(answer::json(revision, &answer))
        }
        Reported::Refused(why) => Err(refused(why).into()),
        Reported::NoVhost => {
            let reason = "this virtual host is not in the list";
            let remedy = "get_vhosts_list shows the list; end what is trained for others";
            Err(ServiceError::NotListed(Invalid::new("vhost", &vhost, reason, remedy)).into())
        }
    }
}
