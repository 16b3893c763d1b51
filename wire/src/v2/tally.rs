//! The digest of a content, kept up to date with each element that comes or goes.
//!
//! Every element has a SHA-256 of its own; they are added up modulo 2^256, and the digest is
//! SHA-256 over the sum and the number of elements. So the digest after a change costs as
//! much as the change, however long the list is, and a delta and a whole bundle of one
//! revision have the same.
//!
//! The order of elements is no part of it, because it has no meaning: the block list is a
//! set, and rules act in the order of their ids, which every reader checks. It reveals
//! damage and mistakes, not malice: who can change a content can change its digest.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{BundleContent, BundleExclusion, BundleRule};

/// Goes into every digest; another one where digests are computed differently.
const VERSION: &[u8] = b"nwaf content 1\n";
/// Bytes of JSON around a text in an array: two quotation marks and a comma.
const AROUND_TEXT: u64 = 3;
/// Bytes of JSON around a setting: as above twice, the last comma being a colon.
const AROUND_SETTING: u64 = 6;
/// Bytes of JSON after a rule or an exclusion: a comma.
const AROUND_OBJECT: u64 = 1;

/// The sum over the elements of a content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// 256 bits, the least significant first.
    sum: [u64; 4],
    count: u64,
    bytes: u64,
}

impl Tally {
    /// The tally of a whole content; takes as long as the content is large.
    pub fn of(content: &BundleContent) -> Self {
        let mut tally = Self::default();
        for (name, value) in &content.settings {
            tally.add_setting(name, value);
        }
        for entry in &content.block_list {
            tally.add_entry(entry);
        }
        for rule in &content.rules {
            tally.add_rule(rule);
        }
        for exclusion in &content.exclusions {
            tally.add_exclusion(exclusion);
        }
        tally
    }

    /// Number of settings, entries, rules and exclusions.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of JSON that the elements take at least.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new_with_prefix(VERSION);
        for part in self.sum {
            hasher.update(part.to_le_bytes());
        }
        hasher.update(self.count.to_le_bytes());
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A setting comes.
    pub fn add_setting(&mut self, name: &str, value: &str) {
        self.add(Element::setting(name, value));
    }

    /// A setting that was added goes.
    pub fn remove_setting(&mut self, name: &str, value: &str) {
        self.remove(Element::setting(name, value));
    }

    /// An entry of the block list comes.
    pub fn add_entry(&mut self, entry: &str) {
        self.add(Element::entry(entry));
    }

    /// An entry that was added goes.
    pub fn remove_entry(&mut self, entry: &str) {
        self.remove(Element::entry(entry));
    }

    /// A rule comes.
    pub fn add_rule(&mut self, rule: &BundleRule) {
        self.add(Element::rule(rule));
    }

    /// A rule that was added goes.
    pub fn remove_rule(&mut self, rule: &BundleRule) {
        self.remove(Element::rule(rule));
    }

    /// An exclusion comes.
    pub fn add_exclusion(&mut self, exclusion: &BundleExclusion) {
        self.add(Element::exclusion(exclusion));
    }

    /// An exclusion that was added goes.
    pub fn remove_exclusion(&mut self, exclusion: &BundleExclusion) {
        self.remove(Element::exclusion(exclusion));
    }

    fn add(&mut self, element: Element) {
        let mut carry = false;
        for (part, other) in self.sum.iter_mut().zip(element.hash) {
            let (with_other, first) = part.overflowing_add(other);
            let (with_carry, second) = with_other.overflowing_add(u64::from(carry));
            (*part, carry) = (with_carry, first || second);
        }
        self.count = self.count.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(element.bytes);
    }

    fn remove(&mut self, element: Element) {
        let mut borrow = false;
        for (part, other) in self.sum.iter_mut().zip(element.hash) {
            let (without_other, first) = part.overflowing_sub(other);
            let (without_borrow, second) = without_other.overflowing_sub(u64::from(borrow));
            (*part, borrow) = (without_borrow, first || second);
        }
        self.count = self.count.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(element.bytes);
    }
}

/// One element's share of a tally.
struct Element {
    hash: [u64; 4],
    bytes: u64,
}

impl Element {
    fn setting(name: &str, value: &str) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"s");
        // The length tells where the name ends.
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(value);
        Self::new(hasher, (name.len() + value.len()) as u64 + AROUND_SETTING)
    }

    fn entry(entry: &str) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"e");
        hasher.update(entry);
        Self::new(hasher, entry.len() as u64 + AROUND_TEXT)
    }

    fn rule(rule: &BundleRule) -> Self {
        Self::object(b"r", rule)
    }

    fn exclusion(exclusion: &BundleExclusion) -> Self {
        Self::object(b"x", exclusion)
    }

    fn object(kind: &[u8], object: &impl Serialize) -> Self {
        let json = serde_json::to_vec(object).expect("plain data has a JSON form");
        let mut hasher = Sha256::new_with_prefix(kind);
        hasher.update(&json);
        Self::new(hasher, json.len() as u64 + AROUND_OBJECT)
    }

    fn new(hasher: Sha256, bytes: u64) -> Self {
        let hash = hasher.finalize();
        let mut parts = [0; 4];
        for (part, bytes) in parts.iter_mut().zip(hash.chunks_exact(8)) {
            *part = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        Self { hash: parts, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{ExclusionText, RuleText};

    fn rule(id: u64) -> BundleRule {
        BundleRule::new(id, RuleText { ip: Some("1.1.1.1".into()), ..RuleText::default() })
    }

    fn exclusion(id: u64) -> BundleExclusion {
        let text = ExclusionText { rl_id: "*".into(), ..ExclusionText::default() };
        BundleExclusion::new(id, &text)
    }

    #[test]
    fn what_comes_and_goes_leaves_no_trace() {
        let mut tally = Tally::default();
        let empty = tally.digest();
        tally.add_entry("1.1.1.1");
        tally.add_setting("a", "b");
        tally.add_rule(&rule(1));
        tally.add_exclusion(&exclusion(1));
        let all = tally.clone();
        assert_eq!(all.count(), 4);
        tally.remove_entry("1.1.1.1");
        tally.remove_rule(&rule(1));
        tally.remove_exclusion(&exclusion(1));
        tally.remove_setting("a", "b");
        assert_eq!((tally.digest(), tally.count(), tally.bytes()), (empty, 0, 0));
        let content = BundleContent {
            settings: [("a".to_owned(), "b".to_owned())].into(),
            block_list: vec!["1.1.1.1".into()],
            rules: vec![rule(1)],
            exclusions: vec![exclusion(1)],
        };
        assert_eq!(Tally::of(&content), all);
    }

    #[test]
    fn different_contents_have_different_digests() {
        type Add = fn(&mut Tally);
        let additions: [Add; 10] = [
            |_| {},
            |t| t.add_entry("1.1.1.1"),
            |t| (0..2).for_each(|_| t.add_entry("1.1.1.1")),
            |t| t.add_entry("1.1.1.1 "),
            |t| t.add_setting("ab", "c"),
            |t| t.add_setting("a", "bc"),
            |t| t.add_rule(&rule(1)),
            |t| t.add_rule(&rule(2)),
            |t| t.add_exclusion(&exclusion(1)),
            |t| t.add_exclusion(&exclusion(2)),
        ];
        let digests: std::collections::HashSet<String> = additions
            .iter()
            .map(|add| {
                let mut tally = Tally::default();
                add(&mut tally);
                tally.digest()
            })
            .collect();
        assert_eq!(digests.len(), additions.len());
    }

    #[test]
    fn the_bytes_are_never_more_than_those_of_the_json() {
        let content = BundleContent {
            settings: [("n".to_owned(), "\"quoted\"".to_owned())].into(),
            block_list: vec!["1.1.1.1".into(), "\u{1}".into()],
            rules: vec![rule(1), rule(2)],
            exclusions: vec![exclusion(1), exclusion(2)],
        };
        let json = serde_json::to_string(&content).unwrap();
        assert!(Tally::of(&content).bytes() <= json.len() as u64);
    }
}
