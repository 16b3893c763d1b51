//! The text of `nwaf_metrics`: Prometheus' exposition format, version 0.0.4.
//!
//! What is not known (no policy in force, no country database) has no sample, rather
//! than a zero that would look like a value. Counters are those of all workers, ended
//! ones included, so that a reload never sets them back; numbers of one worker carry
//! its process id and end with it.
//!
//! No host and no address is a label: clients choose those, and each would be a series.

#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use policy::BlockType;

use crate::directives::MainConf;
use crate::ffi::os;
use crate::zone::{Counter, Slot, Table, View};
use crate::{countries, worker};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics as this worker sees them.
pub fn text(conf: &MainConf, table: Option<&Table>) -> String {
    let mut page = Page { out: String::with_capacity(8 << 10), name: "" };
    page.family("nwaf_build_info", Kind::Gauge, "The version that runs; always 1.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(table) = table {
        totals(&mut page, table);
        each_worker(&mut page, table);
    }
    policy(&mut page);
    of_countries(&mut page, conf);
    local(&mut page, conf);
    zone(&mut page, conf);
    page.out
}

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The text while it grows.
struct Page {
    out: String,
    /// The metric whose samples are being written.
    name: &'static str,
}

impl Page {
    /// Begins a metric; its samples follow.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.name = name;
        // Writing to a string cannot fail.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value of the metric that was begun last.
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            self.out.push(if nth == 0 { '{' } else { ',' });
            let _ = write!(self.out, "{label}=\"{}\"", Escaped(text));
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// A metric with one value and no labels.
    fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }
}

/// The value of a label, with what would end it escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Milliseconds, shown in seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

fn totals(page: &mut Page, table: &Table) {
    use Kind::Counter as Total;
    let blocked = "Requests refused, by block type.";
    page.single(
        "nwaf_module_requests_total",
        Total,
        "Requests judged.",
        table.total(Counter::Requests),
    );
    page.family("nwaf_module_blocked_total", Total, blocked);
    for what in BlockType::BLOCKING {
        let number = (what as u8).to_string();
        let labels = [("block_type", number.as_str()), ("reason", what.word())];
        page.sample(&labels, table.total_blocked_by(what));
    }
    for (name, help, counter) in [
        (
            "nwaf_module_observed_total",
            "Requests with a hit that was only recorded.",
            Counter::Observed,
        ),
        (
            "nwaf_module_bypassed_total",
            "Requests of white-listed hosts and addresses.",
            Counter::Bypassed,
        ),
        ("nwaf_module_errors_total", "Faults in the module that were caught.", Counter::Errors),
        (
            "nwaf_module_refusals_total",
            "Files of policies, bans and countries that workers refused.",
            Counter::Refusals,
        ),
        ("nwaf_module_bans_total", "Addresses banned by nwaf_limit.", Counter::Bans),
        (
            "nwaf_module_journal_lines_total",
            "Lines written to the attack journal.",
            Counter::JournalLines,
        ),
        (
            "nwaf_module_journal_dropped_total",
            "Lines of the attack journal that could not be written.",
            Counter::JournalDropped,
        ),
        (
            "nwaf_module_telemetry_records_total",
            "Records written to the traffic ring.",
            Counter::TelemetryRecords,
        ),
    ] {
        page.single(name, Total, help, table.total(counter));
    }
    if let Some((_, at_ms)) = table.last_error().read() {
        page.single(
            "nwaf_module_last_error_timestamp_seconds",
            Kind::Gauge,
            "When the last error or warning of the module was logged.",
            Seconds(at_ms),
        );
    }
}

fn each_worker(page: &mut Page, table: &Table) {
    let living: Vec<(String, &Slot, View)> = table
        .in_use()
        .map(|slot| (slot, slot.view()))
        .filter(|(_, view)| os::is_alive(view.pid))
        .map(|(slot, view)| (view.pid.to_string(), slot, view))
        .collect();
    let exiting = living.iter().filter(|(_, _, view)| view.exiting).count();
    page.family("nwaf_module_workers", Kind::Gauge, "Workers, by what they do.");
    page.sample(&[("state", "serving")], living.len() - exiting);
    page.sample(&[("state", "exiting")], exiting);
    let mut each = |name, kind, help, value: &dyn Fn(&Slot, &View) -> Option<u64>| {
        page.family(name, kind, help);
        for (pid, slot, view) in &living {
            if let Some(value) = value(slot, view) {
                page.sample(&[("worker", pid)], value);
            }
        }
    };
    each(
        "nwaf_module_worker_generation",
        Kind::Gauge,
        "Number of the policy that a worker enforces.",
        &|_, view| (view.activated_ms != 0).then_some(view.generation),
    );
    each(
        "nwaf_module_worker_bans_generation",
        Kind::Gauge,
        "Number of the published bans that a worker enforces.",
        &|_, view| view.bans_generation,
    );
    for (name, help, counter) in [
        ("nwaf_module_worker_requests_total", "Requests a worker judged.", Counter::Requests),
        ("nwaf_module_worker_blocked_total", "Requests a worker refused.", Counter::Blocked),
        ("nwaf_module_worker_errors_total", "Faults caught in a worker.", Counter::Errors),
    ] {
        each(name, Kind::Counter, help, &|slot, _| Some(slot.counted(counter)));
    }
}

fn policy(page: &mut Page) {
    use Kind::Gauge;
    let active = worker::active();
    let refused = "Whether the newest policy was refused, so that another one is in force.";
    page.single(
        "nwaf_module_snapshot_refused",
        Gauge,
        refused,
        u8::from(worker::refusal().is_some()),
    );
    page.single(
        "nwaf_module_snapshot_in_force",
        Gauge,
        "Whether a policy is in force.",
        u8::from(active.is_some()),
    );
    let Some(active) = active.as_deref() else { return };
    let (meta, counts) = (active.policy.meta(), active.policy.counts());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    for (name, help, value) in [
        ("nwaf_module_snapshot_session", "History of the policy in force.", meta.session),
        ("nwaf_module_snapshot_generation", "Number of the policy in force.", meta.generation),
        ("nwaf_module_snapshot_addresses", "Entries of its address lists.", counts.addresses),
        ("nwaf_module_snapshot_hosts", "Entries of its host lists.", counts.hosts),
        ("nwaf_module_snapshot_rules", "Its extended rules.", counts.rules),
    ] {
        page.single(name, Gauge, help, value);
    }
    page.single(
        "nwaf_module_snapshot_created_timestamp_seconds",
        Gauge,
        "When the policy in force was compiled.",
        Seconds(meta.created_ms),
    );
    page.single(
        "nwaf_module_snapshot_age_seconds",
        Gauge,
        "How long ago that was.",
        Seconds(now_ms.saturating_sub(meta.created_ms)),
    );
    if let Some(bans) = active.bans.as_deref() {
        page.single(
            "nwaf_module_published_bans",
            Gauge,
            "Bans that syncd has published, those that have ended included.",
            bans.counts().addresses,
        );
    }
}

fn of_countries(page: &mut Page, conf: &MainConf) {
    if conf.geoip2.is_none() {
        return;
    }
    page.single(
        "nwaf_module_countries_refused",
        Kind::Gauge,
        "Whether the newest country database was refused.",
        u8::from(countries::refusal().is_some()),
    );
    let active = worker::active();
    let Some(database) = active.as_deref().and_then(|active| active.countries.as_deref()) else {
        return;
    };
    page.family(
        "nwaf_module_countries_ranges",
        Kind::Gauge,
        "Address ranges of the country database, by its type.",
    );
    page.sample(&[("type", database.kind())], database.ranges());
    page.single(
        "nwaf_module_countries_built_timestamp_seconds",
        Kind::Gauge,
        "When the country database was built.",
        database.built_s(),
    );
}

fn local(page: &mut Page, conf: &MainConf) {
    let Some(local) = &conf.local else { return };
    let policy = worker::active().as_deref().map(|active| active.policy.given());
    let policy = policy.unwrap_or_default();
    page.family(
        "nwaf_module_local_setting_in_force",
        Kind::Gauge,
        "Settings of nginx's configuration: 1 in force, 0 replaced by the policy.",
    );
    for key in local.given().iter() {
        page.sample(&[("setting", key.name())], u8::from(!policy.has(key)));
    }
}

fn zone(page: &mut Page, conf: &MainConf) {
    let Some(zone) = &conf.limit_zone else { return };
    let own = zone.statistics(os::monotonic_ms());
    for (name, help, value) in [
        ("nwaf_module_zone_size_bytes", "Size of nwaf_zone.", own.size),
        ("nwaf_module_zone_bans", "Bans by nwaf_limit that hold.", own.bans),
        ("nwaf_module_zone_bans_room", "Bans for which there is room.", own.bans_room),
        ("nwaf_module_zone_addresses", "Addresses that are counted.", own.addresses),
        ("nwaf_module_zone_cells", "Cells that counts take.", own.cells),
        ("nwaf_module_zone_cells_room", "Cells for which there is room.", own.cells_room),
    ] {
        page.single(name, Kind::Gauge, help, value);
    }
    for (name, help, value) in [
        (
            "nwaf_module_zone_requests_counted_total",
            "Blocked requests that were counted.",
            own.counted,
        ),
        ("nwaf_module_zone_bans_made_total", "Bans that were made.", own.made),
        (
            "nwaf_module_zone_bans_lifted_total",
            "Bans that were lifted before their end.",
            own.lifted,
        ),
        (
            "nwaf_module_zone_addresses_forgotten_total",
            "Addresses whose counts were forgotten for want of room.",
            own.forgotten,
        ),
        ("nwaf_module_zone_bans_cut_total", "Bans that ended early for want of room.", own.cut),
        (
            "nwaf_module_zone_resets_total",
            "Times that all counts were thrown away, because a worker died among them.",
            own.resets,
        ),
    ] {
        page.single(name, Kind::Counter, help, value);
    }
}
