//! Extended rules -> records, and what selects them.

use std::collections::{BTreeMap, HashMap};

use policy::expression::{Expression, Join, Term};
use policy::rule::HeaderCondition;
use policy::{AddressRange, Rule};

use super::Writer;
use super::addresses::{Flats, members};
use super::file::position;
use super::triggers::{Trigger, triggers};
use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;

/// A term that is not about text.
const TERM: TermRecord = TermRecord { value: 0, length: 0, flags: 0, literal: NONE };

impl Writer {
    /// Writes all rules and files each under its trigger; returns the addresses
    /// that select rules.
    pub fn rules(&mut self, rules: &[&Rule]) -> Result<Flats<u32>, CompileError> {
        for rule in rules {
            self.rule(rule)?;
        }
        let mut triggers = triggers(rules);
        let flats = loop {
            let ranged = triggers.iter().zip(0..).filter_map(|(own, rule)| match own.first() {
                Some(Trigger::Ranges(ranges)) => Some(ranges.iter().map(move |r| (r, rule))),
                _ => None,
            });
            if let Some(flats) = members(ranged.flatten()) {
                break flats;
            }
            second_choice_for_broad_ones(&mut triggers);
        };
        // Every name that a condition asks for, whether or not it selects the rule.
        let conditions = rules.iter().flat_map(|rule| &rule.other_headers);
        let asked = conditions.filter_map(|condition| match condition {
            HeaderCondition::Absent(name)
            | HeaderCondition::Present(name)
            | HeaderCondition::Named(name, _) => Some((name.as_slice(), Vec::new())),
            HeaderCondition::Any(_) => None,
        });
        let mut names: BTreeMap<&[u8], Vec<u32>> = asked.collect();
        let mut countries: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (own, rule) in triggers.iter().zip(0..) {
            match own.first() {
                None => self.always.push(rule),
                // In the map of addresses.
                Some(Trigger::Ranges(_)) => {}
                Some(Trigger::Texts(field, texts)) => {
                    texts.iter().for_each(|text| self.grams.select(*field, text, rule));
                }
                Some(Trigger::Hosts(patterns)) => {
                    patterns.iter().for_each(|pattern| self.hosts.rule(pattern, rule));
                }
                Some(Trigger::Header(name)) => names.entry(name).or_default().push(rule),
                Some(Trigger::Countries(codes)) => {
                    for code in codes {
                        let code = u16::from_le_bytes(*code).into();
                        countries.entry(code).or_default().push(rule);
                    }
                }
            }
        }
        for name in names.keys() {
            let class = usize::from(header_class(name));
            self.header_classes[class / 64] |= 1 << (class % 64);
        }
        self.header_names = self.names(&names)?;
        self.point_to_names();
        for (code, rules) in countries {
            let record =
                CountryRecord { code, item: self.post(&rules)?, items: position(rules.len())? };
            self.countries.push(record);
        }
        Ok(flats)
    }

    fn rule(&mut self, rule: &Rule) -> Result<(), CompileError> {
        let first = self.conditions.len();
        self.expression(Field::Ip, &rule.ip, |w, term| w.range(&term.value))?;
        self.expression(Field::Domain, &rule.domain, |w, term| {
            Ok(TermRecord { value: w.pattern(&term.value)?, ..TERM })
        })?;
        self.expression(Field::Country, &rule.country, |_, term| {
            Ok(TermRecord { value: u16::from_le_bytes(term.value).into(), ..TERM })
        })?;
        self.text(Field::Url, &rule.url)?;
        self.text(Field::Args, &rule.args)?;
        if rule.no_cookie {
            self.condition(Field::NoCookie, &[], 0)?;
        }
        self.text(Field::Cookie, &rule.cookie)?;
        self.text(Field::UserAgent, &rule.ua)?;
        self.text(Field::Referer, &rule.referer)?;
        for header in &rule.other_headers {
            match header {
                HeaderCondition::Absent(name) => self.condition(Field::HeaderAbsent, name, 0)?,
                HeaderCondition::Present(name) => self.condition(Field::HeaderPresent, name, 0)?,
                HeaderCondition::Named(name, e) => {
                    self.named_text(Field::HeaderNamed, name, e)?;
                }
                HeaderCondition::Any(e) => {
                    self.named_text(Field::HeaderAny, &[], e)?;
                }
            }
        }
        self.text(Field::Body, &rule.body)?;
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
            slot: NONE,
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
        record: impl FnMut(&mut Self, &Term<T>) -> Result<TermRecord, CompileError>,
    ) -> Result<(), CompileError> {
        match expression {
            Some(expression) => self.named_expression(field, &[], expression, record),
            None => Ok(()),
        }
    }

    fn named_expression<T>(
        &mut self,
        field: Field,
        name: &[u8],
        expression: &Expression<T>,
        mut record: impl FnMut(&mut Self, &Term<T>) -> Result<TermRecord, CompileError>,
    ) -> Result<(), CompileError> {
        for term in expression.terms() {
            let own = record(self, term)?;
            let or = if term.join == Join::Or { term_flag::OR } else { 0 };
            let not = if term.negated { term_flag::NOT } else { 0 };
            self.terms.push(TermRecord { flags: own.flags | or | not, ..own });
        }
        self.condition(field, name, expression.terms().len())
    }

    fn text(
        &mut self,
        field: Field,
        expression: &Option<Expression<Vec<u8>>>,
    ) -> Result<(), CompileError> {
        match expression {
            Some(expression) => self.named_text(field, &[], expression),
            None => Ok(()),
        }
    }

    fn named_text(
        &mut self,
        field: Field,
        name: &[u8],
        expression: &Expression<Vec<u8>>,
    ) -> Result<(), CompileError> {
        self.named_expression(field, name, expression, |writer, term| {
            let text = term.value.as_slice();
            // Headers without a zone are searched together.
            let searched = if field == Field::HeaderNamed { Field::HeaderAny } else { field };
            let (literal, flags) = if text.len() >= GRAM {
                (writer.grams.number(searched, text)?, 0)
            } else if field == searched && !(field == Field::Url && term.negated) {
                let next = position(writer.shorts.len())?;
                (*writer.shorts.entry((field, text.to_vec())).or_insert(next), term_flag::SHORT)
            } else {
                // Looks at a part of the field only, so what is known of all of it is no answer.
                (NONE, 0)
            };
            let value = writer.store(text)?;
            Ok(TermRecord { value, length: position(text.len())?, flags, literal })
        })
    }

    /// Tells conditions on a header's name where the name stands in its table.
    fn point_to_names(&mut self) {
        let piece = |offset: u32, length: u16| {
            let start = offset as usize;
            &self.blob[start..start + usize::from(length)]
        };
        let mut slots: HashMap<&[u8], u32> = HashMap::new();
        for (slot, number) in self.header_names.iter().zip(0..) {
            slots.insert(piece(slot.offset, slot.length), number);
        }
        for condition in self.conditions.iter_mut().filter(|c| c.name_length != 0) {
            let name = piece(condition.name, condition.name_length);
            condition.slot = slots.get(name).copied().unwrap_or(NONE);
        }
    }

    fn range(&mut self, range: &AddressRange) -> Result<TermRecord, CompileError> {
        let (first, last, family) = match *range {
            AddressRange::V4 { first, last } => (first.into(), last.into(), 4),
            AddressRange::V6 { first, last } => (first, last, 6),
        };
        self.ranges.push(RangeRecord { first, last, family, reserved: 0 });
        Ok(TermRecord { value: position(self.ranges.len() - 1)?, ..TERM })
    }
}

/// Takes their addresses from the broader half of the rules that are filed under
/// them: nested networks of many rules multiply, and the broad ones multiply most.
fn second_choice_for_broad_ones(triggers: &mut [Vec<Trigger<'_>>]) {
    let mut ranged: Vec<_> =
        triggers.iter_mut().filter(|own| matches!(own.first(), Some(Trigger::Ranges(_)))).collect();
    ranged.sort_by_key(|own| std::cmp::Reverse(own[0].breadth()));
    let half = ranged.len().div_ceil(2);
    ranged.into_iter().take(half).for_each(|own| {
        own.remove(0);
    });
}
