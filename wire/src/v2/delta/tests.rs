//! A delta is worth the bundle it stands for, or nothing.

use super::*;
use policy::{ExclusionText, RuleText};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Contents over so few names, entries and ids that they overlap, move and repeat.
fn contents() -> impl Strategy<Value = BundleContent> {
    let settings = btree_map("[a-d]", "[0-9]{1,3}", 0..4);
    let entries = vec(0u8..12, 0..12).prop_map(|numbers| {
        let mut seen = HashSet::new();
        let once = numbers.into_iter().filter(|number| seen.insert(*number));
        once.map(|number| format!("192.0.2.{number}")).collect::<Vec<String>>()
    });
    let rules = btree_map(1u64..8, 0u8..3, 0..6).prop_map(|rules| {
        let rule = |(id, n)| {
            BundleRule::new(id, RuleText { ip: Some(format!("10.0.0.{n}")), ..RuleText::default() })
        };
        rules.into_iter().map(rule).collect::<Vec<_>>()
    });
    let exclusions = btree_map(1u64..8, 0u8..3, 0..6).prop_map(|exclusions| {
        let exclusion = |(id, n): (u64, u8)| {
            let rl_id = n.to_string();
            BundleExclusion::new(id, &ExclusionText { rl_id, ..ExclusionText::default() })
        };
        exclusions.into_iter().map(exclusion).collect::<Vec<_>>()
    });
    let parts = (settings, entries, rules, exclusions);
    parts.prop_map(|(settings, block_list, rules, exclusions)| BundleContent {
        settings,
        block_list,
        rules,
        exclusions,
    })
}

fn sealed(generation: u64, content: BundleContent) -> Bundle {
    Bundle::seal(Revision { session: 7, generation }, generation / 2, content)
}

/// The same bundle; the order of its list has no meaning.
fn assert_same(found: Bundle, expected: &Bundle) {
    let sorted = |mut bundle: Bundle| {
        bundle.content.block_list.sort();
        bundle
    };
    assert_eq!(sorted(found), sorted(expected.clone()));
}

proptest! {
    #[test]
    fn a_delta_is_the_full_bundle(old in contents(), new in contents()) {
        let (old, new) = (sealed(1, old), sealed(2, new));
        let delta = Delta::between(&old, &new);
        let json = serde_json::to_vec(&delta).unwrap();
        let read: Delta = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&read, &delta);
        assert_same(read.apply(old).unwrap(), &new);
    }

    #[test]
    fn a_chain_is_one_delta(chain in vec(contents(), 2..7)) {
        let chain: Vec<Bundle> =
            chain.into_iter().enumerate().map(|(n, content)| sealed(n as u64, content)).collect();
        let changes = chain
            .windows(2)
            .map(|pair| Changes::between(&pair[0].content, &pair[1].content));
        let changes = Changes::joined(changes);
        let (first, last) = (chain[0].clone(), chain[chain.len() - 1].clone());
        let delta = Delta { changes, ..Delta::between(&first, &last) };
        assert_same(delta.apply(first).unwrap(), &last);
    }

    #[test]
    fn another_base_is_refused(old in contents(), new in contents(), other in contents()) {
        prop_assume!(old != other);
        let delta = Delta::between(&sealed(1, old), &sealed(2, new.clone()));
        let later = delta.apply(sealed(3, other.clone()));
        let is_base_error = matches!(later, Err(DeltaError::Base { .. }));
        prop_assert!(is_base_error);
        let lying = Bundle { digest: delta.base.clone(), ..sealed(1, other) };
        match delta.apply(lying) {
            Err(why) => prop_assert_eq!(why, DeltaError::Digest { to: delta.to }),
            // Everything that differed was replaced, or was the order of the list.
            Ok(bundle) => prop_assert_eq!(bundle.content.digest(), sealed(2, new).digest),
        }
    }
}

#[test]
fn one_change_is_as_small_as_it_sounds() {
    let list: Vec<String> = (0..20_000).map(|n| format!("10.{}.{}.1", n / 256, n % 256)).collect();
    let old = sealed(1, BundleContent { block_list: list, ..BundleContent::default() });
    let mut content = old.content.clone();
    content.block_list.remove(777);
    content.block_list.push("192.0.2.1".into());
    let delta = Delta::between(&old, &sealed(2, content));
    assert_eq!(delta.changes.block_list.removed, ["10.3.9.1"]);
    assert_eq!(delta.changes.block_list.added, ["192.0.2.1"]);
    assert!(serde_json::to_string(&delta).unwrap().len() < 600);
}

#[test]
fn a_list_that_is_given_anew_and_in_order_is_a_small_change_too() {
    let list = |texts: &str| texts.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (old, new, removed, added, in_order) in [
        ("a b c", "a b c", "", "", true),
        ("a b c", "a c d", "b", "d", true),
        ("b c", "a b c", "", "a", false),
        ("a b c", "c a b", "", "", false),
        ("a b c", "d a c", "b", "d", false),
    ] {
        let (change, is_in_order) = ListChange::between(&list(old), &list(new));
        assert_eq!((change.removed.join(" ").as_str(), is_in_order), (removed, in_order));
        assert_eq!(change.added.join(" "), added);
        let mut changed = list(old);
        change.apply(&mut changed);
        assert!(!in_order || changed == list(new));
    }
}

/// As long as a log of changes may be; joining two at a time took half a minute.
#[test]
fn many_small_changes_after_a_large_one_are_joined_at_once() {
    let entry = |n: u32| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
    let step = |removed, added| Changes {
        block_list: ListChange { removed, added },
        ..Changes::default()
    };
    let large = step(vec![], (0..400_000).map(entry).collect());
    let small = (0..999).map(|n| step(vec![entry(n)], vec![entry(1_000_000 + n)]));
    let joined = Changes::joined([large].into_iter().chain(small));
    assert_eq!(joined.block_list.removed, Vec::<String>::new());
    let expected = (999..400_000).chain(1_000_000..1_000_999).map(entry);
    assert!(joined.block_list.added.into_iter().eq(expected));
}

#[test]
fn tampering_is_noticed() {
    let content = |entries: &[&str]| BundleContent {
        block_list: entries.iter().map(|entry| (*entry).to_owned()).collect(),
        ..BundleContent::default()
    };
    let (old, new) = (sealed(1, content(&["a", "b"])), sealed(2, content(&["b", "c"])));
    let good = Delta::between(&old, &new);
    assert_eq!(good.apply(old.clone()), Ok(new));
    let mut bad = good.clone();
    bad.changes.block_list.added[0] = "d".into();
    assert_eq!(bad.apply(old.clone()), Err(DeltaError::Digest { to: bad.to }));
    let mut bad = good.clone();
    bad.changes.block_list.removed.clear();
    assert_eq!(bad.apply(old.clone()), Err(DeltaError::Digest { to: bad.to }));
    let mut bad = good;
    bad.count += 1;
    assert_eq!(bad.apply(old), Err(DeltaError::Digest { to: bad.to }));
    assert!(serde_json::from_str::<Changes>(r#"{"blocklist": {}}"#).is_err());
}
