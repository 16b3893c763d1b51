//! Changes of what behavioural analysis is told: settings, virtual hosts, trainings, models.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::limits::{MODEL_BYTES, VHOSTS};
use policy::training::TrainingOrder;
use policy::{HostPattern, Invalid, MlcKey, MlcValue, Training};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::{AnalysisChange, Change, ModelRow};
use wire::v1::{MlcWrite, ModelWrite, TrainingWrite, VhostsWrite, mlc_json};

use super::{Context, Draft, LOGGED_CHARS_MAX, collect};
use crate::service::analysis::MlcSetting;
use crate::service::{NewModel, ServiceError};

pub(super) fn mlc(draft: &mut Draft, write: &MlcWrite) -> Result<(), ServiceError> {
    let (mut before, mut after) = (Map::new(), Map::new());
    match write {
        MlcWrite::Set { active, values } => {
            let mut refused = Vec::new();
            let mut parsed = Vec::new();
            for (key, input) in values {
                match MlcValue::parse(*key, input) {
                    Ok(value) => parsed.push((*key, MlcSetting { value, active: *active })),
                    Err(why) => refused.extend(why),
                }
            }
            if !refused.is_empty() {
                return Err(ServiceError::Invalid(refused));
            }
            for (key, setting) in parsed {
                let old = draft.state.analysis.mlc.get(&key);
                if old == Some(&setting) {
                    continue;
                }
                before.insert(key.name().into(), logged(old));
                after.insert(key.name().into(), logged(Some(&setting)));
                put_mlc(draft, key, Some(setting));
            }
        }
        MlcWrite::Del(names) => {
            let keys = names
                .iter()
                .map(|name| MlcKey::of_short_name(name.trim()).map_err(|why| why.in_field("del")));
            for key in collect(keys).map_err(ServiceError::Invalid)? {
                if let Some(old) = draft.state.analysis.mlc.get(&key) {
                    before.insert(key.name().into(), logged(Some(old)));
                    after.insert(key.name().into(), Value::Null);
                    put_mlc(draft, key, None);
                }
            }
        }
    }
    (draft.before, draft.after) = (Value::Object(before), Value::Object(after));
    Ok(())
}

/// Sets or removes a setting, unless it is so already.
pub(in crate::service) fn put_mlc(draft: &mut Draft, key: MlcKey, setting: Option<MlcSetting>) {
    let mlc = &mut draft.state.analysis.mlc;
    if mlc.get(&key) == setting.as_ref() {
        return;
    }
    let change = match setting {
        Some(setting) => {
            let value = mlc_json(&setting.value).to_string();
            let active = setting.active;
            mlc.insert(key, setting);
            AnalysisChange::PutMlc { name: key.name(), value, active }
        }
        None => {
            mlc.remove(&key);
            AnalysisChange::RemoveMlc(key.name())
        }
    };
    draft.changes.push(Change::Analysis(change));
}

/// A setting for people, of a long list only the beginning.
pub(in crate::service) fn logged(setting: Option<&MlcSetting>) -> Value {
    let Some(MlcSetting { value, active }) = setting else { return Value::Null };
    let value = mlc_json(value);
    let text = value.to_string();
    match text.char_indices().nth(LOGGED_CHARS_MAX) {
        None => json!({"value": value, "active": active}),
        Some((cut, _)) => {
            json!({"value_begins": text[..cut], "bytes": text.len(), "active": active})
        }
    }
}

pub(super) fn vhosts(draft: &mut Draft, write: &VhostsWrite) -> Result<(), ServiceError> {
    const FIELD: &str = "vhosts_list";
    let mut seen = BTreeSet::new();
    let parsed = write.0.iter().enumerate().map(|(index, text)| {
        let pattern = vhost(&format!("{FIELD}[{index}]"), text)?;
        Ok(Some(pattern.to_string()).filter(|vhost| seen.insert(vhost.clone())))
    });
    let parsed = collect(parsed).map_err(ServiceError::Invalid)?;
    let next: Vec<String> = parsed.into_iter().flatten().collect();
    let old = Arc::clone(&draft.state.analysis.vhosts);
    place_vhosts(draft, FIELD, next)?;
    if !Arc::ptr_eq(&old, &draft.state.analysis.vhosts) {
        draft.before = json!({"vhosts_list": *old});
        draft.after = json!({"vhosts_list": *draft.state.analysis.vhosts});
    }
    Ok(())
}

/// Replaces the list of virtual hosts, none of them twice, unless it is so already.
///
/// # Errors
/// They are too many.
pub(in crate::service) fn place_vhosts(
    draft: &mut Draft,
    field: &str,
    next: Vec<String>,
) -> Result<(), ServiceError> {
    if next.len() > VHOSTS {
        let reason = format!("the list has more than {VHOSTS} virtual hosts");
        let remedy = "list those whose models are worth their memory";
        return Err(ServiceError::Invalid(vec![Invalid::new(field, "", reason, remedy)]));
    }
    if *draft.state.analysis.vhosts != next {
        draft.changes.push(Change::Analysis(AnalysisChange::PlaceVhosts(next.clone())));
        draft.state.analysis.vhosts = Arc::new(next);
    }
    Ok(())
}

/// The name of a virtual host as nginx may have it: a host, or a pattern but `*`.
pub(in crate::service) fn vhost(field: &str, text: &str) -> Result<HostPattern, Invalid> {
    match text.parse::<HostPattern>().map_err(|why| why.in_field(field))? {
        HostPattern::Any => {
            let remedy = "name hosts: example.com, .example.com or *.example.com";
            Err(Invalid::new(field, text, "* is no virtual host", remedy))
        }
        pattern => Ok(pattern),
    }
}

pub(super) fn training(
    draft: &mut Draft,
    context: &Context,
    write: &TrainingWrite,
) -> Result<(), ServiceError> {
    let order = TrainingOrder::new(write.duration, write.complete)
        .map_err(|why| ServiceError::Invalid(vec![why]))?;
    let patterns = write
        .vhosts
        .iter()
        .map(|text| text.parse::<HostPattern>().map_err(|why| why.in_field("vhost")));
    let patterns = collect(patterns).map_err(ServiceError::Invalid)?;
    let mut ordered = BTreeSet::new();
    for (pattern, text) in patterns.iter().zip(&write.vhosts) {
        let covered = draft.state.analysis.covered(pattern);
        if covered.is_empty() {
            let reason = "no virtual host of the list is meant by this";
            let remedy = "add it to the list with set_vhosts_list first";
            return Err(ServiceError::NotListed(Invalid::new("vhost", text, reason, remedy)));
        }
        ordered.extend(covered.into_iter().map(str::to_owned));
    }
    let (mut before, mut after) = (Map::new(), Map::new());
    for (vhost, known) in context.trainings.iter().filter(|(vhost, _)| ordered.contains(vhost)) {
        let next = known.ordered(order, context.now_ms);
        if next != *known {
            before.insert(vhost.clone(), logged_training(known));
            after.insert(vhost.clone(), logged_training(&next));
            let vhost = vhost.clone();
            draft.changes.push(Change::Analysis(AnalysisChange::OrderTraining { vhost, order }));
        }
    }
    (draft.before, draft.after) = (Value::Object(before), Value::Object(after));
    Ok(())
}

fn logged_training(training: &Training) -> Value {
    json!({
        "state": training.state.as_str(), "duration": training.duration_days,
        "progress": training.progress, "samples": training.samples,
    })
}

pub(super) fn put_model(
    draft: &mut Draft,
    context: &Context,
    model: &NewModel,
) -> Result<(), ServiceError> {
    let vhost = vhost("vhost", &model.vhost).map_err(|why| ServiceError::Invalid(vec![why]))?;
    let vhost = vhost.to_string();
    let size = model.bytes.len();
    if size == 0 || size > MODEL_BYTES {
        let reason = format!("a model has 1 to {MODEL_BYTES} bytes");
        let why = Invalid::new("body", &size.to_string(), reason, "send the model's file");
        return Err(ServiceError::Invalid(vec![why]));
    }
    let digest = Sha256::digest(&model.bytes);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = Arc::clone(&model.bytes);
    let change = AnalysisChange::PutModel { vhost: vhost.clone(), sha256: sha256.clone(), bytes };
    store_model(draft, context, vhost, size as u64, sha256, change)
}

pub(super) fn models(
    draft: &mut Draft,
    context: &Context,
    write: &ModelWrite,
) -> Result<(), ServiceError> {
    let named = |field: &str, text: &str| {
        let pattern = vhost(field, text).map_err(|why| ServiceError::Invalid(vec![why]))?;
        Ok::<_, ServiceError>(pattern.to_string())
    };
    match write {
        ModelWrite::Delete(text) => {
            let vhost = named("vhost", text)?;
            find(draft, "vhost", &vhost)?;
            let models = Arc::make_mut(&mut draft.state.analysis.models);
            let old = models.remove(&vhost);
            (draft.before, draft.after) = (logged_model(old.as_ref()), Value::Null);
            draft.changes.push(Change::Analysis(AnalysisChange::RemoveModel(vhost)));
            Ok(())
        }
        ModelWrite::Copy { src, dst } => {
            let (src, dst) = (named("src", src)?, named("dst", dst)?);
            let ModelRow { size, sha256, .. } = find(draft, "src", &src)?.clone();
            let change = AnalysisChange::CopyModel { src, dst: dst.clone() };
            store_model(draft, context, dst, size, sha256, change)
        }
    }
}

/// Gives a host a model, unless it has the same one already.
fn store_model(
    draft: &mut Draft,
    context: &Context,
    vhost: String,
    size: u64,
    sha256: String,
    change: AnalysisChange,
) -> Result<(), ServiceError> {
    let models = Arc::make_mut(&mut draft.state.analysis.models);
    let old = models.get(&vhost).cloned();
    if old.as_ref().is_some_and(|old| old.sha256 == sha256) {
        return Ok(());
    }
    if old.is_none() && models.len() >= VHOSTS {
        let reason = format!("there are {VHOSTS} models already");
        let remedy = "delete models of hosts that are gone with del_models_uri";
        return Err(ServiceError::Invalid(vec![Invalid::new("vhost", &vhost, reason, remedy)]));
    }
    let new = ModelRow {
        vhost: vhost.clone(),
        version: context.generation,
        size,
        sha256,
        author: context.author.clone(),
        updated_ms: context.now_ms,
    };
    (draft.before, draft.after) = (logged_model(old.as_ref()), logged_model(Some(&new)));
    models.insert(vhost, new);
    draft.changes.push(Change::Analysis(change));
    Ok(())
}

fn logged_model(model: Option<&ModelRow>) -> Value {
    model.map_or(Value::Null, |model| {
        json!({"vhost": model.vhost, "version": model.version, "size": model.size,
               "sha256": model.sha256})
    })
}

fn find<'a>(draft: &'a Draft, field: &str, vhost: &str) -> Result<&'a ModelRow, ServiceError> {
    draft.state.analysis.models.get(vhost).ok_or_else(|| {
        let reason = "this virtual host has no model";
        let remedy = "get_models_list_uri lists the hosts that have one";
        ServiceError::NotFound(Invalid::new(field, vhost, reason, remedy))
    })
}
