//! Policy -> bytes.

use std::collections::HashMap;

use policy::expression::{Expression, Join};
use policy::rule::HeaderCondition;
use policy::{AddressEntry, AddressRange, HostPattern, Policy, Rule};
use zerocopy::{FromZeros as _, Immutable, IntoBytes};

use super::Meta;
use super::error::CompileError;
use super::flatten::{Flat, Sets, flatten};
use super::format::*;
use super::grams::{Grams, trigger};

/// Compiles a whole policy. Everything heavy is done here, so that readers only look up.
///
/// The result is one published file's content. Linear in the policy but for
/// sorting the addresses.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(policy: &Policy, meta: Meta) -> Result<Vec<u8>, CompileError> {
    let mut writer = Writer::default();
    let mut any_host = 0;
    writer.addresses(policy)?;
    let hosts =
        [(&policy.settings.host_wl, list::BYPASS), (&policy.settings.host_lm, list::OBSERVE)];
    for (patterns, bits) in hosts {
        if patterns.contains(&HostPattern::Any) {
            any_host |= u32::from(bits);
        }
    }
    writer.hosts(&hosts)?;
    for rule in policy.rules.iter().filter(|rule| rule.active) {
        writer.rule(rule)?;
    }
    let addresses =
        policy.settings.ip_wl.len() + policy.settings.ip_lm.len() + policy.block_list.len();
    let header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        format_version: FORMAT_VERSION,
        min_reader: MIN_READER,
        checksum: 0,
        session: meta.session,
        generation: meta.generation,
        created_ms: meta.created_ms,
        payload_length: 0,
        addresses: addresses as u64,
        hosts: hosts.iter().map(|(patterns, _)| patterns.len() as u64).sum(),
        rules: writer.rules.len() as u64,
        sections: SECTIONS as u32,
        any_host,
        strides: writer.grams.strides(),
        reserved: [0; 3],
    };
    writer.finish(header)
}

/// The CRC-32 of a file as its header holds it: over all bytes, the field itself zero.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    const FIELD: std::ops::Range<usize> = 20..24;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..FIELD.start]);
    hasher.update(&[0; 4]);
    hasher.update(&bytes[FIELD.end..]);
    hasher.finalize()
}

#[derive(Default)]
struct Writer {
    v4: Vec<Flat>,
    v6: Vec<Flat>,
    sets: Sets,
    patterns: Vec<PatternRecord>,
    pattern_ids: HashMap<HostPattern, u32>,
    hosts: Vec<HostSlot>,
    rules: Vec<RuleRecord>,
    conditions: Vec<ConditionRecord>,
    terms: Vec<TermRecord>,
    ranges: Vec<RangeRecord>,
    always: Vec<u32>,
    grams: Grams,
    blob: Vec<u8>,
}

/// A position in the blob or a table; files end at 4 GiB.
pub(super) fn position(value: usize) -> Result<u32, CompileError> {
    u32::try_from(value).map_err(|_| CompileError::TooLarge)
}

impl Writer {
    fn store(&mut self, bytes: &[u8]) -> Result<u32, CompileError> {
        let offset = position(self.blob.len())?;
        self.blob.extend_from_slice(bytes);
        Ok(offset)
    }

    fn pattern(&mut self, pattern: &HostPattern) -> Result<u32, CompileError> {
        if *pattern == HostPattern::Any {
            return Ok(ANY);
        }
        if let Some(id) = self.pattern_ids.get(pattern) {
            return Ok(*id);
        }
        let record = PatternRecord {
            offset: self.store(pattern.domain().as_bytes())?,
            length: pattern.domain().len() as u16,
            reach: reach_of(pattern),
            reserved: 0,
        };
        let id = position(self.patterns.len())?;
        self.patterns.push(record);
        self.pattern_ids.insert(pattern.clone(), id);
        Ok(id)
    }

    fn addresses(&mut self, policy: &Policy) -> Result<(), CompileError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut add = |writer: &mut Self, entry: &AddressEntry, lists: u8| {
            let pattern = writer.pattern(&entry.domain)?;
            let set_entry = SetEntry { pattern, lists, reserved: [0; 3] };
            match entry.range {
                AddressRange::V4 { first, last } => v4.push((first.into(), last.into(), set_entry)),
                AddressRange::V6 { first, last } => v6.push((first, last, set_entry)),
            }
            Ok(())
        };
        for entry in &policy.settings.ip_wl {
            add(self, entry, list::BYPASS)?;
        }
        for entry in &policy.settings.ip_lm {
            add(self, entry, list::OBSERVE)?;
        }
        for entry in &policy.block_list {
            add(self, entry, if entry.api { list::BLOCK | list::REPORT } else { list::BLOCK })?;
        }
        self.v4 = flatten(&v4, u32::MAX.into(), &mut self.sets)?;
        self.v6 = flatten(&v6, u128::MAX, &mut self.sets)?;
        Ok(())
    }

    fn hosts(&mut self, lists: &[(&Vec<HostPattern>, u8)]) -> Result<(), CompileError> {
        let mut domains: HashMap<&str, (u8, u8)> = HashMap::new();
        for (patterns, bits) in lists {
            for pattern in patterns.iter().filter(|pattern| **pattern != HostPattern::Any) {
                let (itself, below) = domains.entry(pattern.domain()).or_default();
                let reached = reach_of(pattern);
                if reached & reach::SELF != 0 {
                    *itself |= bits;
                }
                if reached & reach::BELOW != 0 {
                    *below |= bits;
                }
            }
        }
        if domains.is_empty() {
            return Ok(());
        }
        // At most half full, so that a probe for an unlisted host ends at once.
        let slots = (domains.len() * 2).next_power_of_two();
        self.hosts = vec![HostSlot::new_zeroed(); slots];
        let mut ordered: Vec<_> = domains.into_iter().collect();
        ordered.sort_unstable();
        for (domain, (itself, below)) in ordered {
            let hash = domain.bytes().rev().fold(HASH_START, hash_step);
            let slot = HostSlot {
                hash,
                offset: self.store(domain.as_bytes())?,
                length: domain.len() as u16,
                itself,
                below,
            };
            let mut at = hash as usize & (slots - 1);
            while self.hosts[at].length != 0 {
                at = (at + 1) & (slots - 1);
            }
            self.hosts[at] = slot;
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule) -> Result<(), CompileError> {
        let number = position(self.rules.len())?;
        match trigger(rule) {
            None => self.always.push(number),
            Some((field, literals)) => {
                for literal in literals {
                    self.grams.add(field, literal, number);
                }
            }
        }
        let first = self.conditions.len();
        self.expression(Field::Ip, &rule.ip, |writer, range| writer.range(range))?;
        self.expression(Field::Domain, &rule.domain, |w, host| Ok((w.pattern(host)?, 0)))?;
        self.expression(Field::Country, &rule.country, |_, code| {
            Ok((u32::from(u16::from_le_bytes(*code)), 0))
        })?;
        self.expression(Field::Url, &rule.url, Self::text)?;
        self.expression(Field::Args, &rule.args, Self::text)?;
        if rule.no_cookie {
            self.condition(Field::NoCookie, &[], 0)?;
        }
        self.expression(Field::Cookie, &rule.cookie, Self::text)?;
        self.expression(Field::UserAgent, &rule.ua, Self::text)?;
        self.expression(Field::Referer, &rule.referer, Self::text)?;
        for header in &rule.other_headers {
            match header {
                HeaderCondition::Absent(name) => self.condition(Field::HeaderAbsent, name, 0)?,
                HeaderCondition::Present(name) => self.condition(Field::HeaderPresent, name, 0)?,
                HeaderCondition::Named(name, e) => {
                    self.named_expression(Field::HeaderNamed, name, e, Self::text)?;
                }
                HeaderCondition::Any(e) => {
                    self.named_expression(Field::HeaderAny, &[], e, Self::text)?;
                }
            }
        }
        self.expression(Field::Body, &rule.body, Self::text)?;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        self.rules.push(RuleRecord {
            id: rule.id,
            condition: position(first)?,
            conditions: (self.conditions.len() - first) as u16,
            flags: flag(rule.lm, rule_flag::OBSERVE)
                | flag(rule.api, rule_flag::API)
                | flag(rule.noban, rule_flag::NOBAN),
            zone: rule.zone() as u8,
        });
        Ok(())
    }

    fn condition(&mut self, field: Field, name: &[u8], terms: usize) -> Result<(), CompileError> {
        let record = ConditionRecord {
            term: position(self.terms.len() - terms)?,
            terms: position(terms)?,
            name: self.store(name)?,
            name_length: name.len() as u16,
            field: field as u8,
            reserved: 0,
        };
        self.conditions.push(record);
        Ok(())
    }

    fn expression<T>(
        &mut self,
        field: Field,
        expression: &Option<Expression<T>>,
        value: impl FnMut(&mut Self, &T) -> Result<(u32, u32), CompileError>,
    ) -> Result<(), CompileError> {
        match expression {
            Some(expression) => self.named_expression(field, &[], expression, value),
            None => Ok(()),
        }
    }

    fn named_expression<T>(
        &mut self,
        field: Field,
        name: &[u8],
        expression: &Expression<T>,
        mut value: impl FnMut(&mut Self, &T) -> Result<(u32, u32), CompileError>,
    ) -> Result<(), CompileError> {
        for term in expression.terms() {
            let (value, length) = value(self, &term.value)?;
            let or = if term.join == Join::Or { term_flag::OR } else { 0 };
            let not = if term.negated { term_flag::NOT } else { 0 };
            self.terms.push(TermRecord { value, length, flags: or | not });
        }
        self.condition(field, name, expression.terms().len())
    }

    #[expect(clippy::ptr_arg, reason = "has the shape that `expression` passes terms in")]
    fn text(&mut self, text: &Vec<u8>) -> Result<(u32, u32), CompileError> {
        Ok((self.store(text)?, position(text.len())?))
    }

    fn range(&mut self, range: &AddressRange) -> Result<(u32, u32), CompileError> {
        let (first, last, family) = match *range {
            AddressRange::V4 { first, last } => (first.into(), last.into(), 4),
            AddressRange::V6 { first, last } => (first, last, 6),
        };
        self.ranges.push(RangeRecord { first, last, family, reserved: 0 });
        Ok((position(self.ranges.len() - 1)?, 0))
    }

    fn finish(mut self, mut header: Header) -> Result<Vec<u8>, CompileError> {
        let table = std::mem::take(&mut self.grams).build(|literal| self.store(literal))?;
        let low = |ends: fn(&Flat) -> u128| -> Vec<u32> {
            self.v4.iter().map(|flat| ends(flat) as u32).collect()
        };
        let high = |ends: fn(&Flat) -> u128| -> Vec<u128> { self.v6.iter().map(ends).collect() };
        let (first, last) = (low(|flat| flat.first), low(|flat| flat.last));
        let mut offsets = vec![0u32];
        let mut entries: Vec<SetEntry> = Vec::new();
        for set in self.sets.ordered() {
            entries.extend_from_slice(set);
            offsets.push(position(entries.len())?);
        }
        let sets = self.sets.ordered().len();
        let mut file = File::new(header);
        file.section(SectionId::V4Index, &index(&first));
        file.section(SectionId::V4First, &first);
        file.section(SectionId::V4Last, &last);
        file.set_ids(SectionId::V4Sets, &self.v4, sets);
        file.section(SectionId::V6First, &high(|flat| flat.first));
        file.section(SectionId::V6Last, &high(|flat| flat.last));
        file.set_ids(SectionId::V6Sets, &self.v6, sets);
        file.section(SectionId::SetOffsets, &offsets);
        file.section(SectionId::SetEntries, &entries);
        file.section(SectionId::Patterns, &self.patterns);
        file.section(SectionId::Hosts, &self.hosts);
        file.section(SectionId::Rules, &self.rules);
        file.section(SectionId::Conditions, &self.conditions);
        file.section(SectionId::Terms, &self.terms);
        file.section(SectionId::Ranges, &self.ranges);
        file.section(SectionId::Blob, &self.blob);
        file.section(SectionId::Always, &self.always);
        file.section(SectionId::GramBits, &table.bits);
        file.section(SectionId::Grams, &table.slots);
        file.section(SectionId::GramEntries, &table.entries);
        file.section(SectionId::Postings, &table.postings);
        file.section(SectionId::GramGroups, &table.groups);
        position(file.bytes.len())?;
        header.payload_length = (file.bytes.len() - size_of::<Header>()) as u64;
        Ok(file.seal(header))
    }
}

/// How many ranges start below each /16, for maps that are worth it.
fn index(first: &[u32]) -> Vec<u32> {
    if first.len() < INDEX_FROM {
        return Vec::new();
    }
    let mut index = Vec::with_capacity(INDEX_LENGTH);
    let mut below = 0;
    for high in 0..INDEX_LENGTH as u64 {
        while first.get(below).is_some_and(|start| u64::from(*start) < high << 16) {
            below += 1;
        }
        index.push(below as u32);
    }
    index
}

fn reach_of(pattern: &HostPattern) -> u8 {
    match pattern {
        HostPattern::Any | HostPattern::DomainAndBelow(_) => reach::SELF | reach::BELOW,
        HostPattern::Exact(_) => reach::SELF,
        HostPattern::Below(_) => reach::BELOW,
    }
}

/// The file while it grows.
struct File {
    bytes: Vec<u8>,
    table: Vec<SectionEntry>,
}

impl File {
    fn new(header: Header) -> Self {
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(size_of::<Header>() + SECTIONS * size_of::<SectionEntry>(), 0);
        Self { bytes, table: Vec::with_capacity(SECTIONS) }
    }

    fn section<T: IntoBytes + Immutable>(&mut self, id: SectionId, records: &[T]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let content = records.as_bytes();
        self.table.push(SectionEntry {
            id: id as u32,
            reserved: 0,
            offset: self.bytes.len() as u64,
            length: content.len() as u64,
        });
        self.bytes.extend_from_slice(content);
    }

    fn set_ids(&mut self, id: SectionId, flat: &[Flat], sets: usize) {
        if sets <= usize::from(u16::MAX) + 1 {
            self.section(id, &flat.iter().map(|flat| flat.set as u16).collect::<Vec<_>>());
        } else {
            self.section(id, &flat.iter().map(|flat| flat.set).collect::<Vec<_>>());
        }
    }

    fn seal(mut self, mut header: Header) -> Vec<u8> {
        let start = size_of::<Header>();
        let table = self.table.as_bytes();
        self.bytes[start..start + table.len()].copy_from_slice(table);
        self.bytes[..start].copy_from_slice(header.as_bytes());
        header.checksum = checksum(&self.bytes);
        self.bytes[..start].copy_from_slice(header.as_bytes());
        self.bytes
    }
}
