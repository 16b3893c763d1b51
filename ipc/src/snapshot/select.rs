//! One pass over a request's text selects the rules that are worth trying.

use policy::Request;
use policy::request::HeaderClass;
use policy::text::{FormField, Found, Scratch};

use super::Snapshot;
use super::evaluate::piece;
use super::format::*;
use super::grams::grams;

impl Snapshot {
    /// Calls `visit` with the position of each rule that may hold, ascending, each once.
    pub(super) fn each_candidate(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        mut visit: impl FnMut(u32, &mut Scratch),
    ) {
        let mut found = std::mem::take(&mut scratch.found);
        self.search(request, scratch, &mut found);
        found.rules.sort_unstable();
        found.rules.dedup();
        // Both lists ascend and share no rule: a rule is either always tried or selected.
        let mut selected = found.rules.iter().copied().peekable();
        for always in self.section::<u32>(SectionId::Always) {
            while let Some(rule) = selected.next_if(|rule| rule < always) {
                visit(rule, scratch);
            }
            visit(*always, scratch);
        }
        selected.for_each(|rule| visit(rule, scratch));
        found.clear();
        scratch.found = found;
    }

    fn search(&self, request: &Request<'_>, scratch: &mut Scratch, found: &mut Found) {
        if self.section::<GramSlot>(SectionId::Grams).is_empty() {
            return;
        }
        let wanted = |field: Field| self.stride(field) != 0;
        let search = Search::new(self);
        if wanted(Field::Url) {
            scratch.any_path_form(request.url, |form| search.run(form, Field::Url, found));
        }
        let forms = [
            (Field::Args, FormField::Args, request.args),
            (Field::Body, FormField::Body, request.body),
        ];
        for (field, form_field, text) in forms {
            if let Some(raw) = text
                && wanted(field)
            {
                scratch.any_form(form_field, raw, |form| search.run(form, field, found));
            }
        }
        let in_headers = [Field::Cookie, Field::UserAgent, Field::Referer, Field::HeaderAny];
        if in_headers.into_iter().any(wanted) {
            let pick = |name: &[u8]| {
                let field = match HeaderClass::of(name) {
                    HeaderClass::Cookie => Field::Cookie,
                    HeaderClass::UserAgent => Field::UserAgent,
                    HeaderClass::Referer => Field::Referer,
                    HeaderClass::Other => Field::HeaderAny,
                };
                wanted(field).then_some(field)
            };
            let search = |field, form: &[u8]| search.run(form, field, found);
            scratch.any_header_form(request.headers, pick, search);
        }
    }
}

struct Search<'a> {
    snapshot: &'a Snapshot,
    bits: &'a [u64],
    bits_shift: u32,
    slots: &'a [GramSlot],
    slots_shift: u32,
    groups: &'a [GramGroup],
    entries: &'a [GramEntry],
    postings: &'a [u32],
    blob: &'a [u8],
}

impl<'a> Search<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let bits: &[u64] = snapshot.section(SectionId::GramBits);
        let slots: &[GramSlot] = snapshot.section(SectionId::Grams);
        Self {
            snapshot,
            bits,
            // Sizes are powers of two from 2 (verified); without grams nothing is searched.
            bits_shift: 32 - (bits.len().max(1) * 64).ilog2(),
            slots,
            slots_shift: 32 - slots.len().max(2).ilog2(),
            groups: snapshot.section(SectionId::GramGroups),
            entries: snapshot.section(SectionId::GramEntries),
            postings: snapshot.section(SectionId::Postings),
            blob: snapshot.section(SectionId::Blob),
        }
    }

    /// Selects the rules with a literal in `text`; `false`, so that every form is searched.
    fn run(&self, text: &[u8], field: Field, found: &mut Found) -> bool {
        let stride = self.snapshot.stride(field).max(1);
        for (step, gram) in grams(text, stride).enumerate() {
            let bit = (gram_hash(gram) >> self.bits_shift) as usize;
            if self.bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0) {
                self.look_up(text, step * stride, gram, field, found);
            }
        }
        false
    }

    #[cold]
    fn look_up(&self, text: &[u8], at: usize, gram: u32, field: Field, found: &mut Found) {
        let mut slot_at = (gram_hash(gram) >> self.slots_shift) as usize;
        let slot = loop {
            // An empty slot exists (verified), so this ends.
            match self.slots.get(slot_at) {
                Some(slot) if slot.groups == 0 => return,
                Some(slot) if slot.gram == gram => break slot,
                Some(_) => slot_at = (slot_at + 1) & (self.slots.len() - 1),
                None => return,
            }
        };
        let first = slot.group as usize;
        let groups = self.groups.get(first..first + slot.groups as usize).unwrap_or(&[]);
        for group in groups.iter().filter(|group| group.field == field as u16) {
            let start = at.checked_sub(group.at.into());
            if let Some(text) = start.and_then(|start| text.get(start..)) {
                self.prefixes(text, group, found);
            }
        }
    }

    /// Selects the rules of every literal of the group that `text` begins with.
    ///
    /// The literals ascend, and each knows the longest other one that it begins
    /// with. The last literal that is not above the text is one the text begins
    /// with, or shares its beginnings with the text; so O(log n) comparisons and
    /// the steps along those beginnings find all of them.
    fn prefixes(&self, text: &[u8], group: &GramGroup, found: &mut Found) {
        let first = group.entry as usize;
        let Some(entries) = self.entries.get(first..first + group.entries as usize) else { return };
        let literal = |entry: &GramEntry| piece(self.blob, entry.literal, entry.length.into());
        let below = entries.partition_point(|entry| literal(entry) <= text);
        let mut candidate = below.checked_sub(1);
        while let Some(entry) = candidate.and_then(|number| entries.get(number)) {
            if text.starts_with(literal(entry)) {
                // A literal selects its rules once, however often it is repeated:
                // the work of a request must not grow with occurrences times rules.
                if !found.mark(first + candidate.unwrap_or(0)) {
                    return;
                }
                let start = entry.posting as usize;
                let rules = self.postings.get(start..start + entry.postings as usize);
                found.rules.extend_from_slice(rules.unwrap_or(&[]));
            }
            candidate = (entry.parent != NO_PARENT).then_some(entry.parent as usize);
        }
    }
}
