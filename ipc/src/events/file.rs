//! The file of a journal: appended to by one thread, taken away by whoever rotates it.
//!
//! Invariants: lines reach the file whole, and several writers of one file do not mix theirs:
//! each batch is one `write` in append mode, and begins a line of its own whatever is
//! there before it; a file that was renamed or removed is left
//! alone and another one begun; the file does not grow beyond its limit.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Owner and group read it: a journal shows what visitors send.
const MODE: u32 = 0o640;

/// Why lines were not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error("it cannot be opened: {0}; the user of nginx's workers must be able to write there")]
    Open(#[source] io::Error),
    /// A directory, device or pipe.
    #[error("it is not a regular file; remove it")]
    NotRegular,
    /// The system takes no more.
    #[error("it cannot be written: {0}")]
    Write(#[source] io::Error),
    /// The limit is reached.
    #[error("it has reached max_size ({0} bytes); rename, remove or truncate it")]
    Full(u64),
}

/// A journal's file.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    /// Bytes it may have.
    max: u64,
    file: Option<File>,
}

impl JournalFile {
    /// Nothing is opened yet. `max` bytes are the most it may have.
    pub fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, file: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Sees to it that the file with this name is open: one `stat` and one `fstat`. Returns its
    /// length.
    ///
    /// # Errors
    /// There is none, and none can be made.
    pub fn look(&mut self) -> Result<u64, JournalError> {
        if let Some(file) = &self.file {
            let open = file.metadata().map_err(JournalError::Open)?;
            let is_same = std::fs::symlink_metadata(&self.path)
                .is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino()));
            if is_same {
                return Ok(open.len());
            }
            self.file = None;
        }
        let file = OpenOptions::new()
            .append(true)
            // Only its last byte.
            .read(true)
            .create(true)
            .mode(MODE)
            // A link could lead anywhere, and a pipe would wait for a reader.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)
            .map_err(JournalError::Open)?;
        let meta = file.metadata().map_err(JournalError::Open)?;
        if !meta.is_file() {
            return Err(JournalError::NotRegular);
        }
        self.file = Some(file);
        Ok(meta.len())
    }

    /// Appends whole lines; returns how many, and why not all of them.
    pub fn write(&mut self, lines: &[u8]) -> (u64, Option<JournalError>) {
        let length = match self.look() {
            Ok(length) => length,
            Err(why) => return (0, Some(why)),
        };
        let Some(file) = &mut self.file else { return (0, None) };
        let room = usize::try_from(self.max.saturating_sub(length)).unwrap_or(usize::MAX);
        let mut why = None;
        let mut fits = lines;
        if lines.len() > room {
            let end = lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            fits = &lines[..end];
            why = Some(JournalError::Full(self.max));
        }
        if fits.is_empty() {
            return (0, why);
        }
        if is_torn(file, length)
            && let Err(error) = file.write_all(b"\n")
        {
            return (0, Some(JournalError::Write(error)));
        }
        let mut at = 0;
        while at < fits.len() {
            match file.write(&fits[at..]) {
                Ok(0) => {
                    why = Some(JournalError::Write(io::ErrorKind::WriteZero.into()));
                    break;
                }
                Ok(written) => at += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    why = Some(JournalError::Write(error));
                    break;
                }
            }
        }
        (fits[..at].iter().filter(|byte| **byte == b'\n').count() as u64, why)
    }
}

/// Whether a file ends inside a line: the disk was full, perhaps for a worker that has gone.
fn is_torn(file: &File, length: u64) -> bool {
    let mut last = [0];
    let Some(at) = length.checked_sub(1) else { return false };
    file.read_at(&mut last, at).is_ok_and(|count| count == 1 && last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).expect("is there")
    }

    #[test]
    fn rotation_by_any_means_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut file = JournalFile::new(path.clone(), 100);
        assert!(matches!(file.write(b"1\n2\n"), (2, None)));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(matches!(file.write(b"3\n"), (1, None)));
        assert_eq!(
            (text(&folder.path().join("old")), text(&path)),
            ("1\n2\n".into(), "3\n".into())
        );
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.write(b"4\n"), (1, None)));
        assert_eq!(text(&path), "4\n");
        fs::write(&path, b"").unwrap();
        assert!(matches!(file.write(b"5\n"), (1, None)));
        assert_eq!(text(&path), "5\n");
        // Another worker of the same journal.
        let mut other = JournalFile::new(path.clone(), 100);
        assert!(matches!(other.write(b"6\n"), (1, None)));
        assert!(matches!(file.write(b"7\n"), (1, None)));
        assert_eq!(text(&path), "5\n6\n7\n");
    }

    #[test]
    fn a_line_that_anybody_left_cut_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "whole\n{cut").unwrap();
        let mut file = JournalFile::new(path.clone(), 100);
        assert!(matches!(file.write(b"1\n"), (1, None)));
        assert!(matches!(file.write(b"2\n"), (1, None)));
        assert_eq!(text(&path), "whole\n{cut\n1\n2\n");
        // Another worker's, meanwhile.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{cut").unwrap();
        assert!(matches!(file.write(b"3\n"), (1, None)));
        assert_eq!(text(&path), "whole\n{cut\n1\n2\n{cut\n3\n");
        fs::write(&path, "").unwrap();
        assert!(matches!(file.write(b"4\n"), (1, None)));
        assert_eq!(text(&path), "4\n");
    }

    #[test]
    fn the_limit_is_kept_in_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut file = JournalFile::new(path.clone(), 10);
        assert!(matches!(file.write(b"1234\n123\n1\n"), (2, Some(JournalError::Full(10)))));
        assert!(matches!(file.write(b"1\n"), (0, Some(JournalError::Full(10)))));
        assert!(matches!(file.write(b"\n"), (1, None)));
        assert_eq!(text(&path), "1234\n123\n\n");
        fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(matches!(file.write(b"1\n"), (1, None)));
    }

    #[test]
    fn links_and_pipes_are_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        let mut file = JournalFile::new(path.clone(), 10);
        assert!(matches!(file.write(b"1\n"), (0, Some(JournalError::Open(_)))));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(file.write(b"1\n"), (0, Some(JournalError::Open(_)))));
        fs::remove_dir(&path).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &path,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert!(matches!(file.write(b"1\n"), (0, Some(JournalError::NotRegular))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.write(b"1\n"), (1, None)));
    }

    #[test]
    fn a_device_that_is_full_is_told() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = JournalFile::new("/dev/full".into(), 100);
        file.file = Some(full);
        let (written, why) = file.write(b"1\n");
        assert_eq!(written, 0);
        assert!(matches!(why, Some(JournalError::Write(_))), "{why:?}");
    }
}
