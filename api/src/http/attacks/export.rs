//! The record as a file, however long: read page by page, never held as a whole.
//!
//! No transaction is open while a client takes its time. An export that cannot be finished
//! breaks the connection off: what ends properly is whole.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use store::{AttackFilter, AttackRow, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use wire::v2::ErrorBody;
use wire::v2::attack::csv;

use super::super::App;
use super::super::error::ApiError;
use super::super::poll::Query;
use super::super::read::HISTORY_READERS;
use super::super::v2::field;
use super::filter::{self, FilterQuery};
use super::{authorize, view};
use crate::failure::with_causes;
use crate::service::Tenant;

/// Attacks that are read at a time: at most 8 MiB.
const PAGE: u32 = 500;
/// Pages that wait for the client.
const PAGES_WAITING: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    JsonLines,
    Csv,
}

/// Every attack that is meant, newest first, as a file: JSON lines as in a page, or CSV.
#[utoipa::path(
    get, path = "/attacks/export", tag = "v2", security(("bearer" = [])),
    params(FilterQuery,
           ("format" = Option<String>, Query, description = "jsonl (default) or csv")),
    responses((status = 200, description = "Lines; a connection that breaks off is an export that failed",
               content((String = "application/x-ndjson"), (String = "text/csv"))),
              (status = "default", description = "Refused", body = ErrorBody)))]
pub async fn export(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (request, _) = request.into_parts();
    let mut query = Query::parse(&request, &filter::names(&["format"]))?;
    let caller = authorize(&app, &request, &mut query, HISTORY_READERS).await?;
    let wanted = filter::parse(&query)?;
    let format = match query.given.get("format").map(String::as_str) {
        None | Some("jsonl") => Format::JsonLines,
        Some("csv") => Format::Csv,
        Some(other) => {
            return Err(field("format", other, "there is no such format", "write jsonl or csv"));
        }
    };
    let permit =
        Arc::clone(&app.exports).try_acquire_owned().map_err(|_| ApiError::Crowded("exports"))?;
    let (sender, pages) = mpsc::channel(PAGES_WAITING);
    // Ends with the export, or when the client leaves.
    tokio::spawn(write(caller.tenant, wanted, format, sender, permit));
    let (label, name) = match format {
        Format::JsonLines => ("application/x-ndjson", "attachment; filename=\"attacks.jsonl\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"attacks.csv\""),
    };
    let headers = [(header::CONTENT_TYPE, label), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::new(Pages(pages))).into_response())
}

async fn write(
    tenant: Arc<Tenant>,
    wanted: AttackFilter,
    format: Format,
    sender: mpsc::Sender<Result<Bytes, ApiError>>,
    _permit: OwnedSemaphorePermit,
) {
    let mut before = None;
    let mut text = if format == Format::Csv { csv::header() } else { String::new() };
    loop {
        let events = tenant.store().events();
        let page = match events.attacks(tenant.waf(), &wanted, before, PAGE).await {
            Ok(page) => page,
            Err(why) => {
                tracing::error!(error = %with_causes(&why), "an export was broken off");
                let _ = sender.send(Err(why.into())).await;
                return;
            }
        };
        let is_last = page.len() < PAGE as usize;
        before = page.last().map(|row| row.id);
        for row in page {
            if let Err(why) = line(&mut text, row, format) {
                tracing::error!(error = %with_causes(&why), "an export was broken off");
                let _ = sender.send(Err(why)).await;
                return;
            }
        }
        let chunk = Bytes::from(std::mem::take(&mut text));
        if sender.send(Ok(chunk)).await.is_err() || is_last {
            return;
        }
    }
}

fn line(out: &mut String, row: AttackRow, format: Format) -> Result<(), ApiError> {
    let id = row.id.to_string();
    if format == Format::Csv {
        return csv::row(out, &id, &row.node, &row.event).map_err(|why| {
            StoreError::Corrupt { row: format!("attack {id}"), reason: why.to_string() }.into()
        });
    }
    let json = serde_json::to_string(&view(row)?).expect("plain data has a JSON form");
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{json}");
    Ok(())
}

/// A body of pages.
struct Pages(mpsc::Receiver<Result<Bytes, ApiError>>);

impl HttpBody for Pages {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        self.0.poll_recv(context).map(|page| page.map(|page| page.map(Frame::data)))
    }
}
