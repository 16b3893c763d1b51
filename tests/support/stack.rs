//! The whole product: API, syncd, upstream, nginx with the module.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::http::Visit;
use crate::wait::{PATIENCE, eventually};
use crate::{Api, Folder, Nginx, Site, Syncd, Upstream};

/// One installation. Ends from the front to the back: nginx first.
pub struct Stack {
    /// nginx with the module.
    pub nginx: Nginx,
    /// syncd.
    pub syncd: Syncd,
    /// The API.
    pub api: Api,
    /// The site behind nginx.
    pub upstream: Upstream,
    /// Where snapshots are published.
    pub snapshot: PathBuf,
    /// The folder of everything; last, because it must outlive the others.
    pub folder: Folder,
}

impl Stack {
    /// Starts everything, with `workers` workers and `nwaf on`.
    ///
    /// # Panics
    /// When a part does not become ready.
    pub fn start(workers: u32) -> Self {
        Self::with(Site { workers, ..Site::default() })
    }

    /// Starts everything with a site of its own.
    ///
    /// # Panics
    /// When a part does not become ready.
    pub fn with(site: Site) -> Self {
        let folder = Folder::new();
        let snapshot = folder.create("snapshot");
        let api = Api::start(folder.path());
        let key = api.create_key("node", "node");
        let syncd = Syncd::start(folder.path(), &snapshot, &[api.endpoint()], &key);
        let upstream = Upstream::start(folder.path());
        let nginx = Nginx::start(folder.path(), &snapshot, &upstream.nginx_address(), site);
        let stack = Self { nginx, syncd, api, upstream, snapshot, folder };
        stack.in_step();
        stack
    }

    /// A request to the site.
    pub fn visit(&self, target: &str) -> Visit {
        self.nginx.visit(target)
    }

    /// Waits until every worker runs the API's current generation; returns it and how long it took.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn in_step(&self) -> (u64, Duration) {
        let generation = self.api.generation();
        (generation, self.at_generation(generation))
    }

    /// Waits until every worker runs `generation`.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn at_generation(&self, generation: u64) -> Duration {
        let what = format!("generation {generation} on every worker");
        eventually(PATIENCE, &what, || self.nginx.is_in_step(generation).then_some(())).1
    }

    /// Makes a call, expects success, and waits until every worker obeys.
    ///
    /// # Panics
    /// When the call is refused or not obeyed.
    pub fn change(&self, call: &str, fields: Value) -> Value {
        let answer = self.api.call(call, fields);
        self.in_step();
        answer.json()
    }
}
