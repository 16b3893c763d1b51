//! Backup and restore as `docs/operations.md` has them: what is restored is newer than
//! what nodes run, although its generations are lower.

use std::path::Path;
use std::process::Command;

use support::folder::set_mode;
use support::wait::{PATIENCE, eventually};
use support::{Api, Folder, Postgres, Syncd, among_others};

use crate::site::{Revision, block_list, call, entries, revision_of, written};

/// An API, and a syncd that follows it.
struct Installation {
    syncd: Syncd,
    api: Api,
    _folder: Folder,
}

impl Installation {
    fn start(database: &str) -> Self {
        let folder = Folder::new();
        let mut api = Api::prepare(folder.path(), "api", database, "");
        api.run();
        let snapshot = folder.create("snapshot");
        let key = api.create_key("node", "node");
        let syncd = Syncd::start(folder.path(), &snapshot, &[api.endpoint()], &key);
        Self { syncd, api, _folder: folder }
    }

    fn write(&self, count: usize) -> Revision {
        let revision = written(&call(self.api.address(), "set_dyn_bl", block_list(count)));
        self.await_published(revision);
        revision
    }

    fn await_published(&self, revision: Revision) {
        eventually(PATIENCE, "the revision at the node", || {
            let status = self.syncd.status()?;
            let published = (status["session"].as_u64()?, status["generation"].as_u64()?);
            (published == revision).then_some(())
        });
    }

    /// What is there after a restore of three entries must reach the node.
    fn assert_restored(&self, saved: Revision, lost: Revision) {
        let restored = revision_of(self.api.address()).expect("it answers");
        assert!(restored.0 > lost.0, "a new session: {restored:?}");
        assert!(restored.1 < lost.1 && restored.1 >= saved.1, "{restored:?}");
        self.await_published(restored);
        let answer = call(self.api.address(), "get_dyn_bl", serde_json::json!({}));
        assert_eq!(entries(&answer), 3);
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_is_copied_while_it_is_used_and_put_back() {
    let _turn = among_others();
    let place = Folder::new();
    let (database, copy) = (place.path().join("settings.db"), place.path().join("copy.db"));
    let mut it = Installation::start(&format!("sqlite://{}", database.display()));
    let saved = it.write(3);
    it.api.administrate(&["backup", &copy.display().to_string()]);
    let mut lost = saved;
    for count in 4..9 {
        lost = it.write(count);
    }
    it.api.kill();
    std::fs::copy(&copy, &database).expect("copied");
    set_mode(&database, 0o600);
    for left in ["settings.db-wal", "settings.db-shm"] {
        let _ = std::fs::remove_file(place.path().join(left));
    }
    it.api.administrate(&["session", "renew"]);
    it.api.run();
    it.assert_restored(saved, lost);
}

#[test]
fn a_dump_of_the_replica_is_restored_into_the_primary() {
    let _turn = among_others();
    let server = Postgres::start();
    let replica = server.replicate();
    let mut it = Installation::start(&server.url());
    let saved = it.write(3);
    replica.in_step_with(&server);
    let home = replica.password_file().parent().map(Path::to_owned).expect("a folder");
    let dump = home.join("nwaf.dump");
    succeeds(
        replica
            .tool("pg_dump")
            .args(["--format=custom", "--file"])
            .arg(&dump)
            .arg(format!("--dbname={}", replica.url())),
    );
    let mut lost = saved;
    for count in 4..9 {
        lost = it.write(count);
    }
    it.api.kill();
    succeeds(
        replica
            .tool("pg_restore")
            .args(["--clean", "--if-exists", "--single-transaction"])
            .arg(format!("--dbname={}", server.url()))
            .arg(&dump),
    );
    it.api.administrate(&["session", "renew"]);
    it.api.run();
    it.assert_restored(saved, lost);
    // And the replica has it as well.
    replica.in_step_with(&server);
}

#[test]
fn a_dump_restored_into_another_server_is_recognised() {
    let _turn = among_others();
    let (server, other) = (Postgres::start(), Postgres::start());
    let mut it = Installation::start(&server.url());
    let saved = it.write(3);
    let home = server.password_file().parent().map(Path::to_owned).expect("a folder");
    let dump = home.join("nwaf.dump");
    let mut command = server.tool("pg_dump");
    command.args(["--format=custom", "--file"]).arg(&dump);
    succeeds(command.arg(format!("--dbname={}", server.url())));
    let mut lost = saved;
    for count in 4..9 {
        lost = it.write(count);
    }
    it.api.kill();
    let mut command = server.tool("pg_restore");
    command.arg("--single-transaction").arg(format!("--dbname={}", other.url()));
    succeeds(command.arg(&dump));
    it.api.configure(&other.url(), "");
    it.api.run();
    it.assert_restored(saved, lost);
}
