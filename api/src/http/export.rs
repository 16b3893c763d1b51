//! Exporting a list, the rules, the exclusions, the settings or a whole policy as a file.
//!
//! The file is made while it is sent: a million entries take little memory. It is of one
//! revision, however long it takes. A connection that breaks leaves an answer without its
//! end, which HTTP clients report.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::v1::{RuleLine, mlc_json};
use wire::v2::{ErrorBody, ExclusionExport, MlcExport, Part, PolicyExport, SettingExport};

use super::analysis::ANALYSIS_READERS;
use super::answer;
use super::call::{Caller, ExportCall};
use super::condition;
use super::error::ApiError;
use super::import::{NDJSON, part_named};
use super::read::POLICY_READERS;
use super::segment::Segment;
use super::stream::{self, Gone, Writer};
use super::v2::field;
use crate::service::Current;

/// How a file is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    JsonLines,
}

/// The elements of a part, those that do not act included.
#[utoipa::path(
    get, path = "/export/{part}", tag = "v2", security(("bearer" = [])),
    params(("part" = String, Path, description = "bl, erl, wl, settings or policy"),
           ("format" = Option<String>, Query,
            description = "text (bl only, its default), json (default of the others), or jsonl (bl, erl, wl)")),
    responses((status = 200, description = "The file", body = String, content_type = "text/plain"),
              (status = 200, description = "The whole policy", body = PolicyExport),
              (status = 304, description = "Still that of If-None-Match"),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn export(
    Segment(part): Segment,
    ExportCall(call): ExportCall,
) -> Result<Response, ApiError> {
    let part = part_named(&part)?;
    let format = match (call.fields.format.as_deref(), part) {
        (None | Some("text"), Part::BlockList) => Format::Text,
        (None | Some("json"), _) => Format::Json,
        (Some("jsonl"), Part::BlockList | Part::Rules | Part::Exclusions) => Format::JsonLines,
        (Some(other), _) => {
            let remedy = "write json; for bl also text or jsonl, for erl and wl also jsonl";
            return Err(field("format", other, "there is no such format of this part", remedy));
        }
    };
    let (form, label) = match format {
        Format::Text => ("text", "text/plain; charset=utf-8"),
        Format::Json => ("json", "application/json"),
        Format::JsonLines => ("jsonl", NDJSON),
    };
    let readers = match part {
        // It says how detection is set.
        Part::Policy => ANALYSIS_READERS,
        _ => POLICY_READERS,
    };
    condition::read(call, readers, form, async move |_, Caller { tenant, .. }| {
        let current = tenant.current().await?;
        let revision = current.revision;
        let (writer, body) = stream::body();
        tokio::spawn(async move {
            // Who left has no use for the rest.
            let _ = write(writer, &current, part, format).await;
        });
        let response = ([(header::CONTENT_TYPE, label)], body).into_response();
        Ok(answer::at_revision(response, revision))
    })
    .await
}

async fn write(
    mut writer: Writer,
    current: &Arc<Current>,
    part: Part,
    format: Format,
) -> Result<(), Gone> {
    let state = &current.state;
    match part {
        Part::BlockList => match format {
            Format::Text => {
                for entry in &*state.block_list {
                    raw(&mut writer, entry);
                    raw(&mut writer, "\n");
                    writer.pass_on().await?;
                }
            }
            Format::JsonLines => elements(&mut writer, &*state.block_list, "", "\n").await?,
            Format::Json => block_list(&mut writer, current).await?,
        },
        Part::Rules if format == Format::JsonLines => {
            elements(&mut writer, rules(current), "", "\n").await?;
        }
        Part::Rules => array(&mut writer, rules(current)).await?,
        Part::Exclusions if format == Format::JsonLines => {
            elements(&mut writer, exclusions(current), "", "\n").await?;
        }
        Part::Exclusions => array(&mut writer, exclusions(current)).await?,
        Part::Settings => json(&mut writer, &settings(current)),
        Part::Policy => {
            raw(&mut writer, "{\"format\": ");
            json(&mut writer, &PolicyExport::FORMAT);
            raw(&mut writer, ",\n\"revision\": ");
            json(&mut writer, &current.revision);
            raw(&mut writer, ",\n\"settings\": ");
            json(&mut writer, &settings(current));
            raw(&mut writer, ",\n\"block_list\": ");
            block_list(&mut writer, current).await?;
            raw(&mut writer, ",\n\"rules\": ");
            array(&mut writer, rules(current)).await?;
            raw(&mut writer, ",\n\"exclusions\": ");
            array(&mut writer, exclusions(current)).await?;
            raw(&mut writer, ",\n\"mlc_settings\": ");
            json(&mut writer, &mlc_settings(current));
            raw(&mut writer, ",\n\"vhosts\": ");
            json(&mut writer, &*state.analysis.vhosts);
            raw(&mut writer, "}");
        }
    }
    if format != Format::Text && format != Format::JsonLines {
        raw(&mut writer, "\n");
    }
    writer.flush().await
}

fn settings(current: &Current) -> BTreeMap<&'static str, SettingExport> {
    let told = current.state.settings.iter().map(|(key, setting)| {
        (key.name(), SettingExport { value: setting.value.clone(), active: setting.active })
    });
    told.collect()
}

fn exclusions(current: &Current) -> impl Iterator<Item = ExclusionExport> {
    current.state.exclusions.iter().map(|(id, text)| ExclusionExport::new(*id, text))
}

fn mlc_settings(current: &Current) -> BTreeMap<&'static str, MlcExport> {
    let told = current.state.analysis.mlc.iter().map(|(key, setting)| {
        (key.name(), MlcExport { value: mlc_json(&setting.value), active: setting.active })
    });
    told.collect()
}

fn rules(current: &Current) -> impl Iterator<Item = RuleLine> {
    current.state.rules.iter().map(|(id, rule)| RuleLine::new(*id, rule, None))
}

async fn block_list(writer: &mut Writer, current: &Current) -> Result<(), Gone> {
    raw(writer, "{\"active\": ");
    json(writer, &current.state.block_list_active);
    raw(writer, ", \"bl\": ");
    array(writer, &*current.state.block_list).await?;
    raw(writer, "}");
    Ok(())
}

/// An element a line, in an array.
async fn array<T: Serialize>(
    writer: &mut Writer,
    all: impl IntoIterator<Item = T>,
) -> Result<(), Gone> {
    raw(writer, "[");
    elements(writer, all, ",", "\n").await?;
    raw(writer, "]");
    Ok(())
}

async fn elements<T: Serialize>(
    writer: &mut Writer,
    all: impl IntoIterator<Item = T>,
    between: &str,
    after: &str,
) -> Result<(), Gone> {
    for (at, element) in all.into_iter().enumerate() {
        if at > 0 {
            raw(writer, between);
            raw(writer, after);
        }
        json(writer, &element);
        writer.pass_on().await?;
    }
    raw(writer, after);
    Ok(())
}

fn raw(writer: &mut Writer, text: &str) {
    writer.buffer().extend_from_slice(text.as_bytes());
}

fn json(writer: &mut Writer, value: &impl Serialize) {
    serde_json::to_writer(writer.buffer(), value).expect("plain data has a JSON form");
}
