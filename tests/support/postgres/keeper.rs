//! Who cleans up when nobody else can: a shell that waits for the end of the test
//! process, however it ends, stops the servers below a folder and removes the folder.
//!
//! Invariants: it signals only a process whose working folder is a data folder below
//! its own, so a number that was given to another process is never hit; it is told to
//! let the folder be when a test has failed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Reads one word, or the end of the input when the test process is gone.
const SCRIPT: &str = r#"
read -r word || word=
pids=()
for file in "$1"/*/postmaster.pid; do
    [ -e "$file" ] || continue
    { read -r pid; read -r data; for _ in 3 4 5 6; do read -r _; done; read -r _ segment; } <"$file" || true
    if [ "/proc/$pid/cwd" -ef "$data" ]; then
        kill -QUIT "$pid" && pids+=("$pid")
    elif [ -n "$segment" ]; then
        # What kill -9 leaves in the kernel; the next start would have removed it.
        ipcrm -m "$segment" 2>/dev/null
    fi
done
for _ in {1..600}; do
    for i in "${!pids[@]}"; do [ -d "/proc/${pids[i]}/cwd/" ] || unset "pids[i]"; done
    [ ${#pids[@]} != 0 ] || break
    sleep 0.05
done
[ "$word" = keep ] || rm -rf -- "$1"
"#;

/// The shell, and the pipe it listens to.
pub(super) struct Keeper {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Keeper {
    /// One for everything below `folder`.
    ///
    /// # Panics
    /// When bash cannot be started.
    pub(super) fn of(folder: &Path) -> Self {
        let mut shell = Command::new("bash")
            .args(["-c", SCRIPT, "nwaf-test-keeper"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends the test process; this one is still needed then.
            .process_group(0)
            .spawn()
            .expect("bash runs");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let word: &[u8] = if std::thread::panicking() { b"keep\n" } else { b"remove\n" };
            // A shell that is gone has nothing to clean up.
            let _ = pipe.write_all(word);
        }
        let _ = self.shell.wait();
    }
}
