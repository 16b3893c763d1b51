//! The calls into the engines, in one place: what changes in their signatures is
//! followed here, and no target knows of it.

use std::net::IpAddr;

use ipc::snapshot::{Bans, Beside, CompileError, LimitInForce, Meta, Snapshot, SnapshotError};
use policy::text::Scratch;
use policy::{Ban, Host, HostLists, Policy, Request, Verdict};

/// A request that owns its parts.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// When it comes, in seconds since 1970.
    pub time: u64,
    /// The method; empty is GET.
    pub method: Vec<u8>,
    /// The client.
    pub address: Option<IpAddr>,
    /// The host as sent.
    pub host: Vec<u8>,
    /// Path and query as sent.
    pub target: Vec<u8>,
    /// Names and values.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, where one was read.
    pub body: Option<Vec<u8>>,
    /// The country of the client.
    pub country: Option<[u8; 2]>,
}

impl Asked {
    /// Shows the request to `look` as the engines see it.
    pub fn with<R>(&self, look: impl FnOnce(&Request<'_>) -> R) -> R {
        let host = Host::normalise(&self.host);
        let get = Request::new(Host::normalised(&host), &self.target, &self.headers);
        look(&Request {
            time: self.time,
            method: if self.method.is_empty() { get.method } else { &self.method },
            address: self.address,
            body: self.body.as_deref(),
            country: self.country,
            ..get
        })
    }
}

/// All that an engine says about a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What happens to it.
    pub verdict: Verdict,
    /// The entry of `nwaf_limit` that counts: rate, window and ban in seconds.
    pub limit: Option<(u32, u32, u32)>,
    /// Whether its body may be read.
    pub reads_body: bool,
    /// The host lists that hold.
    pub host_lists: HostLists,
}

/// The answer of the reference evaluation.
pub fn by_policy(policy: &Policy, bans: &[Ban], asked: &Asked) -> Answer {
    let settings = &policy.settings;
    asked.with(|request| {
        let Request { method, host, url, .. } = *request;
        let limit = settings.limit(host);
        Answer {
            verdict: policy.evaluate(bans, request),
            limit: limit.map(|limit| (limit.rate, limit.per.seconds(), limit.block_time)),
            reads_body: settings.reads_body(method, host, url, &mut Scratch::default()),
            host_lists: settings.host_lists(host),
        }
    })
}

/// The answer of files. `scratch` is the one of the request before, as in a worker.
pub fn by_files(files: &Files, asked: &Asked, scratch: &mut Scratch) -> Answer {
    let Files { snapshot, bans } = files;
    asked.with(|request| {
        let Request { method, host, url, .. } = *request;
        let verdict = snapshot.evaluate(
            &Beside { bans: bans.as_ref(), ..Beside::default() },
            request,
            scratch,
        );
        scratch.begin();
        let seconds = |l: LimitInForce| (l.rate, l.window, l.block_time);
        Answer {
            verdict,
            limit: snapshot.limit(host).map(seconds),
            reads_body: snapshot.reads_body(method, host, url, scratch),
            host_lists: snapshot.host_lists(host),
        }
    })
}

/// Has a policy say why, whatever it says.
pub fn explain(policy: &Policy, asked: &Asked) {
    let told = asked.with(|request| policy.explain(&[], request));
    assert_eq!(told.verdict, by_policy(policy, &[], asked).verdict);
}

const META: Meta = Meta { session: 1, generation: 2, created_ms: 3 };

/// The file of a policy; `None` where so many lists cover one address that it has none.
pub fn compile(policy: &Policy) -> Option<Vec<u8>> {
    made(ipc::snapshot::compile(policy, META))
}

/// The file of bans; `None` as for [`compile`].
pub fn compile_bans(bans: &[Ban]) -> Option<Vec<u8>> {
    made(ipc::snapshot::compile_bans(bans, META))
}

/// # Panics
/// On every other refusal: what is valid can be compiled.
fn made(outcome: Result<Vec<u8>, CompileError>) -> Option<Vec<u8>> {
    match outcome {
        Ok(file) => Some(file),
        Err(CompileError::Overlap(_)) => None,
        Err(why) => panic!("a valid policy has no file: {why}"),
    }
}

/// What a worker has mapped.
pub struct Files {
    /// The policy.
    pub snapshot: Snapshot,
    /// The bans, where there is a file of them.
    pub bans: Option<Bans>,
}

/// Reads files' contents.
///
/// # Errors
/// What the reader says.
pub fn read(policy: &[u8], bans: Option<&[u8]>) -> Result<Files, SnapshotError> {
    // Both are looked at, whichever is wrong.
    let bans = bans.map(Bans::from_bytes).transpose();
    Ok(Files { snapshot: Snapshot::from_bytes(policy)?, bans: bans? })
}

/// Holds that reference and files agree about every request, also by the policy that
/// the files are turned back into, and that the reasons given are those of the verdict.
///
/// # Panics
/// Where they do not.
pub fn check_same(policy: &Policy, bans: &[Ban], files: &Files, requests: &[Asked]) {
    let mut scratch = Scratch::default();
    let turned_back = files.snapshot.policy();
    for asked in requests {
        let wanted = by_policy(policy, bans, asked);
        let back = by_policy(&turned_back, bans, asked);
        assert_eq!(back, wanted, "turned back (left) and policy disagree about {asked:?}");
        let explained = asked.with(|request| policy.explain(bans, request)).verdict;
        assert_eq!(explained, wanted.verdict, "explanation (left) and verdict of {asked:?}");
        let got = by_files(files, asked, &mut scratch);
        assert_eq!(got, wanted, "the files (left) and the policy disagree about {asked:?}");
    }
}
