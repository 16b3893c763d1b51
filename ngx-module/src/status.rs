//! The text of `nwaf_status`: one JSON object.
//!
//! Written by hand: a dozen fields do not need a library inside nginx.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use bans::Statistics;
use policy::{BlockType, Keys};

use crate::directives::{DEFAULT_SNAPSHOT_DIR, MainConf};
use crate::ffi::os;
use crate::worker;
use crate::zone::{COUNTERS, Table};

/// The status as this worker sees it. Workers that were killed are left out.
pub fn json(conf: &MainConf, table: Option<&Table>) -> String {
    let mut out = String::with_capacity(1024);
    out.push_str("{\"version\":");
    string(&mut out, env!("CARGO_PKG_VERSION"));
    snapshot(&mut out, conf);
    countries(&mut out, conf);
    zone(&mut out, conf);
    local(&mut out, conf);
    workers(&mut out, table);
    last_error(&mut out, table);
    out.push_str("}\n");
    out
}

fn snapshot(out: &mut String, conf: &MainConf) {
    let dir = conf.snapshot.as_ref().map(|dir| dir.path.to_string_lossy());
    out.push_str(",\"snapshot\":{\"dir\":");
    string(out, dir.as_deref().unwrap_or(DEFAULT_SNAPSHOT_DIR));
    match worker::active().as_deref() {
        Some(active) => {
            let (meta, counts) = (active.policy.meta(), active.policy.counts());
            write(out, format_args!(",\"session\":{}", meta.session));
            write(out, format_args!(",\"generation\":{}", meta.generation));
            write(out, format_args!(",\"created\":\"{}\"", os::utc(meta.created_ms)));
            write(out, format_args!(",\"addresses\":{}", counts.addresses));
            write(out, format_args!(",\"hosts\":{}", counts.hosts));
            write(out, format_args!(",\"rules\":{}", counts.rules));
            let bans = active.bans.as_deref();
            let count = bans.map_or(0, |bans| bans.counts().addresses);
            write(out, format_args!(",\"bans\":{count}"));
            number(out, "bans_generation", bans.map(|bans| bans.meta().generation));
        }
        None => out.push_str(
            ",\"session\":null,\"generation\":null,\"created\":null,\
             \"addresses\":0,\"hosts\":0,\"rules\":0,\"bans\":0,\"bans_generation\":null",
        ),
    }
    out.push_str(",\"last_refusal\":");
    match worker::refusal() {
        Some(why) => string(out, &why),
        None => out.push_str("null"),
    }
    out.push('}');
}

fn countries(out: &mut String, conf: &MainConf) {
    out.push_str(",\"countries\":");
    let Some(file) = &conf.geoip2 else { return out.push_str("null") };
    out.push_str("{\"file\":");
    string(out, &file.path.to_string_lossy());
    match worker::active().as_deref().and_then(|active| active.countries.as_deref()) {
        Some(countries) => {
            out.push_str(",\"type\":");
            string(out, countries.kind());
            let built = os::utc(countries.built_s().saturating_mul(1000));
            write(out, format_args!(",\"built\":\"{built}\""));
            write(out, format_args!(",\"ranges\":{}", countries.ranges()));
        }
        None => out.push_str(",\"type\":null,\"built\":null,\"ranges\":0"),
    }
    out.push_str(",\"last_refusal\":");
    match crate::countries::refusal() {
        Some(why) => string(out, &why),
        None => out.push_str("null"),
    }
    out.push('}');
}

/// Limits and bans in shared memory.
fn zone(out: &mut String, conf: &MainConf) {
    out.push_str(",\"zone\":");
    let Some(zone) = &conf.limit_zone else { return out.push_str("null") };
    let statistics = zone.statistics(os::monotonic_ms());
    let Statistics { size, bans, bans_room, addresses, cells, cells_room, .. } = statistics;
    write(out, format_args!("{{\"size\":{size},\"bans\":{bans},\"bans_room\":{bans_room}"));
    write(out, format_args!(",\"addresses\":{addresses}"));
    write(out, format_args!(",\"cells\":{cells},\"cells_room\":{cells_room}"));
    let Statistics { counted, made, lifted, forgotten, cut, resets, .. } = statistics;
    write(out, format_args!(",\"counted\":{counted},\"made\":{made},\"lifted\":{lifted}"));
    write(out, format_args!(",\"forgotten\":{forgotten},\"cut\":{cut},\"resets\":{resets}}}"));
}

/// Which settings of nginx's configuration are in force, and which the policy replaces.
fn local(out: &mut String, conf: &MainConf) {
    let own = conf.local.as_ref().map(|local| local.given()).unwrap_or_default();
    let policy = worker::active().as_deref().map(|active| active.policy.given());
    let kept = own.without(policy.unwrap_or_default());
    out.push_str(",\"local\":{\"in_force\":");
    names(out, kept);
    out.push_str(",\"replaced\":");
    names(out, own.without(kept));
    out.push('}');
}

fn names(out: &mut String, keys: Keys) {
    for (nth, key) in keys.iter().enumerate() {
        out.push_str(if nth == 0 { "[" } else { "," });
        string(out, key.name());
    }
    out.push_str(if keys.is_empty() { "[]" } else { "]" });
}

fn workers(out: &mut String, table: Option<&Table>) {
    out.push_str(",\"workers\":[");
    let slots = table.into_iter().flat_map(Table::in_use);
    let living = slots.map(|slot| (slot, slot.view())).filter(|(_, view)| os::is_alive(view.pid));
    for (nth, (slot, view)) in living.enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write(out, format_args!("{{\"pid\":{},\"exiting\":{}", view.pid, view.exiting));
        if view.activated_ms == 0 {
            out.push_str(",\"session\":null,\"generation\":null,\"activated\":null");
        } else {
            write(out, format_args!(",\"session\":{}", view.session));
            write(out, format_args!(",\"generation\":{}", view.generation));
            write(out, format_args!(",\"activated\":\"{}\"", os::utc(view.activated_ms)));
        }
        number(out, "bans_generation", view.bans_generation);
        for (counter, name) in COUNTERS {
            write(out, format_args!(",\"{name}\":{}", slot.counted(counter)));
        }
        blocked_by(out, |what| slot.blocked_by(what));
        out.push('}');
    }
    out.push_str("],\"total\":{");
    for (nth, (counter, name)) in COUNTERS.into_iter().enumerate() {
        let comma = if nth > 0 { "," } else { "" };
        let value = table.map_or(0, |table| table.total(counter));
        write(out, format_args!("{comma}\"{name}\":{value}"));
    }
    blocked_by(out, |what| table.map_or(0, |table| table.total_blocked_by(what)));
    out.push('}');
}

/// Requests refused, by number of the block type.
fn blocked_by(out: &mut String, count: impl Fn(BlockType) -> u64) {
    for (nth, what) in BlockType::BLOCKING.into_iter().enumerate() {
        let start = if nth == 0 { ",\"blocked_by\":{" } else { "," };
        write(out, format_args!("{start}\"{}\":{}", what as u8, count(what)));
    }
    out.push('}');
}

/// The last line that any worker wrote about itself.
fn last_error(out: &mut String, table: Option<&Table>) {
    out.push_str(",\"last_error\":");
    let Some((text, at_ms)) = table.and_then(|table| table.last_error().read()) else {
        return out.push_str("null");
    };
    out.push_str("{\"text\":");
    string(out, &text);
    write(out, format_args!(",\"at\":\"{}\"}}", os::utc(at_ms)));
}

/// Writes a field that may be unknown.
pub fn number(out: &mut String, name: &str, value: Option<u64>) {
    match value {
        Some(value) => write(out, format_args!(",\"{name}\":{value}")),
        None => write(out, format_args!(",\"{name}\":null")),
    }
}

/// Writes formatted text.
pub fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// Writes a JSON string with what RFC 8259, section 7 wants escaped.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => write(out, format_args!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}
