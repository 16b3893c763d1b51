//! Which rules are worth trying for a request.

use std::ops::ControlFlow;

use policy::Request;
use policy::request::HeaderClass;
use policy::text::{Found, Scratch};

use super::format::*;
use super::view::{View, run};

/// The gram at every `stride`th position of a text, from the first.
pub fn grams(text: &[u8], stride: usize) -> impl Iterator<Item = u32> {
    text.windows(GRAM)
        .step_by(stride)
        .map(|window| u32::from_le_bytes([window[0], window[1], window[2], window[3]]))
}

impl View<'_> {
    /// Calls `visit` with the position of each rule that may hold, ascending, each
    /// once, and with what the search has found.
    ///
    /// `scratch.found` has the rules that address and host select already.
    pub fn each_candidate(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        mut visit: impl FnMut(u32, &mut Scratch, &mut Found),
    ) {
        let mut found = std::mem::take(&mut scratch.found);
        if !self.countries.is_empty()
            && let Some(code) = request.country
        {
            self.by_country(code, &mut found);
        }
        if !self.grams.is_empty() || !self.header_names.is_empty() {
            self.search(request, scratch, &mut found);
        }
        let mut rules = std::mem::take(&mut found.rules);
        if rules.len() > 1 {
            rules.sort_unstable();
            rules.dedup();
        }
        // Both lists ascend and share no rule: a rule is either always tried or selected.
        let mut selected = rules.iter().copied().peekable();
        for always in self.always {
            while let Some(rule) = selected.next_if(|rule| rule < always) {
                visit(rule, scratch, &mut found);
            }
            visit(*always, scratch, &mut found);
        }
        selected.for_each(|rule| visit(rule, scratch, &mut found));
        found.rules = rules;
        found.clear();
        scratch.found = found;
    }

    fn by_country(&self, code: [u8; 2], found: &mut Found) {
        let code = u32::from(u16::from_le_bytes(code));
        if let Ok(at) = self.countries.binary_search_by_key(&code, |record| record.code)
            && let Some(record) = self.countries.get(at)
        {
            found.rules.extend_from_slice(self.postings(record.item, record.items));
        }
    }

    fn stride(&self, field: Field) -> usize {
        self.header.strides[field as usize].into()
    }

    fn search(&self, request: &Request<'_>, scratch: &mut Scratch, found: &mut Found) {
        let wanted = |field: Field| self.stride(field) != 0;
        let search = Search::new(self);
        if wanted(Field::Url) {
            scratch.any_path_form(request.url, |form| search.run(form, Field::Url, found));
        }
        if let Some(raw) = request.args
            && wanted(Field::Args)
        {
            scratch.any_args_form(raw, |form| search.run(form, Field::Args, found));
        }
        if wanted(Field::Body) {
            scratch.any_body_form(request, |form| search.run(form, Field::Body, found));
        }
        let in_headers = [Field::Cookie, Field::UserAgent, Field::Referer, Field::HeaderAny];
        if self.header_names.is_empty() && !in_headers.into_iter().any(wanted) {
            return;
        }
        if !self.header_names.is_empty() {
            request.headers.visit(&mut |name, _| {
                // A name selects its rules once, however often the header is sent.
                if let Some((at, slot)) = self.header_name(name)
                    && found.names.mark(at)
                {
                    found.rules.extend_from_slice(self.postings(slot.item, slot.items));
                }
                ControlFlow::Continue(())
            });
        }
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

struct Search<'a> {
    view: &'a View<'a>,
    bits_shift: u32,
    slots_shift: u32,
}

impl<'a> Search<'a> {
    fn new(view: &'a View<'a>) -> Self {
        // Sizes are powers of two from 2 (verified); without grams nothing is searched.
        let bits_shift = 32 - (view.gram_bits.len().max(1) * 64).ilog2();
        Self { view, bits_shift, slots_shift: 32 - view.grams.len().max(2).ilog2() }
    }

    /// Selects the rules with a literal in `text`; `false`, so that every form is searched.
    fn run(&self, text: &[u8], field: Field, found: &mut Found) -> bool {
        let stride = self.view.stride(field).max(1);
        for (step, gram) in grams(text, stride).enumerate() {
            let bit = (gram_hash(gram) >> self.bits_shift) as usize;
            if self.view.gram_bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0) {
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
            match self.view.grams.get(slot_at) {
                Some(slot) if slot.groups == 0 => return,
                Some(slot) if slot.gram == gram => break slot,
                Some(_) => slot_at = (slot_at + 1) & (self.view.grams.len() - 1),
                None => return,
            }
        };
        for group in run(self.view.gram_groups, slot.group, slot.groups)
            .iter()
            .filter(|group| group.field == field as u16)
        {
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
        let entries = run(self.view.gram_entries, group.entry, group.entries);
        let literal = |entry: &GramEntry| self.view.piece(entry.literal, entry.length.into());
        let below = entries.partition_point(|entry| literal(entry) <= text);
        let mut candidate = below.checked_sub(1);
        while let Some(entry) = candidate.and_then(|number| entries.get(number)) {
            if text.starts_with(literal(entry)) {
                // A literal selects its rules once, however often it is repeated:
                // the work of a request must not grow with occurrences times rules.
                if !found.passed.mark(first + candidate.unwrap_or(0)) {
                    return;
                }
                found.literals.mark(entry.number as usize);
                found.rules.extend_from_slice(self.view.postings(entry.posting, entry.postings));
            }
            candidate = (entry.parent != NONE).then_some(entry.parent as usize);
        }
    }
}
