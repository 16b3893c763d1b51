//! Host lists, limits, body exclusions and rules by host -> tables by name.

use std::collections::{BTreeMap, HashMap};

use policy::{HostLists, HostPattern, Settings};
use zerocopy::FromZeros as _;

use super::Writer;
use super::file::position;
use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;

/// What is known about one domain.
#[derive(Default)]
struct Domain {
    itself: u16,
    below: u16,
    /// The limit, and how closely its pattern names the domain.
    limit_itself: Option<(Closeness, u32)>,
    limit_below: Option<(Closeness, u32)>,
    rules_itself: Vec<u32>,
    rules_below: Vec<u32>,
}

/// `.d` and `*.d` and `d` in ascending order, where more than one is about the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    WithBelow,
    OnlyBelow,
    Exact,
}

/// Hosts on their way into the table.
#[derive(Default)]
pub struct Hosts {
    domains: BTreeMap<String, Domain>,
}

/// Which hosts a pattern reaches.
pub fn reach_of(pattern: &HostPattern) -> u8 {
    match pattern {
        HostPattern::Any | HostPattern::DomainAndBelow(_) => reach::SELF | reach::BELOW,
        HostPattern::Exact(_) => reach::SELF,
        HostPattern::Below(_) => reach::BELOW,
    }
}

impl Hosts {
    /// Adds one pattern, not `*`, to a list.
    pub fn list(&mut self, pattern: &HostPattern, list: HostLists) {
        let domain = self.domain(pattern);
        let reached = reach_of(pattern);
        if reached & reach::SELF != 0 {
            domain.itself |= list.bits();
        }
        if reached & reach::BELOW != 0 {
            domain.below |= list.bits();
        }
    }

    /// Gives the hosts of a pattern, not `*`, a limit.
    fn limit(&mut self, pattern: &HostPattern, number: u32) {
        let closeness = match pattern {
            HostPattern::Exact(_) => Closeness::Exact,
            HostPattern::Below(_) => Closeness::OnlyBelow,
            HostPattern::DomainAndBelow(_) | HostPattern::Any => Closeness::WithBelow,
        };
        let domain = self.domain(pattern);
        let reached = reach_of(pattern);
        if reached & reach::SELF != 0 {
            domain.limit_itself = domain.limit_itself.max(Some((closeness, number)));
        }
        if reached & reach::BELOW != 0 {
            domain.limit_below = domain.limit_below.max(Some((closeness, number)));
        }
    }

    /// Files a rule under a pattern, not `*`.
    pub fn rule(&mut self, pattern: &HostPattern, rule: u32) {
        let domain = self.domain(pattern);
        let reached = reach_of(pattern);
        if reached & reach::SELF != 0 {
            domain.rules_itself.push(rule);
        }
        if reached & reach::BELOW != 0 {
            domain.rules_below.push(rule);
        }
    }

    fn domain(&mut self, pattern: &HostPattern) -> &mut Domain {
        self.domains.entry(pattern.domain().to_owned()).or_default()
    }
}

/// A table of at most half its size, so that a probe for an unknown name ends at once.
fn slots(names: usize) -> usize {
    if names == 0 { 0 } else { (names * 2).next_power_of_two() }
}

/// Where a name goes: the first free slot from its own one on.
fn place<T>(table: &[T], hash: u64, is_empty: impl Fn(&T) -> bool) -> usize {
    let mut at = hash as usize & (table.len() - 1);
    while !is_empty(&table[at]) {
        at = (at + 1) & (table.len() - 1);
    }
    at
}

impl Writer {
    /// Everything of the settings that depends on the host; returns what the
    /// header says about all hosts: lists, limit, whether no body is read.
    pub fn settings(&mut self, settings: &Settings) -> Result<(u16, u32, u16), CompileError> {
        let (mut any_host, mut any_limit) = (HostLists::default(), NONE);
        for (key, patterns) in &settings.hosts {
            let Some(list) = HostLists::of(*key) else { continue };
            for pattern in patterns {
                match pattern {
                    HostPattern::Any => any_host = any_host.with(list),
                    other => self.hosts.list(other, list),
                }
            }
        }
        for limit in &settings.limit {
            let number = position(self.limits.len())?;
            let pattern = self.pattern(&limit.domain)?;
            let (rate, window) = (limit.rate, limit.per.seconds());
            self.limits.push(LimitRecord { rate, window, block_time: limit.block_time, pattern });
            match &limit.domain {
                HostPattern::Any => any_limit = number,
                other => self.hosts.limit(other, number),
            }
        }
        let mut no_bodies = 0;
        let mut paths: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for exclusion in &settings.body_exclude {
            match &exclusion.path {
                None => no_bodies = 1,
                Some(path) => {
                    let pattern = self.pattern(&exclusion.host)?;
                    paths.entry(path).or_default().push(pattern);
                }
            }
        }
        self.body_paths = self.names(&paths)?;
        Ok((any_host.bits(), any_limit, no_bodies))
    }

    /// A table by name.
    pub fn names<N: AsRef<[u8]>>(
        &mut self,
        names: &BTreeMap<N, Vec<u32>>,
    ) -> Result<Vec<NameSlot>, CompileError> {
        let mut table = vec![NameSlot::new_zeroed(); slots(names.len())];
        for (name, items) in names {
            let name = name.as_ref();
            let hash = name_hash(name);
            let at = place(&table, hash, |slot| slot.length == 0);
            table[at] = NameSlot {
                hash: (hash >> 32) as u32,
                offset: self.store(name)?,
                length: name.len() as u16,
                reserved: 0,
                item: self.post(items)?,
                items: position(items.len())?,
            };
        }
        Ok(table)
    }

    /// The table of hosts.
    pub fn host_table(&mut self) -> Result<Vec<HostSlot>, CompileError> {
        let domains = std::mem::take(&mut self.hosts).domains;
        let empty = HostSlot { limit_itself: NONE, limit_below: NONE, ..HostSlot::new_zeroed() };
        let mut table = vec![empty; slots(domains.len())];
        for (name, domain) in &domains {
            let hash = name_hash(name.as_bytes());
            let at = place(&table, hash, |slot| slot.length == 0);
            let rules_itself = self.post(&domain.rules_itself)?;
            self.post(&domain.rules_below)?;
            let number = |limit: Option<(Closeness, u32)>| limit.map_or(NONE, |(_, number)| number);
            table[at] = HostSlot {
                hash: (hash >> 32) as u32,
                offset: self.store(name.as_bytes())?,
                length: name.len() as u16,
                itself: domain.itself,
                below: domain.below,
                reserved: 0,
                limit_itself: number(domain.limit_itself),
                limit_below: number(domain.limit_below),
                rules_itself,
                rules_itself_count: position(domain.rules_itself.len())?,
                rules_below_count: position(domain.rules_below.len())?,
            };
        }
        Ok(table)
    }

    /// Appends items to the postings and says where they begin.
    pub fn post(&mut self, items: &[u32]) -> Result<u32, CompileError> {
        let first = position(self.postings.len())?;
        self.postings.extend_from_slice(items);
        Ok(first)
    }

    /// The number of a pattern, [`ANY`] for `*`.
    pub fn pattern(&mut self, pattern: &HostPattern) -> Result<u32, CompileError> {
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
}

/// Patterns by what they are, so that each is written once.
pub type PatternIds = HashMap<HostPattern, u32>;
