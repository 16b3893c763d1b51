//! The country database a worker follows, and what is said about it.
//!
//! Invariant: a file that is missing or refused never replaces what was read
//! before, and never keeps a worker from starting.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use country::{Countries, Event, Follower};

use crate::directives::CountryFile;
use crate::ffi::{log, os};
use crate::guard::guard;
use crate::worker::{self, GONE, NO_FILE, locked, number_of};
use crate::zone::{Counter, Table};

/// Why the file there is now is not in force; `None` where it is.
static REFUSAL: Mutex<Option<String>> = Mutex::new(None);

/// Why the country database there is now is not in force.
pub fn refusal() -> Option<String> {
    locked(&REFUSAL).clone()
}

/// The database of one worker.
pub struct Watch {
    path: PathBuf,
    follower: Follower,
    in_force: Option<Arc<Countries>>,
    table: Option<&'static Table>,
}

impl Watch {
    /// Will follow a file; nothing is read yet.
    pub fn new(file: &CountryFile, table: Option<&'static Table>) -> Self {
        let path = file.path.clone();
        Self { follower: Follower::new(&path), path, in_force: None, table }
    }

    /// What was read last and without an error.
    pub fn in_force(&self) -> Option<Arc<Countries>> {
        self.in_force.clone()
    }

    /// Looks once; whether there is another database now. Reading one takes time
    /// by its length, and all of it is somebody else's: a panic in there is one
    /// more way to refuse it, and not a reason to miss a policy.
    pub fn look(&mut self) -> bool {
        match guard(|| self.follower.poll()) {
            Ok(Event::Unchanged) => false,
            Ok(Event::Loaded(countries)) => {
                self.take(countries);
                true
            }
            Ok(Event::Refused(why)) => {
                self.refuse(number(&self.path), &format!("refused: {why}"));
                false
            }
            Ok(Event::Missing) => {
                self.refuse(NO_FILE, "does not exist");
                false
            }
            Err(panic) => {
                worker::count(Counter::Errors);
                let what = format!("refused: reading it failed, panic at {panic}");
                self.refuse(number(&self.path), &what);
                false
            }
        }
    }

    fn take(&mut self, countries: Arc<Countries>) {
        log::cycle(
            log::Level::Notice,
            format_args!(
                "nwaf: country database {:?} of {} is in force: {} ranges",
                countries.kind(),
                os::utc(countries.built_s().saturating_mul(1000)),
                countries.ranges()
            ),
        );
        self.in_force = Some(countries);
        *locked(&REFUSAL) = None;
        if let Some(table) = self.table {
            table.content_with_countries();
        }
    }

    /// Reports what is wrong with the file of this number.
    fn refuse(&self, file: u64, what: &str) {
        worker::count(Counter::Refusals);
        let instead = match self.in_force {
            Some(_) => "the one before it stays until the worker ends",
            None => "every country is unknown",
        };
        if self.table.is_none_or(|table| table.complain_about_countries(file)) {
            log::cycle(
                log::Level::Warn,
                format_args!("nwaf: country database {} {what}; {instead}", self.path.display()),
            );
        }
        *locked(&REFUSAL) = Some(what.to_owned());
    }
}

/// The number of what a name leads to, so that a change behind a link is one.
fn number(path: &Path) -> u64 {
    std::fs::metadata(path).as_ref().map_or(GONE, number_of)
}
