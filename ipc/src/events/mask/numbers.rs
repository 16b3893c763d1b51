//! Card numbers: 13 to 19 digits, perhaps in groups, whose check digit is right (ISO/IEC 7812-1).

use std::ops::Range;

/// Fewest and most digits of a card number.
const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// The card number of which the digit at `at` is the first one; or else where the next may
/// begin. Linear: each group of digits is looked at as the beginning of one number of
/// at most [`DIGITS_MAX`] digits.
pub fn card_number(text: &[u8], at: usize) -> Result<Range<usize>, usize> {
    let at = after_escape(text, at);
    let group = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Nearly all numbers are short and alone.
    let is_one = (DIGITS_MIN..=DIGITS_MAX).contains(&group)
        || (group < DIGITS_MIN && group > 0 && separator(&text[at + group..]) > 0);
    match is_one.then(|| number_at(text, at)).flatten() {
        Some(end) => Ok(at..end),
        None => Err(at + group),
    }
}

/// The end of the longest card number that begins at `start` and ends with a group.
fn number_at(text: &[u8], start: usize) -> Option<usize> {
    let mut digits = [0; DIGITS_MAX];
    let (mut count, mut at, mut found) = (0, start, None);
    loop {
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            let Some(place) = digits.get_mut(count) else { return found };
            *place = digit - b'0';
            (count, at) = (count + 1, at + 1);
        }
        if is_issued(&digits[..count]) && has_right_check_digit(&digits[..count]) {
            found = Some(at);
        }
        let gap = separator(&text[at..]);
        if gap == 0 || !text.get(at + gap).is_some_and(u8::is_ascii_digit) {
            return found;
        }
        at += gap;
    }
}

/// Whether cards have numbers like this. Their first digit tells the kind of issuer, and
/// those of 13 digits that begin with 1 are times in milliseconds, of which every tenth has
/// a right check digit. (Air travel's begin with 1, too, and have 15.)
fn is_issued(digits: &[u8]) -> bool {
    digits.len() >= DIGITS_MIN
        && (matches!(digits[0], 2..=6) || (digits[0], digits.len()) == (1, 15))
}

/// The length of what may stand between two groups; 0 where nothing does.
fn separator(text: &[u8]) -> usize {
    match text {
        [b' ' | b'-' | b'+', ..] => 1,
        [b'%', b'2', b'0' | b'D' | b'd' | b'B' | b'b', ..] => 3,
        _ => 0,
    }
}

/// The formula of Luhn: every second digit from the right counts twice.
fn has_right_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, *digit) {
            (0, digit) => digit,
            (_, digit @ 0..=4) => digit * 2,
            (_, digit) => digit * 2 - 9,
        })
        .map(u32::from)
        .sum();
    sum.is_multiple_of(10)
}

/// The digits of `%20` belong to the escape and not to the number after it.
fn after_escape(text: &[u8], at: usize) -> usize {
    let before = |distance: usize| at.checked_sub(distance).and_then(|at| text.get(at));
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let skipped = if before(1) == Some(&b'%') && is_hex(text.get(at + 1)) {
        2
    } else {
        usize::from(before(2) == Some(&b'%') && is_hex(before(1)))
    };
    at + skipped
}

/// Text that was cut at some limit, without the number it may have been cut in.
pub fn without_open_number(text: &[u8]) -> &[u8] {
    // An escape of a separator may have been cut too.
    let part = |byte: &u8| byte.is_ascii_digit() || b" -+%DdBb".contains(byte);
    let open = text.iter().rev().take_while(|byte| part(byte)).count();
    &text[..text.len() - open]
}
