//! The numbers of this process, under `nwaf_syncd_`.
//!
//! Endpoints are labelled by their position in the configuration, from 1, and
//! not by their address.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::collect::fetch::Way;
use crate::publish::Published;

/// Seconds; from a small change on a quick disk to a whole long poll.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts counting; later calls change nothing.
pub fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
        let recorder = builder.install_recorder().ok()?;
        describe_counter!("nwaf_syncd_polls_total", "Answers of endpoints by result");
        describe_counter!("nwaf_syncd_heartbeats_total", "Good calls beside a long poll");
        describe_counter!("nwaf_syncd_failovers_total", "Changes of the active endpoint");
        describe_counter!("nwaf_syncd_swaps_total", "Snapshots published");
        describe_counter!("nwaf_syncd_deltas_total", "Deltas asked for by what came of it");
        describe_counter!("nwaf_syncd_refused_total", "Bundles refused by reason");
        describe_counter!("nwaf_syncd_publish_failures_total", "Snapshots the disk did not take");
        describe_gauge!("nwaf_syncd_snapshot_session", "Session of what runs");
        describe_gauge!("nwaf_syncd_snapshot_generation", "Generation of what runs");
        describe_gauge!(
            "nwaf_syncd_snapshot_created_timestamp_seconds",
            "When what runs was compiled"
        );
        describe_gauge!("nwaf_syncd_snapshot_bytes", "Size of the snapshot in force");
        describe_gauge!("nwaf_syncd_snapshot_entries", "Block list entries and rules that run");
        describe_gauge!("nwaf_syncd_age_seconds", "Time since an endpoint confirmed what runs");
        describe_gauge!("nwaf_syncd_endpoint_up", "Whether the endpoint's last answer was good");
        describe_gauge!("nwaf_syncd_active_endpoint", "Whether the endpoint is the active one");
        describe_gauge!("nwaf_syncd_authorised", "Whether the API accepts the key");
        describe_histogram!("nwaf_syncd_poll_duration_seconds", "Time of a poll, long ones too");
        describe_histogram!(
            "nwaf_syncd_apply_duration_seconds",
            "Bundle read to snapshot published"
        );
        Some(recorder)
    });
}

/// The page for Prometheus; empty where another recorder was installed before.
pub fn page() -> String {
    let Some(Some(recorder)) = RECORDER.get() else { return String::new() };
    recorder.run_upkeep();
    recorder.render()
}

/// An endpoint was asked.
pub fn polled(took: Duration) {
    histogram!("nwaf_syncd_poll_duration_seconds").record(took.as_secs_f64());
}

/// What came of asking an endpoint.
pub fn answered(endpoint: usize, result: &'static str) {
    let endpoint = label(endpoint);
    counter!("nwaf_syncd_polls_total", "endpoint" => endpoint, "result" => result).increment(1);
}

/// A long poll's endpoint is alive.
pub fn heartbeat() {
    counter!("nwaf_syncd_heartbeats_total").increment(1);
}

/// Another endpoint became the active one.
pub fn failover() {
    counter!("nwaf_syncd_failovers_total").increment(1);
}

/// A bundle was refused.
pub fn refused(kind: &'static str) {
    counter!("nwaf_syncd_refused_total", "reason" => kind).increment(1);
}

/// The disk did not take a snapshot.
pub fn not_published() {
    counter!("nwaf_syncd_publish_failures_total").increment(1);
}

/// A bundle came in some way.
pub fn delta(way: Way) {
    if let Some(result) = way.result() {
        counter!("nwaf_syncd_deltas_total", "result" => result).increment(1);
    }
}

/// A bundle that came in some way was put in force.
pub fn applied(took: Duration, way: Way) {
    let kind = if way == Way::Delta { "delta" } else { "full" };
    counter!("nwaf_syncd_swaps_total", "kind" => kind).increment(1);
    histogram!("nwaf_syncd_apply_duration_seconds").record(took.as_secs_f64());
}

/// What runs now.
pub fn running(published: &Published) {
    let Published { running, at, bytes } = published;
    // A gauge is a double: exact up to 2^53, which milliseconds reach in the year 287396.
    gauge!("nwaf_syncd_snapshot_session").set(running.revision.session as f64);
    gauge!("nwaf_syncd_snapshot_generation").set(running.revision.generation as f64);
    gauge!("nwaf_syncd_snapshot_created_timestamp_seconds").set(seconds(*at));
    gauge!("nwaf_syncd_snapshot_bytes").set(*bytes as f64);
    gauge!("nwaf_syncd_snapshot_entries").set(running.size as f64);
}

/// State of an endpoint.
pub fn endpoint(index: usize, up: bool, active: bool) {
    gauge!("nwaf_syncd_endpoint_up", "endpoint" => label(index)).set(f64::from(u8::from(up)));
    gauge!("nwaf_syncd_active_endpoint", "endpoint" => label(index))
        .set(f64::from(u8::from(active)));
}

/// Whether the key is accepted, and how old the last confirmation is.
pub fn health(authorised: bool, age: Option<Duration>) {
    gauge!("nwaf_syncd_authorised").set(f64::from(u8::from(authorised)));
    if let Some(age) = age {
        gauge!("nwaf_syncd_age_seconds").set(age.as_secs_f64());
    }
}

fn label(endpoint: usize) -> String {
    (endpoint + 1).to_string()
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
