//! A shortage that passes must not keep a worker on an old policy.

use ipc::snapshot::{Event, Follower, Meta, Snapshot, Trust, compile, publish};
use policy::Policy;
use rustix::process::{Resource, getrlimit, setrlimit};

#[test]
fn a_file_that_cannot_be_opened_now_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = compile(&Policy::default(), Meta { generation: 7, ..Meta::default() }).unwrap();
    publish(dir.path(), &bytes).unwrap();
    let owner = rustix::process::geteuid().as_raw();
    let mut follower = Follower::<Snapshot>::new(dir.path(), Trust { owner });

    let usual = getrlimit(Resource::Nofile);
    let scarce = rustix::process::Rlimit { current: Some(0), ..usual };
    setrlimit(Resource::Nofile, scarce).unwrap();
    let (first, second) = (follower.poll(), follower.poll());
    setrlimit(Resource::Nofile, usual).unwrap();

    assert!(matches!(first, Event::Refused(_)), "{first:?}");
    assert!(matches!(second, Event::Unchanged), "said once: {second:?}");
    match follower.poll() {
        Event::Loaded(snapshot) => assert_eq!(snapshot.meta().generation, 7),
        other => panic!("{other:?}"),
    }
    assert!(matches!(follower.poll(), Event::Unchanged));
}
