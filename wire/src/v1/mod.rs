//! The vendor's dialect: what its clients send, what they expect to read back.
//!
//! Input is lenient where the vendor's own samples are (alias spellings, booleans
//! and numbers as strings) and strict everywhere else: an unknown or repeated
//! field is refused by name, never skipped. Output has one spelling, and every
//! text written here is understood by the reader beside it.
//!
//! * [`Fields`] takes a body, form or query apart; [`SettingsWrite`],
//!   [`BlockListWrite`] and [`RuleWrite`] say what a write asks for.
//! * [`settings_text`], [`block_list_text`], [`rules_text`] write answers;
//!   [`read_settings`], [`read_block_list`], [`read_rules`] read them.
//!
//! Pure functions: no I/O, no clock.

mod answer;
mod fields;
mod lenient;
mod read;
mod rule;
mod write;

pub use answer::{
    Provenance, RuleLine, STATUS_LINE, SettingLine, block_list_extended_text, block_list_text,
    rules_text, settings_text, spaced_json,
};
pub use fields::{FIELD_NAMES, Fields, Malformed, body_text, parse_body};
pub use lenient::{Flag, RuleId};
pub use read::{AnswerError, read_block_list, read_rules, read_settings};
pub use rule::{RulePatch, encode_domains};
pub use write::{BlockListWrite, RuleWrite, SettingsWrite};
