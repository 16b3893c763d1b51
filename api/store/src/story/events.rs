//! The conformance test of [`Events`].

use std::net::IpAddr;

use wire::v2::attack::{Attack, AttackAction};

use crate::{
    AttackFilter, AttackId, AttackRow, DAY_MS, Events, Share, WafId, address_bytes, address_text,
    day_of,
};

const WAF: WafId = WafId::DEFAULT;
const OTHER: WafId = WafId(7);

/// An attack with a name and a time; everything else follows from the number.
pub fn attack(number: u32, at_ms: i64) -> Attack {
    let client: IpAddr = match number % 3 {
        0 => IpAddr::from([10, 0, (number / 256) as u8, number as u8]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, (number % 5) as u16]),
    };
    Attack {
        id: format!("19aab9f1c7b-1-{number}"),
        at_ms,
        action: if number.is_multiple_of(4) { AttackAction::Observe } else { AttackAction::Block },
        bt: if number.is_multiple_of(2) { 5 } else { 8 },
        rule: number.is_multiple_of(2).then_some(u64::from(number % 6)),
        zone: number.is_multiple_of(2).then(|| "URL".to_owned()),
        client: (!number.is_multiple_of(7)).then_some(client),
        country: number.is_multiple_of(3).then(|| "DE".to_owned()),
        host: format!("h{}.test", number % 3),
        request_id: format!("request-{number}"),
        count: 1 + u64::from(number % 2),
        text: format!(r#"{{"id":"19aab9f1c7b-1-{number}","uri":"/\u0000ü"}}"#),
    }
}

/// Tells the whole story to an empty record at `now_ms`.
///
/// # Panics
/// Where it breaks a promise of [`Events`].
pub async fn tell(events: &dyn Events, now_ms: i64) {
    events.prepare_days(now_ms).await.unwrap();
    batches_are_stored_once(events, now_ms).await;
    pages_are_stable(events, now_ms).await;
    filters_mean_what_they_say(events, now_ms).await;
    summaries_count(events, now_ms).await;
    late_ones_find_a_place(events, now_ms).await;
    the_old_is_forgotten(events, now_ms).await;
}

async fn all(events: &dyn Events, waf: WafId, filter: &AttackFilter) -> Vec<AttackRow> {
    events.attacks(waf, filter, None, 10_000).await.unwrap()
}

async fn batches_are_stored_once(events: &dyn Events, now_ms: i64) {
    let everything = AttackFilter::default();
    assert_eq!(all(events, WAF, &everything).await, []);
    assert_eq!(events.add_attacks(WAF, "a", now_ms, &[]).await.unwrap(), 0);
    let batch: Vec<Attack> = (0..100).map(|n| attack(n, now_ms - i64::from(n) * 1_000)).collect();
    assert_eq!(events.add_attacks(WAF, "a", now_ms, &batch[..60]).await.unwrap(), 60);
    assert_eq!(events.add_attacks(WAF, "a", now_ms + 1, &batch[..60]).await.unwrap(), 0);
    assert_eq!(events.add_attacks(WAF, "a", now_ms + 2, &batch).await.unwrap(), 40);
    // Twice in one batch; of another node; of another WAF id.
    let twice = [attack(500, now_ms), attack(500, now_ms)];
    assert_eq!(events.add_attacks(WAF, "a", now_ms, &twice).await.unwrap(), 1);
    assert_eq!(events.add_attacks(WAF, "b", now_ms, &batch[..1]).await.unwrap(), 1);
    assert_eq!(events.add_attacks(OTHER, "a", now_ms, &batch[..2]).await.unwrap(), 2);

    let stored = all(events, WAF, &everything).await;
    assert_eq!(stored.len(), 102);
    assert!(stored.is_sorted_by(|a, b| a.id > b.id));
    let oldest = stored.last().unwrap();
    assert_eq!((oldest.node.as_str(), oldest.received_ms), ("a", now_ms + 2));
    assert_eq!(oldest.event, batch[99].text);
    assert_eq!(events.attack(WAF, oldest.id).await.unwrap().as_ref(), Some(oldest));
    assert_eq!(oldest.id.to_string().parse(), Ok(oldest.id));
    // One of another WAF id is not there.
    let theirs = all(events, OTHER, &everything).await;
    assert_eq!(theirs.len(), 2);
    assert_eq!(events.attack(WAF, theirs[0].id).await.unwrap(), None);
    let moved = AttackId { at_ms: oldest.id.at_ms + 1, ..oldest.id };
    assert_eq!(events.attack(WAF, moved).await.unwrap(), None);
}

/// What comes while somebody turns pages changes none of them.
async fn pages_are_stable(events: &dyn Events, now_ms: i64) {
    let everything = AttackFilter::default();
    let before = all(events, WAF, &everything).await;
    let (mut seen, mut cursor, mut newer) = (Vec::new(), None, 1_000);
    loop {
        let page = events.attacks(WAF, &everything, cursor, 9).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        seen.extend(page);
        newer += 1;
        let new = [attack(newer, now_ms + 1)];
        assert_eq!(events.add_attacks(WAF, "a", now_ms, &new).await.unwrap(), 1);
    }
    assert_eq!(seen, before);
}

/// The number a stored attack was made of.
fn number(row: &AttackRow) -> u32 {
    let id = row.event.split('"').nth(3).unwrap();
    id.rsplit('-').next().unwrap().parse().unwrap()
}

/// The attack it was.
fn found(row: &AttackRow) -> Attack {
    attack(number(row), row.id.at_ms)
}

async fn filters_mean_what_they_say(events: &dyn Events, now_ms: i64) {
    let everything = all(events, WAF, &AttackFilter::default()).await;
    let span = |first: &str, last: &str| {
        Some((address_bytes(first.parse().unwrap()), address_bytes(last.parse().unwrap())))
    };
    type Means = Box<dyn Fn(&AttackRow) -> bool>;
    let one: IpAddr = "2001:db8::2".parse().unwrap();
    let filter = AttackFilter::default;
    let cases: Vec<(AttackFilter, Means)> = vec![
        (
            AttackFilter { from_ms: Some(now_ms - 20_000), ..filter() },
            Box::new(move |row| row.id.at_ms >= now_ms - 20_000),
        ),
        (
            AttackFilter { to_ms: Some(now_ms - 20_000), ..filter() },
            Box::new(move |row| row.id.at_ms < now_ms - 20_000),
        ),
        (
            AttackFilter { addresses: span("2001:db8::2", "2001:db8::2"), ..filter() },
            Box::new(move |row| found(row).client == Some(one)),
        ),
        (
            AttackFilter { addresses: span("10.0.0.0", "10.0.0.99"), ..filter() },
            Box::new(move |row| {
                found(row).client.is_some_and(|client| client.is_ipv4() && number(row) < 100)
            }),
        ),
        (
            AttackFilter { country: Some("DE".into()), ..filter() },
            Box::new(move |row| found(row).country.is_some()),
        ),
        (
            AttackFilter { host: Some("h2.test".into()), ..filter() },
            Box::new(move |row| found(row).host == "h2.test"),
        ),
        (
            AttackFilter { rule: Some(4), ..filter() },
            Box::new(move |row| found(row).rule == Some(4)),
        ),
        (AttackFilter { bt: Some(8), ..filter() }, Box::new(move |row| found(row).bt == 8)),
        (
            AttackFilter { action: Some(AttackAction::Observe), ..filter() },
            Box::new(move |row| found(row).action == AttackAction::Observe),
        ),
        (AttackFilter { node: Some("b".into()), ..filter() }, Box::new(|row| row.node == "b")),
        (
            AttackFilter { zone: Some("URL".into()), ..filter() },
            Box::new(move |row| found(row).zone.is_some()),
        ),
        (
            AttackFilter { request_id: Some("request-17".into()), ..filter() },
            Box::new(move |row| number(row) == 17),
        ),
        (
            AttackFilter { bt: Some(5), rule: Some(2), host: Some("h2.test".into()), ..filter() },
            Box::new(move |row| found(row).rule == Some(2) && found(row).host == "h2.test"),
        ),
    ];
    for (filter, means) in cases {
        let expected: Vec<_> = everything.iter().filter(|row| means(row)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < everything.len(), "{filter:?}");
        assert_eq!(all(events, WAF, &filter).await, expected, "{filter:?}");
        // The same with a page in the middle of it.
        let middle = expected[expected.len() / 2].id;
        let rest: Vec<_> = expected.iter().filter(|row| row.id < middle).cloned().collect();
        assert_eq!(events.attacks(WAF, &filter, Some(middle), 10_000).await.unwrap(), rest);
    }
}

async fn summaries_count(events: &dyn Events, now_ms: i64) {
    let filter = AttackFilter { to_ms: Some(now_ms - 500), ..AttackFilter::default() };
    let counted: Vec<Attack> = (1..100).map(|n| attack(n, now_ms - i64::from(n) * 1_000)).collect();
    let shares = |value: &dyn Fn(&Attack) -> Option<String>| {
        let mut shares: Vec<Share> = Vec::new();
        for attack in &counted {
            let value = value(attack);
            match shares.iter_mut().find(|share| share.value == value) {
                Some(share) => {
                    share.events += 1;
                    share.requests += attack.count;
                }
                None => shares.push(Share { value, events: 1, requests: attack.count }),
            }
        }
        shares.sort_by_key(|share| std::cmp::Reverse(share.requests));
        shares
    };
    let sorted = |mut shares: Vec<Share>| {
        shares.sort_by(|a, b| (b.requests, &a.value).cmp(&(a.requests, &b.value)));
        shares
    };
    let summary = events.summarize(WAF, &filter, 1_000).await.unwrap();
    assert_eq!(summary.events, 99);
    assert_eq!(summary.requests, counted.iter().map(|attack| attack.count).sum::<u64>());
    let rule = |attack: &Attack| attack.rule.map(|rule| rule.to_string());
    let address =
        |attack: &Attack| attack.client.map(|client| address_text(&address_bytes(client)).unwrap());
    assert_eq!(sorted(summary.bt), sorted(shares(&|attack| Some(attack.bt.to_string()))));
    assert_eq!(sorted(summary.rule), sorted(shares(&rule)));
    assert_eq!(sorted(summary.host), sorted(shares(&|attack| Some(attack.host.clone()))));
    assert_eq!(sorted(summary.address), sorted(shares(&address)));
    let top = events.summarize(WAF, &filter, 2).await.unwrap();
    assert_eq!(top.host.len(), 2);
    assert!(top.host[0].requests >= top.host[1].requests);
    let nobody = events.summarize(WafId(99), &filter, 2).await.unwrap();
    assert_eq!(nobody, crate::Summary::default());
}

/// Of a year ago, of tomorrow, and of several days at once.
async fn late_ones_find_a_place(events: &dyn Events, now_ms: i64) {
    let days = [-366, -200, -31, -30, -1, 1];
    let batch: Vec<Attack> = days
        .iter()
        .zip(2_000..)
        .map(|(day, number)| attack(number, now_ms + day * DAY_MS))
        .collect();
    let before = all(events, WAF, &AttackFilter::default()).await.len();
    assert_eq!(events.add_attacks(WAF, "late", now_ms, &batch).await.unwrap(), 6);
    assert_eq!(events.add_attacks(WAF, "late", now_ms, &batch).await.unwrap(), 0);
    let stored = all(events, WAF, &AttackFilter::default()).await;
    assert_eq!(stored.len(), before + 6);
    assert_eq!(stored.last().unwrap().id.at_ms, now_ms - 366 * DAY_MS);
    assert_eq!(stored.first().unwrap().id.at_ms, now_ms + DAY_MS);
    events.prepare_days(now_ms).await.unwrap();
}

async fn the_old_is_forgotten(events: &dyn Events, now_ms: i64) {
    let filter = AttackFilter::default();
    let before = all(events, WAF, &filter).await.len();
    // Thirty days are kept; what is older goes, in as many steps as it takes.
    let limit = (day_of(now_ms) - 30) * DAY_MS;
    while events.forget_attacks(limit, &[WAF, OTHER], 1).await.unwrap() > 0 {}
    let left = all(events, WAF, &filter).await;
    assert_eq!(left.len(), before - 3);
    assert!(left.iter().all(|row| row.id.at_ms >= limit));
    // There is still a place for one of such a day.
    let late = [attack(3_000, now_ms - 200 * DAY_MS)];
    assert_eq!(events.add_attacks(WAF, "late", now_ms, &late).await.unwrap(), 1);
    while events.forget_attacks(limit, &[WAF, OTHER], 10).await.unwrap() > 0 {}
    assert_eq!(all(events, WAF, &filter).await, left);

    // A WAF id that is gone takes its attacks with it, however new.
    while events.forget_attacks(limit, &[WAF], 10).await.unwrap() > 0 {}
    assert_eq!(all(events, OTHER, &filter).await, []);
    assert_eq!(all(events, WAF, &filter).await, left);
}
