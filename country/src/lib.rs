//! Which country an address is in, by a GeoIP2 database (`.mmdb`).
//!
//! ```text
//! file ──► read (once, beside the request path) ──► Countries ──► of(address)
//!   └──── follow: notices another file
//! ```
//!
//! The tree of the file is walked once and becomes two sorted tables; what asks
//! for each request is a binary search in them. So the memory follows the number
//! of countries side by side, not what else a database says about a place, and no
//! byte of somebody else's file is interpreted while a request waits.
//!
//! Invariants: nothing of a file stays mapped, because people overwrite these
//! files in place and a worker would die of it; a `Countries` exists only for a
//! file that was read to its end without an error; asking never allocates.

#![forbid(unsafe_code)]

mod error;
mod follow;
mod read;
mod table;

pub use error::CountryError;
pub use follow::{Event, Follower};
pub use table::Countries;

/// ISO 3166-1 alpha-2 code in upper case.
pub type Code = [u8; 2];

/// Longest file that is read, in bytes. The databases of whole cities are below
/// 200 MB; what is longer is another file than the one that was meant.
pub const FILE_MAX: u64 = 1 << 30;
