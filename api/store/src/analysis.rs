//! What is remembered for behavioural analysis: settings, virtual hosts with their
//! trainings, models.
//!
//! A training is changed by operators, in a commit, and by reports, outside of one. Both
//! read it in the transaction that writes it, so that its states follow each other as
//! [`policy::Training`] says.

use std::sync::Arc;

use policy::Training;
use policy::training::{ReportRefused, TrainingOrder};

/// What is part of a policy as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnalysis {
    /// The id the next new exclusion gets.
    pub next_exclusion_id: u64,
    /// Name, value as JSON, active; in the order of names.
    pub mlc: Vec<(String, String, bool)>,
    /// Virtual hosts, in the order of the list.
    pub vhosts: Vec<String>,
    /// Models without their bytes, by name of the host.
    pub models: Vec<ModelRow>,
}

impl Default for StoredAnalysis {
    fn default() -> Self {
        Self { next_exclusion_id: 1, mlc: Vec::new(), vhosts: Vec::new(), models: Vec::new() }
    }
}

/// One change of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnalysisChange {
    /// Write a setting of behavioural analysis.
    PutMlc {
        /// Its name.
        name: &'static str,
        /// Its value as JSON.
        value: String,
        /// Whether it acts.
        active: bool,
    },
    /// Remove a setting of behavioural analysis.
    RemoveMlc(&'static str),
    /// The whole list of virtual hosts, none twice, in this order. Those that are gone lose
    /// their training, new ones have none yet.
    PlaceVhosts(Vec<String>),
    /// Carry out an order about the training of a listed virtual host.
    OrderTraining {
        /// The virtual host.
        vhost: String,
        /// The order.
        order: TrainingOrder,
    },
    /// Write a model. Its version is the generation that is made.
    PutModel {
        /// The virtual host.
        vhost: String,
        /// SHA-256 of the bytes, in hexadecimal.
        sha256: String,
        /// The model.
        bytes: Arc<[u8]>,
    },
    /// Write what one virtual host has as the model of another.
    CopyModel {
        /// Whose model.
        src: String,
        /// For whom.
        dst: String,
    },
    /// Remove the model of a virtual host.
    RemoveModel(String),
}

/// A behavioural model without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    /// The virtual host.
    pub vhost: String,
    /// The generation that stored it.
    pub version: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// Name of the key that stored it.
    pub author: String,
    /// When, Unix milliseconds.
    pub updated_ms: i64,
}

/// A behavioural model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What is known of it.
    pub row: ModelRow,
    /// The model.
    pub bytes: Vec<u8>,
}

/// What became of a report about a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It was taken down.
    Kept(Training),
    /// It does not follow from what was known.
    Refused(ReportRefused),
    /// The virtual host is not listed.
    NoVhost,
}
