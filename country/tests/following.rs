//! Files come, change, break and go.

use std::path::Path;

use country::{Event, Follower};
use support::Mmdb;

fn ch() -> Mmdb {
    Mmdb::of(&[("1.0.0.0/8", "CH")])
}

/// What the next looks find, up to the first news.
fn news(follower: &mut Follower) -> String {
    for _ in 0..3 {
        match follower.poll() {
            Event::Unchanged => {}
            Event::Loaded(countries) => {
                let code = countries.of("1.1.1.1".parse().expect("an address")).expect("a country");
                return String::from_utf8_lossy(&code).into_owned();
            }
            Event::Refused(why) => return why.to_string(),
            Event::Missing => return "missing".into(),
        }
    }
    "nothing".into()
}

#[test]
fn each_change_is_told_once() {
    let folder = support::Folder::new();
    let path = folder.path().join("countries.mmdb");
    let mut follower = Follower::new(&path);
    assert_eq!(follower.path(), path);
    assert_eq!((news(&mut follower), news(&mut follower)), ("missing".into(), "nothing".into()));
    ch().publish(&path);
    assert_eq!((news(&mut follower), news(&mut follower)), ("CH".into(), "nothing".into()));
    Mmdb::of(&[("1.0.0.0/8", "DE")]).publish(&path);
    assert_eq!((news(&mut follower), news(&mut follower)), ("DE".into(), "nothing".into()));
    std::fs::write(&path, b"broken").expect("is written");
    assert!(news(&mut follower).contains("not a whole MaxMind database"));
    assert_eq!(news(&mut follower), "nothing");
    std::fs::remove_file(&path).expect("is removed");
    assert_eq!((news(&mut follower), news(&mut follower)), ("missing".into(), "nothing".into()));
    ch().publish(&path);
    assert_eq!(news(&mut follower), "CH");
    // A folder in its place cannot be read, and never will.
    std::fs::remove_file(&path).expect("is removed");
    std::fs::create_dir(&path).expect("is made");
    assert!(news(&mut follower).contains("not a regular file"));
    assert_eq!(news(&mut follower), "nothing");
}

#[test]
fn the_first_look_reads_and_later_ones_wait_for_the_writer() {
    let folder = support::Folder::new();
    let path = folder.path().join("countries.mmdb");
    ch().publish(&path);
    let mut follower = Follower::new(&path);
    assert!(matches!(follower.poll(), Event::Loaded(_)));
    let bytes = Mmdb::of(&[("1.0.0.0/8", "DE")]).bytes();
    for part in [0, 100, 500, bytes.len()] {
        std::fs::write(&path, &bytes[..part]).expect("is written");
        assert!(matches!(follower.poll(), Event::Unchanged), "{part} bytes are there");
    }
    assert!(matches!(follower.poll(), Event::Loaded(_)));
    assert!(matches!(follower.poll(), Event::Unchanged));
}

#[test]
fn a_link_is_followed_to_what_it_leads_to() {
    let folder = support::Folder::new();
    let place = |name: &str| folder.path().join(name);
    let point = |to: &Path| {
        std::os::unix::fs::symlink(to, place("new")).expect("a link");
        std::fs::rename(place("new"), place("link")).expect("is renamed");
    };
    ch().publish(&place("old.mmdb"));
    Mmdb::of(&[("1.0.0.0/8", "DE")]).publish(&place("other.mmdb"));
    point(&place("old.mmdb"));
    let mut follower = Follower::new(&place("link"));
    assert_eq!(news(&mut follower), "CH");
    point(&place("other.mmdb"));
    assert_eq!(news(&mut follower), "DE");
}
