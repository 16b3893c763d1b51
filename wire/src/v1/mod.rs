//! The vendor's dialect: what its clients send, what they expect to read back.
//!
//! Input is lenient where the vendor's own samples are (alias spellings, booleans
//! and numbers as strings) and strict everywhere else: an unknown or repeated
//! field is refused by name, never skipped. Output has one spelling, and every
//! text written here is understood by the reader beside it.
//!
//! * [`Fields`] takes a body, form or query apart; [`SettingsWrite`], [`BlockListWrite`],
//!   [`RuleWrite`], [`ExclusionWrite`], [`MlcWrite`], [`VhostsWrite`], [`TrainingWrite`] and
//!   [`ModelWrite`] say what a write asks for.
//! * [`settings_text`] and its like write answers, [`read_settings`] and its like read them.
//!
//! Pure functions: no I/O, no clock.

mod answer;
mod exclusion;
mod fields;
mod lenient;
mod mlc;
mod object;
mod read;
mod rule;
mod training;
mod write;

pub use answer::{
    Provenance, RuleLine, STATUS_LINE, SettingLine, block_list_extended_text, block_list_text,
    rules_text, settings_text, spaced_json,
};
pub(crate) use exclusion::exclusion_line;
pub use exclusion::{
    ExclusionLine, ExclusionPatch, ExclusionWrite, exclusions_text, read_exclusions,
};
pub use fields::{FIELD_NAMES, Fields, Malformed, body_text, parse_body};
pub(crate) use fields::{parse_json, parse_object};
pub(crate) use lenient::CommaList;
pub use lenient::{Flag, RuleId};
pub(crate) use mlc::mlc_input;
pub use mlc::{
    MlcLine, MlcWrite, VhostsWrite, mlc_json, mlc_text, mlc_value, read_mlc, read_vhosts,
    vhosts_text,
};
pub(crate) use object::SettingsObject;
pub use read::{AnswerError, read_block_list, read_rules, read_settings};
pub use rule::{RulePatch, encode_domains};
pub use training::{
    ModelLine, ModelWrite, ModelsAnswer, TrainingAnswer, TrainingLine, TrainingReport,
    TrainingWrite, models_text, read_models, read_training, training_text,
};
pub use write::{BlockListWrite, RuleWrite, SettingsWrite};
