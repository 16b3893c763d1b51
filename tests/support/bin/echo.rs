//! `nwaf-echo ADDRESS`: an upstream that answers every request with 200 and a
//! JSON account of what it received. `ADDRESS` is `unix:PATH` or `HOST:PORT`.
//!
//! It stands behind nginx in the demo and in the tests, so that "the request
//! reached the site" is something one can read. Attacks are strange on purpose:
//! whatever nginx passes on is answered, also what HTTP libraries refuse to
//! read. It trusts its nginx to send whole requests with a Content-Length; it
//! is not made to face a network.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::thread;

use serde_json::{Map, Value, json};

/// Longest head that is read, in bytes; nginx's own limits are below.
const HEAD_BYTES: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address] = arguments.as_slice() else {
        eprintln!("usage: nwaf-echo unix:PATH | HOST:PORT");
        return ExitCode::from(2);
    };
    match serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("nwaf-echo: {address}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// One thread a connection: nginx keeps few, and keeps them open.
fn serve(address: &str) -> io::Result<()> {
    if let Some(path) = address.strip_prefix("unix:") {
        for stream in UnixListener::bind(path)?.incoming() {
            let stream = stream?;
            let writer = stream.try_clone()?;
            thread::spawn(move || converse(BufReader::new(stream), writer));
        }
    } else {
        for stream in TcpListener::bind(address)?.incoming() {
            let stream = stream?;
            stream.set_nodelay(true)?;
            let writer = stream.try_clone()?;
            thread::spawn(move || converse(BufReader::new(stream), writer));
        }
    }
    Ok(())
}

/// Answers until the other side closes or is not understood; both just end the connection.
fn converse(mut reader: impl BufRead, mut writer: impl Write) {
    while let Ok(Some(answer)) = answer(&mut reader) {
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one request and writes the account of it; nothing at the end of the connection.
fn answer(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let Some(first) = line(reader)? else { return Ok(None) };
    // The target is whatever stands between the first and the last space.
    let (method, rest) = first.split_once(' ').unwrap_or((&first, ""));
    let target = rest.rsplit_once(' ').map_or(rest, |(target, _version)| target);
    let (path, args) = match target.split_once('?') {
        Some((path, args)) => (path, Some(args)),
        None => (target, None),
    };
    let headers = headers(reader)?;
    let text = |name: &str| headers.get(name).and_then(Value::as_str);
    let announced = text("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let received = io::copy(&mut reader.take(announced), &mut io::sink())?;
    let account = json!({
        "method": method,
        "host": text("host"),
        "uri": target,
        "path": path,
        "args": args,
        "client": text("x-real-ip"),
        "request_id": text("x-request-id"),
        "headers": headers,
        "body_bytes": received,
    });
    let body = format!("{account}\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // A body after the answer to HEAD would be taken for the next answer.
    Ok(Some(if method == "HEAD" { head } else { head + &body }))
}

/// Every header by its name in lower case; values of a repeated one are joined as HTTP allows.
fn headers(reader: &mut impl BufRead) -> io::Result<Map<String, Value>> {
    let mut headers = Map::new();
    while let Some(line) = line(reader)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        let joined = match headers.get(&name).and_then(Value::as_str) {
            Some(earlier) => format!("{earlier}, {value}"),
            None => value.to_owned(),
        };
        headers.insert(name, joined.into());
    }
    Ok(headers)
}

/// One line without its end; nothing at the end of the connection.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(HEAD_BYTES).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
