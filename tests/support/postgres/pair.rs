//! A primary and the replica that follows it, and what can happen to them.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;

use super::{Postgres, REPLICATOR};
use crate::process::signal_pid;
use crate::wait::{PATIENCE, eventually};

/// The slot with which the primary keeps what the replica has not read.
const SLOT: &str = "replica";

/// Two servers: the second follows the first.
///
/// The names say what they were at the start: after a promotion `replica` is the primary.
pub struct Pair {
    /// The server that was started first.
    pub primary: Postgres,
    /// The one that follows it.
    pub replica: Postgres,
}

impl Pair {
    /// Starts both, and waits until the replica has everything.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start() -> Self {
        let primary = Postgres::start();
        let replica = primary.replicate();
        Self { primary, replica }
    }

    /// Waits until the replica shows everything the primary has.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn in_step(&self) {
        self.replica.in_step_with(&self.primary);
    }
}

impl Postgres {
    /// Starts a replica of this server, and waits until it has everything.
    ///
    /// # Panics
    /// When one of the steps fails.
    #[must_use]
    pub fn replicate(&self) -> Self {
        self.make_slot();
        let mut replica = Self::prepare("b");
        let mut backup = replica.tool("pg_basebackup");
        backup
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()])
            .args(["-U", REPLICATOR, "-S", SLOT, "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(&replica.data);
        replica.run_tool(&mut backup);
        replica.follow(self);
        replica.start_again();
        replica.in_step_with(self);
        replica
    }

    fn make_slot(&self) {
        self.sql(&format!(
            "select pg_create_physical_replication_slot('{SLOT}')
             where not exists (select from pg_replication_slots where slot_name = '{SLOT}')"
        ));
    }

    /// Writes into the data folder that it follows `primary`.
    fn follow(&self, primary: &Self) {
        self.configure(&format!(
            "primary_conninfo = 'host={} port={} user={REPLICATOR} passfile={}'\n\
             primary_slot_name = '{SLOT}'",
            primary.address.ip(),
            primary.address.port(),
            self.password_file().display(),
        ));
        self.own(&self.data.join("standby.signal"), "");
    }

    /// Waits until it shows everything `primary` has now.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn in_step_with(&self, primary: &Self) {
        let position = primary.sql("select pg_current_wal_flush_lsn()");
        let ask = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        eventually(PATIENCE, "the replica in step", || {
            (self.try_sql(&ask).as_deref() == Ok("t")).then_some(())
        });
    }

    /// Makes a replica a primary; it takes writes when this returns.
    ///
    /// # Panics
    /// When it is none, or does not become one.
    pub fn promote(&self) {
        self.run_tool(self.tool("pg_ctl").args(["promote", "-w", "-D"]).arg(&self.data));
    }

    /// Freezes the processes that send to replicas, so that replicas lag until the value
    /// goes. The slot stays taken: a replica that connects anew gets nothing either.
    ///
    /// # Panics
    /// When no replica is connected.
    pub fn freeze_senders(&self) -> Frozen {
        let answer = self.sql("select pid from pg_stat_replication");
        let pids: BTreeSet<u32> = answer.lines().filter_map(|pid| pid.parse().ok()).collect();
        assert!(!pids.is_empty(), "no replica is connected");
        Frozen::of(pids)
    }

    /// Returns a former primary as replica of `primary`, with what it has more than that one
    /// thrown away. It must not run.
    ///
    /// # Panics
    /// When it runs, or one of the steps fails.
    pub fn rewind_from(&mut self, primary: &Self) {
        assert!(self.pid().is_none(), "stop the server first");
        primary.make_slot();
        // Until its first checkpoint a promoted server still names its old timeline.
        primary.sql("checkpoint");
        let source = format!(
            "host={} port={} user=postgres dbname=postgres",
            primary.sockets().display(),
            primary.address.port()
        );
        let mut rewind = self.tool("pg_rewind");
        rewind.arg("--no-sync").arg("--target-pgdata").arg(&self.data);
        rewind.arg("--source-server").arg(source);
        self.run_tool(&mut rewind);
        // The rewind took over the other server's configuration, and so its address.
        self.follow(primary);
        self.start_again();
        self.in_step_with(primary);
    }
}

/// Processes that are stopped, and go on when the value goes.
pub struct Frozen {
    pids: BTreeSet<u32>,
}

impl Frozen {
    /// Stops them, and waits until they have.
    ///
    /// # Panics
    /// When one does not stop.
    pub fn of(pids: BTreeSet<u32>) -> Self {
        let frozen = Self { pids };
        for pid in &frozen.pids {
            signal_pid(*pid, Signal::STOP);
        }
        for pid in &frozen.pids {
            eventually(PATIENCE, "a frozen process", || is_still(*pid).then_some(()));
        }
        frozen
    }

    /// Lets them go on.
    pub fn thaw(self) {}
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            // One that was killed meanwhile is not there any more, and that is well.
            signal_pid(*pid, Signal::CONT);
        }
    }
}

/// Whether a process is stopped, or gone.
fn is_still(pid: u32) -> bool {
    let stat = crate::process::read(Path::new(&format!("/proc/{pid}/stat")));
    // The name in parentheses may hold anything; what follows is the state.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
}
