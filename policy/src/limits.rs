//! Every size limit of a policy, with the reason for its value.
//!
//! A policy beyond a limit is refused as a whole, by the API with 422 and by
//! syncd with a report; no limit is ever applied by silently cutting.

use std::ops::RangeInclusive;

/// Entries of one list, of addresses, hosts or paths. Ten times the size the product
/// promises to serve.
pub const LIST_ENTRIES: usize = 10_000_000;
/// Extended rules of one policy. Ten times the size the product promises to serve.
pub const RULES: usize = 100_000;
/// Terms of one expression; more belong into several rules.
pub const EXPRESSION_TERMS: usize = 1_024;
/// Bytes of one decoded text term. nginx's default largest header line is 8 KiB.
pub const LITERAL_BYTES: usize = 4_096;
/// Conditions on `other_headers` of one rule.
pub const HEADER_CONDITIONS: usize = 64;
/// Bytes of a host name (RFC 1035, section 2.3.4, without the root's dot).
pub const HOST_BYTES: usize = 253;
/// Bytes of one label of a host name (RFC 1035, section 2.3.4).
pub const LABEL_BYTES: usize = 63;
/// Entries of `nwaf_limit`. Every one may need counters of its own in nginx's shared memory.
pub const LIMITS: usize = 10_000;
/// Bans in force at one time. They are compiled anew with every change among them.
pub const BANS: usize = 1_000_000;
/// Longest ban a limit may set, in seconds: one year.
pub const BLOCK_TIME_SECONDS: u32 = 31_536_000;
/// Highest rate a limit may name, in requests per unit.
pub const RATE: u32 = 1_000_000;
/// Refused entries of one list that are named; further ones are counted.
pub const REFUSALS: usize = 10_000;
/// Reasons kept in one verdict; further ones are counted.
pub const REASONS: usize = 8;
/// Encodings of one body that are undone. Clients send one; two only by mistake or with intent.
pub const ENCODINGS: usize = 2;
/// How many times longer than what was sent a decoded body may be, beyond [`RATIO_FROM`].
/// Text shrinks to a tenth by deflate, the most regular logs to a hundredth; a bomb to a thousandth.
pub const RATIO: usize = 200;
/// Bytes of a decoded body from which [`RATIO`] holds.
pub const RATIO_FROM: usize = 64 << 10;
/// Bytes of a buffer for one form of a body, or for a decoded one, that are kept for the
/// next request. Twice the default of `nwaf_body_limit`.
pub const BUFFER_KEPT: usize = 256 << 10;
/// Entries of one list of the settings of behavioural analysis. Each is compared with every
/// request that is analysed.
pub const MLC_ENTRIES: usize = 10_000;
/// Seconds of `ddos__interval` and `brute__interval`. All requests of an interval are held.
pub const MLC_INTERVAL_SECONDS: RangeInclusive<u32> = 1..=3_600;
/// Requests of `brute__max_val`. One request is no repetition.
pub const MLC_MAX_VAL: RangeInclusive<u32> = 2..=1_000_000;
/// Virtual hosts that are listed, and behavioural models. Every worker holds all models.
pub const VHOSTS: usize = 1_000;
/// Bytes of one behavioural model: hashed n-grams of a site take a hundredth of it.
pub const MODEL_BYTES: usize = 16 << 20;
/// Days of a training. What a site was like a year ago says nothing about today.
pub const TRAINING_DAYS: RangeInclusive<u32> = 1..=365;
/// Exclusions of one policy; ten times what operators of the largest rule sets have.
pub const EXCLUSIONS: usize = 10_000;
/// Conditions of one exclusion.
pub const EXCLUSION_CONDITIONS: usize = 64;
/// Bytes of the text of one regular expression.
pub const REGEX_BYTES: usize = 1_024;
/// How large a regular expression may become when its repetitions are written out, counted
/// in literal bytes and ranges of classes. What is compiled of it is some ten times as large.
pub const REGEX_SIZE: u64 = 10_000;
/// How deep groups and repetitions of a regular expression may nest.
pub const REGEX_DEPTH: u32 = 50;
/// Bytes of the comment of an exclusion.
pub const COMMENT_BYTES: usize = 1_024;
