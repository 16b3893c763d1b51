//! Settings of nginx's own configuration: what holds for the keys that the policy in
//! force does not give.
//!
//! The values are compiled once, by the master while it reads the configuration; its
//! workers share that memory. Where a policy gives some of the keys, a worker compiles
//! the rest, on the thread that loads policies, before it puts that policy in force.
//!
//! Invariants: of each key one source counts, the policy's where it gives the key, an
//! empty value too; what is local is never looked at where nothing is.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use ipc::snapshot::format::list;
use ipc::snapshot::{Meta, Snapshot, compile};
use policy::{Host, HostLists, Key, Keys, Policy, Settings};

use crate::ffi::log;
use crate::worker;
use crate::zone::Counter;

/// The settings of one configuration.
#[derive(Debug)]
pub struct Local {
    settings: Settings,
    /// All of them, for the time in which no policy is in force or it gives none of them.
    whole: Arc<Snapshot>,
}

impl Local {
    /// Compiles settings; `None` where no directive gives any. Linear in their entries
    /// but for sorting addresses.
    ///
    /// # Errors
    /// What no snapshot can hold, with the reason.
    pub fn compile(settings: Settings) -> Result<Option<Self>, String> {
        if settings.given.is_empty() {
            return Ok(None);
        }
        let whole = snapshot(settings.clone())?;
        Ok(Some(Self { settings, whole: Arc::new(whole) }))
    }

    /// The keys that have a directive.
    pub fn given(&self) -> Keys {
        self.settings.given
    }
}

fn snapshot(settings: Settings) -> Result<Snapshot, String> {
    let policy = Policy { settings, ..Policy::default() };
    let bytes = compile(&policy, Meta::default()).map_err(|why| why.to_string())?;
    Snapshot::from_bytes(&bytes).map_err(|why| why.to_string())
}

/// What a worker has made of the settings of its configuration.
pub struct Rest {
    local: Arc<Local>,
    /// For a policy that gives these keys, this.
    made: Option<(Keys, Option<Arc<Snapshot>>)>,
}

impl Rest {
    /// Nothing is made yet.
    pub fn new(local: Arc<Local>) -> Self {
        // A process starts once; a second start would keep the first configuration.
        let _ = WHOLE.set(Arc::clone(&local.whole));
        Self { local, made: None }
    }

    /// What is to be asked beside a policy that gives the keys `given`; nothing where it
    /// gives every local one. Compiles only where the last policy gave others.
    pub fn beside(&mut self, given: Keys) -> Option<Arc<Snapshot>> {
        let own = self.local.given();
        let replaced = own.without(own.without(given));
        if let Some((keys, made)) = &self.made
            && *keys == replaced
        {
            return made.clone();
        }
        let kept = own.without(given);
        let made = if replaced.is_empty() {
            Some(Arc::clone(&self.local.whole))
        } else if kept.is_empty() {
            None
        } else {
            self.compile(kept)
        };
        log::cycle(
            log::Level::Notice,
            format_args!(
                "nwaf: settings of nginx's configuration in force: {}; replaced by the policy: {}",
                names(kept),
                names(replaced)
            ),
        );
        self.made = Some((replaced, made.clone()));
        made
    }

    /// A part of what was compiled as a whole can be compiled too, while there is memory.
    fn compile(&self, kept: Keys) -> Option<Arc<Snapshot>> {
        match snapshot(self.local.settings.only(kept)) {
            Ok(snapshot) => Some(Arc::new(snapshot)),
            Err(why) => {
                worker::count(Counter::Errors);
                log::cycle(
                    log::Level::Error,
                    format_args!("nwaf: settings of nginx's configuration are not in force: {why}"),
                );
                None
            }
        }
    }
}

fn names(keys: Keys) -> String {
    let names: Vec<_> = keys.iter().map(Key::name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The settings of this worker's configuration, all of them.
static WHOLE: OnceLock<Arc<Snapshot>> = OnceLock::new();

/// What local lists alone say about a client and the host it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The host is white-listed.
    HostBypass,
    /// The address is white-listed.
    AddressBypass,
    /// On a passive list: whatever is wrong, it is not blocked.
    Observe,
    /// On neither.
    Unknown,
}

/// Asks the lists of the configuration, for the time in which no policy is in force.
pub fn standing(address: Option<IpAddr>, host: Host<'_>) -> Standing {
    let Some(whole) = WHOLE.get() else { return Standing::Unknown };
    let by_host = whole.host_lists(host);
    let by_address = address.map_or(0, |address| whole.address_lists(address, host));
    if by_host.has(HostLists::BYPASS) {
        Standing::HostBypass
    } else if by_address & list::BYPASS != 0 {
        Standing::AddressBypass
    } else if by_host.has(HostLists::OBSERVE) || by_address & list::OBSERVE != 0 {
        Standing::Observe
    } else {
        Standing::Unknown
    }
}
