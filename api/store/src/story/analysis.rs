//! Exclusions, settings of behavioural analysis, virtual hosts, trainings, models.

use std::sync::Arc;

use policy::training::{ReportRefused, TrainingOrder};
use policy::{ExclusionText, Training, TrainingState};
use wire::v2::Revision;

use super::{WAF, commit, revision};
use crate::{AnalysisChange, Change, ModelRow, Part, Reported, Store, StoredAnalysis, WafId};

const BEGIN: TrainingOrder = TrainingOrder { duration_days: Some(7), complete: Some(false) };
const STOP: TrainingOrder = TrainingOrder { duration_days: None, complete: Some(true) };

async fn write(store: &dyn Store, at_ms: i64, changes: Vec<Change>) -> Revision {
    let base = revision(store).await;
    store.commit(WAF, commit(base, "dora", at_ms, changes)).await.unwrap()
}

fn analysis(changes: impl IntoIterator<Item = AnalysisChange>) -> Vec<Change> {
    changes.into_iter().map(Change::Analysis).collect()
}

fn vhosts(names: &[&str]) -> AnalysisChange {
    AnalysisChange::PlaceVhosts(names.iter().map(|name| (*name).to_owned()).collect())
}

fn order(vhost: &str, order: TrainingOrder) -> AnalysisChange {
    AnalysisChange::OrderTraining { vhost: vhost.to_owned(), order }
}

fn put_model(vhost: &str, bytes: &[u8]) -> AnalysisChange {
    let sha256 = format!("{:064}", bytes.len());
    AnalysisChange::PutModel { vhost: vhost.to_owned(), sha256, bytes: Arc::from(bytes) }
}

/// Tells it; nothing of it is left in the store.
pub(super) async fn is_kept(store: &dyn Store) {
    let before = store.load(WAF).await.unwrap();
    assert_eq!(before.analysis, StoredAnalysis::default());
    exclusions_have_ids_of_their_own(store).await;
    settings_are_kept(store).await;
    trainings_follow_the_list(store).await;
    models_are_bytes(store).await;
    nothing_is_seen_by_another(store).await;
    let after = store.load(WAF).await.unwrap();
    assert_eq!(after.analysis, StoredAnalysis { next_exclusion_id: 4, ..before.analysis });
    assert_eq!((after.exclusions, after.rules), (before.exclusions, before.rules));
}

async fn exclusions_have_ids_of_their_own(store: &dyn Store) {
    let text = ExclusionText {
        rl_id: "50001".into(),
        domain: "example.com".into(),
        mz: "URL|ARGS".into(),
        extension: "$URL_X:/test".into(),
        pattern: "A'\"B".into(),
        comment: "why".into(),
        active: false,
    };
    let all = ExclusionText { rl_id: "*".into(), ..ExclusionText::default() };
    let put = |id, text: &ExclusionText| Change::PutExclusion(id, Box::new(text.clone()));
    write(store, 5_000, vec![put(1, &text), put(3, &all)]).await;
    let stored = store.load(WAF).await.unwrap();
    assert_eq!(stored.exclusions, [(1, text), (3, all.clone())]);
    assert_eq!(stored.analysis.next_exclusion_id, 4);
    write(store, 6_000, vec![put(1, &all), Change::RemoveExclusion(3)]).await;
    let stored = store.load(WAF).await.unwrap();
    assert_eq!(stored.exclusions, [(1, all)]);
    // What was removed keeps its id.
    assert_eq!(stored.analysis.next_exclusion_id, 4);
    let rows = store.provenance(WAF, Part::Exclusions).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows["1"].author.as_str(), rows["1"].created_ms, rows["1"].updated_ms),
        ("dora", 5_000, 6_000)
    );
    write(store, 6_000, vec![Change::RemoveExclusion(1)]).await;
}

async fn settings_are_kept(store: &dyn Store) {
    let put = |value: &str, active| AnalysisChange::PutMlc {
        name: "ddos__interval",
        value: value.to_owned(),
        active,
    };
    write(store, 5_000, analysis([put("11", true)])).await;
    write(store, 6_000, analysis([put("12", false)])).await;
    let stored = store.load(WAF).await.unwrap().analysis;
    assert_eq!(stored.mlc, [("ddos__interval".to_owned(), "12".to_owned(), false)]);
    let rows = store.provenance(WAF, Part::Mlc).await.unwrap();
    let row = &rows["ddos__interval"];
    assert_eq!((row.created_ms, row.updated_ms, rows.len()), (5_000, 6_000, 1));
    write(store, 7_000, analysis([AnalysisChange::RemoveMlc("ddos__interval")])).await;
}

async fn trainings_follow_the_list(store: &dyn Store) {
    let names = async || store.load(WAF).await.unwrap().analysis.vhosts;
    let report = async |vhost, progress| {
        store.report_training(WAF, vhost, progress, 10 * u64::from(progress)).await.unwrap()
    };
    let training = async |name: &str| {
        let trainings = store.trainings(WAF).await.unwrap();
        trainings.into_iter().find(|(vhost, _)| vhost == name).map(|(_, training)| training)
    };
    write(store, 1, analysis([vhosts(&["b.com", "a.com", "*.c.com"])])).await;
    assert_eq!(names().await, ["b.com", "a.com", "*.c.com"]);
    assert_eq!(training("a.com").await, Some(Training::default()));
    let idle = ReportRefused::NotTraining(TrainingState::Idle);
    assert_eq!(report("a.com", 1).await, Reported::Refused(idle));

    let at = write(store, 9_000, analysis([order("a.com", BEGIN), order("none", BEGIN)])).await;
    let running = training("a.com").await.unwrap();
    assert_eq!((running.state, running.started_ms), (TrainingState::Training, Some(9_000)));
    assert_eq!((running.duration_days, running.progress), (7, 0));
    let Reported::Kept(half) = report("a.com", 50).await else { panic!("refused") };
    assert_eq!((half.progress, half.samples), (50, 500));
    assert_eq!(training("a.com").await, Some(half));
    assert_eq!(report("a.com", 49).await, Reported::Refused(ReportRefused::Falls(50)));
    assert_eq!(report("none", 1).await, Reported::NoVhost);
    // A report is no change of the policy.
    assert_eq!(revision(store).await, at);

    // Who stays keeps the training, whatever the place; who goes loses it.
    write(store, 1, analysis([vhosts(&["a.com", "d.com", "b.com"])])).await;
    assert_eq!(names().await, ["a.com", "d.com", "b.com"]);
    assert_eq!(training("a.com").await, Some(half));
    write(store, 1, analysis([order("a.com", STOP)])).await;
    assert_eq!(training("a.com").await.unwrap().state, TrainingState::Stopped);
    write(store, 1, analysis([vhosts(&["d.com"])])).await;
    assert_eq!(training("a.com").await, None);
    write(store, 1, analysis([vhosts(&["a.com"])])).await;
    assert_eq!(training("a.com").await, Some(Training::default()));
    write(store, 1, analysis([vhosts(&[])])).await;
    assert_eq!(store.trainings(WAF).await.unwrap(), []);
}

async fn models_are_bytes(store: &dyn Store) {
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let first = write(store, 8_000, analysis([put_model("a.com", &bytes)])).await;
    let model = store.model(WAF, "a.com").await.unwrap().unwrap();
    assert_eq!(model.bytes, bytes);
    let expected = ModelRow {
        vhost: "a.com".to_owned(),
        version: first.generation,
        size: 3_000,
        sha256: format!("{:064}", 3_000),
        author: "dora".to_owned(),
        updated_ms: 8_000,
    };
    assert_eq!(model.row, expected);
    let copy = || AnalysisChange::CopyModel { src: "a.com".to_owned(), dst: "b.com".to_owned() };
    let second = write(store, 9_000, analysis([copy()])).await;
    let copied = ModelRow {
        vhost: "b.com".to_owned(),
        version: second.generation,
        updated_ms: 9_000,
        ..expected.clone()
    };
    assert_eq!(store.load(WAF).await.unwrap().analysis.models, [expected.clone(), copied]);
    assert_eq!(store.model(WAF, "b.com").await.unwrap().unwrap().bytes, bytes);
    let third = write(store, 9_500, analysis([put_model("a.com", b"small"), copy()])).await;
    let model = store.model(WAF, "b.com").await.unwrap().unwrap();
    assert_eq!((model.row.version, model.bytes.as_slice()), (third.generation, &b"small"[..]));
    let remove = ["a.com", "b.com"].map(|name| AnalysisChange::RemoveModel(name.to_owned()));
    write(store, 1, analysis(remove)).await;
    assert_eq!(store.model(WAF, "a.com").await.unwrap(), None);
}

async fn nothing_is_seen_by_another(store: &dyn Store) {
    let other = store.add_waf("analysed", 9_000).await.unwrap();
    let all = ExclusionText { rl_id: "*".into(), ..ExclusionText::default() };
    let value = "true".to_owned();
    let mut changes = analysis([
        AnalysisChange::PutMlc { name: "main__ai_extra", value, active: true },
        vhosts(&["a.com"]),
        order("a.com", BEGIN),
        put_model("a.com", b"theirs"),
    ]);
    changes.push(Change::PutExclusion(1, Box::new(all)));
    let base = store.pulse().await.unwrap().waf(other).unwrap().revision;
    store.commit(other, commit(base, "eve", 1, changes)).await.unwrap();
    let mine = store.load(WAF).await.unwrap();
    assert_eq!((mine.exclusions.len(), mine.analysis.next_exclusion_id), (0, 4));
    assert!(mine.analysis.mlc.is_empty() && mine.analysis.vhosts.is_empty());
    assert!(mine.analysis.models.is_empty());
    assert_eq!(store.trainings(WAF).await.unwrap(), []);
    assert_eq!(store.model(WAF, "a.com").await.unwrap(), None);
    assert_eq!(store.report_training(WAF, "a.com", 1, 1).await.unwrap(), Reported::NoVhost);
    for part in [Part::Exclusions, Part::Mlc] {
        assert!(store.provenance(WAF, part).await.unwrap().is_empty());
        assert_eq!(store.provenance(other, part).await.unwrap().len(), 1);
    }
    // Removing here leaves theirs.
    let remove = analysis([
        AnalysisChange::RemoveMlc("main__ai_extra"),
        vhosts(&[]),
        AnalysisChange::RemoveModel("a.com".to_owned()),
    ]);
    write(store, 1, remove).await;
    let theirs = store.load(other).await.unwrap().analysis;
    assert_eq!((theirs.mlc.len(), theirs.vhosts.len(), theirs.models.len()), (1, 1, 1));
    assert_eq!(store.model(other, "a.com").await.unwrap().unwrap().bytes, b"theirs");
    assert!(store.remove_waf(other).await.unwrap());
    assert_eq!(store.model(other, "a.com").await.unwrap(), None);
    assert_eq!(store.trainings(WafId(other.0)).await.unwrap(), []);
}
