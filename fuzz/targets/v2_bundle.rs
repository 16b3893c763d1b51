//! Bundles: JSON of a whole bundle, or of its content alone, which is sealed here so
//! that a digest that cannot be guessed does not end every attempt.
//!
//! What is accepted has a snapshot, and survives its JSON form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::Policy;
use support::check_message;
use support::engines::{self, Asked};
use wire::v2::{Bundle, BundleContent, BundleError, Revision};

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = serde_json::from_slice::<Bundle>(data) {
        check(&bundle);
        check(&Bundle::seal(bundle.revision, bundle.forced_at, bundle.content));
    } else if let Ok(content) = serde_json::from_slice::<BundleContent>(data) {
        check(&Bundle::seal(Revision { session: 1, generation: 1 }, 0, content));
    }
});

fn check(bundle: &Bundle) {
    let text = serde_json::to_vec(bundle).expect("plain data has a JSON form");
    let read: Bundle = serde_json::from_slice(&text).expect("what is written can be read");
    assert_eq!(read, *bundle);
    let policy = match bundle.to_policy() {
        Ok(policy) => policy,
        Err(why) => {
            if let BundleError::Invalid(refused) = &why {
                refused.iter().for_each(check_message);
            }
            return check_message(&why);
        }
    };
    policy::danger(&policy);
    let Some(file) = engines::compile(&policy) else { return };
    let files = engines::read(&file, None).expect("what was compiled can be read");
    engines::check_same(&policy, &[], &files, &requests(&policy));
}

/// Requests that the policy has something to say about.
fn requests(policy: &Policy) -> Vec<Asked> {
    let hosts = policy.settings.hosts.values().flatten();
    let hosts = hosts.map(|pattern| pattern.domain().as_bytes().to_vec());
    let hosts: Vec<_> = std::iter::once(b"example.com".to_vec()).chain(hosts.take(4)).collect();
    let address = |text: &str| text.parse().ok();
    let addresses = [None, address("1.1.1.1"), address("10.0.0.1"), address("2001:db8::1")];
    let ask = |(host, address): (&Vec<u8>, _)| Asked {
        time: 1,
        method: b"PUT".to_vec(),
        address,
        host: host.clone(),
        target: b"/admin/x?page=3".to_vec(),
        headers: vec![(b"User-Agent".to_vec(), b"curl/8".to_vec())],
        body: Some(b"abc".to_vec()),
        country: Some(*b"CH"),
    };
    hosts.iter().flat_map(|host| addresses.map(|address| ask((host, address)))).collect()
}
