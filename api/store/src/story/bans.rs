//! The conformance test of [`crate::Bans`].

use policy::AddressRange;

use crate::{
    Action, BanFilter, BanRow, BanState, Lift, NewBan, Store, StoreError, WafId, address_bytes,
};

const WAF: WafId = WafId::DEFAULT;

/// A ban of `address` until a moment.
pub fn ban(address: &str, until_ms: i64) -> NewBan {
    let range: AddressRange = address.parse().unwrap();
    let (first, last) = match range {
        AddressRange::V4 { first, last } => {
            (std::net::Ipv4Addr::from(first).into(), std::net::Ipv4Addr::from(last).into())
        }
        AddressRange::V6 { first, last } => {
            (std::net::Ipv6Addr::from(first).into(), std::net::Ipv6Addr::from(last).into())
        }
    };
    NewBan {
        address: address.to_owned(),
        span: (address_bytes(first), address_bytes(last)),
        domain: "*".to_owned(),
        bt: 7,
        rule: 3,
        reason: "too often".to_owned(),
        until_ms,
    }
}

fn action(author: &str) -> Action {
    Action {
        at_ms: 5,
        author: author.to_owned(),
        call: "bans".to_owned(),
        before: "null".to_owned(),
        after: "{}".to_owned(),
        ..Action::default()
    }
}

async fn changed(store: &dyn Store, waf: WafId, after: u64, now: i64) -> (BanState, Vec<BanRow>) {
    let filter = BanFilter { after, gone: true, ..BanFilter::default() };
    store.bans(waf, &filter, now, 1_000).await.unwrap()
}

async fn in_force(store: &dyn Store, now: i64) -> Vec<String> {
    let (_, rows) = store.bans(WAF, &BanFilter::default(), now, 1_000).await.unwrap();
    rows.into_iter().map(|row| row.address).collect()
}

/// Tells the whole story to a store without bans.
///
/// # Panics
/// Where it breaks a promise of [`crate::Bans`].
pub async fn tell(store: &dyn Store) {
    let generation = store.pulse().await.unwrap().waf(WAF).unwrap().revision;
    bans_come_and_end(store).await;
    lifts_are_told(store).await;
    wafs_do_not_mix(store).await;
    // The policy has not moved.
    assert_eq!(store.pulse().await.unwrap().waf(WAF).unwrap().revision, generation);
}

async fn bans_come_and_end(store: &dyn Store) {
    assert_eq!(changed(store, WAF, 0, 0).await, (BanState::default(), vec![]));
    let log = store.actions(WAF, i64::MAX, 100_000).await.unwrap().len();
    let bans = [ban("1.1.1.1", 1_000), ban("2.2.2.0/24", 2_000)];
    let made = store.add_bans(WAF, &bans, 100, action("anna")).await.unwrap();
    assert_eq!(made.len(), 2);
    let expected = BanRow {
        id: made[1].id,
        revision: 2,
        address: "2.2.2.0/24".to_owned(),
        domain: "*".to_owned(),
        bt: 7,
        rule: 3,
        reason: "too often".to_owned(),
        source: "anna".to_owned(),
        start_ms: 100,
        until_ms: 2_000,
        lifted: false,
    };
    assert_eq!(made[1], expected);
    let (state, rows) = changed(store, WAF, 0, 100).await;
    assert_eq!((state, rows), (BanState { revision: 2, floor: 0 }, made.clone()));
    assert_eq!(changed(store, WAF, 1, 100).await.1, made[1..]);
    assert_eq!(store.pulse().await.unwrap().waf(WAF).unwrap().bans, 2);
    let logged = store.actions(WAF, i64::MAX, 100_000).await.unwrap();
    assert_eq!((logged.len(), logged[0].author.as_str()), (log + 1, "anna"));
    let generation = store.pulse().await.unwrap().waf(WAF).unwrap().revision.generation;
    assert_eq!(logged[0].generation, generation);
    assert_eq!(store.count_bans(100).await.unwrap()[0], (WAF, 2));

    // Again: extended, never shortened; another domain or kind is another ban.
    let longer = store.add_bans(WAF, &[ban("1.1.1.1", 5_000)], 200, action("bert")).await.unwrap();
    assert_eq!((longer[0].id, longer[0].revision), (made[0].id, 3));
    assert_eq!((longer[0].start_ms, longer[0].until_ms), (100, 5_000));
    assert_eq!(longer[0].source, "bert");
    let shorter = store.add_bans(WAF, &[ban("1.1.1.1", 300)], 200, action("anna")).await.unwrap();
    assert_eq!((shorter[0].id, shorter[0].until_ms), (made[0].id, 5_000));
    let others = [
        NewBan { domain: ".a.com".to_owned(), ..ban("1.1.1.1", 900) },
        NewBan { bt: 9, ..ban("1.1.1.1", 900) },
    ];
    let others = store.add_bans(WAF, &others, 200, action("anna")).await.unwrap();
    assert!(others.iter().all(|other| other.id != made[0].id));
    assert_eq!(in_force(store, 200).await, ["2.2.2.0/24", "1.1.1.1", "1.1.1.1", "1.1.1.1"]);

    let filter = |address: &str, bt| BanFilter {
        address: Some(address_bytes(address.parse().unwrap())),
        bt,
        ..BanFilter::default()
    };
    for (address, bt, count) in
        [("2.2.2.77", None, 1), ("2.2.3.1", None, 0), ("1.1.1.1", None, 3), ("1.1.1.1", Some(9), 1)]
    {
        let (_, rows) = store.bans(WAF, &filter(address, bt), 200, 10).await.unwrap();
        assert_eq!(rows.len(), count, "{address}");
    }
    // They end by themselves, and are forgotten.
    assert_eq!(in_force(store, 900).await, ["2.2.2.0/24", "1.1.1.1"]);
    assert_eq!(in_force(store, 5_000).await, [""; 0]);
    assert_eq!(store.forget_bans(2_000, 1).await.unwrap(), 1);
    assert_eq!(store.forget_bans(2_000, 9).await.unwrap(), 2);
    assert_eq!(in_force(store, 200).await, ["1.1.1.1"]);
    assert_eq!(store.forget_bans(5_000, 9).await.unwrap(), 1);
    assert_eq!(changed(store, WAF, 0, 0).await, (BanState { revision: 6, floor: 0 }, vec![]));
}

async fn lifts_are_told(store: &dyn Store) {
    let (state, _) = changed(store, WAF, 0, 0).await;
    let bans = [
        ban("3.3.3.3", 9_000),
        NewBan { domain: "a.com".to_owned(), ..ban("3.3.3.3", 9_000) },
        ban("4.4.4.4", 9_000),
    ];
    let made = store.add_bans(WAF, &bans, 100, action("anna")).await.unwrap();
    let log = store.actions(WAF, i64::MAX, 100_000).await.unwrap().len();
    let lift = async |lift: Lift, now| store.lift_bans(WAF, &lift, now, action("bert")).await;
    let by_address = |address: &str, domain: Option<&str>, bt| Lift::Address {
        address: address.to_owned(),
        domain: domain.map(str::to_owned),
        bt,
    };
    for nothing in [
        Lift::Id(made[0].id + 1_000),
        by_address("3.3.3.4", None, None),
        by_address("3.3.3.3", Some("b.com"), None),
        by_address("3.3.3.3", None, Some(8)),
    ] {
        assert_eq!(lift(nothing, 200).await.unwrap(), []);
    }
    assert_eq!(lift(Lift::Id(made[0].id), 9_000).await.unwrap(), [], "it has ended");
    assert_eq!(store.actions(WAF, i64::MAX, 100_000).await.unwrap().len(), log);
    assert_eq!(changed(store, WAF, 0, 200).await.0.revision, state.revision + 3);

    let lifted = lift(Lift::Id(made[2].id), 200).await.unwrap();
    let expected = BanRow { lifted: true, revision: state.revision + 4, ..made[2].clone() };
    assert_eq!(lifted, std::slice::from_ref(&expected));
    let logged = store.actions(WAF, i64::MAX, 1).await.unwrap();
    assert!(logged[0].before.contains("\"4.4.4.4\"") && logged[0].author == "bert");
    assert_eq!(changed(store, WAF, state.revision + 3, 200).await.1, [expected]);
    assert_eq!(in_force(store, 200).await, ["3.3.3.3", "3.3.3.3"]);
    assert_eq!(lift(by_address("3.3.3.3", Some("a.com"), Some(7)), 200).await.unwrap().len(), 1);
    assert_eq!(lift(by_address("3.3.3.3", None, None), 200).await.unwrap().len(), 1);
    assert_eq!(in_force(store, 200).await, [""; 0]);

    // Its second life is shorter; a node that knows the first one alone is told until that
    // would have ended.
    let again = store.add_bans(WAF, &[ban("4.4.4.4", 1_000)], 300, action("anna")).await.unwrap();
    assert_eq!((again[0].id, again[0].until_ms, again[0].lifted), (made[2].id, 1_000, false));
    assert_eq!(again[0].start_ms, 300);
    let told = |rows: Vec<BanRow>| rows.into_iter().any(|row| row.address == "4.4.4.4");
    assert!(told(changed(store, WAF, 0, 8_999).await.1));
    assert_eq!(store.forget_bans(8_999, 9).await.unwrap(), 0);
    assert!(!told(changed(store, WAF, 0, 9_000).await.1));
    assert_eq!(store.forget_bans(9_000, 9).await.unwrap(), 3);
}

async fn wafs_do_not_mix(store: &dyn Store) {
    let other = store.add_waf("bans", 1).await.unwrap();
    let (ours, _) = changed(store, WAF, 0, 0).await;
    store.add_bans(other, &[ban("5.5.5.5", 9_000)], 1, action("them")).await.unwrap();
    let theirs = store.add_bans(other, &[ban("6.6.6.6", 9_000)], 1, action("them")).await.unwrap();
    assert_eq!(changed(store, WAF, 0, 2).await, (ours, vec![]));
    assert_eq!(theirs[0].revision, 2);
    let none = store.lift_bans(WAF, &Lift::Id(theirs[0].id), 2, action("us")).await.unwrap();
    assert_eq!(none, []);
    assert_eq!(changed(store, other, 0, 2).await.1.len(), 2);
    assert!(store.remove_waf(other).await.unwrap());
    assert_eq!(changed(store, other, 0, 2).await, (BanState::default(), vec![]));
    let gone = store.add_bans(other, &[ban("5.5.5.5", 9)], 1, action("them")).await;
    assert!(matches!(gone, Err(StoreError::NoWaf(id)) if id == other), "{gone:?}");
}
