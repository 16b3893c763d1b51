//! The newest bundle of an endpoint: what changed since the kept one where that can be
//! had, else the whole.
//!
//! Everything behind this module sees whole bundles. A delta is applied to the bundle on
//! disk, which is the last good one also after a start and costs no memory while nothing
//! changes; what comes of it has the announced digest, or the whole bundle is taken at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::{debug, warn};
use wire::v2::{Bundle, Delta};

use super::client::AskError;
use super::{Api, Known, v2};
use crate::store::Store;

/// How a bundle came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a whole.
    Whole,
    /// By what changed since the kept one.
    Delta,
    /// As a whole, because what changed could not be had or was not usable.
    Instead(Fallback),
}

/// Why a whole bundle was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The API does not know what changed since the kept bundle, or it is too much.
    Gone,
    /// The answer was no delta, or did not lead where it said.
    Unusable,
}

impl Way {
    /// A word for the metrics; empty where no delta was to be expected.
    pub fn result(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Delta => Some("applied"),
            Self::Instead(Fallback::Gone) => Some("gone"),
            Self::Instead(Fallback::Unusable) => Some("unusable"),
        }
    }
}

/// A bundle and how it came.
#[derive(Debug)]
pub struct Fetched {
    /// The bundle, not yet checked where it came as a whole.
    pub bundle: Box<Bundle>,
    /// How it came.
    pub way: Way,
}

/// Asks an endpoint for a bundle that differs from `known`; `None` where there is none
/// after `wait`.
///
/// # Errors
/// See [`AskError`].
pub(super) async fn newest(
    api: &Api,
    from: usize,
    known: &Known,
    wait: Duration,
) -> Result<Option<Fetched>, AskError> {
    let (client, url, key) = (&api.client, &api.urls[from], &api.key);
    let way = if known.kept {
        match v2::delta(client, url, key, known, wait).await {
            Ok(None) => return Ok(None),
            Ok(Some(delta)) => match applied(&api.store, delta).await {
                Ok(bundle) => {
                    return Ok(Some(Fetched { bundle: Box::new(bundle), way: Way::Delta }));
                }
                Err(why) => {
                    warn!(endpoint = %url, error = %why, "a delta cannot be used, taking the whole bundle");
                    Way::Instead(Fallback::Unusable)
                }
            },
            Err(AskError::Status { status: 410, .. }) => Way::Instead(Fallback::Gone),
            // An API from before there were deltas.
            Err(AskError::NoSuchCall { .. }) => Way::Whole,
            Err(why) if is_about_deltas(&why) => {
                debug!(endpoint = %url, error = %why, "no delta came, taking the whole bundle");
                Way::Instead(Fallback::Unusable)
            }
            Err(why) => return Err(why),
        }
    } else {
        Way::Whole
    };
    let bundle = v2::bundle(client, url, key, known, wait).await?;
    Ok(bundle.map(|bundle| Fetched { bundle: Box::new(bundle), way }))
}

/// Whether the same endpoint may still have a bundle: it answered, and asked for no pause.
fn is_about_deltas(why: &AskError) -> bool {
    match why {
        AskError::Content { .. } | AskError::TooLarge { .. } => true,
        AskError::Status { status, .. } => !matches!(status, 429 | 502..=504),
        _ => false,
    }
}

/// The bundle that a delta makes of the kept one.
async fn applied(store: &Arc<Store>, delta: Delta) -> Result<Bundle, String> {
    let store = Arc::clone(store);
    let task = spawn_blocking(move || match store.read() {
        Ok(Some(kept)) => delta.apply(kept).map_err(|why| why.to_string()),
        Ok(None) => Err("no bundle is kept".to_owned()),
        Err(why) => Err(format!("the kept bundle cannot be read: {why}")),
    });
    task.await.unwrap_or_else(|_| Err("applying it failed unexpectedly".to_owned()))
}
