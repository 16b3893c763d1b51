//! A running `nwaf-api` with a database of its own.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::{Client, Response};
use crate::postgres::Frozen;
use crate::process::Process;
use crate::{artifacts, net};

/// The key with which tests administrate.
pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// The API: its folder, and its process while it runs.
pub struct Api {
    folder: PathBuf,
    address: SocketAddrV4,
    process: Option<Process>,
}

impl Api {
    /// Starts one with a fresh database in `folder`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(folder: &Path) -> Self {
        Self::start_on(folder, &format!("sqlite://{}", folder.join("api/api.db").display()))
    }

    /// Starts one with the database of a URL; its other files are in `folder`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_on(folder: &Path, database: &str) -> Self {
        let mut api = Self::prepare(folder, "api", database, "");
        api.run();
        api
    }

    /// One that does not run yet, in the folder `name`, with `more` lines in its `api.toml`.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn prepare(folder: &Path, name: &str, database: &str, more: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the API");
        std::fs::write(folder.join("bootstrap.key"), KEY).expect("the key is written");
        crate::folder::set_mode(&folder.join("bootstrap.key"), 0o600);
        let api = Self { folder, address: net::free(), process: None };
        api.configure(database, more);
        api
    }

    /// Writes its `api.toml`; takes effect with the next start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, database: &str, more: &str) {
        let config = format!("listen = \"{}\"\ndatabase = \"{database}\"\n{more}\n", self.address);
        std::fs::write(self.folder.join("api.toml"), config).expect("api.toml is written");
    }

    /// Starts it again with the database that is there.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn run(&mut self) {
        let mut command = self.command();
        command.env("NWAF_API_BOOTSTRAP_KEY_FILE", self.folder.join("bootstrap.key"));
        let mut process = Process::start("nwaf-api", command, &self.folder.join("api.log"));
        let request = get(self.address, "/healthz");
        process.await_ready(|| {
            let answer = Client::new(self.address).send(&request).ok()?;
            (answer.status == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// Ends it without warning, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the API runs").stop(Signal::KILL);
    }

    /// Lets it accept connections and answer none, until the value goes.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) -> Frozen {
        Frozen::of([self.process.as_ref().expect("the API runs").pid()].into())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        crate::process::read(&self.folder.join("api.log"))
    }

    /// The word of `/role`; nothing while it does not answer.
    pub fn role(&self) -> Option<String> {
        let answer = Client::new(self.address).send(&get(self.address, "/role")).ok()?;
        Some(answer.json()["role"].as_str()?.to_owned())
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The base address, ending in `/nw-api/`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/nw-api/", self.address)
    }

    /// Sends any request.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn send(&self, request: &[u8]) -> Response {
        Client::new(self.address).send(request).expect("the API answers")
    }

    /// Posts `body` to a path.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn post(&self, path: &str, content_type: &str, body: &str) -> Response {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.send(format!("{head}{body}").as_bytes())
    }

    /// Makes a call with the key and `fields`, and expects success.
    ///
    /// # Panics
    /// When the call is refused, with the answer.
    pub fn call(&self, name: &str, fields: Value) -> Response {
        let response = self.try_call(name, fields);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        response
    }

    /// Makes a call with the key and `fields`.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn try_call(&self, name: &str, mut fields: Value) -> Response {
        fields["key"] = json!(KEY);
        self.post(&format!("/nw-api/{name}"), "application/json", &fields.to_string())
    }

    /// The current generation.
    ///
    /// # Panics
    /// When the API does not say.
    pub fn generation(&self) -> u64 {
        let request = get(self.address, "/nw-api/v2/bundle");
        let response = self.send(&request);
        let header = response.header("x-nw-generation");
        header
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no generation in {response:?}"))
    }

    /// Replaces the block list.
    ///
    /// # Panics
    /// When the call is refused.
    pub fn set_block_list(&self, entries: &[&str]) {
        self.call("set_dyn_bl", json!({"set": {"active": "true", "bl": entries}}));
    }

    /// Adds an extended rule and returns its id.
    ///
    /// # Panics
    /// When the call is refused.
    pub fn add_rule(&self, fields: Value) -> u64 {
        let answer = self.call("set_dyn_erl", json!({ "add": fields })).json();
        answer["id"].as_u64().unwrap_or_else(|| panic!("no id in {answer}"))
    }

    /// Creates a key and returns its text.
    ///
    /// # Panics
    /// When the command fails.
    pub fn create_key(&self, name: &str, scope: &str) -> String {
        self.administrate(&["key", "create", "--name", name, "--scope", scope])
    }

    /// Runs a subcommand of `nwaf-api` on the database and returns what it prints.
    ///
    /// # Panics
    /// When the command fails.
    pub fn administrate(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("nwaf-api runs");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {why}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Copies the database, journal included, as a backup of the whole disk would.
    /// The API must not run.
    ///
    /// # Panics
    /// When a file cannot be copied.
    pub fn copy_database(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder for the copy");
        for suffix in ["", "-wal", "-shm"] {
            let (from, to) =
                (from.join(format!("api.db{suffix}")), to.join(format!("api.db{suffix}")));
            let _ = std::fs::remove_file(&to);
            if from.exists() {
                std::fs::copy(&from, &to).expect("the database is copied");
            }
        }
    }

    /// The folder with the database.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn command(&self) -> Command {
        let mut command = Command::new(artifacts::program("nwaf-api"));
        command.arg("--config").arg(self.folder.join("api.toml"));
        command
    }
}

/// A request with the key.
fn get(address: SocketAddrV4, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {KEY}\r\n\r\n")
        .into_bytes()
}
