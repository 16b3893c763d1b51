//! A process that ends with its guard.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{PATIENCE, at_this_pace, eventually};

/// A running program whose output goes to one log file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = open_log(log);
        let copy = file.try_clone().expect("a second handle of the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .unwrap_or_else(|why| panic!("{name}: cannot start {command:?}: {why}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written.
    pub fn output(&self) -> String {
        read(&self.log)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the state of a child");
        }
        self.ended
    }

    /// Sends a signal; nothing if the process has ended.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            signal_pid(self.pid(), signal);
        }
    }

    /// Waits until `ask` has an answer.
    ///
    /// # Panics
    /// When the process ends before, with what it wrote.
    pub fn await_ready<T>(&mut self, mut ask: impl FnMut() -> Option<T>) -> T {
        let what = format!("{} ready", self.name);
        eventually(PATIENCE, &what, || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status} before it was ready:\n{}", self.name, self.output());
            }
            ask()
        })
        .0
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ended", self.name);
        eventually(PATIENCE, &what, || self.ended()).0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        signal_pid(self.pid(), Signal::TERM);
        let asked = std::time::Instant::now();
        while self.ended().is_none() {
            if asked.elapsed() > at_this_pace(PATIENCE) {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// Sends a signal to any process.
///
/// # Panics
/// When the system refuses for another reason than that the process is gone.
pub fn signal_pid(pid: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid is not 0");
    match kill_process(id, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(why) => panic!("cannot send {signal:?} to {pid}: {why}"),
    }
}

/// The processes a process has started.
pub fn children(of: u32) -> BTreeSet<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| parent(*pid) == Some(of))
        .collect()
}

/// The parent of a process.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it do not.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The text of a file that may not be there yet, broken characters replaced.
pub fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn open_log(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|why| panic!("cannot write {}: {why}", path.display()))
}
