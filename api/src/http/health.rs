//! What balancers and monitoring ask, without a key.
//!
//! | path | 200 means |
//! |---|---|
//! | `/healthz` | the process answers |
//! | `/readyz` | calls are served: the database answers and no newer primary is known |
//! | `/primary` | writes are taken |
//! | `/replica` | reads are served, writes are not |
//! | `/role` | whatever it is, in words |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use store::{Pulse, Role};

use super::App;

/// How long the database may take to answer.
const READY: Duration = Duration::from_secs(1);

impl App {
    /// Whether writes are taken.
    pub fn is_writable(&self, pulse: &Pulse) -> bool {
        !self.live().read_only && self.peers.were_asked() && matches!(pulse.role, Role::Primary)
    }

    /// Whether this server looks after the database: as of the last question, it takes writes.
    pub fn is_keeper(&self) -> bool {
        self.role_name(self.service.role()) == "primary"
    }

    /// The server in a word.
    pub fn role_name(&self, role: Role) -> &'static str {
        match role {
            _ if self.peers.is_fenced() => "fenced",
            Role::Replica { .. } => "replica",
            Role::Primary if self.live().read_only || !self.peers.were_asked() => "read_only",
            Role::Primary => "primary",
        }
    }
}

/// Every path of [`routes`].
pub const PATHS: [&str; 5] = ["/healthz", "/readyz", "/primary", "/replica", "/role"];

/// The paths and what answers.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(async |app: State<Arc<App>>| only(app, |_| true).await))
        .route("/primary", get(async |app: State<Arc<App>>| only(app, |is| is == "primary").await))
        .route("/replica", get(async |app: State<Arc<App>>| only(app, |is| is != "primary").await))
        .route("/role", get(async |app: State<Arc<App>>| Json(role(&app).await)))
}

/// 200 where calls are served and the role is a wanted one, 503 with the same words else.
async fn only(State(app): State<Arc<App>>, is_wanted: impl Fn(&str) -> bool) -> Response {
    let answer = role(&app).await;
    let name = answer["role"].as_str().unwrap_or_default();
    let is_served = !matches!(name, "fenced" | "unavailable");
    let status = match is_served && is_wanted(name) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(answer)).into_response()
}

/// The role, the replica's lag, and the primary's place among its copies.
async fn role(app: &App) -> Value {
    let pulse = match tokio::time::timeout(READY, app.service.pulse()).await {
        Ok(Ok(pulse)) => pulse,
        Ok(Err(why)) => {
            tracing::debug!(error = %why, "the database does not answer");
            return json!({"role": "unavailable"});
        }
        Err(_) => return json!({"role": "unavailable"}),
    };
    let _ = app.peers.check(&pulse);
    let mut answer = json!({"role": app.role_name(pulse.role)});
    if let Role::Replica { lag_ms } = pulse.role {
        answer["lag_ms"] = json!(lag_ms);
    }
    if let Some(history) = &pulse.history {
        answer["system"] = json!(history.system);
        answer["timeline"] = json!(history.timeline);
    }
    answer
}
