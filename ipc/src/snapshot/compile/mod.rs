//! Policy -> bytes.
//!
//! | file | does |
//! |---|---|
//! | `addresses`, `flatten` | address lists, addresses of rules, bans -> one map |
//! | `hosts` | host lists, limits, body exclusions -> tables by name |
//! | `rules` | extended rules -> records |
//! | `triggers`, `grams` | what selects a rule |
//! | `file` | sections -> a file |

mod addresses;
mod file;
mod flatten;
mod grams;
mod hosts;
mod rules;
mod triggers;

use std::collections::HashMap;

use policy::limits::BANS;
use policy::{Ban, Policy};
use zerocopy::FromZeros as _;

use super::Meta;
use super::error::CompileError;
use super::format::*;
use file::{File, position};

/// Compiles a whole policy. Everything heavy is done here, so that readers only look up.
///
/// The result is one published file's content. Linear in the policy but for
/// sorting the addresses.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(policy: &Policy, meta: Meta) -> Result<Vec<u8>, CompileError> {
    let mut writer = Writer::default();
    let lists = addresses::lists(&mut writer, policy)?;
    let (any_host, any_limit, no_bodies) = writer.settings(&policy.settings)?;
    let active: Vec<_> = policy.rules.iter().filter(|rule| rule.active).collect();
    let members = writer.rules(&active)?;
    let listed =
        policy.settings.ip_wl.len() + policy.settings.ip_lm.len() + policy.block_list.len();
    let header = Header {
        addresses: listed as u64,
        hosts: policy.settings.hosts.values().map(|patterns| patterns.len() as u64).sum(),
        rules: writer.rules.len() as u64,
        any_host,
        any_limit,
        no_bodies,
        strides: writer.grams.strides(),
        header_classes: writer.header_classes,
        given: policy.settings.given.bits(),
        ..header(kind::POLICY, meta)
    };
    let mut file = File::new();
    addresses::write(&mut file, &lists, &members)?;
    writer.finish(file, header)
}

/// Compiles bans into a file of their own, so that one ban never recompiles a policy.
/// The order of `bans` is the one in which they are recorded where several hold.
///
/// # Errors
/// See [`CompileError`].
pub fn compile_bans(bans: &[Ban], meta: Meta) -> Result<Vec<u8>, CompileError> {
    if bans.len() > BANS {
        return Err(CompileError::Bans(BANS));
    }
    let mut writer = Writer::default();
    for ban in bans {
        let Ban { domain, kind, rule, until, .. } = ban;
        let pattern = writer.pattern(domain)?;
        let record = BanRecord { until: *until, rule: *rule, pattern, kind: *kind as u32 };
        writer.bans.push(record);
    }
    let header = Header { addresses: bans.len() as u64, ..header(kind::BANS, meta) };
    let mut file = File::new();
    addresses::write(&mut file, &addresses::no_lists(), &addresses::bans(bans)?)?;
    writer.finish(file, header)
}

fn header(kind: u32, meta: Meta) -> Header {
    Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        format_version: FORMAT_VERSION,
        min_reader: MIN_READER,
        session: meta.session,
        generation: meta.generation,
        created_ms: meta.created_ms,
        any_limit: NONE,
        kind,
        ..Header::new_zeroed()
    }
}

/// The tables while they grow.
#[derive(Default)]
struct Writer {
    patterns: Vec<PatternRecord>,
    pattern_ids: hosts::PatternIds,
    hosts: hosts::Hosts,
    limits: Vec<LimitRecord>,
    body_paths: Vec<NameSlot>,
    rules: Vec<RuleRecord>,
    conditions: Vec<ConditionRecord>,
    terms: Vec<TermRecord>,
    ranges: Vec<RangeRecord>,
    always: Vec<u32>,
    grams: grams::Grams,
    /// Literals too short for the search, by field: their numbers.
    shorts: HashMap<(Field, Vec<u8>), u32>,
    header_names: Vec<NameSlot>,
    header_classes: [u64; 4],
    countries: Vec<CountryRecord>,
    postings: Vec<u32>,
    bans: Vec<BanRecord>,
    blob: Vec<u8>,
}

impl Writer {
    /// Appends bytes to the blob and says where they begin.
    fn store(&mut self, bytes: &[u8]) -> Result<u32, CompileError> {
        let offset = position(self.blob.len())?;
        self.blob.extend_from_slice(bytes);
        Ok(offset)
    }

    fn finish(mut self, mut file: File, header: Header) -> Result<Vec<u8>, CompileError> {
        let hosts = self.host_table()?;
        let mut postings = std::mem::take(&mut self.postings);
        let grams = std::mem::take(&mut self.grams);
        let table = grams.build(|literal| self.store(literal), &mut postings)?;
        file.section(SectionId::Patterns, &self.patterns);
        file.section(SectionId::Hosts, &hosts);
        file.section(SectionId::Limits, &self.limits);
        file.section(SectionId::BodyPaths, &self.body_paths);
        file.section(SectionId::Rules, &self.rules);
        file.section(SectionId::Conditions, &self.conditions);
        file.section(SectionId::Terms, &self.terms);
        file.section(SectionId::Ranges, &self.ranges);
        file.section(SectionId::Blob, &self.blob);
        file.section(SectionId::Always, &self.always);
        file.section(SectionId::GramBits, &table.bits);
        file.section(SectionId::Grams, &table.slots);
        file.section(SectionId::GramGroups, &table.groups);
        file.section(SectionId::GramEntries, &table.entries);
        file.section(SectionId::HeaderNames, &self.header_names);
        file.section(SectionId::Countries, &self.countries);
        file.section(SectionId::Postings, &postings);
        file.section(SectionId::Bans, &self.bans);
        file.seal(header)
    }
}
