//! The scripts on Debian's clusters, whose configuration lies apart from their data.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::postgres::{Script, script};
use support::process::read;
use support::{Postgres, artifacts};

/// A cluster of a configuration folder that is not the machine's.
struct Cluster {
    /// Holds address, sockets, passwords and, in the end, the process.
    server: Postgres,
    name: String,
    root: PathBuf,
}

impl Cluster {
    /// An empty cluster, as the distribution makes one; it does not run.
    fn create(root: &Path, name: &str) -> Self {
        let server = Postgres::vacant();
        let cluster = Self { server, name: name.to_owned(), root: root.to_owned() };
        let home = cluster.server.data().parent().expect("a folder").to_owned();
        let user = if rustix::process::geteuid().is_root() { "postgres".to_owned() } else { me() };
        let mut create = cluster.tool("pg_createcluster");
        create
            .args(["--user", &user, "--start-conf", "manual", "--datadir"])
            .arg(cluster.server.data())
            .arg("--socketdir")
            .arg(cluster.server.sockets())
            .arg("--logfile")
            .arg(home.join("postgres.log"))
            .args(["--port", &cluster.server.address().port().to_string()])
            .args([&version(), name, "--", "-U", "postgres", "--data-checksums", "--no-sync"]);
        Script::run(&mut create).done();
        // The harness asks as superuser of the test's user.
        let hba = cluster.configuration().join("pg_hba.conf");
        let trusted = read(&hba).replace("peer", "trust");
        std::fs::write(&hba, trusted).expect("written");
        cluster
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir("/").env("PG_CLUSTER_CONF_ROOT", &self.root);
        command
    }

    fn configuration(&self) -> PathBuf {
        self.root.join(version()).join(&self.name)
    }

    fn script(&mut self, name: &str, words: &[&str]) -> Script {
        let mut command = script(name);
        command
            .env("PG_CLUSTER_CONF_ROOT", &self.root)
            .args(["--cluster", &format!("{}/{}", version(), self.name), "--passwords"])
            .arg(self.server.password_file())
            .args(words);
        let script = Script::run(&mut command);
        self.server.adopt();
        script
    }
}

/// The version of the programs under test.
fn version() -> String {
    let bin = artifacts::postgres();
    let folder = bin.parent().and_then(Path::file_name).expect("/usr/lib/postgresql/VERSION/bin");
    folder.to_string_lossy().into_owned()
}

fn me() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_whole_story_on_debians_clusters() {
    let folder = support::Folder::new();
    let root = folder.create("etc");
    support::postgres::give(&root);
    let names = [1, 2].map(|number| format!("nwaf{}_{number}", std::process::id()));
    let mut one = Cluster::create(&root, &names[0]);
    let mut two = Cluster::create(&root, &names[1]);
    let listen = one.server.address().ip().to_string();
    let nets = ["--api", "127.0.0.0/8", "--peer", "127.0.0.0/8", "--listen", &listen];
    one.script("pg-primary", &nets).done();
    assert!(one.script("pg-primary", &nets).done().said.matches("as it should be").count() == 2);
    one.server.sql("create table changes as select 1 as id");

    let primary = one.server.address().to_string();
    let words: Vec<&str> = ["--primary", &primary].into_iter().chain(nets).collect();
    two.script("pg-replica", &words).refused(1, &["is not empty", "--replace"]);
    let words: Vec<&str> = words.into_iter().chain(["--replace"]).collect();
    two.script("pg-replica", &words).done();
    assert!(two.server.is_replica());
    assert_eq!(two.server.sql("select id from changes"), "1");
    assert_eq!(two.server.sql("show port"), two.server.address().port().to_string());
    for cluster in [&mut one, &mut two] {
        cluster.script("pg-status", &[]).done();
    }
    let configuration = read(&two.configuration().join("postgresql.conf"));
    two.script("pg-resync", &[]).done();
    assert_eq!(read(&two.configuration().join("postgresql.conf")), configuration);

    one.server.kill9();
    two.script("pg-promote", &["--yes"]).done();
    two.server.sql("insert into changes values (2)");
    let successor = two.server.address().to_string();
    one.script("pg-rewind", &["--primary", &successor, "--yes"]).done();
    assert!(one.server.is_replica());
    one.server.in_step_with(&two.server);
    assert_eq!(one.server.sql("select max(id) from changes"), "2");
    for cluster in [&mut one, &mut two] {
        cluster.script("pg-status", &[]).done();
    }
    one.server.stop();
    two.server.stop();
}
