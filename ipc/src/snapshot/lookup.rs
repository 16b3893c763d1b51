//! Addresses, hosts and names -> what a file says about them.

use std::net::IpAddr;

use policy::address::canonical;
use policy::text::Scratch;
use policy::{Host, HostLists, HostPattern};

use super::Snapshot;
use super::format::*;
use super::view::{View, between, run};

/// The entry of `nwaf_limit` that counts for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitInForce {
    /// Blocked requests that are allowed in one window.
    pub rate: u32,
    /// The window in seconds, 1 or 60.
    pub window: u32,
    /// The ban in seconds; 0 never bans.
    pub block_time: u32,
    /// Names the entry's domain, over all generations: what is counted and banned together.
    pub domain: u64,
}

/// What [`LimitInForce::domain`] is for an entry of this domain.
pub fn limit_domain(domain: &HostPattern) -> u64 {
    let reach = match domain {
        HostPattern::Any => return ANY_DOMAIN,
        HostPattern::Exact(_) => reach::SELF,
        HostPattern::DomainAndBelow(_) => reach::SELF | reach::BELOW,
        HostPattern::Below(_) => reach::BELOW,
    };
    named_domain(domain.domain().as_bytes(), reach)
}

/// No hash of a domain is likely to be this.
const ANY_DOMAIN: u64 = 0;

fn named_domain(domain: &[u8], reach: u8) -> u64 {
    hash_step(name_hash(domain), reach)
}

impl<'a> View<'a> {
    /// What holds for an address; nothing where no entry covers it.
    ///
    /// IPv4: O(log n) inside one /16. IPv6: O(log n).
    #[inline]
    pub fn set_of(&self, address: IpAddr) -> Option<&'a SetRecord> {
        let set = match canonical(address) {
            IpAddr::V4(v4) => self.v4_set(v4.into())?,
            IpAddr::V6(v6) => self.v6_set(v6.into())?,
        };
        self.sets.get(set as usize)
    }

    #[inline]
    fn v4_set(&self, key: u32) -> Option<u32> {
        let low = key as u16;
        let network = between(self.v4_ranges, self.v4_index, key >> 16);
        let after = network.partition_point(|range| range.first <= low);
        let range = network.get(after.checked_sub(1)?)?;
        (low <= range.last).then_some(range.set)
    }

    fn v6_set(&self, key: u128) -> Option<u32> {
        // The block first: a search over all of a large map would miss the cache at every step.
        let block = self.v6_index.partition_point(|first| *first <= key).checked_sub(1)?;
        let start = block * V6_BLOCK;
        let end = (start + V6_BLOCK).min(self.v6_first.len());
        let own = self.v6_first.get(start..end)?;
        let at = start + own.partition_point(|first| *first <= key).checked_sub(1)?;
        (key <= *self.v6_last.get(at)?).then(|| self.v6_sets.get(at).copied())?
    }

    /// Bits of the address lists that hold for the addresses of a set and a host.
    #[inline]
    pub fn lists_of(&self, set: &SetRecord, host: Host<'_>) -> u8 {
        let entries = between(self.list_entries, self.list_sets, set.lists);
        entries.iter().fold(0, |lists, entry| {
            if self.pattern_holds(entry.pattern, host) { lists | entry.lists } else { lists }
        })
    }

    /// Positions of the rules or bans that hold for the addresses of a set.
    #[inline]
    pub fn members_of(&self, set: &SetRecord) -> &'a [u32] {
        between(self.members, self.member_sets, set.members)
    }

    /// Whether a pattern, or [`ANY`], holds for a host. O(length of the pattern).
    #[inline]
    pub fn pattern_holds(&self, pattern: u32, host: Host<'_>) -> bool {
        if pattern == ANY {
            return true;
        }
        let Some(pattern) = self.patterns.get(pattern as usize) else { return false };
        let domain = self.piece(pattern.offset, pattern.length.into());
        let host = host.as_bytes();
        if host.len() == domain.len() {
            return pattern.reach & reach::SELF != 0 && host == domain;
        }
        pattern.reach & reach::BELOW != 0
            && host.len() > domain.len() + 1
            && host.ends_with(domain)
            && host[host.len() - domain.len() - 1] == b'.'
    }

    /// Calls `visit` with each domain in the table that the host is or lies below,
    /// the shortest first, and with whether it is the host itself.
    ///
    /// One probe for each label, and one step for each byte of the host.
    #[inline]
    pub fn each_domain(&self, host: Host<'_>, mut visit: impl FnMut(&'a HostSlot, bool)) {
        if self.hosts.is_empty() {
            return;
        }
        let host = host.as_bytes();
        let mut hash = HASH_START;
        for (at, byte) in host.iter().enumerate().rev() {
            if *byte == b'.'
                && at > 0
                && let Some(slot) = self.domain(hash, &host[at + 1..])
            {
                visit(slot, false);
            }
            hash = hash_step(hash, *byte);
        }
        if let Some(slot) = self.domain(hash, host) {
            visit(slot, true);
        }
    }

    #[inline]
    fn domain(&self, hash: u64, domain: &[u8]) -> Option<&'a HostSlot> {
        let found = probe(self.hosts, hash, |slot| {
            let same = slot.hash == (hash >> 32) as u32
                && self.piece(slot.offset, slot.length.into()) == domain;
            if slot.length == 0 { Probe::Absent } else { Probe::found(same) }
        });
        found.map(|(_, slot)| slot)
    }

    /// What an entry of `nwaf_limit` says. O(length of its domain).
    pub fn limit_in_force(&self, entry: u32) -> Option<LimitInForce> {
        let LimitRecord { rate, window, block_time, pattern } = *self.limits.get(entry as usize)?;
        let domain = match self.patterns.get(pattern as usize) {
            _ if pattern == ANY => ANY_DOMAIN,
            Some(record) => {
                named_domain(self.piece(record.offset, record.length.into()), record.reach)
            }
            None => return None,
        };
        Some(LimitInForce { rate, window, block_time, domain })
    }

    /// The patterns whose hosts have no bodies read at a path as served.
    pub fn body_patterns(&self, path: &[u8]) -> &'a [u32] {
        let slot = self.named(self.body_paths, name_hash(path), |name| name == path);
        slot.map_or(&[], |(_, slot)| self.postings(slot.item, slot.items))
    }

    /// The slot of a header's name that some rule asks for, and its position.
    #[inline]
    pub fn header_name(&self, name: &[u8]) -> Option<(usize, &'a NameSlot)> {
        let class = usize::from(header_class(name));
        if self.header.header_classes[class / 64] >> (class % 64) & 1 == 0 {
            return None;
        }
        let lower = name.iter().rev().map(u8::to_ascii_lowercase);
        let hash = lower.fold(HASH_START, hash_step);
        self.named(self.header_names, hash, |own| own.eq_ignore_ascii_case(name))
    }

    fn named(
        &self,
        table: &'a [NameSlot],
        hash: u64,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Option<(usize, &'a NameSlot)> {
        if table.is_empty() {
            return None;
        }
        probe(table, hash, |slot| {
            let same = slot.hash == (hash >> 32) as u32
                && is_it(self.piece(slot.offset, slot.length.into()));
            if slot.length == 0 { Probe::Absent } else { Probe::found(same) }
        })
    }

    /// The rules that a domain selects for itself, or for what lies below it.
    #[inline]
    pub fn rules_of(&self, slot: &HostSlot, itself: bool) -> &'a [u32] {
        let (skip, count) = if itself {
            (0, slot.rules_itself_count)
        } else {
            (slot.rules_itself_count, slot.rules_below_count)
        };
        run(self.postings, slot.rules_itself.saturating_add(skip), count)
    }
}

/// What a slot says about the name that is looked for.
enum Probe {
    /// It has that name.
    Here,
    /// It has another one.
    Further,
    /// It is empty, so the name is not in the table.
    Absent,
}

impl Probe {
    fn found(same: bool) -> Self {
        if same { Self::Here } else { Self::Further }
    }
}

/// Open addressing with linear probing; the table has an empty slot (verified), so this ends.
#[inline]
fn probe<T>(table: &[T], hash: u64, look: impl Fn(&T) -> Probe) -> Option<(usize, &T)> {
    let mask = table.len() - 1;
    let mut at = hash as usize & mask;
    loop {
        let slot = table.get(at)?;
        match look(slot) {
            Probe::Here => return Some((at, slot)),
            Probe::Absent => return None,
            Probe::Further => at = (at + 1) & mask,
        }
    }
}

impl Snapshot {
    /// Bits of [`list`]: the address lists that hold for a client and the host it asks.
    ///
    /// IPv4: O(log n) inside one /16. IPv6: O(log n).
    pub fn address_lists(&self, address: IpAddr, host: Host<'_>) -> u8 {
        let view = self.view();
        view.set_of(address).map_or(0, |set| view.lists_of(set, host))
    }

    /// The host lists that hold for a host: one probe for each of its labels.
    pub fn host_lists(&self, host: Host<'_>) -> HostLists {
        let view = self.view();
        let mut bits = view.header.any_host;
        view.each_domain(host, |slot, itself| {
            bits |= if itself { slot.itself } else { slot.below };
        });
        HostLists::from_bits(bits).unwrap_or_default()
    }

    /// The entry of `nwaf_limit` that counts for a host: one probe for each of its labels.
    pub fn limit(&self, host: Host<'_>) -> Option<LimitInForce> {
        let view = self.view();
        let mut entry = view.header.any_limit;
        view.each_domain(host, |slot, itself| entry = slot.closer_limit(itself, entry));
        view.limit_in_force(entry)
    }

    /// Whether any rule looks at bodies; where none does, reading one is in vain. O(1).
    #[inline]
    pub fn needs_body(&self) -> bool {
        self.view().needs_body
    }

    /// Whether the body of a request may be read, as [`policy::Settings::reads_body`].
    ///
    /// `url` is the path as sent; `scratch` was begun for the request. Nothing is
    /// looked at where no setting forbids a body.
    pub fn reads_body(
        &self,
        method: &[u8],
        host: Host<'_>,
        url: &[u8],
        scratch: &mut Scratch,
    ) -> bool {
        let view = self.view();
        if view.header.no_bodies != 0 {
            return false;
        }
        if method == b"PUT" && self.host_lists(host).has(HostLists::PUT_BODY_UNREAD) {
            return false;
        }
        if view.body_paths.is_empty() {
            return true;
        }
        let patterns = view.body_patterns(scratch.path_as_served(url));
        !patterns.iter().any(|pattern| view.pattern_holds(*pattern, host))
    }
}
