//! The vendor's calls: three polls that together make a policy.
//!
//! v1 has neither an order of changes nor one call for everything: two of the
//! three answers may belong to different moments. The next poll puts that right,
//! because the whole content is compared by digest, not by time.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Url};
use wire::v1;
use wire::v2::{BUNDLE_BYTES, BundleContent};

use super::client::{self, AskError};
use super::v2::call;
use crate::key::ApiKey;

/// Fetches settings, block list and rules.
///
/// # Errors
/// See [`AskError`]; also where an answer lacks its closing status line, which
/// is how v1 says that it is complete.
pub async fn content(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
) -> Result<BundleContent, AskError> {
    let settings = settings(client, endpoint, key).await?;
    let text = fetch(client, endpoint, key, "get_dyn_bl").await?;
    let block_list =
        v1::read_block_list(&text).map_err(|why| content_error("a block list", why))?;
    let text = fetch(client, endpoint, key, "get_dyn_erl").await?;
    let mut rules = v1::read_rules(&text).map_err(|why| content_error("a list of rules", why))?;
    // A policy holds what is active; v1 lists the rest as well.
    rules.retain(|rule| rule.active);
    // What a node does without signatures needs no exclusions from them.
    Ok(BundleContent { settings, block_list, rules, ..BundleContent::default() })
}

/// Fetches the active settings alone; also the cheapest sign of life.
///
/// # Errors
/// See [`AskError`].
pub async fn settings(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
) -> Result<BTreeMap<String, String>, AskError> {
    let text = fetch(client, endpoint, key, "get_dyn_settings?format=json").await?;
    v1::read_settings(&text).map_err(|why| content_error("a list of settings", why))
}

async fn fetch(
    client: &Client,
    endpoint: &Url,
    key: &ApiKey,
    name: &str,
) -> Result<String, AskError> {
    let form = [("key", key.expose())];
    let request = client.post(call(endpoint, name)?).form(&form);
    let response = client::send(request, Duration::ZERO).await?;
    let bytes = client::body(response, BUNDLE_BYTES).await?;
    String::from_utf8(bytes).map_err(|why| content_error("text", why))
}

fn content_error(expected: &'static str, why: impl ToString) -> AskError {
    AskError::Content { expected, reason: why.to_string() }
}
