//! A request as a record for behavioural analysis, and back.
//!
//! ```text
//! version | action | block type | kind of address (0, 4, 6)      1 byte each
//! status (2) | fields that were cut, one bit each (2) | time spent in ms (4)
//! time in ms since 1970 (8) | address (16, IPv4 in the first 4)
//! fields: number (1) | length (2) | bytes
//! ```
//! Numbers are little-endian.
//!
//! Invariants: secrets are hidden before a byte is written; a record is at most
//! [`RECORD_MAX`] bytes; making one allocates nothing; reading one never panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use policy::Action;
use policy::request::Headers;

use super::mask::Masks;
use super::ring::RECORD_MAX;

const VERSION: u8 = 1;
const HEAD: usize = 36;
/// Bytes of a body that are shown.
pub const BODY_MAX: usize = 1024;

/// The parts of a request in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// The host asked for.
    Host = 0,
    /// The method.
    Method = 1,
    /// The path as sent.
    Uri = 2,
    /// The query with its `?`.
    Args = 3,
    /// `User-Agent`
    UserAgent = 4,
    /// `Referer`
    Referer = 5,
    /// `Cookie`
    Cookie = 6,
    /// `Content-Type`
    ContentType = 7,
    /// `X-Requested-With`
    RequestedWith = 8,
    /// `Accept-Language`
    AcceptLanguage = 9,
    /// `Accept`
    Accept = 10,
    /// `Accept-Encoding`
    AcceptEncoding = 11,
    /// `Origin`
    Origin = 12,
    /// The beginning of the body that was read for analysis.
    Body = 13,
}

/// Each with its name and its limit in bytes; together they stay below [`RECORD_MAX`].
pub const FIELDS: [(Field, &str, usize); 14] = [
    (Field::Host, "host", 255),
    (Field::Method, "method", 32),
    (Field::Uri, "uri", 1024),
    (Field::Args, "args", 1024),
    (Field::UserAgent, "user_agent", 512),
    (Field::Referer, "referer", 512),
    (Field::Cookie, "cookie", 512),
    (Field::ContentType, "content_type", 128),
    (Field::RequestedWith, "x_requested_with", 64),
    (Field::AcceptLanguage, "accept_language", 128),
    (Field::Accept, "accept", 256),
    (Field::AcceptEncoding, "accept_encoding", 128),
    (Field::Origin, "origin", 256),
    (Field::Body, "body", BODY_MAX),
];

impl Field {
    const fn limit(self) -> usize {
        FIELDS[self as usize].2
    }

    /// The header that is shown, by its name in lower case.
    fn of_header(name: &[u8]) -> Option<Self> {
        let (field, wanted): (_, &[u8]) = match name.len() {
            6 if name.eq_ignore_ascii_case(b"accept") => return Some(Self::Accept),
            6 => (Self::Origin, b"origin"),
            7 => (Self::Referer, b"referer"),
            10 => (Self::UserAgent, b"user-agent"),
            12 => (Self::ContentType, b"content-type"),
            15 if name.eq_ignore_ascii_case(b"accept-language") => {
                return Some(Self::AcceptLanguage);
            }
            15 => (Self::AcceptEncoding, b"accept-encoding"),
            16 => (Self::RequestedWith, b"x-requested-with"),
            _ => return None,
        };
        name.eq_ignore_ascii_case(wanted).then_some(field)
    }
}

/// What a record says of a request.
#[derive(Clone, Copy)]
pub struct Traffic<'a> {
    /// When it was over, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long nginx worked on it.
    pub request_time_ms: u64,
    /// What happened to it.
    pub action: Action,
    /// The number of what blocked or would have.
    pub block_type: u8,
    /// The answer's status.
    pub status: u16,
    /// The client.
    pub address: Option<IpAddr>,
    /// The host asked for.
    pub host: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The target as sent: path and query.
    pub target: &'a [u8],
    /// All header lines.
    pub headers: &'a dyn Headers,
    /// The beginning of the body, and whether that is not all.
    pub body: Option<(&'a [u8], bool)>,
}

/// Makes records; keeps its buffer.
#[derive(Debug)]
pub struct Encoder {
    record: Vec<u8>,
    cut: u16,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { record: Vec::with_capacity(RECORD_MAX), cut: 0 }
    }
}

impl Encoder {
    /// The record of a request. Linear in what is shown.
    pub fn encode(&mut self, masks: &Masks, traffic: &Traffic<'_>) -> &[u8] {
        self.record.clear();
        self.cut = 0;
        let (family, address) = match traffic.address {
            None => (0, [0; 16]),
            Some(IpAddr::V4(v4)) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&v4.octets());
                (4, bytes)
            }
            Some(IpAddr::V6(v6)) => (6, v6.octets()),
        };
        let spent = u32::try_from(traffic.request_time_ms).unwrap_or(u32::MAX);
        self.record.extend_from_slice(&[VERSION, traffic.action as u8, traffic.block_type, family]);
        self.record.extend_from_slice(&traffic.status.to_le_bytes());
        self.record.extend_from_slice(&[0, 0]);
        self.record.extend_from_slice(&spent.to_le_bytes());
        self.record.extend_from_slice(&traffic.time_ms.to_le_bytes());
        self.record.extend_from_slice(&address);

        self.put(Field::Host, |out, most| masks.text(out, traffic.host, most));
        self.put(Field::Method, |out, most| masks.text(out, traffic.method, most));
        let query = traffic.target.iter().position(|byte| *byte == b'?');
        let (path, args) = traffic.target.split_at(query.unwrap_or(traffic.target.len()));
        self.put(Field::Uri, |out, most| masks.path(out, path, most));
        if query.is_some() {
            self.put(Field::Args, |out, most| masks.args(out, args, most));
        }
        self.headers(masks, traffic.headers);
        if let Some((body, cut)) = traffic.body {
            self.put(Field::Body, |out, most| masks.body(out, body, cut, most));
        }
        let cut = self.cut.to_le_bytes();
        self.record[6..8].copy_from_slice(&cut);
        &self.record
    }

    fn headers(&mut self, masks: &Masks, headers: &dyn Headers) {
        let mut seen = 0_u16;
        headers.visit(&mut |name, value| {
            if let Some(field) = Field::of_header(name)
                // A repeated line counts once.
                && seen & 1 << field as u16 == 0
            {
                seen |= 1 << field as u16;
                self.put(field, |out, most| match field {
                    Field::Referer | Field::Origin => masks.url(out, value, most),
                    _ => masks.text(out, value, most),
                });
            }
            ControlFlow::Continue(())
        });
        // Several cookie lines are followed by all of them joined: the last one counts.
        let start = self.record.len();
        headers.visit(&mut |name, value| {
            if name.len() == 6 && name.eq_ignore_ascii_case(b"cookie") {
                self.record.truncate(start);
                self.put(Field::Cookie, |out, most| masks.cookies(out, value, most));
            }
            ControlFlow::Continue(())
        });
    }

    fn put(&mut self, field: Field, write: impl FnOnce(&mut Vec<u8>, usize) -> bool) {
        let start = self.record.len();
        self.record.extend_from_slice(&[field as u8, 0, 0]);
        let whole = write(&mut self.record, field.limit());
        let length = (self.record.len() - start - 3) as u16;
        self.record[start + 1..start + 3].copy_from_slice(&length.to_le_bytes());
        self.cut = self.cut & !(1 << field as u16) | u16::from(!whole) << field as u16;
    }
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the request was over, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long nginx worked on it.
    pub request_time_ms: u32,
    /// What happened to it.
    pub action: Action,
    /// The number of what blocked or would have.
    pub block_type: u8,
    /// The answer's status.
    pub status: u16,
    /// The client.
    pub address: Option<IpAddr>,
    cut: u16,
    fields: &'a [u8],
}

impl<'a> Record<'a> {
    /// Understands a record; nothing where it is none of this version.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, fields) = bytes.split_first_chunk::<HEAD>()?;
        let [version, action, block_type, family, rest @ ..] = head;
        if *version != VERSION {
            return None;
        }
        let action = [Action::Pass, Action::Bypass, Action::Observe, Action::Block]
            .into_iter()
            .find(|known| *known as u8 == *action)?;
        let (status, rest) = rest.split_first_chunk()?;
        let (cut, rest) = rest.split_first_chunk()?;
        let (spent, rest) = rest.split_first_chunk()?;
        let (time, address) = rest.split_first_chunk()?;
        let octets: [u8; 16] = address.try_into().ok()?;
        let address = match family {
            0 => None,
            4 => Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into()),
            6 => Some(Ipv6Addr::from(octets).into()),
            _ => return None,
        };
        let record = Self {
            time_ms: u64::from_le_bytes(*time),
            request_time_ms: u32::from_le_bytes(*spent),
            action,
            block_type: *block_type,
            status: u16::from_le_bytes(*status),
            address,
            cut: u16::from_le_bytes(*cut),
            fields,
        };
        // Whole to the last byte, so that asking for a field cannot fail.
        let mut rest = fields;
        while !rest.is_empty() {
            rest = split_field(rest)?.2;
        }
        Some(record)
    }

    /// The bytes of a field; nothing where the request has none.
    pub fn field(&self, wanted: Field) -> Option<&'a [u8]> {
        let mut rest = self.fields;
        while let Some((number, bytes, after)) = split_field(rest) {
            if number == wanted as u8 {
                return Some(bytes);
            }
            rest = after;
        }
        None
    }

    /// Whether a field was longer.
    pub fn is_cut(&self, field: Field) -> bool {
        self.cut & 1 << field as u16 != 0
    }
}

/// Number and bytes of the first field, and what follows.
fn split_field(fields: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([number, low, high], rest) = fields.split_first_chunk()?;
    let (bytes, after) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
    Some((*number, bytes, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn traffic<'a>(headers: &'a dyn Headers, target: &'a [u8]) -> Traffic<'a> {
        Traffic {
            time_ms: 1_763_820_000_123,
            request_time_ms: 12,
            action: Action::Observe,
            block_type: 5,
            status: 200,
            address: Some([192, 0, 2, 1].into()),
            host: b"site.test",
            method: b"POST",
            target,
            headers,
            body: Some((b"user=a&password=b", false)),
        }
    }

    #[test]
    fn a_record_says_what_it_was_given() {
        let headers = vec![
            ("user-agent", "probe/1"),
            ("Cookie", "a=1"),
            ("Referer", "https://a.test/?token=1"),
            ("Cookie", "sid=2"),
            ("Cookie", "a=1; sid=2"),
            ("User-Agent", "other"),
            ("X-Requested-With", "XMLHttpRequest"),
            ("Authorization", "secret"),
        ];
        let mut encoder = Encoder::default();
        let bytes = encoder.encode(&Masks::default(), &traffic(&headers, b"/login?pin=1&x=2"));
        let record = Record::read(bytes).unwrap();
        assert_eq!((record.time_ms, record.request_time_ms), (1_763_820_000_123, 12));
        assert_eq!((record.action, record.block_type, record.status), (Action::Observe, 5, 200));
        assert_eq!(record.address, Some([192, 0, 2, 1].into()));
        let shown: Vec<_> = FIELDS
            .iter()
            .filter_map(|(field, name, _)| {
                Some((*name, std::str::from_utf8(record.field(*field)?).unwrap()))
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("host", "site.test"),
                ("method", "POST"),
                ("uri", "/login"),
                ("args", "?pin=***&x=2"),
                ("user_agent", "probe/1"),
                ("referer", "https://a.test/?token=***"),
                ("cookie", "a=1; sid=***"),
                ("x_requested_with", "XMLHttpRequest"),
                ("body", "user=a&password=***"),
            ]
        );
        assert!(FIELDS.iter().all(|(field, ..)| !record.is_cut(*field)));
        assert!(FIELDS.iter().enumerate().all(|(at, (field, ..))| *field as usize == at));
    }

    #[test]
    fn the_longest_record_has_room_and_nothing_is_allocated() {
        let long = "x".repeat(100_000);
        let names = [
            "Accept",
            "Origin",
            "Referer",
            "User-Agent",
            "Content-Type",
            "Accept-Language",
            "Accept-Encoding",
            "X-Requested-With",
            "Cookie",
            "Cookie",
            "Cookie",
        ];
        let headers: Vec<_> = names.map(|name| (name, long.as_str())).to_vec();
        let target = format!("/{long}?{long}");
        let mut encoder = Encoder::default();
        let masks = Masks::default();
        let traffic = Traffic {
            host: long.as_bytes(),
            method: long.as_bytes(),
            body: Some((long.as_bytes(), true)),
            address: Some(Ipv6Addr::LOCALHOST.into()),
            ..traffic(&headers, target.as_bytes())
        };
        let mut length = 0;
        let allocated =
            allocation_counter::measure(|| length = encoder.encode(&masks, &traffic).len());
        assert_eq!(allocated.count_total, 0);
        assert!(length <= RECORD_MAX, "{length}");
        let record = Record::read(&encoder.record).unwrap();
        for (field, name, limit) in FIELDS {
            assert_eq!(record.field(field).map(<[u8]>::len), Some(limit), "{name}");
            assert!(record.is_cut(field), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), version in 0..2_u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            if let Some(record) = Record::read(&bytes) {
                for (field, ..) in FIELDS {
                    let _ = record.field(field);
                }
            }
        }
    }
}
