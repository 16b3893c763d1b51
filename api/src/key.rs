//! Keys: what clients show to be let in.
//!
//! A key is 32 random bytes in hexadecimal, shown once. Clients may show the key or
//! the SHA-256 of it (the specification allows both), so what is stored is the
//! SHA-256 of that SHA-256: whoever reads the database has nothing to show.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use store::KeyRow;

/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Fewest characters of a key that comes from a file.
pub const BOOTSTRAP_CHARS_MIN: usize = 16;
/// Longest name of a key, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What is stored of a key: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// The digest of a key.
    pub fn of_key(key: &str) -> Self {
        Self::of_hash(&hex_sha256(key))
    }

    /// The digest of a key whose SHA-256 is `hash`, in lower-case hexadecimal.
    fn of_hash(hash: &str) -> Self {
        Self(hex_sha256(hash))
    }

    /// As text.
    pub fn into_string(self) -> String {
        self.0
    }

    fn is(&self, stored: &str) -> bool {
        self.0.as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

/// The key among `keys` that `presented` is, or is the SHA-256 of.
///
/// Looks at every key, so that the time says nothing about which one was near.
pub fn find<'a>(keys: &'a [KeyRow], presented: &str) -> Option<&'a KeyRow> {
    let candidates = [Digest::of_key(presented), Digest::of_hash(&presented.to_ascii_lowercase())];
    let mut found = None;
    for key in keys {
        for candidate in &candidates {
            if candidate.is(&key.digest) {
                found = Some(key);
            }
        }
    }
    found
}

/// A new random key.
///
/// # Errors
/// The system has no randomness to give.
pub fn generate() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
    getrandom::fill(&mut bytes[..])?;
    Ok(Zeroizing::new(hex(&bytes[..])))
}

/// # Errors
/// Says what is wrong with the name of `what`.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_fine) {
        return Err(format!(
            "{name:?} cannot name a {what}; write 1-{NAME_BYTES_MAX} of the characters a-z A-Z 0-9 - _ . @"
        ));
    }
    Ok(())
}

fn hex_sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use store::{Scope, WafId};

    use super::*;

    #[test]
    fn a_key_and_its_hash_are_accepted_but_not_what_is_stored() {
        let key = generate().unwrap();
        assert_eq!(key.len(), 2 * KEY_BYTES);
        let row = KeyRow {
            name: "ops".into(),
            waf: WafId::DEFAULT,
            scope: Scope::Admin,
            digest: Digest::of_key(&key).into_string(),
            created_ms: 0,
        };
        let keys = [row.clone()];
        let hash = hex_sha256(&key);
        assert_eq!(find(&keys, &key), Some(&row));
        assert_eq!(find(&keys, &hash), Some(&row));
        assert_eq!(find(&keys, &hash.to_ascii_uppercase()), Some(&row));
        assert_eq!(find(&keys, &row.digest), None);
        assert_eq!(find(&keys, ""), None);
        assert_ne!(*generate().unwrap(), *key);
    }

    #[test]
    fn names_are_plain() {
        check_name("key", "ops-1.example@x").unwrap();
        for bad in ["", "a b", "ключ", &"x".repeat(65)] {
            assert!(check_name("key", bad).is_err(), "{bad:?}");
        }
    }
}
