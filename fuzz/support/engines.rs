//! The calls into the engines, in one place: what changes in their signatures is
//! followed here, and no target knows of it.

use std::net::IpAddr;

use ipc::snapshot::{CompileError, Meta, Snapshot, SnapshotError};
use policy::text::Scratch;
use policy::{Host, Policy, Request, Verdict};

/// A request that owns its parts.
#[derive(Debug, Clone, Default)]
pub struct Asked {
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
        let (url, args) = Request::split_target(&self.target);
        look(&Request {
            address: self.address,
            host: Host::normalised(&host),
            url,
            args,
            headers: &self.headers,
            body: self.body.as_deref(),
            country: self.country,
        })
    }
}

/// The verdict of the reference evaluation.
pub fn by_policy(policy: &Policy, asked: &Asked) -> Verdict {
    asked.with(|request| policy.evaluate(request))
}

/// The verdict of a snapshot. `scratch` is the one of the request before, as in a worker.
pub fn by_snapshot(snapshot: &Snapshot, asked: &Asked, scratch: &mut Scratch) -> Verdict {
    asked.with(|request| snapshot.evaluate(request, scratch))
}

/// The file of a policy; `None` where so many lists cover one address that it has none.
///
/// # Panics
/// On every other refusal: a policy that is valid has a snapshot.
pub fn compile(policy: &Policy) -> Option<Vec<u8>> {
    let meta = Meta { session: 1, generation: 2, created_ms: 3 };
    match ipc::snapshot::compile(policy, meta) {
        Ok(file) => Some(file),
        Err(CompileError::Overlap(_)) => None,
        Err(why) => panic!("a valid policy has no snapshot: {why}"),
    }
}

/// A snapshot of a file's content.
///
/// # Errors
/// What the reader says.
pub fn read(file: &[u8]) -> Result<Snapshot, SnapshotError> {
    Snapshot::from_bytes(file)
}

/// Holds that reference and snapshot agree about every request.
///
/// # Panics
/// Where they do not.
pub fn check_same(policy: &Policy, snapshot: &Snapshot, requests: &[Asked]) {
    let mut scratch = Scratch::default();
    for asked in requests {
        let (wanted, got) = (by_policy(policy, asked), by_snapshot(snapshot, asked, &mut scratch));
        assert_eq!(got, wanted, "the snapshot (left) and the policy disagree about {asked:?}");
    }
}
