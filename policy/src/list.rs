//! Comma-separated lists, the form in which the API's strings carry many values.

use std::str::FromStr;

use crate::Invalid;
use crate::limits::{LIST_ENTRIES, REFUSALS};

/// Parses a comma-separated list; every bad element is reported, not only the first.
///
/// `field` names the list in refusals. An empty text is an empty list.
pub fn parse<T>(field: &str, text: &str) -> Result<Vec<T>, Vec<Invalid>>
where
    T: FromStr<Err = Invalid>,
{
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    parse_each(field, text.split(','))
}

/// Parses elements that are separate already; bad elements are reported as `field[index]`.
///
/// # Errors
/// Every bad element up to [`REFUSALS`], then how many more there are; more than
/// [`LIST_ENTRIES`] elements.
pub fn parse_each<'a, T>(
    field: &str,
    elements: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<T>, Vec<Invalid>>
where
    T: FromStr<Err = Invalid>,
{
    let mut parsed = Vec::new();
    let mut refused = Vec::new();
    let mut further = 0_usize;
    for (index, element) in elements.into_iter().enumerate() {
        if index >= LIST_ENTRIES {
            refused.push(too_long(field));
            break;
        }
        match element.trim().parse() {
            Ok(value) => parsed.push(value),
            // A refusal is many times as large as the few bytes that cause it.
            Err(_) if refused.len() >= REFUSALS => further += 1,
            Err(why) => refused.push(Invalid::in_field(why, format!("{field}[{index}]"))),
        }
    }
    if further > 0 {
        let reason = format!("{further} further entries are refused");
        refused.push(Invalid::new(field, "", reason, "mend those that are named and try again"));
    }
    if refused.is_empty() { Ok(parsed) } else { Err(refused) }
}

/// Why a list with more than [`LIST_ENTRIES`] elements is refused.
pub(crate) fn too_long(field: &str) -> Invalid {
    let reason = format!("the list has more than {LIST_ENTRIES} entries");
    Invalid::new(field, "", reason, "merge neighbouring addresses into networks or ranges")
}

#[cfg(test)]
mod tests {
    use crate::{AddressEntry, HostPattern};

    #[test]
    fn every_bad_element_is_named() {
        let refused = super::parse::<AddressEntry>("nwaf_ip_wl", "1.1.1.1, x, 2.2.2.2,1.1.1.0/33")
            .unwrap_err();
        let fields: Vec<_> = refused.iter().map(|r| r.field.as_str()).collect();
        assert_eq!(fields, ["nwaf_ip_wl[1]", "nwaf_ip_wl[3]"]);
    }

    #[test]
    fn an_empty_list_is_no_error_but_an_empty_element_is() {
        assert_eq!(super::parse::<HostPattern>("l", " ").unwrap(), []);
        assert!(super::parse::<HostPattern>("l", "a.com,,b.com").is_err());
    }
}
