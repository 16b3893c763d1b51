//! A process that is nobody's child: known by the number in its pid file, ended with
//! the value that knows it.

use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::process::{read, signal_pid};
use crate::wait::{PATIENCE, at_this_pace, eventually};

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    pid: u32,
}

impl Daemon {
    /// The one whose number is in `pid_file`, as soon as it is there.
    ///
    /// # Panics
    /// When the file does not come.
    pub fn of(pid_file: &Path) -> Self {
        let what = format!("{}", pid_file.display());
        let (pid, _) = eventually(PATIENCE, &what, || read(pid_file).trim().parse().ok());
        Self { pid }
    }

    /// The one with this number.
    pub fn with_pid(pid: u32) -> Self {
        Self { pid }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs; one that has ended and was not buried yet does not.
    pub fn is_running(&self) -> bool {
        let stat = read(Path::new(&format!("/proc/{}/stat", self.pid)));
        // The name in parentheses may hold anything; what follows is the state.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub fn stop(self, signal: Signal) {
        signal_pid(self.pid, signal);
        eventually(PATIENCE, "the end of a daemon", || (!self.is_running()).then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        signal_pid(self.pid, Signal::TERM);
        let asked = Instant::now();
        while self.is_running() {
            if asked.elapsed() > at_this_pace(PATIENCE) {
                signal_pid(self.pid, Signal::KILL);
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
