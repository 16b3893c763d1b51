//! Texts that select rules, filed under their four-byte pieces.
//!
//! A rule whose truth needs at least one of some texts is filed under one piece
//! (gram) of each of them, the rarest in the whole policy. A request is then read
//! once, and only rules whose text really occurs are tried.
//!
//! Where all texts of a field are long enough, only every second to fourth
//! position of it is looked at: each text is then filed under that many
//! neighbouring grams, one of which falls on a looked-at position wherever the
//! text stands.

use std::collections::{BTreeMap, HashMap};

use zerocopy::FromZeros as _;

use super::file::position;
use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;
use crate::snapshot::select::grams;

/// A bitmap is this many times as long as there are grams, so that few texts
/// get as far as the table; at least 2^12 bits.
const BITS_PER_GRAM: usize = 32;
const BITS_MIN: usize = 1 << 12;

/// Literals on their way into the table, with the rules they select.
#[derive(Default)]
pub struct Grams {
    /// By field and literal.
    literals: BTreeMap<(Field, Vec<u8>), Literal>,
}

#[derive(Default)]
struct Literal {
    /// Its number, in the order met.
    number: u32,
    /// The rules it selects, in ascending order.
    rules: Vec<u32>,
}

/// The sections that selection needs.
#[derive(Default)]
pub struct Table {
    /// [`SectionId::GramBits`]
    pub bits: Vec<u64>,
    /// [`SectionId::Grams`]
    pub slots: Vec<GramSlot>,
    /// [`SectionId::GramGroups`]
    pub groups: Vec<GramGroup>,
    /// [`SectionId::GramEntries`]
    pub entries: Vec<GramEntry>,
}

impl Grams {
    /// The number of a literal of a field, which is looked for from now on.
    pub fn number(&mut self, field: Field, literal: &[u8]) -> Result<u32, CompileError> {
        let next = position(self.literals.len())?;
        let new = || Literal { number: next, rules: Vec::new() };
        Ok(self.literals.entry((field, literal.to_vec())).or_insert_with(new).number)
    }

    /// Files `rule` under a literal that has a number.
    pub fn select(&mut self, field: Field, literal: &[u8], rule: u32) {
        let Literal { rules, .. } = self.literals.entry((field, literal.to_vec())).or_default();
        // One rule may name a literal twice.
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    /// At which positions the text of each field has to be looked at; 0 is none.
    pub fn strides(&self) -> [u8; FIELDS] {
        let mut strides = [0; FIELDS];
        for (field, literal) in self.literals.keys() {
            let stride = (literal.len() + 1 - GRAM).min(STRIDE_MAX) as u8;
            let slot = &mut strides[*field as usize];
            *slot = if *slot == 0 { stride } else { stride.min(*slot) };
        }
        strides
    }

    /// Builds the table and appends the rules; `store` puts a literal into the blob
    /// and says where.
    pub fn build(
        self,
        mut store: impl FnMut(&[u8]) -> Result<u32, CompileError>,
        postings: &mut Vec<u32>,
    ) -> Result<Table, CompileError> {
        let mut table = Table::default();
        if self.literals.is_empty() {
            return Ok(table);
        }
        let mut popularity: HashMap<u32, u32> = HashMap::new();
        for (_, literal) in self.literals.keys() {
            for gram in grams(literal, 1) {
                *popularity.entry(gram).or_default() += 1;
            }
        }
        let strides = self.strides();
        let mut filed: Vec<Filed<'_>> = Vec::with_capacity(self.literals.len());
        for ((field, literal), Literal { number, rules }) in &self.literals {
            let all: Vec<u32> = grams(literal, 1).collect();
            let neighbours = usize::from(strides[*field as usize]);
            let worst = |run: &[u32]| run.iter().map(|gram| popularity.get(gram).copied()).max();
            let rarest = all.windows(neighbours).enumerate().min_by_key(|(_, run)| worst(run));
            let Some((start, run)) = rarest else { continue };
            let entry = GramEntry {
                literal: store(literal)?,
                length: literal.len() as u16,
                reserved: 0,
                parent: NONE,
                posting: position(postings.len())?,
                postings: position(rules.len())?,
                number: *number,
            };
            postings.extend_from_slice(rules);
            filed.extend((start..).zip(run).map(|(at, gram)| Filed {
                gram: *gram,
                field: *field as u16,
                at: at as u16,
                literal,
                entry,
            }));
        }
        filed.sort_by_key(|filed| (filed.gram, filed.field, filed.at, filed.literal));
        let distinct = filed.chunk_by(|a, b| a.gram == b.gram).count();
        let bits = (distinct * BITS_PER_GRAM).max(BITS_MIN).next_power_of_two();
        table.bits = vec![0; bits / 64];
        table.slots = vec![GramSlot::new_zeroed(); (distinct * 2).next_power_of_two()];
        let mask = table.slots.len() - 1;
        for same_gram in filed.chunk_by(|a, b| a.gram == b.gram) {
            let gram = same_gram[0].gram;
            let bit = (gram_hash(gram) >> (32 - bits.ilog2())) as usize;
            table.bits[bit / 64] |= 1 << (bit % 64);
            let mut at = (gram_hash(gram) >> (32 - table.slots.len().ilog2())) as usize;
            while table.slots[at].groups != 0 {
                at = (at + 1) & mask;
            }
            let first = table.groups.len();
            for group in same_gram.chunk_by(|a, b| (a.field, a.at) == (b.field, b.at)) {
                table.group(group)?;
            }
            table.slots[at] = GramSlot {
                gram,
                group: position(first)?,
                groups: position(table.groups.len() - first)?,
            };
        }
        Ok(table)
    }
}

/// A literal under one of its grams.
struct Filed<'a> {
    gram: u32,
    field: u16,
    at: u16,
    literal: &'a [u8],
    entry: GramEntry,
}

impl Table {
    /// Adds literals of one field and place, in ascending order, and finds for
    /// each the longest one before it that it begins with.
    fn group(&mut self, members: &[Filed<'_>]) -> Result<(), CompileError> {
        self.groups.push(GramGroup {
            field: members[0].field,
            at: members[0].at,
            entry: position(self.entries.len())?,
            entries: position(members.len())?,
        });
        // The literals that the current one may begin with, each inside the next.
        let mut beginnings: Vec<usize> = Vec::new();
        for (number, member) in members.iter().enumerate() {
            while beginnings
                .pop_if(|top| !member.literal.starts_with(members[*top].literal))
                .is_some()
            {}
            let parent = match beginnings.last() {
                Some(top) => position(*top)?,
                None => NONE,
            };
            self.entries.push(GramEntry { parent, ..member.entry });
            beginnings.push(number);
        }
        Ok(())
    }
}
