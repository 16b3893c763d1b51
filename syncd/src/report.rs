//! Telling the API what became of its bundles, beside the way of the policy.
//!
//! Only the latest report matters: it replaces one that was not delivered yet.
//! A report that cannot be delivered is tried again and never delays a change.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};
use wire::v2::{AgentReport, AgentState, Revision};

use crate::collect::Api;

/// First and last pause between attempts.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest reason the API takes, in characters.
const REASON_CHARS: usize = 1_024;

/// What is to be delivered, and where.
#[derive(Debug, Clone)]
struct Delivery {
    report: AgentReport,
    api: Arc<Api>,
    to: usize,
}

/// The driver's side.
#[derive(Debug)]
pub struct Reports {
    node: String,
    sender: watch::Sender<Option<Delivery>>,
}

/// The delivering side.
#[derive(Debug)]
pub struct Reporter(watch::Receiver<Option<Delivery>>);

/// Both sides, for a node of this name.
pub fn channel(node: String) -> (Reports, Reporter) {
    let (sender, receiver) = watch::channel(None);
    (Reports { node, sender }, Reporter(receiver))
}

impl Reports {
    /// Reports that a revision runs (`reason` absent) or was refused.
    ///
    /// The same report to the same endpoint is delivered once.
    pub fn say(&self, api: Arc<Api>, to: usize, revision: Revision, reason: Option<&str>) {
        let state = if reason.is_some() { AgentState::Refused } else { AgentState::Published };
        let reason = reason.map(|reason| reason.chars().take(REASON_CHARS).collect());
        let report = AgentReport { node: self.node.clone(), revision, state, reason };
        self.sender.send_if_modified(|delivery| {
            let same = delivery.as_ref().is_some_and(|old| {
                old.report == report && old.to == to && Arc::ptr_eq(&old.api, &api)
            });
            if !same {
                *delivery = Some(Delivery { report, api, to });
            }
            !same
        });
    }

    /// The name in later reports.
    pub fn rename(&mut self, node: String) {
        self.node = node;
    }
}

impl Reporter {
    /// Delivers until the driver's side is gone.
    pub async fn run(mut self) {
        while self.0.changed().await.is_ok() {
            let delivery = self.0.borrow_and_update().clone();
            let Some(delivery) = delivery else { continue };
            select! {
                biased;
                () = deliver(&delivery) => {}
                // A newer report is waiting, or nobody is.
                _ = watched(self.0.clone()) => {}
            }
        }
    }
}

async fn watched(mut receiver: watch::Receiver<Option<Delivery>>) {
    // A sender that is gone ends the waiting as well.
    let _ = receiver.changed().await;
}

async fn deliver(delivery: &Delivery) {
    let Delivery { report, api, to } = delivery;
    let mut pause = PAUSE_MIN;
    while let Err(why) = api.report(*to, report).await {
        if pause == PAUSE_MIN {
            warn!(revision = %report.revision, error = %why, "the report was not delivered, trying on");
        } else {
            debug!(revision = %report.revision, error = %why, "the report was not delivered");
        }
        sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    debug!(revision = %report.revision, state = ?report.state, "report delivered");
}
