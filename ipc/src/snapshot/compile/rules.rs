//! Extended rules -> records, and what selects them.

use std::collections::BTreeMap;

use policy::expression::{Expression, Join};
use policy::rule::HeaderCondition;
use policy::{AddressRange, Rule};

use super::Writer;
use super::addresses::{Flats, members};
use super::file::position;
use super::triggers::{Trigger, triggers};
use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;

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
        let mut names: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        let mut countries: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (own, rule) in triggers.iter().zip(0..) {
            match own.first() {
                None => self.always.push(rule),
                // In the map of addresses.
                Some(Trigger::Ranges(_)) => {}
                Some(Trigger::Texts(field, texts)) => {
                    texts.iter().for_each(|text| self.grams.add(*field, text, rule));
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
        for (code, rules) in countries {
            let record =
                CountryRecord { code, item: self.post(&rules)?, items: position(rules.len())? };
            self.countries.push(record);
        }
        Ok(flats)
    }

    fn rule(&mut self, rule: &Rule) -> Result<(), CompileError> {
        let first = self.conditions.len();
        self.expression(Field::Ip, &rule.ip, Self::range)?;
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
