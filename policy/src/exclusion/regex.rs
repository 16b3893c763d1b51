//! Whether a regular expression is one, and small enough to be compiled everywhere.
//!
//! Expressions are over bytes, as requests are: `.` is a byte, `\w` is ASCII. The syntax is
//! that of Rust's `regex`, which has no look-around and no back-references; whatever it
//! accepts takes time linear in what is searched.

use regex_syntax::ast::{self, Ast, Flag, GroupKind};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::Invalid;
use crate::limits::{REGEX_BYTES, REGEX_DEPTH, REGEX_SIZE};

/// # Errors
/// Bad syntax with its place, and the limits [`REGEX_BYTES`], [`REGEX_DEPTH`], [`REGEX_SIZE`].
pub(super) fn check(field: &str, text: &str) -> Result<(), Invalid> {
    let refuse = |reason: String, remedy: &str| Invalid::new(field, text, reason, remedy);
    let wrong = |kind: String, span: &ast::Span| {
        let remedy = "correct the expression; it is over bytes, without look-around and \
             back-references";
        refuse(
            format!("not a regular expression: {kind} at character {}", span.start.column),
            remedy,
        )
    };
    if text.len() > REGEX_BYTES {
        let reason = format!("a regular expression has at most {REGEX_BYTES} bytes");
        return Err(refuse(reason, "split the exclusion into several"));
    }
    let tree = ast::parse::ParserBuilder::new()
        .nest_limit(REGEX_DEPTH)
        .build()
        .parse(text)
        .map_err(|why| wrong(why.kind().to_string(), why.span()))?;
    if ast::visit(&tree, FindUnicode).is_err() {
        let reason = "classes of Unicode have no meaning for bytes";
        return Err(refuse(reason.to_owned(), "remove the flag u, and write classes in ASCII"));
    }
    let expression = TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .translate(text, &tree)
        .map_err(|why| wrong(why.kind().to_string(), why.span()))?;
    if size(&expression) > REGEX_SIZE {
        let reason = format!("the expression is larger than {REGEX_SIZE} when written out");
        return Err(refuse(reason, "write smaller repetitions or fewer alternatives"));
    }
    Ok(())
}

/// Finds the flag that turns Unicode on. What it would mean depends on tables that a build
/// may or may not have, and every build has to understand the same.
struct FindUnicode;

impl ast::Visitor for FindUnicode {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), ()> {
        let flags = match tree {
            Ast::Flags(set) => &set.flags,
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => flags,
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => return Ok(()),
            },
            _ => return Ok(()),
        };
        if flags.flag_state(Flag::Unicode) == Some(true) { Err(()) } else { Ok(()) }
    }
}

/// Literal bytes and ranges of classes, repetitions written out. Bounded in depth by the
/// parser's limit.
fn size(hir: &Hir) -> u64 {
    /// Bytes of one character in UTF-8, at most.
    const CHARACTER: u64 = 4;
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        // What alternatives of one character each become.
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64 * CHARACTER,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            size(&repetition.sub).saturating_mul(u64::from(times)).saturating_add(1)
        }
        HirKind::Capture(capture) => size(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum, part| sum.saturating_add(size(part)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_would_take_is_taken() {
        for good in [
            "/test",
            r"^/a\.php$",
            r"(?i)union\s+select",
            r"[\w-]{1,64}",
            r"\bид\b",
            r"[^\x00-\x7f]",
            "a|b|",
            "é|è",
            "(?-u)x",
            "(?i-u:x)",
            r"(?-u:\xff)",
        ] {
            check("f", good).expect(good);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (bad, reason) in [
            ("(", "unclosed group at character 1"),
            ("ab[", "unclosed character class at character 3"),
            ("a**b{2,1}", "at character"),
            ("(?=x)", "look-around"),
            (r"(a)\1", "backreferences"),
            (r"\pL", "Unicode"),
            (r"(?u)a", "Unicode"),
            (r"(?iu:a)", "Unicode"),
            ("[я]", "Unicode"),
        ] {
            let why = check("f", bad).unwrap_err();
            assert!(why.reason.contains(reason), "{bad}: {why}");
        }
    }

    #[test]
    fn what_would_grow_is_refused() {
        check("f", "a{1000}").unwrap();
        for bad in ["(a{100}){101}", "(((a{99}){99}){99}){99}", "(?:x{500}|y{9600})"] {
            let why = check("f", bad).unwrap_err();
            assert!(why.reason.contains("larger than"), "{bad}: {why}");
        }
        assert!(check("f", &"a".repeat(REGEX_BYTES)).is_ok());
        assert!(check("f", &"a".repeat(REGEX_BYTES + 1)).is_err());
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(check("f", &nested(40)).is_ok());
        assert!(check("f", &nested(60)).is_err());
    }
}
