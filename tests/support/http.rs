//! A small HTTP/1.1 client that sends exactly what it is told.
//!
//! Libraries normalise paths and refuse strange headers; a firewall is tested
//! with strange paths and headers. Connections are kept alive.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::wait::at_this_pace;

/// Longest time one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Header lines an answer may have.
const HEADERS: usize = 64;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON, with the answer.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{why} in the answer {} {:?}", self.status, self.text()))
    }
}

/// One connection to one server, reopened when the server closes it.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client that connects when it is first used.
    pub fn new(address: impl Into<SocketAddr>) -> Self {
        Self { address: address.into(), stream: None }
    }

    /// Sends a request as given, byte for byte, and reads one answer.
    ///
    /// # Errors
    /// Any failure of the connection. A kept connection that the server closed
    /// before it answered anything is reopened once, as browsers do.
    pub fn send(&mut self, request: &[u8]) -> io::Result<Response> {
        let reused = self.stream.is_some();
        match self.exchange(request) {
            Err(why) if reused && why.kind() == io::ErrorKind::ConnectionAborted => {
                self.exchange(request)
            }
            other => other,
        }
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, at_this_pace(TIMEOUT))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(at_this_pace(TIMEOUT)))?;
                stream.set_write_timeout(Some(at_this_pace(TIMEOUT)))?;
                BufReader::new(stream)
            }
        };
        let sent = stream.get_mut().write_all(request);
        let bodiless = request.starts_with(b"HEAD ");
        // A server may answer and close before it has read everything.
        let response = read_response(&mut stream, bodiless).map_err(|why| match sent {
            Err(ref unsent) if why.kind() != io::ErrorKind::InvalidData => {
                io::Error::new(io::ErrorKind::ConnectionAborted, unsent.to_string())
            }
            _ => why,
        })?;
        let close = response.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if !close {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

fn read_response(stream: &mut BufReader<TcpStream>, bodiless: bool) -> io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = match stream.read_until(b'\n', &mut head) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionReset && head.is_empty() => 0,
            other => other?,
        };
        if read == 0 {
            let kind = if head.is_empty() {
                io::ErrorKind::ConnectionAborted
            } else {
                io::ErrorKind::UnexpectedEof
            };
            return Err(io::Error::new(kind, "the server closed the connection"));
        }
    }
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut lines = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut lines);
    parsed.parse(&head).map_err(|why| invalid(&why.to_string()))?;
    let status = parsed.code.ok_or_else(|| invalid("no status"))?;
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
        .collect();
    let mut response = Response { status, headers, body: Vec::new() };
    if bodiless || matches!(status, 100..200 | 204 | 304) {
        return Ok(response);
    }
    if response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        response.body = read_chunks(stream)?;
    } else if let Some(length) = response.header("content-length") {
        let length = length.parse().map_err(|_| invalid("content-length is not a number"))?;
        response.body = vec![0; length];
        stream.read_exact(&mut response.body)?;
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

fn read_chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        stream.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// A request to the site, as somebody from somewhere would send it.
#[derive(Debug, Clone)]
pub struct Visit {
    address: SocketAddr,
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Visit {
    /// `GET target` of `site.test`, from 198.51.100.99.
    pub fn new(address: impl Into<SocketAddr>, target: &str) -> Self {
        Self {
            address: address.into(),
            method: "GET".into(),
            target: target.into(),
            host: "site.test".into(),
            headers: vec![("X-Forwarded-For".into(), "198.51.100.99".into())],
            body: Vec::new(),
        }
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// Another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// Another client address; it travels in `X-Forwarded-For`.
    #[must_use]
    pub fn from(mut self, client: &str) -> Self {
        self.headers[0].1 = client.into();
        self
    }

    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            let _ = write!(text, "Content-Length: {}\r\n", self.body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it over a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn send(&self) -> Response {
        Client::new(self.address)
            .send(&self.bytes())
            .unwrap_or_else(|why| panic!("{} {}: {why}", self.method, self.target))
    }

    /// Sends it and returns the status code only.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&self) -> u16 {
        self.send().status
    }
}
