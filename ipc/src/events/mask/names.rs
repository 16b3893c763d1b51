//! Which names have secret values.

/// Longest name an operator may add, in bytes; and longest name of a request that is looked
/// at: what is longer has a secret value.
pub const NAME_MAX: usize = 128;
/// Names an operator may add.
pub const NAMES_MAX: usize = 256;
/// From this length on a name is found inside of others, as in `newpassword`; shorter ones
/// are whole words, as in `user_pass`: "pin" is in "shipping".
const ANYWHERE_FROM: usize = 5;

/// Names whose values are secret wherever they are.
const WORDS: [&str; 37] = [
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "card",
    "credential",
    "csrf",
    "cvc",
    "cvc2",
    "cvv",
    "cvv2",
    "dbpass",
    "iban",
    "jwt",
    "kennwort",
    "key",
    "otp",
    "pass",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "pin",
    "pwd",
    "samlresponse",
    "secret",
    "sessid",
    "session_id",
    "sessionid",
    "sig",
    "signature",
    "ssn",
    "token",
    "userpass",
    "xsrf",
];
/// Names of cookies and headers, and of parameters in paths, that stand for a login.
const SESSIONS: [&str; 12] = [
    "applicationcookie",
    "aspnetcore",
    "aspxauth",
    "identity",
    "logged_in",
    "oauth2",
    "remember",
    "sess",
    "session",
    "sessauth",
    "sid",
    "sso",
];
/// Hexadecimal digits at the end of a cookie's name from which on it is the name of a login:
/// sites that add a hash to it (`wordpress_HASH`, `SSESSHASH`) or have nothing else.
const HASH_MIN: usize = 32;

/// Why a name cannot be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("must have 1 to {NAME_MAX} bytes")]
    Length,
    /// No name of anything.
    #[error("must be visible ASCII without = & ; and quotes")]
    Characters,
    /// Too many.
    #[error("is one more than {NAMES_MAX} names; name a part that they have in common")]
    Count,
}

/// Names whose values are hidden.
#[derive(Debug, Clone)]
pub struct Masks {
    /// Everywhere.
    words: Words,
    /// In cookies too.
    sessions: Words,
    added: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self { words: Words::new(&WORDS), sessions: Words::new(&SESSIONS), added: 0 }
    }
}

/// Words that are looked for.
#[derive(Debug, Clone)]
struct Words {
    /// In order.
    words: Vec<Box<[u8]>>,
    /// For each first byte, where its words begin.
    starts: [u16; 257],
    /// For each first byte, one bit for each second byte that a word has after it: nearly all
    /// places of nearly all names are done with by this.
    seconds: [u32; 256],
}

impl Words {
    fn new(words: &[&str]) -> Self {
        let words = words.iter().map(|word| word.as_bytes().into()).collect();
        let mut own = Self { words, starts: [0; 257], seconds: [0; 256] };
        own.index();
        own
    }

    /// One more word, in lower case.
    fn add(&mut self, word: &str) {
        self.words.push(word.as_bytes().into());
        self.index();
    }

    fn index(&mut self) {
        self.words.sort_unstable();
        self.words.dedup();
        for (byte, start) in self.starts.iter_mut().enumerate() {
            let before = self
                .words
                .partition_point(|word| word.first().is_some_and(|b| usize::from(*b) < byte));
            // There are fewer than 400 words.
            *start = before as u16;
        }
        for word in &self.words {
            let bits = word.get(1).map_or(u32::MAX, |second| bit(*second));
            for first in word.first().into_iter().flat_map(|b| [*b, b.to_ascii_uppercase()]) {
                self.seconds[usize::from(first)] |= bits;
            }
        }
    }

    /// Whether a name has one of the words in it.
    fn are_in(&self, name: &[u8]) -> bool {
        let may_begin = |first: u8, second| self.seconds[usize::from(first)] & bit(second) != 0;
        let mut inside = name.windows(2).enumerate();
        inside.any(|(at, two)| may_begin(two[0], two[1]) && self.begins(name, at))
            // For words of one byte.
            || name.last().is_some_and(|last| {
                self.seconds[usize::from(*last)] != 0 && self.begins(name, name.len() - 1)
            })
    }

    /// Whether one of the words is at `at`.
    fn begins(&self, name: &[u8], at: usize) -> bool {
        let first = usize::from(name[at].to_ascii_lowercase());
        let own = usize::from(self.starts[first])..usize::from(self.starts[first + 1]);
        self.words[own].iter().any(|word| {
            let end = at + word.len();
            name.get(at..end).is_some_and(|text| text.eq_ignore_ascii_case(word))
                && (word.len() >= ANYWHERE_FROM || (is_edge(name, at) && is_edge(name, end)))
        })
    }
}

/// The same for both cases of a letter.
fn bit(byte: u8) -> u32 {
    1 << (byte & 31)
}

impl Masks {
    /// Hides the values of one more name.
    ///
    /// # Errors
    /// A name that cannot be one, or too many.
    pub fn add(&mut self, name: &str) -> Result<(), NameError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(NameError::Length);
        }
        if !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=&;\"'".contains(&byte)) {
            return Err(NameError::Characters);
        }
        if self.added == NAMES_MAX {
            return Err(NameError::Count);
        }
        self.added += 1;
        self.words.add(&name.to_ascii_lowercase());
        Ok(())
    }

    /// Whether values of this name are secret. Linear in the name.
    pub fn is_secret(&self, name: &[u8]) -> bool {
        self.words.are_in(name)
    }

    /// The same for a cookie or a header.
    pub fn is_secret_cookie(&self, name: &[u8]) -> bool {
        let hash = name.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        hash >= HASH_MIN || self.is_secret(name) || self.sessions.are_in(name)
    }

    /// Decides about a name as it is in a query: percent-encoded, perhaps.
    pub(super) fn is_secret_encoded(&self, name: &[u8], cookie: bool) -> bool {
        let decide =
            |name: &[u8]| if cookie { self.is_secret_cookie(name) } else { self.is_secret(name) };
        if name.len() <= NAME_MAX && !name.contains(&b'%') {
            return decide(name);
        }
        let mut decoded = Decoded::default();
        let mut rest = name;
        while let Some((first, after)) = rest.split_first() {
            let pair = after.first_chunk::<2>().filter(|_| *first == b'%');
            let byte = match pair.and_then(|pair| hex(*pair)) {
                Some(byte) => {
                    rest = &rest[3..];
                    byte
                }
                None => {
                    rest = after;
                    *first
                }
            };
            if !decoded.push(byte) {
                return true;
            }
        }
        decide(decoded.bytes())
    }

    /// Decides about a name as it is in JSON, between its quotes.
    pub(super) fn is_secret_json(&self, name: &[u8]) -> bool {
        if name.len() <= NAME_MAX && !name.contains(&b'\\') {
            return self.is_secret(name);
        }
        let mut decoded = Decoded::default();
        let mut rest = name;
        while let Some((first, after)) = rest.split_first() {
            let byte = match rest {
                [b'\\', b'u', a, b, c, d, ..] => {
                    rest = &rest[6..];
                    match (hex([*a, *b]), hex([*c, *d])) {
                        (Some(0), Some(low)) => low,
                        _ => b'?',
                    }
                }
                [b'\\', escaped, ..] => {
                    rest = &rest[2..];
                    *escaped
                }
                _ => {
                    rest = after;
                    *first
                }
            };
            if !decoded.push(byte) {
                return true;
            }
        }
        self.is_secret(decoded.bytes())
    }
}

/// Both digits as a byte.
fn hex([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// A decoded name.
struct Decoded {
    bytes: [u8; NAME_MAX],
    length: usize,
}

impl Default for Decoded {
    fn default() -> Self {
        Self { bytes: [0; NAME_MAX], length: 0 }
    }
}

impl Decoded {
    /// `false` where the name is too long.
    fn push(&mut self, byte: u8) -> bool {
        match self.bytes.get_mut(self.length) {
            Some(place) => *place = byte,
            None => return false,
        }
        self.length += 1;
        true
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Whether a word may begin or end here: beside anything but a letter, or where
/// lower case turns into upper case. Forms that ask twice have a `pass1` and a `pass2`.
fn is_edge(name: &[u8], at: usize) -> bool {
    let (Some(before), Some(after)) = (at.checked_sub(1).and_then(|at| name.get(at)), name.get(at))
    else {
        return true;
    };
    !before.is_ascii_alphabetic()
        || !after.is_ascii_alphabetic()
        || (before.is_ascii_lowercase() && after.is_ascii_uppercase())
}
