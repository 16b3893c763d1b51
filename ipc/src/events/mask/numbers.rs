//! Card numbers: 13 to 19 digits, perhaps in groups, whose check digit is right (ISO/IEC 7812-1).

use std::ops::Range;

/// Fewest and most digits of a card number.
const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// The first card number at or after `from`. Linear: each group of digits is looked at as the
/// beginning of one number of at most [`DIGITS_MAX`] digits.
pub fn card_number(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = next_digit(text, from)?;
    loop {
        at = after_escape(text, at);
        if let Some(end) = number_at(text, at) {
            return Some(at..end);
        }
        let group = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at = next_digit(text, at + group)?;
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
        if count >= DIGITS_MIN && has_right_check_digit(&digits[..count]) {
            found = Some(at);
        }
        let gap = separator(&text[at..]);
        if gap == 0 || !text.get(at + gap).is_some_and(u8::is_ascii_digit) {
            return found;
        }
        at += gap;
    }
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

/// The first digit at or after `from`. Most text has none: eight bytes are looked at at once.
fn next_digit(text: &[u8], from: usize) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let mut at = from;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let rest = u64::from_ne_bytes(*chunk) ^ (EACH * u64::from(b'0'));
        // Whether any byte is below ten (Bit Twiddling Hacks, "hasless").
        if rest.wrapping_sub(EACH * 10) & !rest & (EACH * 128) != 0 {
            break;
        }
        at += 8;
    }
    let found = text.get(at..)?.iter().position(u8::is_ascii_digit)?;
    Some(at + found)
}

/// Text that was cut at some limit, without the number it may have been cut in.
pub fn without_open_number(text: &[u8]) -> &[u8] {
    // An escape of a separator may have been cut too.
    let part = |byte: &u8| byte.is_ascii_digit() || b" -+%DdBb".contains(byte);
    let open = text.iter().rev().take_while(|byte| part(byte)).count();
    &text[..text.len() - open]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_is_found_wherever_it_is() {
        for length in 0..40 {
            for at in 0..length {
                let mut text = vec![b'/'; length];
                text[at] = b'0' + (at % 10) as u8;
                assert_eq!(next_digit(&text, 0), Some(at));
                assert_eq!(next_digit(&text, at), Some(at));
                assert_eq!(next_digit(&text, at + 1), None);
            }
            assert_eq!(next_digit(&vec![b':'; length], 0), None);
            assert_eq!(next_digit(&vec![0xb5; length], 0), None);
        }
    }
}
