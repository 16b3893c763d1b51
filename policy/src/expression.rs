//! Terms joined by `&` and `|`, each with an optional `!`, evaluated strictly
//! from left to right: the operators have no precedence (the specification,
//! "Extended request blocking rules").

use crate::Invalid;
use crate::limits::EXPRESSION_TERMS;

/// How a term joins the value of everything to its left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// `&`; also the join of the first term, with "true" on its left.
    And,
    /// `|`
    Or,
}

/// One operand of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term<T> {
    /// The operator before the term.
    pub join: Join,
    /// Whether the term is preceded by `!`.
    pub negated: bool,
    /// What is compared with the request.
    pub value: T,
}

/// At least one term, in the order written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression<T>(Vec<Term<T>>);

impl<T> Expression<T> {
    /// Parses `text`; `value` turns one operand into what it means, or says why it cannot.
    ///
    /// Terms may be surrounded by spaces. At most [`EXPRESSION_TERMS`] terms.
    pub fn parse(
        field: &str,
        text: &str,
        mut value: impl FnMut(&str) -> Result<T, Invalid>,
    ) -> Result<Self, Invalid> {
        const REMEDY: &str = "join values with & and |, negate one with a single ! before it";
        let mut terms = Vec::new();
        let mut rest = text;
        let mut join = Join::And;
        loop {
            let end = rest.find(['&', '|']).unwrap_or(rest.len());
            let operand = rest[..end].trim();
            let position = text.len() - rest.len() + 1;
            let (negated, operand) = match operand.strip_prefix('!') {
                Some(operand) => (true, operand.trim_start()),
                None => (false, operand),
            };
            if operand.is_empty() {
                let reason = format!("an operand is missing at character {position}");
                return Err(Invalid::new(field, text, reason, REMEDY));
            }
            if operand.contains('!') {
                let reason = format!("a ! inside the operand at character {position}");
                return Err(Invalid::new(field, text, reason, REMEDY));
            }
            if terms.len() == EXPRESSION_TERMS {
                let reason = format!("more than {EXPRESSION_TERMS} operands");
                return Err(Invalid::new(field, text, reason, "split the rule into several"));
            }
            terms.push(Term { join, negated, value: value(operand)? });
            let Some(operator) = rest[end..].chars().next() else { return Ok(Self(terms)) };
            join = if operator == '&' { Join::And } else { Join::Or };
            rest = &rest[end + 1..];
        }
    }

    /// An expression of these terms; none without a term or with more than [`EXPRESSION_TERMS`].
    pub fn from_terms(terms: Vec<Term<T>>) -> Option<Self> {
        (1..=EXPRESSION_TERMS).contains(&terms.len()).then_some(Self(terms))
    }

    /// The terms in the order written; never empty.
    pub fn terms(&self) -> &[Term<T>] {
        &self.0
    }

    /// The value of the expression; `hit` tells whether one operand holds.
    pub fn evaluate(&self, mut hit: impl FnMut(&T) -> bool) -> bool {
        self.evaluate_terms(|term| hit(&term.value))
    }

    /// As [`Expression::evaluate`], for operands whose meaning depends on their
    /// sign; `hit` speaks of the operand without it.
    pub fn evaluate_terms(&self, mut hit: impl FnMut(&Term<T>) -> bool) -> bool {
        let terms = self.0.iter();
        terms.fold(true, |left, term| step(left, term.join, term.negated, || hit(term)))
    }
}

/// One step from left to right: `left join [!]hit()`. `hit` is called only where
/// it can change the result. The first term of an expression joins `true` by [`Join::And`].
#[inline]
pub fn step(left: bool, join: Join, negated: bool, hit: impl FnOnce() -> bool) -> bool {
    match join {
        Join::And => left && (hit() != negated),
        Join::Or => left || (hit() != negated),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Expression<String>, Invalid> {
        Expression::parse("field", text, |operand| Ok(operand.to_owned()))
    }

    fn value(text: &str, hits: &[&str]) -> bool {
        parse(text).expect(text).evaluate(|operand| hits.contains(&operand.as_str()))
    }

    #[test]
    fn operators_have_no_precedence() {
        // With precedence `a | (b & c)` would hold; from left to right `(a | b) & c` does not.
        assert!(!value("a|b&c", &["a"]));
        assert!(value("a|b&c", &["a", "c"]));
        assert!(value("a&b|c", &["c"]));
        assert!(value("!a&!b", &[]));
        assert!(!value("!a&!b", &["b"]));
        assert!(value("!a|b", &["a", "b"]));
    }

    #[test]
    fn malformed_expressions_say_where() {
        for (text, place) in [
            ("", "character 1"),
            ("a&", "character 3"),
            ("a||b", "character 3"),
            ("!", "character 1"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.reason.contains(place), "{text:?}: {why}");
        }
        assert!(parse("!!a").is_err());
        assert!(parse(&vec!["a"; EXPRESSION_TERMS + 1].join("|")).is_err());
    }

    proptest! {
        /// Against a reading that shares no code: a loop over (operator, sign, bit) triples.
        #[test]
        fn left_to_right(terms in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..12)) {
            let mut text = String::new();
            let mut expected = None;
            let mut hits = Vec::new();
            for (index, (and, negated, hit)) in terms.iter().enumerate() {
                if index > 0 { text.push(if *and { '&' } else { '|' }); }
                if *negated { text.push('!'); }
                text.push_str(&format!("t{index}x"));
                if *hit { hits.push(format!("t{index}x")); }
                let operand = if *negated { !*hit } else { *hit };
                expected = Some(match expected {
                    None => operand,
                    Some(left) if *and => left & operand,
                    Some(left) => left | operand,
                });
            }
            let got = parse(&text).unwrap().evaluate(|name| hits.contains(name));
            prop_assert_eq!(Some(got), expected);
        }
    }
}
