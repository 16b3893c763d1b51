//! What has to be done now and then, so that the record of attacks and the bans neither
//! grow for ever nor run out of places. Only where writes are taken: not on a replica, not in
//! read-only mode, not behind a newer primary.

use std::sync::Arc;
use std::time::Duration;

use store::{DAY_MS, StoreError};
use tokio::sync::watch;

use crate::http::App;
use crate::service::{Service, now_ms};

/// How often old attacks are forgotten, and places for the next days made.
const ATTACKS_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often a server that does not look after the database sees whether it has to.
const KEEPER_INTERVAL: Duration = Duration::from_secs(60);
/// Steps in which attacks are forgotten before others have their turn.
const ATTACKS_STEPS: u32 = 10;
/// A pause between them, so that batches of nodes come through.
const ATTACKS_PAUSE: Duration = Duration::from_millis(50);
/// How often bans that are over are forgotten, and those in force counted.
const BANS_INTERVAL: Duration = Duration::from_secs(60);
/// Bans that are forgotten in one transaction.
const BANS_BATCH: u32 = 1_000;

/// Looks after the record of attacks; ends with the sender of `days`.
pub async fn attacks(app: Arc<App>, mut days: watch::Receiver<u32>) {
    loop {
        let keep_days = *days.borrow_and_update();
        let is_keeper = app.is_keeper();
        if is_keeper && let Err(why) = tidy_attacks(&app.service, keep_days).await {
            tracing::warn!(error = %why, "the record of attacks was not tidied");
        }
        tokio::select! {
            () = tokio::time::sleep(if is_keeper { ATTACKS_INTERVAL } else { KEEPER_INTERVAL }) => {}
            changed = days.changed() => if changed.is_err() { return },
        }
    }
}

async fn tidy_attacks(service: &Service, keep_days: u32) -> Result<(), StoreError> {
    let events = service.store().events();
    events.prepare_days(now_ms()).await?;
    let before_ms = match keep_days {
        0 => 0,
        days => now_ms() - i64::from(days) * DAY_MS,
    };
    let mut steps = 0;
    loop {
        // Asked before each turn: what a WAF id that was made meanwhile records stays.
        let wafs: Vec<_> = service.pulse().await?.wafs.iter().map(|waf| waf.id).collect();
        let done = events.forget_attacks(before_ms, &wafs, ATTACKS_STEPS).await?;
        steps += done;
        if done < ATTACKS_STEPS {
            break;
        }
        tokio::time::sleep(ATTACKS_PAUSE).await;
    }
    if steps > 0 {
        tracing::info!(steps, "old attacks are forgotten");
    }
    Ok(())
}

/// Looks after bans until `stop` turns true.
pub async fn bans(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(why) = tidy_bans(&app).await {
            tracing::warn!(error = %why, "the bans were not tidied");
        }
        tokio::select! {
            () = tokio::time::sleep(BANS_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn tidy_bans(app: &App) -> Result<(), StoreError> {
    let store = app.service.store();
    for (waf, bans) in store.count_bans(now_ms()).await? {
        metrics::gauge!("nwaf_api_bans", "waf_id" => waf.to_string()).set(bans as f64);
    }
    while app.is_keeper() && store.forget_bans(now_ms(), BANS_BATCH).await? == u64::from(BANS_BATCH)
    {
    }
    Ok(())
}
