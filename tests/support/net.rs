//! Addresses nobody else uses: a loopback address of this process, and ports below
//! the range from which the kernel hands out ports to clients.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// First port that is tried.
const FIRST: u16 = 20_000;
/// One past the last port that is tried; the kernel's own range begins at 32,768.
const END: u16 = 32_000;

/// The loopback address of this process: 127.64.0.0 to 127.127.255.255 by process id.
pub fn address() -> Ipv4Addr {
    let [.., high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        64 | (high << 4 | middle >> 4) & 63,
        (middle << 4) | (low >> 4),
        (low & 15) + 1,
    )
}

/// An address and port of this process on which nothing listens.
///
/// # Panics
/// When this process has used up its ports.
pub fn free() -> SocketAddrV4 {
    free_on(address())
}

/// A listener of this process. Nothing comes between finding a port and using it: a process
/// that another test starts just then holds the finder's socket for a moment.
///
/// # Panics
/// When this process has used up its ports.
pub fn listen() -> (TcpListener, SocketAddrV4) {
    loop {
        let address = free();
        if let Ok(listener) = TcpListener::bind(address) {
            return (listener, address);
        }
    }
}

/// A port on which nothing listens, for programs that choose the address themselves.
///
/// # Panics
/// When this process has used up its ports.
pub fn free_on(address: Ipv4Addr) -> SocketAddrV4 {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < END, "no free port left on {address}");
        let candidate = SocketAddrV4::new(address, port);
        if TcpListener::bind(candidate).is_ok() {
            return candidate;
        }
    }
}
