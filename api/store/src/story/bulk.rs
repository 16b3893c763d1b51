//! Answers that are given again, and lists that are written in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wire::v2::Revision;

use super::{WAF, commit, revision};
use crate::{
    ANSWERS_KEPT_MS, BATCH, Change, Commit, KeptAnswer, Progress, Store, StoreError, WafId,
};

pub(super) async fn answers_are_kept_with_their_change(store: &dyn Store) {
    let now = revision(store).await;
    let kept = |key: &str, at_ms| KeptAnswer {
        author: "anna".to_owned(),
        key: key.to_owned(),
        digest: "d".to_owned(),
        at_ms,
        answer: format!("{{\"{key}\": 1}}"),
    };
    let find = async |key: &str, at_ms| store.answer(WAF, "anna", key, at_ms).await.unwrap();
    let with = |base, key: &str, at_ms| Commit {
        answer: Some(kept(key, at_ms)),
        ..commit(base, "anna", at_ms, vec![])
    };
    // Not without the change ...
    let elsewhere = Revision { generation: now.generation - 1, ..now };
    store.commit(WAF, with(elsewhere, "a", 1_000)).await.unwrap_err();
    assert_eq!(find("a", 1_000).await, None);
    // ... and with it for as long as it is kept, for who asked.
    let next = store.commit(WAF, with(now, "a", 1_000)).await.unwrap();
    assert_eq!(find("a", 1_000 + ANSWERS_KEPT_MS).await, Some(kept("a", 1_000)));
    assert_eq!(find("a", 1_001 + ANSWERS_KEPT_MS).await, None);
    assert_eq!(store.answer(WAF, "berta", "a", 1_000).await.unwrap(), None);
    assert_eq!(store.answer(WafId(77), "anna", "a", 1_000).await.unwrap(), None);
    // A second change under one key is none.
    let refused = store.commit(WAF, with(next, "a", 2_000)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists), "{refused}");
    assert_eq!(revision(store).await, next);
    // What changed nothing is kept as well.
    store.keep_answer(WAF, kept("b", 3_000)).await.unwrap();
    let refused = store.keep_answer(WAF, kept("b", 3_000)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists), "{refused}");
    assert_eq!(find("b", 3_000).await, Some(kept("b", 3_000)));
    let refused = store.keep_answer(WafId(77), kept("c", 3_000)).await.unwrap_err();
    assert!(matches!(refused, StoreError::NoWaf(WafId(77))), "{refused}");
    // The old ones are forgotten when a new one comes: their keys are free again.
    let late = 3_001 + ANSWERS_KEPT_MS;
    store.keep_answer(WAF, kept("c", late)).await.unwrap();
    assert_eq!(find("b", 3_000).await, None);
    assert_eq!(find("c", late).await, Some(kept("c", late)));
}

pub(super) async fn long_lists_are_written_in_order_and_told_of(store: &dyn Store) {
    let now = revision(store).await;
    let all: Arc<Vec<String>> = Arc::new(
        (0..BATCH * 2 + 7).rev().map(|n| format!("10.{}.{}.1", n / 250, n % 250)).collect(),
    );
    let written = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&written);
    let tell = move |more| {
        told.fetch_add(more, Ordering::SeqCst);
    };
    let waf = store.add_waf("long", 5_000).await.unwrap();
    let base = Revision { session: 5_000, generation: 1 };
    let place = vec![Change::PlaceBlockEntries(Arc::clone(&all))];
    let commit_all =
        Commit { progress: Progress(Some(Arc::new(tell))), ..commit(base, "anna", 1, place) };
    let second = store.commit(waf, commit_all).await.unwrap();
    assert_eq!(written.load(Ordering::SeqCst), all.len());
    assert_eq!(store.load(waf).await.unwrap().block_list, *all);
    // Half of it goes, and comes again at the end.
    let half: Vec<String> = all.iter().step_by(2).cloned().collect();
    let changes =
        vec![Change::RemoveBlockEntries(half.clone()), Change::AppendBlockEntries(half.clone())];
    store.commit(waf, commit(second, "anna", 1, changes)).await.unwrap();
    let expected: Vec<String> = all.iter().skip(1).step_by(2).chain(&half).cloned().collect();
    assert_eq!(store.load(waf).await.unwrap().block_list, expected);
    assert!(store.remove_waf(waf).await.unwrap());
    assert_eq!(revision(store).await, now);
}
