//! Attacks as a table: RFC 4180, one line an attack whatever a client sent.
//!
//! Programs that open such files take a cell that begins with `=`, `+`, `-` or `@` for a
//! formula and carry it out; such a text gets an apostrophe in front, which they take for
//! "this is text". Control characters are written as `\u000a`, so that readers that go by
//! lines are not misled either.

use super::{Line, is_unsafe};

/// Names of the columns.
pub const COLUMNS: [&str; 19] = [
    "id",
    "time",
    "node",
    "action",
    "bt",
    "rule",
    "zone",
    "client",
    "country",
    "host",
    "method",
    "uri",
    "args",
    "status",
    "count",
    "request_id",
    "user_agent",
    "referer",
    "event_id",
];

/// The first line.
pub fn header() -> String {
    COLUMNS.join(",") + "\r\n"
}

/// Appends the line of an attack: its id, its node, and the text of its event.
///
/// # Errors
/// The text is not that of an event.
pub fn row(out: &mut String, id: &str, node: &str, event: &str) -> Result<(), serde_json::Error> {
    let line: Line = serde_json::from_str(event)?;
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    let text = |text: Option<String>| text.unwrap_or_default();
    let client = line.client.map(|client| client.to_string()).unwrap_or_default();
    let cells: [&str; COLUMNS.len()] = [
        id,
        &line.time,
        node,
        line.action.word(),
        &line.bt.to_string(),
        &number(line.rule),
        &text(line.zone),
        &client,
        &text(line.country),
        &line.host,
        &line.method,
        &line.uri,
        &text(line.args),
        &line.status.to_string(),
        &line.count.to_string(),
        &line.request_id,
        &text(line.user_agent),
        &text(line.referer),
        &line.id,
    ];
    for (nth, content) in cells.into_iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        cell(out, content);
    }
    out.push_str("\r\n");
    Ok(())
}

fn cell(out: &mut String, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let needs_quotes = is_formula || text.contains(['"', ',', ' ', ';', '\'']);
    if needs_quotes {
        out.push('"');
    }
    if is_formula {
        out.push('\'');
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\"\""),
            other if is_unsafe(other) => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    if needs_quotes {
        out.push('"');
    }
}
