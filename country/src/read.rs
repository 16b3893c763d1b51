//! From the bytes of a file to the tables.
//!
//! What is read is `country.iso_code`: where an address is used, not where it is
//! registered. A record without it, or with something that is no code of two
//! letters, says nothing.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use memmap2::MmapMut;

use crate::table::Table;
use crate::{Code, Countries, CountryError, FILE_MAX};

const ISO_CODE: [PathElement<'static>; 2] =
    [PathElement::Key("country"), PathElement::Key("iso_code")];

impl Countries {
    /// Reads a file, following links. Linear in its length, for which it needs
    /// memory while it works.
    ///
    /// # Errors
    /// See [`CountryError`].
    pub fn open(path: &Path) -> Result<Self, CountryError> {
        // Do not wait for a pipe's writer.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(CountryError::NotRegular);
        }
        if meta.mode() & 0o002 != 0 {
            return Err(CountryError::Writable(meta.mode() & 0o7777));
        }
        if meta.len() > FILE_MAX {
            return Err(CountryError::TooLarge(meta.len()));
        }
        // Memory of its own, which goes back to the system when it is read: the
        // allocator would keep it for the next time, in each worker.
        let mut bytes = MmapMut::map_anon(usize::try_from(meta.len()).unwrap_or(0).max(1))?;
        let length = read_up_to(file, &mut bytes)?;
        Self::from_bytes(&bytes[..length])
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Bytes that are no database of countries.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CountryError> {
        let reader = Reader::from_source(bytes)?;
        let (mut v4, mut v6) = (Table::default(), Table::default());
        // Many networks share a record.
        let mut known = HashMap::new();
        // Empty places too, so that every step is counted: a tree of n nodes has
        // n + 1 leaves, and what has more goes in circles.
        let mut left = reader.metadata().node_count as usize + 1;
        let all = WithinOptions::default().include_networks_without_data();
        for leaf in reader.networks(all)? {
            let leaf = leaf?;
            left = left.checked_sub(1).ok_or(CountryError::NoTree)?;
            let Some(offset) = leaf.offset() else { continue };
            let code = match known.get(&offset) {
                Some(code) => *code,
                None => *known.entry(offset).or_insert(code_in(&leaf)?),
            };
            let Some(code) = code else { continue };
            let network = leaf.network()?;
            let in_order = match (network.network(), network.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    v4.append(first.into(), u32::from(last).checked_add(1), code)
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    let (first, last) = (u128::from(first), u128::from(last));
                    // IPv4 is at the beginning of IPv6. Where a network is larger
                    // than all of it, it holds for all of it.
                    let holds_v4 = first == 0 && last >= u128::from(u32::MAX);
                    v6.append(first, last.checked_add(1), code)
                        && (!holds_v4 || v4.append(0, None, code))
                }
                _ => false,
            };
            if !in_order {
                return Err(CountryError::NoTree);
            }
        }
        let kind = reader.metadata().database_type.clone();
        if known.values().all(Option::is_none) {
            return Err(CountryError::NoCountries(kind));
        }
        v4.shrink();
        v6.shrink();
        Ok(Self { v4, v6, kind, built_s: reader.metadata().build_epoch })
    }
}

/// Fills `bytes` as far as the file goes. Where the file has grown meanwhile, its
/// stamp has changed too, and it is read again.
fn read_up_to(mut file: File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(length)
}

/// The country a record names.
fn code_in(leaf: &LookupResult<'_, &[u8]>) -> Result<Option<Code>, CountryError> {
    let text: Option<&str> = leaf.decode_path(&ISO_CODE).map_err(CountryError::Record)?;
    Ok(text.and_then(|text| match text.to_ascii_uppercase().as_bytes() {
        [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Some([*a, *b]),
        _ => None,
    }))
}
