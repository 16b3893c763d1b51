//! Host patterns against a reading that shares no code with them: names are
//! split into labels, and labels are compared from the right.

use policy::{Host, HostPattern};
use proptest::prelude::*;

/// The labels of a name as it may be written: any case, with a port, with a dot at its end.
fn labels(written: &str) -> Vec<String> {
    let mut name: String = written.chars().map(|c| c.to_ascii_lowercase()).collect();
    if let Some((before, _port)) = name.clone().split_once(':') {
        name = before.to_owned();
    }
    if name.ends_with('.') {
        name.pop();
    }
    name.split('.').map(str::to_owned).collect()
}

/// What the table of the specification says.
fn naive(pattern: &str, host: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if host.is_empty() {
        return false;
    }
    let mut wanted = labels(pattern);
    let own = labels(host);
    let (least, most) = match wanted[0].as_str() {
        "*" => (1, usize::MAX),
        "" => (0, usize::MAX),
        _ => (0, 0),
    };
    if most > 0 {
        wanted.remove(0);
    }
    let Some(more) = own.len().checked_sub(wanted.len()) else { return false };
    (least..=most).contains(&more)
        && own.iter().rev().zip(wanted.iter().rev()).all(|(own, wanted)| own == wanted)
}

fn is_held(pattern: &str, host: &str) -> bool {
    let parsed: HostPattern = pattern.parse().unwrap_or_else(|why| panic!("{why}"));
    parsed.matches(Host::normalised(&Host::normalise(host.as_bytes())))
}

/// Names of few letters, so that they often share labels and parts of labels.
fn name() -> impl Strategy<Value = String> {
    ("[aAb]{1,2}(\\.[aBb]{1,2}){0,3}", "(\\.|)", "(:8080|:1|)")
        .prop_map(|(name, dot, port)| name + &dot + &port)
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("*".to_owned()),
        9 => ("(\\*\\.|\\.|)", name()).prop_map(|(prefix, name)| prefix + &name),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn patterns_mean_what_the_table_says(pattern in pattern(), host in prop_oneof![20 => name(), 1 => Just(String::new())]) {
        prop_assert_eq!(is_held(&pattern, &host), naive(&pattern, &host), "{} {}", pattern, host);
    }

    /// Hosts that are made from the pattern, so that most of them are near it.
    #[test]
    fn near_misses(prefix in "(\\*\\.|\\.|)", own in "[ab]{1,2}(\\.[ab]{1,2}){0,2}", before in "([ab]{1,2}\\.){0,2}[ab]{0,1}", after in "(\\.|)") {
        let (pattern, host) = (format!("{prefix}{own}"), format!("{before}{own}{after}"));
        prop_assert_eq!(is_held(&pattern, &host), naive(&pattern, &host), "{} {}", pattern, host);
    }

    /// A pattern survives being written and read, and says the same then.
    #[test]
    fn patterns_survive_their_text(pattern in pattern(), host in name()) {
        let parsed: HostPattern = pattern.parse().unwrap();
        prop_assert_eq!(parsed.to_string().parse::<HostPattern>(), Ok(parsed.clone()));
        prop_assert_eq!(is_held(&parsed.to_string(), &host), naive(&pattern, &host));
    }

    /// Whatever bytes a client sends as its host, nothing panics, and normalising twice changes nothing.
    #[test]
    fn any_bytes_are_a_host(raw in prop::collection::vec(any::<u8>(), 0..300), pattern in pattern()) {
        let once = Host::normalise(&raw).into_owned();
        let parsed: HostPattern = pattern.parse().unwrap();
        let _ = parsed.matches(Host::normalised(&once));
        prop_assert!(once.len() <= raw.len() || raw.first() == Some(&b'['));
        prop_assert!(parsed == HostPattern::Any || !once.is_empty() || !parsed.matches(Host::normalised(&once)));
    }
}
