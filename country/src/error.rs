//! Why a file is no country database.

use std::io;

/// Why a file is refused. The text names what is wrong, not the path.
#[derive(Debug, thiserror::Error)]
pub enum CountryError {
    /// The file cannot be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A directory, device or pipe.
    #[error("it is not a regular file")]
    NotRegular,
    /// Everybody may write to it.
    #[error("it is writable by everybody (mode {0:04o}); remove the write permission for others")]
    Writable(u32),
    /// Longer than [`super::FILE_MAX`].
    #[error("it has {0} bytes and at most {max} are read", max = super::FILE_MAX)]
    TooLarge(u64),
    /// Its bytes do not follow the format.
    #[error("it is not a whole MaxMind database: {0}")]
    Malformed(#[from] maxminddb::MaxMindDbError),
    /// What it says of a place does not have the form that databases of countries have.
    #[error("a record of it is not that of a country database: {0}")]
    Record(maxminddb::MaxMindDbError),
    /// Its networks overlap, repeat or are out of order: a tree that is none.
    #[error("it is not a whole MaxMind database: its search tree is not a tree")]
    NoTree,
    /// A database of something else.
    #[error(
        "it is a database of type {0:?} without any country.iso_code; \
         take a database of countries or cities"
    )]
    NoCountries(String),
}
