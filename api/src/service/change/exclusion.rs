//! Changes of signature exclusions.

use std::sync::Arc;

use policy::limits::EXCLUSIONS;
use policy::{Exclusion, ExclusionText, Invalid};
use serde_json::{Value, json};
use store::Change;
use wire::v1::{ExclusionPatch, ExclusionWrite};

use super::Draft;
use crate::service::ServiceError;

/// An exclusion as it is shown and logged.
pub fn exclusion_json(id: u64, text: &ExclusionText) -> Value {
    json!({
        "id": id, "rl_id": text.rl_id, "domain": text.domain, "mz": text.mz,
        "extension": text.extension, "pattern": text.pattern, "comment": text.comment,
        "active": text.active,
    })
}

pub(super) fn exclusions(draft: &mut Draft, write: &ExclusionWrite) -> Result<u64, ServiceError> {
    let (id, text) = match write {
        ExclusionWrite::Add(patch) => {
            if draft.state.exclusions.len() >= EXCLUSIONS {
                let reason = format!("there are {EXCLUSIONS} exclusions already");
                let remedy = "delete exclusions that are not needed";
                return Err(ServiceError::Invalid(vec![Invalid::new("add", "", reason, remedy)]));
            }
            let id = draft.state.next_exclusion_id;
            draft.state.next_exclusion_id += 1;
            (id, Some(patched(&ExclusionText::default(), patch)))
        }
        ExclusionWrite::Update(id, patch) => {
            (*id, Some(patched(find(draft, *id, "upd.rid")?, patch)))
        }
        ExclusionWrite::Delete(id) => {
            find(draft, *id, "del.rid")?;
            (*id, None)
        }
    };
    let parsed = text
        .map(|text| Exclusion::parse(id, &text).map(|parsed| (parsed.spelled(&text), parsed)))
        .transpose()
        .map_err(ServiceError::Invalid)?;
    let old = draft.state.exclusions.get(&id).cloned();
    if old.as_deref() == parsed.as_ref().map(|(text, _)| text) {
        return Ok(id);
    }
    let logged =
        |text: Option<&ExclusionText>| text.map_or(Value::Null, |text| exclusion_json(id, text));
    draft.before = logged(old.as_deref());
    draft.after = logged(parsed.as_ref().map(|(text, _)| text));

    match parsed.map(|(text, _)| text) {
        Some(text) => {
            draft.changes.push(Change::PutExclusion(id, Box::new(text.clone())));
            draft.state.exclusions.insert(id, Arc::new(text));
        }
        None => {
            draft.changes.push(Change::RemoveExclusion(id));
            draft.state.exclusions.remove(&id);
        }
    }
    Ok(id)
}

fn patched(exclusion: &ExclusionText, patch: &ExclusionPatch) -> ExclusionText {
    let mut exclusion = exclusion.clone();
    patch.clone().apply(&mut exclusion);
    exclusion
}

fn find<'a>(draft: &'a Draft, id: u64, field: &str) -> Result<&'a ExclusionText, ServiceError> {
    draft.state.exclusions.get(&id).map(|text| &**text).ok_or_else(|| {
        ServiceError::NotFound(Invalid::new(
            field,
            &id.to_string(),
            "there is no exclusion with this id",
            "get_dyn_wl lists the exclusions with their ids; rl_id is the id of a signature",
        ))
    })
}
