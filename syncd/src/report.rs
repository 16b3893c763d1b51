//! Telling the API what became of its bundles, beside the way of the policy.
//!
//! Only the latest report matters: it replaces one that was not delivered yet.
//! A report that cannot be delivered is tried again and never delays a change; one
//! that was delivered is repeated every few minutes.

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
/// Time between repetitions: an API that was restored or lost its list of nodes
/// hears of this one again, and the age of a report tells whether a node lives.
const REPEAT: Duration = Duration::from_secs(240);
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
pub struct Reporter {
    deliveries: watch::Receiver<Option<Delivery>>,
    repeat: Duration,
}

/// Both sides, for a node of this name.
pub fn channel(node: String) -> (Reports, Reporter) {
    let (sender, receiver) = watch::channel(None);
    (Reports { node, sender }, Reporter { deliveries: receiver, repeat: REPEAT })
}

impl Reports {
    /// Reports that a revision runs (`reason` absent) or was refused.
    ///
    /// The same report to the same endpoint is delivered once, and then repeated.
    pub fn say(&self, api: Arc<Api>, to: usize, revision: Revision, reason: Option<&str>) {
        let state = if reason.is_some() { AgentState::Refused } else { AgentState::Published };
        let reason = reason.map(printable);
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
        while self.deliveries.changed().await.is_ok() {
            let delivery = self.deliveries.borrow_and_update().clone();
            let Some(delivery) = delivery else { continue };
            let repeated = async {
                loop {
                    deliver(&delivery).await;
                    sleep(self.repeat.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                }
            };
            select! {
                biased;
                // A newer report is waiting, or nobody is.
                _ = watched(self.deliveries.clone()) => {}
                () = repeated => {}
            }
        }
    }
}

/// A reason as the API takes it: one line of limited length.
fn printable(reason: &str) -> String {
    let one_line = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    one_line.take(REASON_CHARS).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::tests::collector;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_delivered_report_is_repeated() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = collector(&format!("http://{address}/nw-api/")).api();
        let (reports, mut reporter) = channel("web-1".into());
        reporter.repeat = Duration::from_millis(10);
        let revision = Revision { session: 1, generation: 2 };
        reports.say(api, 0, revision, Some("a\nb\u{1b}c"));
        let running = tokio::spawn(reporter.run());
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            while !text.contains("}}") && !text.ends_with('}') {
                let mut bytes = [0; 4_096];
                let read = stream.read(&mut bytes).await.unwrap();
                assert_ne!(read, 0, "{text}");
                text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
            assert!(text.contains("web-1") && text.contains("\"a b c\""), "{text}");
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
        drop(reports);
        running.await.unwrap();
    }
}
