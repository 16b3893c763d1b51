//! What an import says of behavioural analysis: its settings, the virtual hosts.

use std::collections::{BTreeMap, BTreeSet};

use policy::{MlcKey, MlcValue};
use wire::v2::{BadLines, ImportedMlc};

use super::Mode;
use crate::service::ServiceError;
use crate::service::analysis::MlcSetting;
use crate::service::change::{Draft, analysis};

/// What a file says of it; what is absent is not spoken of.
#[derive(Debug)]
pub(super) struct UnderstoodAnalysis {
    mlc: Option<BTreeMap<MlcKey, MlcSetting>>,
    /// None twice.
    vhosts: Option<Vec<String>>,
}

impl UnderstoodAnalysis {
    pub fn new(
        mlc: Option<Vec<ImportedMlc>>,
        vhosts: Option<Vec<String>>,
        bad: &mut BadLines,
    ) -> Self {
        let mlc = mlc.map(|given| {
            let mut understood = BTreeMap::new();
            for ImportedMlc { key, value, active } in given {
                match MlcValue::parse(key, &value) {
                    Ok(value) => {
                        understood.insert(key, MlcSetting { value, active });
                    }
                    Err(refused) => {
                        for why in refused {
                            let field = format!("mlc_settings.{}", why.field);
                            bad.push(|| why.in_field(field));
                        }
                    }
                }
            }
            understood
        });
        let vhosts = vhosts.map(|given| {
            let mut seen = BTreeSet::new();
            let mut understood = Vec::with_capacity(given.len());
            for (at, text) in given.iter().enumerate() {
                match analysis::vhost(&format!("vhosts[{at}]"), text) {
                    Ok(vhost) if seen.insert(vhost.to_string()) => {
                        understood.push(vhost.to_string());
                    }
                    Ok(_) => {}
                    Err(why) => bad.push(|| why),
                }
            }
            understood
        });
        Self { mlc, vhosts }
    }

    /// Writes it into `draft`.
    ///
    /// # Errors
    /// There would be more virtual hosts than [`policy::limits::VHOSTS`].
    pub fn apply(&self, draft: &mut Draft, mode: Mode) -> Result<(), ServiceError> {
        if let Some(mlc) = &self.mlc {
            if mode == Mode::Replace {
                let gone: Vec<MlcKey> = draft
                    .state
                    .analysis
                    .mlc
                    .keys()
                    .filter(|key| !mlc.contains_key(key))
                    .copied()
                    .collect();
                for key in gone {
                    analysis::put_mlc(draft, key, None);
                }
            }
            for (key, setting) in mlc {
                analysis::put_mlc(draft, *key, Some(setting.clone()));
            }
        }
        if let Some(given) = &self.vhosts {
            let mut next = match mode {
                Mode::Replace => Vec::new(),
                Mode::Merge => (*draft.state.analysis.vhosts).clone(),
            };
            let there: BTreeSet<String> = next.iter().cloned().collect();
            next.extend(given.iter().filter(|vhost| !there.contains(*vhost)).cloned());
            analysis::place_vhosts(draft, "vhosts", next)?;
        }
        Ok(())
    }
}
