//! What the operator may write: values, defaults, inheritance.
//!
//! Parsing is strict: a value is either understood or refused with its reason,
//! and nginx adds file and line. The tables nginx reads are in `ffi::commands`.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use country::{Countries, CountryError};
use ipc::events::mask::Masks;
use ipc::snapshot::{CURRENT, PREVIOUS, Snapshot, Trust};
use policy::Settings;

use crate::ffi::limit_zone::LimitZone;
use crate::ffi::realip::Realip;
use crate::journal::JournalConf;
use crate::local::Local;
use crate::telemetry::TelemetryConf;

/// Where syncd publishes unless told otherwise.
pub const DEFAULT_SNAPSHOT_DIR: &str = "/var/lib/nwaf/snapshot";

/// `nwaf on | off | passive`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Requests are not looked at.
    #[default]
    Off,
    /// Blocks.
    On,
    /// Records what would be blocked, and never blocks.
    Passive,
}

impl Mode {
    /// Reads the directive's value.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            "passive" => Ok(Self::Passive),
            _ => Err("must be on, off or passive".to_owned()),
        }
    }
}

/// `nwaf_on_error pass | block`: what happens to a request that cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// It passes.
    #[default]
    Pass,
    /// It is blocked.
    Block,
}

impl OnError {
    /// Reads the directive's value.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "pass" => Ok(Self::Pass),
            "block" => Ok(Self::Block),
            _ => Err("must be pass or block".to_owned()),
        }
    }
}

/// `nwaf_body_overflow pass | block`: what happens to a request whose body is
/// longer than `nwaf_body_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyOverflow {
    /// Its first part decides.
    #[default]
    Pass,
    /// It is blocked.
    Block,
}

impl BodyOverflow {
    /// Reads the directive's value.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "pass" => Ok(Self::Pass),
            "block" => Ok(Self::Block),
            _ => Err("must be pass or block".to_owned()),
        }
    }
}

/// `nwaf_body_limit SIZE`: bytes of a body that are analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(usize);

impl BodyLimit {
    /// Beyond this, a few hundred slow clients could fill the memory of a host:
    /// each request on its way may hold as much.
    const MAX: usize = 16 << 20;

    /// Reads the directive's value: bytes, or with the suffix `k` or `m`.
    pub fn parse(value: &str) -> Result<Self, String> {
        const RANGE: &str = "must be 1 to 16m bytes, as 65536, 64k or 1m";
        match size(value) {
            Some(bytes @ 1..=Self::MAX) => Ok(Self(bytes)),
            _ => Err(RANGE.to_owned()),
        }
    }

    /// The number.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Default for BodyLimit {
    fn default() -> Self {
        Self(128 << 10)
    }
}

/// `nwaf_zone SIZE [ipv6_prefix=BITS]`: shared memory for limits and bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneSize {
    /// Bytes, all that nginx needs for itself included.
    pub bytes: usize,
    /// Bits of an IPv6 address that are counted and banned together, 1-128.
    pub ipv6_prefix: u8,
}

impl ZoneSize {
    /// Below this a few hundred attackers would push each other out.
    const MIN: usize = 64 << 10;
    /// Far more than a site needs; a slip of the unit is caught.
    const MAX: usize = 4 << 30;

    /// Reads the directive's values.
    pub fn parse(values: &[String]) -> Result<Self, (String, String)> {
        const RANGE: &str = "must be 64k to 4g, as 65536, 512k, 16m or 1g";
        let mut zone = Self::default();
        for (nth, value) in values.iter().enumerate() {
            let refuse = |why: &str| (value.clone(), why.to_owned());
            match value.strip_prefix("ipv6_prefix=") {
                Some(bits) if nth > 0 => {
                    let plain = bits.bytes().all(|byte| byte.is_ascii_digit());
                    let bits = bits.parse().ok().filter(|bits| plain && (1..=128).contains(bits));
                    zone.ipv6_prefix = bits.ok_or_else(|| refuse("must be 1 to 128 bits"))?;
                }
                None if nth == 0 => {
                    let bytes = size(value).filter(|bytes| (Self::MIN..=Self::MAX).contains(bytes));
                    zone.bytes = bytes.ok_or_else(|| refuse(RANGE))?;
                }
                _ => return Err(refuse("must be SIZE or SIZE ipv6_prefix=BITS")),
            }
        }
        Ok(zone)
    }
}

impl Default for ZoneSize {
    /// 16 MiB: room for 86,000 bans and the counts of at least 70,000 addresses. A /64 is the
    /// smallest network an IPv6 client is given (RFC 6177, section 2).
    fn default() -> Self {
        Self { bytes: 16 << 20, ipv6_prefix: 64 }
    }
}

/// `nwaf_bans [lift]`: a page that lists bans, and perhaps lifts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BansPage {
    /// Lists them.
    List,
    /// Lists them, and ends those that a DELETE names.
    Lift,
}

impl BansPage {
    /// Reads the directive's value; empty where there is none.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "" => Ok(Self::List),
            "lift" => Ok(Self::Lift),
            _ => Err("must be lift, or nothing for a page that only lists".to_owned()),
        }
    }
}

/// `nwaf_block_status CODE`: the status a blocked request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus(u16);

impl BlockStatus {
    /// Reads the directive's value.
    pub fn parse(value: &str) -> Result<Self, String> {
        const RANGE: &str = "must be 400-599 (444 closes the connection without an answer)";
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse::<u16>() {
            Ok(408 | 494..=499) => Err(format!(
                "nginx keeps 408 and 494-499 for itself and answers them in its own way; {RANGE}"
            )),
            Ok(code @ 400..=599) if digits => Ok(Self(code)),
            _ => Err(RANGE.to_owned()),
        }
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl Default for BlockStatus {
    fn default() -> Self {
        Self(403)
    }
}

/// The directives of a place (http, server, location); `None` where it says nothing.
#[derive(Debug, Default)]
pub struct LocationConf {
    /// `nwaf`
    pub mode: Option<Mode>,
    /// `nwaf_block_status`
    pub block_status: Option<BlockStatus>,
    /// `nwaf_on_error`
    pub on_error: Option<OnError>,
    /// `nwaf_body_limit`
    pub body_limit: Option<BodyLimit>,
    /// `nwaf_body_overflow`
    pub body_overflow: Option<BodyOverflow>,
    /// The directive whose page this place is: `nwaf_status`, `nwaf_metrics` or
    /// `nwaf_bans`; not inherited.
    pub page: Option<String>,
    /// `nwaf_bans`; not inherited.
    pub bans: Option<BansPage>,
    /// Realip's directives are others here than in the server: the client's
    /// address changes only after the rewrite phase. Not inherited, but found
    /// out for each place.
    pub late_realip: bool,
}

impl LocationConf {
    /// Takes over what the enclosing place says and this one does not.
    pub fn inherit(&mut self, outer: &Self) {
        self.mode = self.mode.or(outer.mode);
        self.block_status = self.block_status.or(outer.block_status);
        self.on_error = self.on_error.or(outer.on_error);
        self.body_limit = self.body_limit.or(outer.body_limit);
        self.body_overflow = self.body_overflow.or(outer.body_overflow);
    }

    /// The mode in force.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    /// The block status in force.
    pub fn block_status(&self) -> BlockStatus {
        self.block_status.unwrap_or_default()
    }

    /// Bytes of a body that are analysed here.
    pub fn body_limit(&self) -> usize {
        self.body_limit.unwrap_or_default().bytes()
    }

    /// What a longer body means here.
    pub fn body_overflow(&self) -> BodyOverflow {
        self.body_overflow.unwrap_or_default()
    }

    /// What a failure means here.
    pub fn on_error(&self) -> OnError {
        self.on_error.unwrap_or_default()
    }
}

/// The directives of the whole `http` block.
#[derive(Debug, Default)]
pub struct MainConf {
    /// `nwaf_snapshot`
    pub snapshot: Option<SnapshotDir>,
    /// `nwaf_geoip2`
    pub geoip2: Option<CountryFile>,
    /// `nwaf_zone`
    pub zone: Option<ZoneSize>,
    /// The zone itself, once nginx has mapped it.
    pub limit_zone: Option<LimitZone>,
    /// The settings of the API that have directives of their own, while they are read.
    pub settings: Settings,
    /// The same when all were read; none where there are none.
    pub local: Option<Arc<Local>>,
    /// `nwaf_journal`
    pub journal: Option<JournalConf>,
    /// `nwaf_telemetry`
    pub telemetry: Option<TelemetryConf>,
    /// `nwaf_mask`, and the names that are always hidden.
    pub masks: Masks,
    /// Whether any place says `nwaf on` or `nwaf passive`.
    pub enabled: bool,
    /// The index nginx gave to `$request_id` in this configuration.
    pub request_id: Option<usize>,
    /// How to foresee what realip does late; `None` where this nginx cannot tell.
    pub realip: Option<Realip>,
}

/// A value that names something outside, perhaps with a warning about what is there
/// now; or why it can never be right.
pub type Checked<T> = Result<(T, Option<String>), String>;

/// A directory that was looked at while the configuration was read.
#[derive(Debug, Clone)]
pub struct SnapshotDir {
    /// Absolute.
    pub path: PathBuf,
    /// Whose snapshots are believed; `None` until the directory exists.
    pub trust: Option<Trust>,
}

impl SnapshotDir {
    /// Checks `nwaf_snapshot`'s value. The second part is a warning about what is
    /// not there *yet*, or not readable now: nginx must start without it.
    ///
    /// # Errors
    /// A value that can never be right, or a directory that anybody could put
    /// rules into.
    pub fn parse(value: &str) -> Checked<Self> {
        if value.is_empty() {
            return Err("must be an absolute path".to_owned());
        }
        if !value.starts_with('/') {
            return Err(
                "must be an absolute path; nginx's prefix differs between packages".to_owned()
            );
        }
        Self::inspect(Path::new(value))
    }

    fn inspect(path: &Path) -> Checked<Self> {
        let dir = |trust| Self { path: path.to_owned(), trust };
        let trust = match trust_of(path) {
            Ok(trust) => trust,
            Err(DirError::Refused(why)) => return Err(why),
            Err(DirError::Io(why)) if why.kind() == io::ErrorKind::NotFound => {
                let text = "does not exist yet; nwaf_on_error decides until it holds a snapshot";
                return Ok((dir(None), Some(text.to_owned())));
            }
            Err(DirError::Io(why)) => {
                let text = format!("{why}; nwaf_on_error decides until workers can read it");
                return Ok((dir(None), Some(text)));
            }
        };
        let warning = Snapshot::open(&path.join(CURRENT), trust).err().map(|why| {
            // What workers do that start now, see `worker`.
            match Snapshot::open(&path.join(PREVIOUS), trust) {
                Ok(previous) => format!(
                    "{CURRENT} cannot be used: {why}; new workers take {PREVIOUS} \
                     (generation {}) until syncd publishes",
                    previous.meta().generation
                ),
                Err(_) => format!(
                    "{CURRENT} cannot be used: {why}; nwaf_on_error decides until syncd publishes"
                ),
            }
        });
        Ok((dir(Some(trust)), warning))
    }
}

/// `nwaf_geoip2 FILE`: a country database that was looked at while the
/// configuration was read.
#[derive(Debug, Clone)]
pub struct CountryFile {
    /// Absolute.
    pub path: PathBuf,
}

impl CountryFile {
    /// Checks the directive's value. The second part is a warning about a file that
    /// is not there, or not usable now: nginx must start without it.
    ///
    /// # Errors
    /// A value that can never be right.
    pub fn parse(value: &str) -> Checked<Self> {
        if !value.starts_with('/') {
            return Err(
                "must be an absolute path; nginx's prefix differs between packages".to_owned()
            );
        }
        let path = PathBuf::from(value);
        let warning = Countries::open(&path).err().map(|why| match why {
            CountryError::Io(why) if why.kind() == io::ErrorKind::NotFound => {
                "does not exist yet; every country is unknown until it does".to_owned()
            }
            why => format!("cannot be used: {why}; every country is unknown until it can"),
        });
        Ok((Self { path }, warning))
    }
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum DirError {
    /// It cannot be looked at.
    Io(io::Error),
    /// It must not be used.
    Refused(String),
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) if why.kind() == io::ErrorKind::NotFound => {
                f.write_str("does not exist yet")
            }
            Self::Io(why) => write!(f, "cannot be looked at: {why}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

/// What is known of a directory that only some may write to.
///
/// # Errors
/// A path that is no directory, with what to do `instead`; or one that everybody may write to.
pub fn inspect_dir(path: &Path, instead: &str) -> Result<Metadata, DirError> {
    let meta = fs::metadata(path).map_err(DirError::Io)?;
    if !meta.is_dir() {
        return Err(DirError::Refused(format!("is not a directory; {instead}")));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(DirError::Refused("is writable by everybody; chmod o-w it".to_owned()));
    }
    Ok(meta)
}

/// A size as nginx writes it: bytes, or with the suffix `k`, `m` or `g`.
pub fn size(value: &str) -> Option<usize> {
    let (digits, unit) = match value.as_bytes().last()? {
        b'k' | b'K' => (&value[..value.len() - 1], 1 << 10),
        b'm' | b'M' => (&value[..value.len() - 1], 1 << 20),
        b'g' | b'G' => (&value[..value.len() - 1], 1 << 30),
        _ => (value, 1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<usize>().ok().filter(|_| is_number)?;
    count.checked_mul(unit)
}

/// Whose snapshots a directory may hold: root's and its owner's.
///
/// # Errors
/// A path that is no directory, or one that everybody may write to.
pub fn trust_of(path: &Path) -> Result<Trust, DirError> {
    let meta = inspect_dir(path, "name the directory syncd publishes to")?;
    Ok(Trust { owner: meta.uid() })
}
