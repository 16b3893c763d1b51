//! What behavioural analysis is told, in memory: settings, virtual hosts, models.
//!
//! Trainings are not here: they move without the policy, so they are asked of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::{HostPattern, Invalid, MlcKey, MlcSettings, MlcValue};
use sha2::{Digest as _, Sha256};
use store::{Model, ModelRow, StoreError, StoredAnalysis};

use super::state::corrupt;

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlcSetting {
    /// In the form that is kept and shown.
    pub value: MlcValue,
    /// Whether it acts.
    pub active: bool,
}

/// # Errors
/// [`StoreError::Corrupt`] where no write of this program can have put this row there.
fn check_model(model: &ModelRow) -> Result<(), StoreError> {
    let row = || format!("model {}", model.vhost);
    model.vhost.parse::<HostPattern>().map_err(|why| corrupt(row(), &[why]))?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if model.sha256.len() != 64 || !model.sha256.bytes().all(is_digit) {
        let reason = format!("sha256 {:?} is no digest", model.sha256);
        return Err(StoreError::Corrupt { row: row(), reason });
    }
    Ok(())
}

/// Checks that a model is the one that was stored.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is not. Takes as long as the model is large.
pub fn check_model_bytes(model: &Model) -> Result<(), StoreError> {
    check_model(&model.row)?;
    if crate::key::hex(&Sha256::digest(&model.bytes)) == model.row.sha256 {
        return Ok(());
    }
    let row = format!("model {}", model.row.vhost);
    Err(StoreError::Corrupt { row, reason: "its bytes do not have its sha256".to_owned() })
}

/// What behavioural analysis is told. Cloning is cheap: what may be large is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Settings that are set.
    pub mlc: BTreeMap<MlcKey, MlcSetting>,
    /// Virtual hosts, none twice, each a host pattern but `*` in its normal spelling.
    pub vhosts: Arc<Vec<String>>,
    /// Models by name of the host, without their bytes.
    pub models: Arc<BTreeMap<String, ModelRow>>,
}

impl Analysis {
    /// Understands what the store held.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first row that has no meaning.
    pub(super) fn from_stored(stored: StoredAnalysis) -> Result<Self, StoreError> {
        let mut mlc = BTreeMap::new();
        for (name, json, active) in stored.mlc {
            let row = || format!("setting {name}");
            let key: MlcKey = name.parse().map_err(|why: Invalid| corrupt(row(), &[why]))?;
            let value = serde_json::from_str(&json).map_err(|why| StoreError::Corrupt {
                row: row(),
                reason: format!("its value is not JSON: {why}"),
            })?;
            let value = wire::v1::mlc_value(key, value).map_err(|why| corrupt(row(), &why))?;
            mlc.insert(key, MlcSetting { value, active });
        }
        for vhost in &stored.vhosts {
            vhost
                .parse::<HostPattern>()
                .map_err(|why| corrupt(format!("virtual host {vhost}"), &[why]))?;
        }
        let mut models = BTreeMap::new();
        for model in stored.models {
            check_model(&model)?;
            models.insert(model.vhost.clone(), model);
        }
        Ok(Self { mlc, vhosts: Arc::new(stored.vhosts), models: Arc::new(models) })
    }

    /// The settings in force: those that are set and act, else their defaults.
    ///
    /// # Panics
    /// Never: every value was checked when it came.
    pub fn settings(&self) -> MlcSettings {
        let acting = self.mlc.iter().filter(|(_, setting)| setting.active);
        MlcSettings::parse(acting.map(|(key, setting)| (*key, &setting.value)))
            .expect("values are checked when they come")
    }

    /// The listed virtual hosts that a pattern covers, in the order of the list.
    pub fn covered(&self, pattern: &HostPattern) -> Vec<&str> {
        let listed = self.vhosts.iter().map(String::as_str);
        let covers = |vhost: &&str| vhost.parse().is_ok_and(|vhost| pattern.covers(&vhost));
        listed.filter(covers).collect()
    }
}
