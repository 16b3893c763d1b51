//! An upstream inside the test that keeps what it is sent, byte for byte, and shows
//! it while it is still arriving.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::net;

/// Answers every request with 200, `ok`; its threads end with the test process.
pub struct Recorder {
    address: SocketAddrV4,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        let (listener, address) = net::listen();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                let number = {
                    let mut all = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Vec::new());
                    all.len() - 1
                };
                thread::spawn(move || record(stream, &kept, number));
            }
        });
        Self { address, connections }
    }

    /// What goes into `proxy_pass` after `http://`.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Everything that came over each connection so far. nginx uses one for each
    /// request unless it was told to keep them.
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bodies that came, complete or not, chunks decoded, of connections with
    /// one request each.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.seen().iter().filter_map(|bytes| body_of(bytes).map(|(body, _)| body)).collect()
    }

    /// Those that came to their end and are not empty.
    pub fn whole_bodies(&self) -> Vec<Vec<u8>> {
        let all = self.seen();
        let whole = all.iter().filter_map(|bytes| body_of(bytes)).filter(|(_, whole)| *whole);
        whole.map(|(body, _)| body).filter(|body| !body.is_empty()).collect()
    }
}

fn record(mut stream: TcpStream, kept: &Mutex<Vec<Vec<u8>>>, number: usize) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let complete = {
            let mut all = kept.lock().unwrap_or_else(PoisonError::into_inner);
            all[number].extend_from_slice(&buffer[..count]);
            body_of(&all[number]).is_some_and(|(_, complete)| complete)
        };
        if complete {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            // Whoever is gone does not want it.
            let _ = stream.write_all(answer);
            return;
        }
    }
}

/// The body of a request so far, and whether it is complete; nothing before its head is.
fn body_of(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let rest = &bytes[end..];
    if head.contains("transfer-encoding: chunked") {
        return Some(unchunk(rest));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some((rest[..rest.len().min(length)].to_vec(), rest.len() >= length))
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(&text, 16).expect("nginx sends the size of a chunk");
        rest = &rest[end + 2..];
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
        if size == 0 {
            return (body, true);
        }
    }
}
