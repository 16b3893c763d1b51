//! HTTP/2 without encryption, frame by frame: sends exactly what it is told, sound or not.
//!
//! Header blocks are literals without Huffman coding and without the dynamic table,
//! so that any bytes can be sent as names and values.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wait::at_this_pace;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest time one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Kinds of frames, and flags on them.
pub const DATA: u8 = 0;
/// A header block.
pub const HEADERS: u8 = 1;
/// The end of a stream, by one side, before its time.
pub const RST_STREAM: u8 = 3;
/// What a side expects of the other.
pub const SETTINGS: u8 = 4;
/// Is somebody there?
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// The side says no more on this stream; on SETTINGS and PING: an answer.
pub const END_STREAM: u8 = 1;
/// The header block is complete.
pub const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame of less than 4 GiB").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block with these fields.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        // A literal that is not to be remembered, with a new name.
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A length in HPACK's form with 7 bits in its first byte, and the bytes.
fn text(to: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        to.push(u8::try_from(rest).expect("less than 127"));
    } else {
        to.push(127);
        rest -= 127;
        while rest >= 128 {
            to.push(u8::try_from(rest % 128).expect("less than 128") | 128);
            rest /= 128;
        }
        to.push(u8::try_from(rest).expect("less than 128"));
    }
    to.extend(text);
}

/// The fields of a request for `path` of `site.test` from `client`.
pub fn request<'f>(path: &'f [u8], client: &'f [u8]) -> Vec<(&'f [u8], &'f [u8])> {
    vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"site.test"),
        (b":path", path),
        (b"x-forwarded-for", client),
    ]
}

/// One connection.
pub struct H2 {
    stream: TcpStream,
}

impl H2 {
    /// Connects and sends the preface with empty settings.
    ///
    /// # Errors
    /// Any failure of the connection.
    pub fn connect(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let mut connection = Self::connect_silently(address)?;
        connection.send(PREFACE)?;
        connection.send(&frame(SETTINGS, 0, 0, &[]))?;
        Ok(connection)
    }

    /// Connects and says nothing yet.
    ///
    /// # Errors
    /// Any failure of the connection.
    pub fn connect_silently(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let timeout = at_this_pace(TIMEOUT);
        let stream = TcpStream::connect_timeout(&address.into(), timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Any failure of the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a whole request without a body on `stream`.
    ///
    /// # Errors
    /// Any failure of the connection.
    pub fn ask(&mut self, stream: u32, fields: &[(&[u8], &[u8])]) -> io::Result<()> {
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields)))
    }

    /// The next frame.
    ///
    /// # Errors
    /// Any failure of the connection, its end included.
    pub fn frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The status of the answer on `stream`; other frames are skipped. Understands the
    /// statuses that nginx takes from the static table, and its literals.
    ///
    /// # Errors
    /// Any failure of the connection; the stream ended without an answer.
    pub fn status(&mut self, stream: u32) -> io::Result<u16> {
        loop {
            let frame = self.frame()?;
            if frame.stream == stream && frame.kind == RST_STREAM || frame.kind == GOAWAY {
                return Err(io::Error::other(format!("no answer: {frame:?}")));
            }
            if frame.stream == stream && frame.kind == HEADERS {
                return status(&frame.payload)
                    .ok_or_else(|| io::Error::other(format!("no status: {frame:?}")));
            }
        }
    }

    /// Ends this side and reads what still comes, at most until the other side closes.
    pub fn drain(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}

/// The status at the beginning of a header block.
fn status(mut block: &[u8]) -> Option<u16> {
    // An update of the table's size comes before it.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        // Sizes beyond 30 go on in further bytes.
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|byte| byte & 0x80 == 0)?;
            block = &block[end + 1..];
        }
    }
    match block {
        [0x88, ..] => Some(200),
        [0x89, ..] => Some(204),
        [0x8a, ..] => Some(206),
        [0x8b, ..] => Some(304),
        [0x8c, ..] => Some(400),
        [0x8d, ..] => Some(404),
        [0x8e, ..] => Some(500),
        // A literal whose name is entry 8, three digits, not Huffman coded.
        [0x08 | 0x18 | 0x48, 3, digits @ ..] => {
            std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok()
        }
        _ => None,
    }
}
