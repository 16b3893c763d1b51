//! An nginx with the module, in a folder of its own.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::http::{Client, Visit};
use crate::process::{Process, children, read, signal_pid};
use crate::prometheus::Metrics;
use crate::wait::{PATIENCE, eventually};
use crate::{artifacts, net};

/// What a test says about its nginx; everything else is the same for all.
#[derive(Debug, Clone)]
pub struct Site {
    /// Number of workers.
    pub workers: u32,
    /// The module to load.
    pub module: PathBuf,
    /// Lines for the main context.
    pub main: String,
    /// Lines for `http`, for example `nwaf on;`.
    pub http: String,
    /// Parameters of `listen` beside address and port, for example `http2`.
    pub listen: String,
    /// Lines for the site's `server`; without a `location` in it, everything goes to the upstream.
    pub server: String,
    /// Lines of further `server` blocks, complete.
    pub servers: String,
    /// Whether X-Forwarded-For from loopback is believed at `http` level.
    pub realip: bool,
    /// How nginx is started.
    pub start: Start,
    /// Variables of the master's environment; workers get those that `env` in `main` names.
    pub environment: Vec<(String, String)>,
}

/// How nginx is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `daemon off`: a child of the test, with a master and workers.
    Foreground,
    /// `daemon on`: it leaves the test, and can change its binary.
    Daemon,
    /// `master_process off`: one process that does everything.
    Single,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            workers: 1,
            module: artifacts::module(),
            main: String::new(),
            http: "nwaf on;".into(),
            listen: String::new(),
            server: String::new(),
            servers: String::new(),
            realip: true,
            start: Start::Foreground,
            environment: Vec::new(),
        }
    }
}

/// A configured, perhaps running, nginx.
pub struct Nginx {
    folder: PathBuf,
    site: Site,
    snapshot: PathBuf,
    upstream: String,
    address: SocketAddrV4,
    status: SocketAddrV4,
    process: Option<Process>,
    daemon: Option<Daemon>,
    expected: Vec<String>,
}

impl Nginx {
    /// Writes the configuration; nothing runs yet. `upstream` is what `proxy_pass` names.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn new(folder: &Path, snapshot: &Path, upstream: &str, site: Site) -> Self {
        let folder = folder.join("nginx");
        std::fs::create_dir_all(folder.join("tmp")).expect("a folder for nginx");
        let nginx = Self {
            folder,
            site,
            snapshot: snapshot.to_owned(),
            upstream: upstream.to_owned(),
            address: net::free(),
            status: net::free(),
            process: None,
            daemon: None,
            expected: Vec::new(),
        };
        nginx.write();
        nginx
    }

    /// Writes the configuration and starts nginx.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(folder: &Path, snapshot: &Path, upstream: &str, site: Site) -> Self {
        let mut nginx = Self::new(folder, snapshot, upstream, site);
        nginx.run();
        nginx
    }

    /// Starts it and waits until it answers and all its workers are there.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&mut self) {
        let mut command = Command::new(artifacts::nginx());
        command.args(self.arguments()).envs(self.site.environment.iter().cloned());
        let mut process = Process::start("nginx", command, &self.folder.join("output.log"));
        if self.site.start == Start::Daemon {
            let status = process.wait();
            assert!(status.success(), "nginx ended with {status}: {}", process.output());
            self.daemon = Some(Daemon::of(&self.folder.join("nginx.pid")));
            eventually(PATIENCE, "nginx ready", || self.is_ready().then_some(()));
            return;
        }
        self.process = Some(process);
        let (status, master, count) = (self.status, self.pid(), self.worker_count());
        let process = self.process.as_mut().expect("just started");
        process
            .await_ready(|| (answers(status)? && workers_of(master).len() == count).then_some(()));
    }

    /// Whether it answers and all its workers are there.
    pub fn is_ready(&self) -> bool {
        answers(self.status) == Some(true) && self.workers().len() == self.worker_count()
    }

    /// How many workers the master of this configuration has.
    fn worker_count(&self) -> usize {
        if self.site.start == Start::Single { 0 } else { self.site.workers as usize }
    }

    /// Changes the configuration of the site; takes effect with the next start or reload.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn configure(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.write();
    }

    /// Asks nginx what it thinks of the configuration.
    ///
    /// # Panics
    /// When nginx cannot be run.
    pub fn test(&self) -> Output {
        let mut command = Command::new(artifacts::nginx());
        // What it complains about is asked for, and so not a reason to fail the test.
        let log = self.folder.join("test.log").display().to_string();
        command.args(self.arguments()).args(["-t", "-e", &log]);
        command.output().expect("nginx -t runs")
    }

    /// `nginx -s reload`: waits until the old workers are gone and the new ones answer.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn reload(&mut self) {
        let old = self.workers();
        signal_pid(self.pid(), Signal::HUP);
        let count = self.worker_count();
        eventually(PATIENCE, "a reload", || {
            let new = self.workers();
            (new.is_disjoint(&old) && new.len() == count && answers(self.status)?).then_some(())
        });
    }

    /// Stops it (`QUIT`, or `TERM` for at once) and starts it again.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::QUIT);
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.stop(Signal::QUIT);
        }
    }

    /// Changes the binary as an operator does: a new master beside the old one, the
    /// old one's workers asked to finish, then the old master. Only as a daemon.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn change_binary(&mut self) {
        let old = self.daemon.as_ref().expect("only a daemon can change its binary").pid();
        signal_pid(old, Signal::USR2);
        let file = self.folder.join("nginx.pid");
        let (new, _) = eventually(PATIENCE, "a new master", || {
            let pid = read(&file).trim().parse().ok()?;
            (pid != old && children(pid).len() == self.worker_count()).then_some(pid)
        });
        signal_pid(old, Signal::WINCH);
        eventually(PATIENCE, "the end of the old workers", || {
            children(old).iter().all(|pid| *pid == new).then_some(())
        });
        let new = Daemon::of(&file);
        let old = self.daemon.replace(new).expect("seen above");
        old.stop(Signal::QUIT);
        eventually(PATIENCE, "nginx ready", || self.is_ready().then_some(()));
    }

    /// Runs `nginx` beside the running one, with its configuration and these arguments.
    ///
    /// # Panics
    /// When nginx cannot be run.
    pub fn command(&self, further: &[&str]) -> Output {
        let mut command = Command::new(artifacts::nginx());
        command.args(self.arguments()).args(further);
        command.output().expect("nginx runs")
    }

    /// Address and port of the site.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// A request to the site.
    pub fn visit(&self, target: &str) -> Visit {
        Visit::new(self.address, target)
    }

    /// The answer of `nwaf_status`.
    ///
    /// # Panics
    /// When there is none.
    pub fn status(&self) -> Value {
        Visit::new(self.status, "/nwaf_status").send().json()
    }

    /// A request to the server of the status and the metrics.
    pub fn ask(&self, target: &str) -> Visit {
        Visit::new(self.status, target)
    }

    /// The answer of `nwaf_metrics`.
    ///
    /// # Panics
    /// When there is none, or one that Prometheus would not take.
    pub fn metrics(&self) -> Metrics {
        let text = self.ask("/nwaf_metrics").send().text();
        Metrics::parse(&text).unwrap_or_else(|why| panic!("{why} in\n{text}"))
    }

    /// The generation of each worker that takes requests, by `nwaf_status`; 0 where
    /// one has no policy yet.
    ///
    /// # Panics
    /// When the status has another form.
    pub fn generations(&self) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("workers in the status");
        let serving = workers.iter().filter(|worker| worker["exiting"] != true);
        serving.map(|worker| worker["generation"].as_u64().unwrap_or(0)).collect()
    }

    /// Whether every worker runs at least `generation`.
    pub fn is_in_step(&self, generation: u64) -> bool {
        let generations = self.generations();
        generations.len() == self.site.workers as usize
            && generations.iter().all(|running| *running >= generation)
    }

    /// Process id of the master.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        let daemon = self.daemon.as_ref().map(Daemon::pid);
        daemon.or_else(|| Some(self.process.as_ref()?.pid())).expect("nginx runs")
    }

    /// Process ids of the workers, old ones that are still shutting down included.
    pub fn workers(&self) -> BTreeSet<u32> {
        workers_of(self.pid())
    }

    /// The error log.
    pub fn error_log(&self) -> String {
        read(&self.error_log_path())
    }

    /// Lines of the error log that contain `text`.
    pub fn logged(&self, text: &str) -> Vec<String> {
        self.error_log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Lines with `text` in the error log are part of the test and no reason to fail it.
    pub fn expect_in_log(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// The folder of its configuration and its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn error_log_path(&self) -> PathBuf {
        self.folder.join("error.log")
    }

    fn arguments(&self) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        vec![
            "-e".into(),
            text(self.error_log_path()),
            "-p".into(),
            text(self.folder.clone()),
            "-c".into(),
            text(self.folder.join("nginx.conf")),
        ]
    }

    fn write(&self) {
        std::fs::write(self.folder.join("nginx.conf"), self.text()).expect("nginx.conf is written");
    }

    /// The whole configuration.
    fn text(&self) -> String {
        let Site { workers, module, main, http, listen, server, servers, realip, start, .. } =
            &self.site;
        let daemon = match start {
            Start::Foreground => "daemon off;",
            Start::Daemon => "daemon on;",
            Start::Single => "daemon off; master_process off;",
        };
        let (folder, address, status) = (self.folder.display(), self.address, self.status);
        let (module, snapshot, upstream) =
            (module.display(), self.snapshot.display(), &self.upstream);
        let user = if rustix::process::geteuid().is_root() { "user nobody nogroup;" } else { "" };
        let realip = if *realip {
            "set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;"
        } else {
            ""
        };
        let everything = if server.contains("location") {
            ""
        } else {
            "location / { proxy_pass http://echo; proxy_http_version 1.1; \
             proxy_set_header Connection ''; proxy_set_header Host $http_host; \
             proxy_set_header X-Real-IP $remote_addr; }"
        };
        format!(
            r#"load_module "{module}";
{user}
worker_processes {workers};
{daemon}
pid "{folder}/nginx.pid";
error_log "{folder}/error.log" info;
{main}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path "{folder}/tmp/body";
    proxy_temp_path "{folder}/tmp/proxy";
    fastcgi_temp_path "{folder}/tmp/fastcgi";
    uwsgi_temp_path "{folder}/tmp/uwsgi";
    scgi_temp_path "{folder}/tmp/scgi";
    {realip}
    nwaf_snapshot "{snapshot}";
    {http}
    upstream echo {{ server {upstream}; keepalive 32; }}
    server {{
        listen {address} {listen};
        server_name _;
        {server}
        {everything}
    }}
    server {{
        listen {status};
        location / {{ nwaf off; nwaf_status; }}
        location = /nwaf_metrics {{ nwaf off; nwaf_metrics; }}
    }}
    {servers}
}}
"#
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.take();
        self.daemon.take();
        if std::thread::panicking() {
            return;
        }
        let log = self.error_log();
        let bad: Vec<_> = log
            .lines()
            .filter(|line| ["[alert]", "[emerg]", "panic"].iter().any(|word| line.contains(word)))
            .filter(|line| !self.expected.iter().any(|text| line.contains(text)))
            .collect();
        assert!(bad.is_empty(), "nginx complained: {bad:#?}");
    }
}

/// The children of a master, without the helpers of a cache: they serve nobody.
fn workers_of(master: u32) -> BTreeSet<u32> {
    let mut all = children(master);
    all.retain(|pid| {
        let title = read(Path::new(&format!("/proc/{pid}/cmdline")));
        !title.contains("nginx: cache ")
    });
    all
}

/// Whether the status page is there; nothing while nobody listens.
fn answers(status: SocketAddrV4) -> Option<bool> {
    let request = Visit::new(status, "/nwaf_status").bytes();
    Some(Client::new(status).send(&request).ok()?.status == 200)
}

/// Resident memory of a process in KiB, mapped snapshots included; 0 if it is gone.
/// Also 0 where `NWAF_TEST_ANY_MEMORY` is set: under a tool that needs memory of its own.
pub fn resident_kib(pid: u32) -> u64 {
    if std::env::var_os("NWAF_TEST_ANY_MEMORY").is_some() {
        return 0;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
