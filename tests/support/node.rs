//! nginx with the module and an upstream, fed with snapshots by the test itself:
//! for questions about the module alone.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ipc::snapshot::{CURRENT, Meta, compile, compile_bans, publish, publish_bans};
use policy::{Ban, Policy, Rule, RuleText, Settings};

use crate::http::Visit;
use crate::wait::{PATIENCE, eventually};
use crate::{Folder, Nginx, Site, Upstream};

/// The session of all snapshots a test publishes.
pub const SESSION: u64 = 7;

/// One nginx host without syncd.
pub struct Node {
    /// nginx with the module.
    pub nginx: Nginx,
    /// The site behind it.
    pub upstream: Upstream,
    /// Where snapshots are published.
    pub snapshot: PathBuf,
    /// The folder of everything; last, because it must outlive the others.
    pub folder: Folder,
    generation: u64,
}

impl Node {
    /// Publishes `policy` as generation 1 and starts nginx with `site`.
    ///
    /// # Panics
    /// When nginx does not become ready.
    pub fn start(policy: &Policy, site: Site) -> Self {
        let mut node = Self::prepare(site);
        node.publish(policy);
        node.nginx.run();
        node.in_step();
        node
    }

    /// Everything but a snapshot and a running nginx.
    ///
    /// # Panics
    /// When the upstream does not become ready.
    pub fn prepare(site: Site) -> Self {
        let folder = Folder::new();
        let snapshot = folder.create("snapshot");
        let upstream = Upstream::start(folder.path());
        let nginx = Nginx::new(folder.path(), &snapshot, &upstream.nginx_address(), site);
        Self { nginx, upstream, snapshot, folder, generation: 0 }
    }

    /// The bytes of `policy` as the next generation.
    ///
    /// # Panics
    /// When the policy does not compile.
    pub fn compile(&mut self, policy: &Policy) -> Vec<u8> {
        self.generation += 1;
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let created_ms = u64::try_from(created.as_millis()).expect("before the year 584556019");
        let meta = Meta { session: SESSION, generation: self.generation, created_ms };
        compile(policy, meta).expect("the policy compiles")
    }

    /// Publishes `policy` as the next generation; does not wait.
    ///
    /// # Panics
    /// When it cannot.
    pub fn publish(&mut self, policy: &Policy) {
        let bytes = self.compile(policy);
        publish(&self.snapshot, &bytes).expect("the snapshot is published");
    }

    /// Publishes and waits until every worker obeys.
    ///
    /// # Panics
    /// When they do not.
    pub fn change(&mut self, policy: &Policy) {
        self.publish(policy);
        self.in_step();
    }

    /// Waits until every worker runs the last published generation.
    ///
    /// # Panics
    /// When they do not.
    pub fn in_step(&self) -> Duration {
        let what = format!("generation {} on every worker", self.generation);
        eventually(PATIENCE, &what, || self.nginx.is_in_step(self.generation).then_some(())).1
    }

    /// Publishes bans as the next generation and waits until nginx has taken them.
    ///
    /// # Panics
    /// When it does not.
    pub fn ban(&mut self, bans: &[Ban]) {
        self.generation += 1;
        let meta = Meta { session: SESSION, generation: self.generation, created_ms: 0 };
        let bytes = compile_bans(bans, meta).expect("the bans compile");
        publish_bans(&self.snapshot, &bytes).expect("the bans are published");
        let what = format!("bans {} on every worker", self.generation);
        eventually(PATIENCE, &what, || {
            let status = self.nginx.status();
            let workers = status["workers"].as_array()?;
            let serving = workers.iter().filter(|worker| worker["exiting"] != true);
            serving
                .map(|worker| worker["bans_generation"].as_u64())
                .all(|running| running >= Some(self.generation))
                .then_some(())
        });
    }

    /// Path of the file in force.
    pub fn current(&self) -> PathBuf {
        self.snapshot.join(CURRENT)
    }

    /// Puts any bytes where the file in force is, as publishing does: by renaming.
    ///
    /// # Panics
    /// When it cannot.
    pub fn replace_current(&self, bytes: &[u8], mode: u32) {
        let other = self.snapshot.join("replacement");
        std::fs::write(&other, bytes).expect("the replacement is written");
        crate::folder::set_mode(&other, mode);
        std::fs::rename(&other, self.current()).expect("the replacement is renamed");
    }

    /// A request to the site.
    pub fn visit(&self, target: &str) -> Visit {
        self.nginx.visit(target)
    }
}

/// A policy with these block list entries.
///
/// # Panics
/// When an entry has no meaning.
pub fn blocking(entries: &[&str]) -> Policy {
    let block_list = entries.iter().map(|entry| entry.parse().expect("an entry")).collect();
    Policy { block_list, ..Policy::default() }
}

/// A rule with this id.
///
/// # Panics
/// When the text has no meaning.
pub fn rule(id: u64, text: RuleText) -> Rule {
    Rule::parse(id, &text).expect("a rule")
}

/// Settings by name.
///
/// # Panics
/// When a value has no meaning.
pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::parse(pairs.iter().copied()).expect("settings")
}
