//! Why a snapshot cannot be written or used.

use std::io;

/// Why a policy has no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Too many list entries with different hosts cover one address.
    #[error(
        "list entries with different hosts overlap too much, at most {0} may cover one address; merge them"
    )]
    Overlap(usize),
    /// Too many bans.
    #[error("more than {0} bans; ban networks instead of addresses")]
    Bans(usize),
    /// The file would pass 4 GiB, the reach of its offsets.
    #[error("the snapshot would be larger than 4 GiB")]
    TooLarge,
}

/// Why a file is refused. The text names what is wrong, not the path.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be opened or mapped.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A directory, device, pipe or link.
    #[error("it is not a regular file")]
    NotRegular,
    /// Its owner is neither root nor the trusted user.
    #[error("it belongs to user {owner}, and only root and user {trusted} are trusted")]
    Owner {
        /// Owner of the file.
        owner: u32,
        /// The user that is trusted besides root.
        trusted: u32,
    },
    /// Everybody may write to it.
    #[error("it is writable by everybody (mode {0:04o}); remove the write permission for others")]
    Writable(u32),
    /// Shorter than a header, or not of the length the header announces.
    #[error("it has {found} bytes and should have {announced}")]
    Length {
        /// Bytes in the file.
        found: u64,
        /// Bytes there should be.
        announced: u64,
    },
    /// Something else than a snapshot.
    #[error("it is not a snapshot (wrong magic number)")]
    Magic,
    /// Written on a machine of the other byte order.
    #[error("it was written on a machine of another byte order")]
    ByteOrder,
    /// Written by a newer syncd.
    #[error(
        "it needs a reader of format {needed} and this module reads {}; update the module",
        super::format::FORMAT_VERSION
    )]
    Version {
        /// Lowest format version that can read it.
        needed: u32,
    },
    /// Bits have changed since it was written.
    #[error("its checksum does not match: the file is damaged")]
    Checksum,
    /// Bans where a policy was expected, or the reverse.
    #[error("it holds something else: a policy and bans have files of their own")]
    Kind,
    /// The named section breaks a rule of the format.
    #[error("section {0} is malformed")]
    Malformed(&'static str),
}
