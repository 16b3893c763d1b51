//! An API of a few lines whose mood can be changed while it runs.
//!
//! It speaks HTTP by hand, because a good HTTP library refuses to do what is
//! wanted here. Every answer closes its connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wire::v2::{AgentReport, Bundle, BundleContent, Delta, Revision};

/// How the API behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// As specified.
    Good,
    /// Takes connections and never answers.
    Silent,
    /// Answers everything with these bytes.
    Raw(String),
    /// Answers "unchanged" at once, whatever wait was asked for.
    Hasty,
    /// Knows only the vendor's calls.
    V1,
    /// As specified, but without deltas.
    Whole,
    /// As specified, but deltas lead elsewhere.
    WrongDeltas,
    /// As specified, but answers these bytes where a delta is asked for.
    RawDeltas(String),
}

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Asked {
    pub target: String,
    pub key: String,
    pub at: Instant,
}

impl Asked {
    pub fn is_poll(&self) -> bool {
        self.target.contains("v2/bundle") || self.target.contains("v2/delta")
    }
}

#[derive(Debug)]
pub struct State {
    pub mood: Mood,
    pub bundle: Bundle,
    /// Bundles it had before, whose deltas it knows.
    pub known: Vec<Bundle>,
    pub asked: Vec<Asked>,
    pub reports: Vec<AgentReport>,
    stop: bool,
}

pub struct FakeApi {
    pub url: String,
    address: std::net::SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl FakeApi {
    pub fn start(mood: Mood, bundle: Bundle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            mood,
            bundle,
            known: Vec::new(),
            asked: Vec::new(),
            reports: Vec::new(),
            stop: false,
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&accepting);
                if shared.0.lock().unwrap().stop {
                    return;
                }
                let Ok(stream) = stream else { continue };
                thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { url: format!("http://{address}/nw-api/"), address, shared }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it looked must still be able to clean up.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
        self.shared.1.notify_all();
    }

    pub fn set_bundle(&self, bundle: Bundle) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.bundle, bundle);
        state.known.push(before);
        drop(state);
        self.shared.1.notify_all();
    }

    /// Forgets what deltas are made of.
    pub fn forget(&self) {
        self.state().known.clear();
    }

    /// When bundles or deltas were asked for, in order.
    pub fn poll_times(&self) -> Vec<Instant> {
        let state = self.state();
        state.asked.iter().filter(|asked| asked.is_poll()).map(|asked| asked.at).collect()
    }

    pub fn polls(&self) -> usize {
        self.poll_times().len()
    }

    /// How often a whole bundle was asked for.
    pub fn bundles_asked(&self) -> usize {
        let state = self.state();
        state.asked.iter().filter(|asked| asked.target.contains("v2/bundle")).count()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.state().stop = true;
        self.shared.1.notify_all();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

pub fn revision(session: u64, generation: u64) -> Revision {
    Revision { session, generation }
}

/// A bundle that blocks `entries` addresses.
pub fn bundle(at: Revision, entries: usize) -> Bundle {
    let block_list = (0..entries).map(|n| format!("192.0.2.{n}")).collect();
    Bundle::seal(at, 0, BundleContent { block_list, ..BundleContent::default() })
}

pub fn forced(at: Revision, entries: usize) -> Bundle {
    Bundle { forced_at: at.generation, ..bundle(at, entries) }
}

fn serve(shared: &(Mutex<State>, Condvar), stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some((target, key, body)) = request(&mut reader) else { return };
    let at = Instant::now();
    shared.0.lock().unwrap().asked.push(Asked { target: target.clone(), key, at });
    if let Some(answer) = answer(shared, &target, &body) {
        let mut stream = stream;
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => key = value.trim_start_matches("Bearer ").to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, key, body))
}

fn answer(shared: &(Mutex<State>, Condvar), target: &str, body: &[u8]) -> Option<String> {
    let number = |name: &str| -> Option<u64> {
        let (_, query) = target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let since = target.split_once("since=").and_then(|(_, rest)| {
        let (session, generation) = rest.split('&').next()?.split_once('.')?;
        session.parse().ok().zip(generation.parse().ok())
    });
    let is_delta = target.contains("v2/delta");
    let known = if is_delta { since } else { number("session").zip(number("generation")) };
    let digest = target.split_once("digest=").map(|(_, rest)| rest.split('&').next().unwrap());
    let until = Instant::now() + Duration::from_secs(number("wait").unwrap_or(0));
    let mut state = shared.0.lock().unwrap();
    loop {
        if state.stop {
            return None;
        }
        match state.mood.clone() {
            Mood::Silent => {
                state = shared.1.wait(state).unwrap();
                continue;
            }
            Mood::Raw(bytes) => return Some(bytes),
            Mood::V1 => return Some(vendor(&state.bundle.content, target)),
            Mood::Whole if is_delta => return Some(http("404 Not Found", "")),
            Mood::RawDeltas(bytes) if is_delta => return Some(bytes),
            _ => {}
        }
        if target.ends_with("v2/report") {
            state.reports.push(serde_json::from_slice(body).unwrap());
            return Some(http("204 No Content", ""));
        }
        let Revision { session, generation } = state.bundle.revision;
        let other = digest.is_some_and(|digest| *digest != state.bundle.digest);
        let is_news = other || known != Some((session, generation));
        if is_news && is_delta {
            let is_base = |old: &&Bundle| {
                Some((old.revision.session, old.revision.generation)) == known
                    && digest == Some(&*old.digest)
            };
            let Some(base) = state.known.iter().rev().find(is_base) else {
                return Some(http("410 Gone", ""));
            };
            let mut delta = Delta::between(base, &state.bundle);
            if state.mood == Mood::WrongDeltas {
                delta.changes.block_list.added.push("203.0.113.200".into());
            }
            return Some(http("200 OK", &serde_json::to_string(&delta).unwrap()));
        }
        if is_news {
            return Some(http("200 OK", &serde_json::to_string(&state.bundle).unwrap()));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || state.mood == Mood::Hasty {
            return Some(http("204 No Content", ""));
        }
        state = shared.1.wait_timeout(state, left).unwrap().0;
    }
}

/// The vendor's answers, in its own spelling.
fn vendor(content: &BundleContent, target: &str) -> String {
    const END: &str = "{'status': 'success'}\n";
    if target.contains("get_dyn_settings") {
        let mut object = serde_json::to_value(&content.settings).unwrap();
        object["status"] = "success".into();
        return http("200 OK", &object.to_string());
    }
    if target.contains("get_dyn_bl") {
        let lines: String = content.block_list.iter().map(|entry| format!("{entry}\n")).collect();
        return http("200 OK", &(lines + END));
    }
    if target.contains("get_dyn_erl") {
        return http("200 OK", END);
    }
    http("404 Not Found", "<html>no such page</html>")
}

pub fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
