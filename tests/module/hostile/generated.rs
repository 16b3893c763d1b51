//! Generated requests: thousands, hostile by construction, over HTTP/1.1 and HTTP/2.
//!
//! Deterministic: a run prints its seed, and `NWAF_HOSTILE_SEED` repeats it.
//! `NWAF_HOSTILE_REQUESTS` says how many are sent (20,000), for longer runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use support::among_others;
use support::h2::{self, H2};
use support::nginx::resident_kib;
use support::node::Node;
use support::wait::at_this_pace;

use super::{assert_well, node};

/// Memory that a worker may still gain after a third of the requests, in KiB.
const GROWTH_KIB: u64 = 4096;

const PLACES: &str = "client_header_timeout 2s; client_body_timeout 2s; send_timeout 2s; \
    location / { proxy_pass http://echo; proxy_http_version 1.1; } \
    location /flowing { proxy_request_buffering off; proxy_pass http://echo; \
        proxy_http_version 1.1; } \
    location /answer { return 200 ok; }";

/// Pseudo-random numbers (xorshift64*): the same everywhere for the same seed.
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.number() >> 16) as usize % end
    }

    fn one_of<'t>(&mut self, all: &[&'t [u8]]) -> &'t [u8] {
        all[self.below(all.len())]
    }

    /// Text that is nearly sound, or nothing of the kind.
    fn text(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 24] = [
            b"evil",
            b"ev%69l",
            b"%",
            b"%zz",
            b"%00",
            b"\0",
            b"\xff\xfe",
            b"\xc0\xaf",
            b"..",
            b"/",
            b"//",
            b"?",
            b"#",
            b"&",
            b"=",
            b"+",
            b";",
            b"\t",
            b"\"",
            b"{{",
            b"[::1]",
            b"\xe2\x80\xae",
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            b"a",
        ];
        let mut text = Vec::new();
        for _ in 0..self.below(12) {
            match self.below(8) {
                0 => text.push(self.number() as u8),
                1 => {
                    let piece = self.one_of(&PIECES);
                    text.extend(piece.repeat(self.below(200)));
                }
                _ => text.extend_from_slice(self.one_of(&PIECES)),
            }
        }
        text
    }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} {text:?} is not a number")),
    }
}

/// One request of HTTP/1.1, more or less.
fn http1(dice: &mut Dice) -> Vec<u8> {
    const METHODS: [&[u8]; 9] =
        [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"get", b"CONNECT", b"X", b"POST\0"];
    const TARGETS: [&[u8]; 7] =
        [b"/", b"/flowing", b"/answer", b"http://site.test/", b"*", b"/a/../answer?", b""];
    const VERSIONS: [&[u8]; 7] =
        [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"", b"HTTP/1.1 "];
    const NAMES: [&[u8]; 15] = [
        b"X-A",
        b"Cookie",
        b"User-Agent",
        b"Referer",
        b"X-Forwarded-For",
        b"Content-Type",
        b"Content-Encoding",
        b"Accept",
        b"Connection",
        b"Upgrade",
        b"Range",
        b"Cookie",
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
    ];
    const VALUES: [&[u8]; 14] = [
        b"site.test",
        b"evil.test",
        b"198.51.100.7",
        b"::ffff:198.51.100.7, 1",
        b"chunked",
        b"0",
        b"10",
        b"100-continue",
        b"close",
        b"h2c",
        b"bytes=0-1,5-",
        b"gzip",
        b"multipart/form-data; boundary=x",
        b"application/json",
    ];
    const ENDS: [&[u8]; 4] = [b"\r\n", b"\r\n", b"\n", b"\r\r\n"];
    // Most keep to what nginx itself insists on, so that they come as far as the module.
    let sound = dice.below(4) != 0;
    let pick = |dice: &mut Dice, all: &[&'static [u8]], first: usize| {
        dice.one_of(if sound { &all[..first] } else { all })
    };
    let mut bytes = pick(dice, &METHODS, 5).to_vec();
    bytes.push(b' ');
    bytes.extend_from_slice(pick(dice, &TARGETS, 3));
    let mut target = dice.text();
    if sound {
        target.retain(|byte| *byte > b' ' && *byte != 127 && !b"%#.".contains(byte));
    }
    bytes.extend(target);
    bytes.push(b' ');
    bytes.extend_from_slice(pick(dice, &VERSIONS, 4));
    bytes.extend_from_slice(b"\r\nHost: site.test\r\n");
    for _ in 0..dice.below(10) {
        bytes.extend_from_slice(pick(dice, &NAMES, 12));
        if !sound && dice.below(8) == 0 {
            bytes.extend(dice.text());
        }
        bytes.extend_from_slice(b": ");
        if dice.below(2) == 0 {
            bytes.extend_from_slice(dice.one_of(&VALUES));
        } else {
            let mut value = dice.text();
            if sound {
                value.retain(|byte| !b"\0\r\n".contains(byte));
            }
            bytes.extend(value);
        }
        bytes.extend_from_slice(pick(dice, &ENDS, 2));
    }
    let body = dice.text();
    match dice.below(4) {
        0 => {}
        1 => bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes()),
        2 => bytes.extend(format!("Content-Length: {}\r\n", dice.below(100)).into_bytes()),
        _ => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    bytes.extend_from_slice(b"\r\n");
    if dice.below(2) == 0 {
        bytes.extend(format!("{:x}\r\n", body.len()).into_bytes());
        bytes.extend(&body);
        bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    } else {
        bytes.extend(&body);
    }
    // Some end before their time, some have a byte that is not theirs.
    if dice.below(8) == 0 {
        bytes.truncate(dice.below(bytes.len()) + 1);
    }
    if dice.below(8) == 0 {
        let at = dice.below(bytes.len());
        bytes[at] = dice.number() as u8;
    }
    bytes
}

/// Frames of one connection of HTTP/2, more or less.
fn http2(dice: &mut Dice) -> Vec<u8> {
    const PATHS: [&[u8]; 6] = [b"/", b"/flowing", b"/answer", b"/evil", b"*", b""];
    const NAMES: [&[u8]; 10] = [
        b"cookie",
        b"user-agent",
        b"x-a",
        b"referer",
        b"te",
        b"content-length",
        b"host",
        b"X-A",
        b":path",
        b"transfer-encoding",
    ];
    // What is not sound ends the connection; most of them shall live longer than that.
    let sound = dice.below(4) != 0;
    let count = |all: usize, first: usize| if sound { first } else { all };
    let mut bytes = Vec::new();
    for number in 0..dice.below(12) as u32 {
        let stream = match dice.below(10) {
            0 if !sound => dice.below(5) as u32,
            _ => 2 * number + 1,
        };
        let mut path = dice.text();
        if sound {
            path.retain(|byte| *byte > b' ' && *byte != 127 && !b"%#.".contains(byte));
        }
        let path = [dice.one_of(&PATHS[..count(6, 4)]), &path].concat();
        let mut fields = h2::request(&path, b"192.0.2.1");
        if dice.below(2) == 0 {
            fields[0].1 = b"POST";
        }
        let further: Vec<_> = (0..dice.below(8))
            .map(|_| {
                let (name, mut value) = (dice.one_of(&NAMES[..count(10, 4)]), dice.text());
                if sound {
                    value.retain(|byte| !b"\0\r\n".contains(byte));
                }
                (name, value)
            })
            .collect();
        fields.extend(further.iter().map(|(name, value)| (*name, &value[..])));
        let block = h2::block(&fields);
        let flags =
            if !sound && dice.below(8) == 0 { dice.number() as u8 } else { h2::END_HEADERS };
        let ends = dice.below(2) == 0;
        let flags = if ends { flags | h2::END_STREAM } else { flags };
        bytes.extend(h2::frame(h2::HEADERS, flags, stream, &block));
        for _ in 0..if sound && ends { 0 } else { dice.below(4) } {
            let (kind, flags) = match dice.below(6) {
                0 if !sound => (dice.below(12) as u8, dice.number() as u8),
                1 => (h2::RST_STREAM, 0),
                _ => (h2::DATA, dice.below(2) as u8),
            };
            let text = dice.text();
            let payload = if sound && kind == h2::RST_STREAM { &[0, 0, 0, 8] } else { &text[..] };
            bytes.extend(h2::frame(kind, flags, stream, payload));
        }
    }
    if !bytes.is_empty() && !sound {
        let at = dice.below(bytes.len());
        bytes[at] = dice.number() as u8;
    }
    bytes
}

/// Sends bytes and reads what comes back, at most until the other side has had enough.
fn throw(node: &Node, bytes: &[u8]) {
    let mut stream = TcpStream::connect(node.nginx.address()).expect("nginx takes connections");
    stream.set_read_timeout(Some(at_this_pace(Duration::from_secs(10)))).expect("a socket option");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Sends what `make` makes, `count` times, looking after nginx in between.
fn bombard(node: &Node, count: u64, mut send: impl FnMut(&Node)) {
    let workers = node.nginx.workers();
    let worker = *workers.first().expect("a worker");
    let mut settled = 0;
    for number in 0..count {
        send(node);
        if number % 1_000 == 999 {
            assert_well(node, &workers);
        }
        if number == count / 3 {
            settled = resident_kib(worker);
        }
    }
    assert_well(node, &workers);
    let grown = resident_kib(worker).saturating_sub(settled);
    assert!(grown < GROWTH_KIB, "{grown} KiB more after {count} hostile requests");
    // Bytes that nginx refuses by itself would prove nothing about the module.
    let judged = node.nginx.status()["total"]["requests"].as_u64();
    assert!(judged > Some(count / 4), "{judged:?} of {count} were requests to nginx");
    let panics = node.nginx.logged("panic");
    assert!(panics.is_empty(), "{panics:?}");
}

fn dice() -> Dice {
    let seed = setting("NWAF_HOSTILE_SEED", 0x6e77_6166);
    println!("repeat with NWAF_HOSTILE_SEED={seed}");
    Dice(seed.max(1))
}

#[test]
fn hostile_bytes_over_http1() {
    let _turn = among_others();
    let node = node(PLACES, "");
    let mut dice = dice();
    bombard(&node, setting("NWAF_HOSTILE_REQUESTS", 20_000), |node| {
        throw(node, &http1(&mut dice));
    });
}

#[test]
fn hostile_bytes_over_http2() {
    let _turn = among_others();
    let node = node(PLACES, "http2");
    let mut dice = dice();
    let workers = node.nginx.workers();
    let worker = *workers.first().expect("a worker");
    let (count, mut settled) = (setting("NWAF_HOSTILE_REQUESTS", 20_000) / 10, 0);
    for number in 0..count {
        let mut connection = H2::connect(node.nginx.address()).expect("nginx takes connections");
        let _ = connection.send(&http2(&mut dice));
        connection.drain();
        if number == count / 3 {
            settled = resident_kib(worker);
        }
    }
    let mut connection = H2::connect(node.nginx.address()).expect("nginx takes connections");
    for (stream, path, status) in [(1, &b"/answer"[..], 200), (3, b"/evil", 403)] {
        connection.ask(stream, &h2::request(path, b"192.0.2.1")).expect("is sent");
        assert_eq!(connection.status(stream).expect("an answer"), status);
    }
    let grown = resident_kib(worker).saturating_sub(settled);
    assert!(grown < GROWTH_KIB, "{grown} KiB more after {count} hostile connections");
    assert_eq!(node.nginx.workers(), workers, "a worker died");
    let total = &node.nginx.status()["total"];
    assert_eq!(total["errors"], 0);
    assert!(total["requests"].as_u64() > Some(count), "too few came as far as the module: {total}");
}
