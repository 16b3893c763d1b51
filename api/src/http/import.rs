//! Importing a list, the rules, the exclusions, the settings or a whole policy from a file.
//!
//! The body is the file itself, so the key stands in front of it, in header or query. The
//! answer comes when all is done; who wants to see how far it is asks for
//! `application/x-ndjson` and gets lines with progress, then one with the result. The work
//! goes on to its end also if the client leaves: who is not sure what became of it asks
//! again under the same `Idempotency-Key`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use wire::v1::Fields;
use wire::v2::{ErrorBody, Imported, Part};

use super::App;
use super::body;
use super::call::{self, Caller};
use super::condition;
use super::error::ApiError;
use super::frame::RequestId;
use super::openapi::WriteAnswer;
use super::segment::Segment;
use super::stream::{self, Gone, Writer};
use super::v2::field;
use super::write;
use crate::service::{Import, Mode, Outcome, Progress, ServiceError, Terms, Write};

/// Least time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// The type of an answer that is a JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";

/// Imports a file: all of it, or nothing with every bad line named.
#[utoipa::path(
    post, path = "/import/{part}", tag = "v2", security(("bearer" = [])),
    params(("part" = String, Path, description = "bl, erl, wl, settings or policy"),
           ("mode" = String, Query,
            description = "replace: what is there goes, unless the file has it; merge: it stays"),
           ("format" = Option<String>, Query,
            description = "text (bl only: an entry a line) or json; seen from the file if absent"),
           ("ids" = Option<String>, Query,
            description = "keep: rules and exclusions get the ids of the file where these are free"),
           ("force" = Option<bool>, Query, description = "Take a policy that blocks everybody"),
           ("validate" = Option<String>, Query,
            description = "only: say what would change, and change nothing")),
    request_body(content = String, description = "The file", content_type = "text/plain"),
    responses((status = 200, description = "Done; with validate=only what would be", body = WriteAnswer),
              (status = "default", description = "Refused; nothing changed", body = ErrorBody)))]
pub async fn import(
    State(app): State<Arc<App>>,
    Segment(part): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (caller, part, is_text, query) = match understand(&app, &part, &parts).await {
        Ok(understood) => understood,
        Err(why) => return Err(body::refused(&parts.headers, body, why).await),
    };
    let (file, _) = body::read(&parts.headers, body, app.live().body_limit, None).await?;
    let call = name(part);
    let mut terms = condition::terms(&parts.headers, &query.fields, || {
        condition::digest(call, [query.digested().as_bytes(), file.as_slice()])
    })?;
    let parsed = move || Imported::parse(part, is_text, &file);
    let content = tokio::task::spawn_blocking(parsed).await.map_err(ServiceError::from)??;
    let import = Import { part, mode: query.mode, keep_ids: query.keep_ids, content };
    let write = Write::Import(Box::new(import));
    if wants_lines(&parts.headers) {
        let (progress, seen) = watch::channel(Progress::default());
        terms.progress = Some(progress);
        let id = parts.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
        return Ok(with_progress(call, caller, write, terms, seen, id));
    }
    write::answer(call, caller.tenant.write(caller.actor, write, terms).await?)
}

/// Everything that can be refused before the file is read.
async fn understand(
    app: &App,
    part: &str,
    parts: &Parts,
) -> Result<(Caller, Part, bool, Query), ApiError> {
    let caller = authorize(app, parts).await?;
    let part = part_named(part)?;
    let query = Query::parse(parts)?;
    let is_text = query.is_text(part)?;
    if !query.fields.validate_only {
        caller.expect_writable()?;
    }
    Ok((caller, part, is_text, query))
}

/// The body is the file, so the key cannot stand in it.
async fn authorize(app: &App, parts: &Parts) -> Result<Caller, ApiError> {
    let key = call::early_key(parts)?;
    let client = call::client_address(parts.extensions.get());
    call::authorize(app, key.as_deref().map(String::as_str), client, &[]).await
}

/// The part that a path names.
///
/// # Errors
/// There is no such part.
pub fn part_named(name: &str) -> Result<Part, ApiError> {
    Ok(match name {
        "bl" => Part::BlockList,
        "erl" => Part::Rules,
        "wl" => Part::Exclusions,
        "settings" => Part::Settings,
        "policy" => Part::Policy,
        _ => return Err(ApiError::NoSuchCall),
    })
}

fn name(part: Part) -> &'static str {
    match part {
        Part::BlockList => "import/bl",
        Part::Rules => "import/erl",
        Part::Exclusions => "import/wl",
        Part::Settings => "import/settings",
        Part::Policy => "import/policy",
    }
}

/// The query of an import.
struct Query {
    mode: Mode,
    format: Option<String>,
    keep_ids: bool,
    /// `force` and `validate`.
    fields: Fields,
}

impl Query {
    fn parse(parts: &Parts) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let mut given: HashMap<String, String> = HashMap::new();
        let mut fields = Fields::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "key" | "token" | "force" | "validate" => fields.add_pair(&name, &value)?,
                "mode" | "format" | "ids" => {
                    if given.insert(name.to_string(), value.into_owned()).is_some() {
                        let reason = "the field is given twice";
                        return Err(field(&name, "", reason, "give it once"));
                    }
                }
                _ => {
                    let remedy = "the fields are mode, format, ids, force, validate, key";
                    return Err(field(&name, &value, "there is no such field", remedy));
                }
            }
        }
        let mode = match given.get("mode").map(String::as_str) {
            Some("replace") => Mode::Replace,
            Some("merge") => Mode::Merge,
            other => {
                let value = other.unwrap_or_default();
                let reason = "it has to be said what becomes of what is there";
                let remedy = "write mode=replace to take it out, or mode=merge to keep it";
                return Err(field("mode", value, reason, remedy));
            }
        };
        let keep_ids = match given.get("ids").map(String::as_str) {
            None | Some("new") => false,
            Some("keep") => true,
            Some(other) => {
                return Err(field("ids", other, "neither keep nor new", "write ids=keep"));
            }
        };
        Ok(Self { mode, format: given.remove("format"), keep_ids, fields })
    }

    /// Whether the file is said to be text.
    fn is_text(&self, part: Part) -> Result<bool, ApiError> {
        match (self.format.as_deref(), part) {
            (Some("text"), Part::BlockList) => Ok(true),
            (None | Some("json" | "jsonl"), _) => Ok(false),
            (Some(other), Part::BlockList) => {
                Err(field("format", other, "there is no such format", "write text or json"))
            }
            (Some(other), _) => {
                Err(field("format", other, "this is imported from JSON alone", "write json"))
            }
        }
    }

    /// What of the query makes another request.
    fn digested(&self) -> String {
        let Self { mode, format, keep_ids, fields } = self;
        format!("{mode:?} {format:?} {keep_ids} {:?}", fields.force)
    }
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim() == NDJSON)
}

/// Lines of progress, then the result.
fn with_progress(
    call: &'static str,
    caller: Caller,
    write: Write,
    terms: Terms,
    seen: watch::Receiver<Progress>,
    request_id: String,
) -> Response {
    let (writer, body) = stream::body();
    let written =
        tokio::spawn(async move { caller.tenant.write(caller.actor, write, terms).await });
    tokio::spawn(async move {
        // A client that left misses the lines, not the work.
        let _ = report(writer, call, written, seen, &request_id).await;
    });
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

async fn report(
    mut writer: Writer,
    call: &'static str,
    mut written: tokio::task::JoinHandle<Result<Outcome, ServiceError>>,
    mut seen: watch::Receiver<Progress>,
    request_id: &str,
) -> Result<(), Gone> {
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            outcome = &mut written => break outcome,
            _ = ticks.tick() => {
                // An end without news is the end of the work, which is awaited above.
                if seen.has_changed().unwrap_or(false) {
                    let progress = *seen.borrow_and_update();
                    line(&mut writer, &json!({"progress": progress}));
                    writer.flush().await?;
                }
            }
        }
    };
    let answered = match outcome {
        Ok(Ok(outcome)) => write::answer(call, outcome),
        Ok(Err(why)) => Err(why.into()),
        Err(why) => Err(ServiceError::from(why).into()),
    };
    let (status, result) = match answered {
        Ok(response) => {
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
            let result = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            (status, result.unwrap_or(Value::Null))
        }
        Err(why) => (why.kind().0, json!(why.body(request_id))),
    };
    line(&mut writer, &json!({"http_status": status.as_u16(), "result": result}));
    writer.flush().await
}

fn line(writer: &mut Writer, value: &Value) {
    writer.buffer().extend_from_slice(value.to_string().as_bytes());
    writer.buffer().push(b'\n');
}
