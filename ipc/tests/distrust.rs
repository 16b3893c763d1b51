//! No bytes and no file make a reader panic or believe what it should not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ipc::snapshot::format::Header;
use ipc::snapshot::{
    Bans, Beside, CURRENT, Event, Follower, Meta, PREVIOUS, Snapshot, SnapshotError, Trust,
    compile, compile_bans, publish,
};
use policy::text::Scratch;
use policy::{Ban, BanKind, Host, HostPattern, Policy, Request, Rule, RuleText, Settings};
use proptest::prelude::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nwaf-ipc-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn trust(dir: &Path) -> Trust {
    Trust { owner: fs::metadata(dir).unwrap().uid() }
}

fn policy(listed: usize) -> Policy {
    let settings = [
        ("nwaf_host_wl", "white.example.com,*.below.org"),
        ("nwaf_ip_lm", "domain=example.com 9.9.9.9, 2001:db8::/32"),
        ("nwaf_limit", "domain=.below.org rate=1r/s block_time=1"),
        ("nwaf_body_exclude", "example.com/up"),
    ];
    let text = RuleText {
        url: Some("YWRtaW4=|!YQ==".into()),
        domain: Some("ZXhhbXBsZS5jb20=".into()),
        other_headers: vec!["eA==:".into(), ":YQ==".into()],
        ..RuleText::default()
    };
    Policy {
        settings: Settings::parse(settings).unwrap(),
        block_list: (0..listed)
            .map(|n| format!("10.{}.{}.1", n / 256, n % 256).parse().unwrap())
            .collect(),
        rules: [
            text,
            RuleText { ip: Some("10.0.0.0/8".into()), ..RuleText::default() },
            RuleText { country: Some("Q0g=".into()), ..RuleText::default() },
            RuleText { body: Some("YWRtaW4=".into()), ..RuleText::default() },
            RuleText { other_headers: vec!["eA==:!YQ==".into()], ..RuleText::default() },
            RuleText { domain: Some(".below.org".into()), ..RuleText::default() },
        ]
        .iter()
        .zip(1..)
        .map(|(text, id)| Rule::parse(id, text).unwrap())
        .collect(),
        ..Policy::default()
    }
}

fn bytes(generation: u64) -> Vec<u8> {
    compile(&policy(300), Meta { session: 1, generation, created_ms: 5 }).unwrap()
}

fn bans() -> Vec<u8> {
    let ban = |n: u8| Ban {
        range: format!("10.0.{n}.0/24").parse().unwrap(),
        domain: if n.is_multiple_of(2) { HostPattern::Any } else { "*.below.org".parse().unwrap() },
        kind: BanKind::ALL[usize::from(n) % 5],
        rule: n.into(),
        until: 1,
    };
    let bans: Vec<_> = (0..20).map(ban).collect();
    compile_bans(&bans, Meta::default()).unwrap()
}

/// Asks a snapshot everything that walks its sections.
fn ask(snapshot: &Snapshot, bans: Option<&Bans>) {
    for address in ["10.0.5.1", "9.9.9.9", "2001:db8::1", "255.255.255.255", "0.0.0.0"] {
        for host in [&b""[..], b"example.com", b"a.below.org", b"white.example.com"] {
            let headers = vec![("x", "a"), ("cookie", "b")];
            let request = Request {
                address: Some(address.parse().unwrap()),
                method: b"PUT",
                body: Some(b"a=admin"),
                country: Some(*b"CH"),
                ..Request::new(Host::normalised(host), b"/%61dmin/../a?a=b", &headers)
            };
            snapshot.limit(request.host);
            let scratch = &mut Scratch::default();
            snapshot.reads_body(b"POST", request.host, b"/up", scratch);
            snapshot.evaluate(&Beside { bans, ..Beside::default() }, &request, scratch);
        }
    }
}

fn reseal(bytes: &mut [u8]) {
    bytes[20..24].fill(0);
    let checksum = crc32fast::hash(bytes);
    bytes[20..24].copy_from_slice(&checksum.to_ne_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// With a checksum that fits, so that the inner checks are what is tried.
    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        changes in prop::collection::vec((0usize..12_000, any::<u8>()), 1..8),
        cut in prop::option::of(0usize..12_000),
        with_bans: bool,
    ) {
        let mut file = if with_bans { bans() } else { bytes(1) };
        // Structure is in the head (header, table) and behind the big index.
        let length = file.len();
        for (at, value) in changes {
            let at = if at < 900 { at } else { length - 1 - at % 9_000 };
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(length.saturating_sub(cut));
        }
        if file.len() >= size_of::<Header>() {
            reseal(&mut file);
        }
        if let Ok(snapshot) = Snapshot::from_bytes(&file) {
            ask(&snapshot, None);
        }
        if let Ok(bans) = Bans::from_bytes(&file) {
            ask(&Snapshot::from_bytes(&bytes(1)).unwrap(), Some(&bans));
        }
    }

    #[test]
    fn any_bytes_are_survived(file in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Snapshot::from_bytes(&file);
        let _ = Bans::from_bytes(&file);
    }
}

#[test]
fn every_reason_to_refuse_is_named() {
    let good = bytes(1);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = good.clone();
        change(&mut file);
        Snapshot::from_bytes(&file).expect_err("was accepted")
    };
    assert!(matches!(refused(&|f| f.clear()), SnapshotError::Length { found: 0, .. }));
    assert!(matches!(refused(&|f| f.truncate(5_000)), SnapshotError::Length { found: 5_000, .. }));
    assert!(matches!(refused(&|f| f.push(0)), SnapshotError::Length { .. }));
    assert!(matches!(refused(&|f| f[0] = b'X'), SnapshotError::Magic));
    assert!(matches!(refused(&|f| f[8..12].reverse()), SnapshotError::ByteOrder));
    assert!(matches!(refused(&|f| f[16] = 200), SnapshotError::Version { needed: 200 }));
    assert!(matches!(refused(&|f| *f.last_mut().unwrap() ^= 1), SnapshotError::Checksum));
    assert!(matches!(
        refused(&|f| {
            // A setting that nobody knows, in `given`.
            f[147] = 0x80;
            reseal(f);
        }),
        SnapshotError::Malformed("header")
    ));
    assert!(matches!(
        refused(&|f| {
            // The first entry of the table names the second section, which then comes twice.
            f[size_of::<Header>()] = 1;
            reseal(f);
        }),
        SnapshotError::Malformed("table")
    ));
    assert!(matches!(Snapshot::from_bytes(&bans()), Err(SnapshotError::Kind)));
    assert!(matches!(Bans::from_bytes(&good), Err(SnapshotError::Kind)));
}

#[test]
fn a_newer_format_that_allows_old_readers_is_read() {
    let mut file = bytes(1);
    file[12] = 9;
    reseal(&mut file);
    assert!(Snapshot::from_bytes(&file).is_ok());
}

#[test]
fn only_trusted_regular_files_are_opened() {
    let dir = Dir::new("trust");
    let trust = trust(&dir.0);
    publish(&dir.0, &bytes(1)).unwrap();
    let path = dir.0.join(CURRENT);
    assert_eq!(Snapshot::open(&path, trust).unwrap().meta().generation, 1);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o444);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(matches!(Snapshot::open(&path, trust), Err(SnapshotError::Writable(0o646))));
    assert!(matches!(Snapshot::open(&dir.0, trust), Err(SnapshotError::NotRegular)));
    let link = dir.0.join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(Snapshot::open(&link, trust), Err(SnapshotError::NotRegular)));
    let pipe = dir.0.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(Snapshot::open(&pipe, trust), Err(SnapshotError::NotRegular)));
    let empty = dir.0.join("empty");
    fs::write(&empty, "").unwrap();
    assert!(matches!(Snapshot::open(&empty, trust), Err(SnapshotError::Length { found: 0, .. })));
    if fs::metadata(&dir.0).unwrap().uid() == 0 {
        // Only root can give a file away.
        std::os::unix::fs::chown(&empty, Some(12_345), None).unwrap();
        assert!(matches!(
            Snapshot::open(&empty, trust),
            Err(SnapshotError::Owner { owner: 12_345, .. })
        ));
    }
}

#[test]
fn publishing_keeps_the_previous_file_and_followers_see_each_once() {
    let dir = Dir::new("publish");
    let mut follower = Follower::<Snapshot>::new(&dir.0, trust(&dir.0));
    let mut generation = || match follower.poll() {
        Event::Loaded(snapshot) => Some(snapshot.meta().generation),
        Event::Unchanged => None,
        Event::Missing => Some(0),
        Event::Refused(_) => Some(u64::MAX),
    };
    assert_eq!(generation(), Some(0));
    assert_eq!(generation(), None);
    publish(&dir.0, &bytes(1)).unwrap();
    assert_eq!(generation(), Some(1));
    assert_eq!(generation(), None);
    publish(&dir.0, &bytes(2)).unwrap();
    assert_eq!(generation(), Some(2));
    assert_eq!(generation(), None);
    let previous = Snapshot::open(&dir.0.join(PREVIOUS), trust(&dir.0)).unwrap();
    assert_eq!(previous.meta().generation, 1);
    publish(&dir.0, b"").unwrap();
    assert_eq!(generation(), Some(u64::MAX));
    assert_eq!(generation(), None);
    publish(&dir.0, &bytes(3)).unwrap();
    assert_eq!(generation(), Some(3));
    fs::set_permissions(dir.0.join(CURRENT), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(generation(), Some(u64::MAX), "a file that becomes writable is looked at again");
    fs::remove_file(dir.0.join(CURRENT)).unwrap();
    assert_eq!(generation(), Some(0));
    let names: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [PREVIOUS], "nothing unfinished stays behind");
}

#[test]
fn a_refused_write_leaves_the_old_file_in_force() {
    let dir = Dir::new("full");
    publish(&dir.0, &bytes(1)).unwrap();
    let gone = dir.0.join("gone");
    assert!(publish(&gone, &bytes(2)).is_err());
    assert_eq!(Snapshot::open(&dir.0.join(CURRENT), trust(&dir.0)).unwrap().meta().generation, 1);
}
