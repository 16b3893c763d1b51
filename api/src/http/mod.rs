//! HTTP and nothing else: paths, requests, answers.
//!
//! Handlers take a [`call::Call`] apart, ask the service, and spell the answer.
//! Every call exists under `/nw-api/` and, as in the vendor's cloud, under
//! `/nw/agent/` and `/nw/agent/public/`.

mod analysis;
mod answer;
mod attacks;
mod bans;
mod body;
mod call;
mod condition;
mod error;
mod exclusions;
mod export;
mod frame;
mod health;
mod import;
mod keys;
mod limiter;
mod models;
mod openapi;
mod poll;
mod read;
mod segment;
mod stream;
mod training;
mod v2;
mod watch;
mod write;

use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::sync::{Semaphore, watch as channel};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use answer::rfc3339;
use body::Room;
use error::ApiError;
pub use frame::describe_metrics;
#[cfg(test)]
pub use limiter::FAILURES_MAX;
pub use limiter::Limiter;

use crate::peers::Peers;
#[cfg(test)]
pub use watch::WATCHERS_MAX;

use crate::service::Service;

/// Exports of attacks at the same time.
const EXPORTS_MAX: usize = 4;

/// What may change while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Every write is refused.
    pub read_only: bool,
    /// Largest body of a write, in bytes.
    pub body_limit: usize,
}

/// What handlers share.
pub struct App {
    /// The use cases.
    pub service: Arc<Service>,
    /// Clients that show wrong keys.
    pub limiter: Limiter,
    /// Turns true when the process shall end; long polls answer then.
    pub stop: channel::Receiver<bool>,
    /// What other servers say of themselves.
    pub peers: Arc<Peers>,
    /// Places for those who follow changes.
    watchers: Arc<Semaphore>,
    /// Room for large bodies of clients that have not shown a key yet.
    room: Room,
    /// Turns for exports of attacks.
    exports: Arc<Semaphore>,
    live: RwLock<Live>,
}

impl App {
    /// An app that serves `service` until `stop` turns true.
    pub fn new(
        service: Arc<Service>,
        peers: Arc<Peers>,
        live: Live,
        stop: channel::Receiver<bool>,
    ) -> Self {
        let room = Room::new(live.body_limit);
        let watchers = Arc::new(Semaphore::new(watch::WATCHERS_MAX));
        let limiter = Limiter::default();
        let exports = Arc::new(Semaphore::new(EXPORTS_MAX));
        let live = RwLock::new(live);
        Self { service, limiter, stop, peers, watchers, room, exports, live }
    }

    /// The values in force.
    pub fn live(&self) -> Live {
        *self.live.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts other values in force.
    pub fn set_live(&self, live: Live) {
        self.room.grow(live.body_limit);
        *self.live.write().unwrap_or_else(std::sync::PoisonError::into_inner) = live;
    }
}

/// What a listener for machines answers: health, role and metrics, without a key.
pub fn machine_router(
    app: Arc<App>,
    metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Router {
    Router::new()
        .merge(health::routes())
        .route("/metrics", get(async move || metrics()))
        .with_state(app)
}

/// Everything the main listener answers.
pub fn router(app: Arc<App>) -> Router {
    let v1 = OpenApiRouter::new()
        .routes(routes!(read::get_dyn_settings))
        .routes(routes!(write::set_dyn_settings))
        .routes(routes!(read::get_dyn_bl))
        .routes(routes!(write::set_dyn_bl))
        .routes(routes!(read::get_dyn_erl))
        .routes(routes!(write::set_dyn_erl))
        .routes(routes!(exclusions::get_dyn_wl))
        .routes(routes!(exclusions::set_dyn_wl))
        .routes(routes!(analysis::get_mlc_settings))
        .routes(routes!(analysis::set_mlc_settings))
        .routes(routes!(analysis::get_vhosts_list))
        .routes(routes!(analysis::set_vhosts_list));
    // What the specification's cloud has under a path of its own, too.
    let models = OpenApiRouter::new()
        .routes(routes!(models::get_models_list_uri))
        .routes(routes!(models::del_models_uri))
        .routes(routes!(models::rep_models_uri))
        .routes(routes!(training::get_training_uri))
        .routes(routes!(training::set_training_uri))
        .routes(routes!(read::get_event_log));
    let (v1, v1_document) = v1.merge(models.clone()).split_for_parts();
    let (models, _) = models.split_for_parts();
    let v2 = OpenApiRouter::new()
        .routes(routes!(poll::bundle))
        .routes(routes!(poll::delta))
        .routes(routes!(v2::report))
        .routes(routes!(v2::agents))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(attacks::ingest, attacks::list))
        .routes(routes!(attacks::summary))
        .routes(routes!(attacks::export))
        .routes(routes!(attacks::one))
        .routes(routes!(bans::add, bans::list, bans::lift_address))
        .routes(routes!(bans::lift_one))
        .routes(routes!(v2::get_dyn_settings))
        .routes(routes!(v2::get_dyn_bl))
        .routes(routes!(v2::get_dyn_erl))
        .routes(routes!(write::v2_set_dyn_settings))
        .routes(routes!(write::v2_set_dyn_bl))
        .routes(routes!(write::v2_set_dyn_erl))
        .routes(routes!(exclusions::v2_get_dyn_wl))
        .routes(routes!(exclusions::v2_set_dyn_wl))
        .routes(routes!(analysis::v2_get_mlc_settings))
        .routes(routes!(analysis::v2_set_mlc_settings))
        .routes(routes!(analysis::v2_get_vhosts_list))
        .routes(routes!(analysis::v2_set_vhosts_list))
        .routes(routes!(models::v2_get_models_list_uri))
        .routes(routes!(models::v2_del_models_uri))
        .routes(routes!(models::v2_rep_models_uri))
        .routes(routes!(models::get_model, models::put_model))
        .routes(routes!(training::v2_get_training_uri))
        .routes(routes!(training::v2_set_training_uri))
        .routes(routes!(training::report))
        .routes(routes!(import::import))
        .routes(routes!(export::export))
        .routes(routes!(watch::watch));
    let (v2, v2_document) = v2.split_for_parts();
    let document = openapi::document(v1_document, v2_document);

    Router::new()
        .nest(
            "/nw-api/v2",
            v2.route("/openapi.json", get(async move || openapi::answer(&document))),
        )
        .nest("/nw-api", v1.clone())
        .nest("/nw/agent", v1.clone())
        .nest("/nw/agent/public", v1)
        .nest("/nw/ml/mgmt", models)
        .merge(health::routes())
        .fallback(async || ApiError::NoSuchCall)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // Bodies are read, and limited, in `call`.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(|_| ApiError::Panicked.into_response()))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), frame::frame))
        .with_state(app)
}
