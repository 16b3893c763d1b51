//! What the fuzz targets share.
//!
//! * [`case`] reads a policy and requests from text that people can read too.
//! * [`engines`] is the one place that calls the engines.
//! * [`naive`] says again what hosts and texts mean, in other words and without speed.
//! * [`repair`] makes changed snapshots pass the checks of form, so that those of
//!   content are reached.

pub mod case;
pub mod engines;
pub mod naive;
pub mod repair;

use std::fmt::Display;
use std::net::IpAddr;

use policy::address::canonical;

/// Longest message of one refusal, in bytes. It repeats 480 characters of the input at
/// most, each of which may be written as an escape of 10 bytes.
const MESSAGE_BYTES: usize = 8_192;

/// Holds that a refusal is one that people can read: not empty, and not the input again.
///
/// # Panics
/// Where it is not.
pub fn check_message(why: &impl Display) {
    let length = why.to_string().len();
    assert!((1..=MESSAGE_BYTES).contains(&length), "a message of {length} bytes");
}

/// Whether an address stands for itself; mapped IPv4 stands for IPv4, and no IPv6
/// range contains it.
pub fn is_itself(address: IpAddr) -> bool {
    canonical(address) == address
}
