//! Putting a snapshot in force.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{BANS, CURRENT, PREVIOUS};

/// Names of files that are being written; never looked at by readers.
const UNFINISHED: &str = ".current.nws.tmp";
const UNFINISHED_BANS: &str = ".bans.nws.tmp";
/// Name under which the old file becomes the previous one.
const OUTGOING: &str = ".previous.nws.tmp";

/// Readable for nginx's workers whatever the writer's umask; who may enter the
/// directory decides who may read. Writable for nobody: a published file that is
/// written over (`cp` onto it, an editor) would kill the workers that map it.
const MODE: u32 = 0o444;

/// Puts `bytes` in force in `dir`: readers see the old file or the new one,
/// never a part, also across a loss of power. The file in force before stays
/// as `previous.nws`. One writer per directory.
///
/// # Errors
/// Any error of the file system; the file in force is then the old one.
pub fn publish(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(dir, UNFINISHED, CURRENT, bytes, keep_previous)
}

/// Puts compiled bans in force in `dir`, as [`publish`] does for a policy. Bans
/// before them are not kept: they would be wrong soon.
///
/// # Errors
/// As [`publish`].
pub fn publish_bans(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(dir, UNFINISHED_BANS, BANS, bytes, |_| Ok(()))
}

fn replace(
    dir: &Path,
    unfinished: &str,
    name: &str,
    bytes: &[u8],
    before: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = dir.join(unfinished);
    remove(&unfinished)?;
    let written = write(&unfinished, bytes).and_then(|()| {
        before(dir)?;
        fs::rename(&unfinished, dir.join(name))?;
        File::open(dir)?.sync_all()
    });
    if written.is_err() {
        // A full disk must not also keep the useless part of a file.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the file in force its second name without a moment in which it has none.
fn keep_previous(dir: &Path) -> io::Result<()> {
    let outgoing = dir.join(OUTGOING);
    remove(&outgoing)?;
    match fs::hard_link(dir.join(CURRENT), &outgoing) {
        Ok(()) => fs::rename(outgoing, dir.join(PREVIOUS)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}
