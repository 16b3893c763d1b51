//! Following changes: an event with the revision at once, and at each change.
//!
//! Works on a replica as on a primary. It ends when the server does and when the key is
//! revoked; a client that was away says what it has by `Last-Event-ID`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use wire::v2::{ErrorBody, Revision};
use zeroize::Zeroizing;

use super::App;
use super::answer;
use super::call;
use super::error::ApiError;
use super::read::POLICY_READERS;
use super::stream::{self, Gone, Writer};
use super::v2::field;
use crate::key;
use crate::service::Tenant;

/// Those who follow at the same time. A waiting connection takes a few kilobytes.
pub const WATCHERS_MAX: usize = 2_048;
/// How often a comment is sent, so that nobody on the way takes the line for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The last event a client had.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Server-sent events: `revision`, at once and at each change.
#[utoipa::path(
    get, path = "/watch", tag = "v2", security(("bearer" = [])),
    params(("Last-Event-ID" = Option<String>, Header,
            description = "SESSION.GENERATION: the first event comes once there is another one")),
    responses((status = 200, description = "Events `revision` with {\"session\":..,\"generation\":..}",
               body = String, content_type = "text/event-stream"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn watch(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        if !matches!(&*name, "key" | "token") {
            return Err(field(&name, &value, "there is no such field", "the field is key"));
        }
    }
    let presented = call::early_key(&parts)?;
    let client = call::client_address(parts.extensions.get());
    let known = last_event(&parts.headers)?;
    let presented = presented.as_deref().map(String::as_str);
    let caller = call::authorize(&app, presented, client, POLICY_READERS).await?;
    let place = Arc::clone(&app.watchers)
        .try_acquire_owned()
        .map_err(|_| ApiError::Crowded("connections that follow changes"))?;
    let present = caller.tenant.current().await?.revision;
    let (writer, body) = stream::body();
    let key = Zeroizing::new(presented.unwrap_or_default().to_owned());
    let watcher = Watcher { app, tenant: caller.tenant, key, _place: place };
    tokio::spawn(async move {
        // Who left is not told any more.
        let _ = watcher.follow(writer, known).await;
    });
    let response = ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
    Ok(answer::at_revision(response, present))
}

fn last_event(headers: &HeaderMap) -> Result<Option<Revision>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let remedy = "give the id of the last event, SESSION.GENERATION, or leave it out";
    text.parse()
        .map(Some)
        .map_err(|_| field("Last-Event-ID", &text, "not two whole numbers", remedy))
}

/// Who follows.
struct Watcher {
    app: Arc<App>,
    tenant: Arc<Tenant>,
    key: Zeroizing<String>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Writes an event for each revision that is not `last`, until anybody ends.
    async fn follow(self, mut writer: Writer, mut last: Option<Revision>) -> Result<(), Gone> {
        let _counted = Counted::begin();
        let mut stop = self.app.stop.clone();
        let mut revisions = self.tenant.revisions();
        let mut keys = self.app.service.keys_versions();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        // The first tick is at once; something is sent at once anyway.
        heartbeat.tick().await;
        raw(&mut writer, ": following\n\n");
        loop {
            let present = *revisions.borrow_and_update();
            if last != Some(present) {
                last = Some(present);
                event(&mut writer, present);
            }
            writer.flush().await?;
            tokio::select! {
                moved = revisions.changed() => if moved.is_err() { return Ok(()) },
                moved = keys.changed() => if moved.is_err() { return Ok(()) },
                _ = heartbeat.tick() => raw(&mut writer, ":\n\n"),
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = writer.gone() => return Err(Gone),
            }
            if !self.may_go_on().await {
                return Ok(());
            }
        }
    }

    /// Whether the key still opens this policy. A store that does not answer closes
    /// nothing: what it would say is told by the next one that does.
    async fn may_go_on(&self) -> bool {
        let Ok(pulse) = self.app.service.pulse().await else { return true };
        let Ok(keys) = self.app.service.keys(&pulse).await else { return true };
        key::find(&keys, &self.key).is_some_and(|found| found.waf == self.tenant.waf())
    }
}

fn event(writer: &mut Writer, revision: Revision) {
    let Revision { session, generation } = revision;
    let data = format!("{{\"session\":{session},\"generation\":{generation}}}");
    raw(writer, &format!("id: {revision}\nevent: revision\ndata: {data}\n\n"));
}

fn raw(writer: &mut Writer, text: &str) {
    writer.buffer().extend_from_slice(text.as_bytes());
}

/// Counts somebody who follows for as long as it lives.
struct Counted;

impl Counted {
    fn begin() -> Self {
        metrics::gauge!("nwaf_api_watchers").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("nwaf_api_watchers").decrement(1.0);
    }
}
