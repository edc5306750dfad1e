//! Wiring and the only writes: observe, apply, report; and who may write.

mod apply;
mod backoff;
pub mod cache;
mod claims;
mod config;
mod cut;
mod dark;
mod ending;
mod events;
#[cfg(test)]
mod fixtures;
mod handback;
pub mod leadership;
mod marks;
mod observe;
mod outage;
mod outcome;
mod pools;
mod promises;
mod readings;
mod reconcile;
mod report;
mod request;
mod reverts;
mod roster;
mod shared;
mod short;
mod standing;
mod unreadable;
mod watches;
mod write;

pub use config::{ElectionConfig, PodIdentity, RunConfig, Scope, ScrapeLimits, Wiring};
pub use handback::{HandBackError, Returned, hand_back_all, wait_for_no_pods};
pub use write::{GPU_MANAGER, PODS_MANAGER, REPLICAS_MANAGER, STATUS_MANAGER, WriteError, Writer};

use crate::signals::Clock;
use crate::signals::prometheus::{self, Source};
use crate::signals::scrape::{Limits, Scraper};
use cache::{Awaited, Caches, Wake};
use claims::Claims;
use kube::runtime::events::{Recorder, Reporter};
use promises::Promises;
use shared::{Bells, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use watches::Watches;

/// A task that must run for as long as the process has ended.
#[derive(Debug, thiserror::Error)]
#[error("a watch, or the look for workloads to hand back, has ended: {0}")]
pub struct TaskEnded(String);

/// Runs the controller until `wiring.stop` is cancelled.
///
/// # Errors
/// When a task of it ends by itself: the process then exits non-zero, to be started again.
pub async fn run(wiring: Wiring) -> Result<(), TaskEnded> {
    let Wiring {
        config,
        client,
        metrics,
        recorder,
        health,
        leader,
        stop,
    } = wiring;
    let clock = Clock::start();
    let scrape = config.scrape;
    let limits = Limits::shared(scrape.concurrency, scrape.timeout, scrape.max_bytes);
    let reporter = Reporter {
        controller: "agentpool".into(),
        instance: config.pod.name.clone(),
    };
    let aggregates = Recorder::new(client.clone(), reporter);
    let (events, delivery) = events::events(aggregates, metrics.clone(), config.api_timeout);
    let shared = Arc::new(Shared {
        caches: Arc::new(Caches::default()),
        claims: Claims::default(),
        promises: Promises::default(),
        writer: Writer::new(
            client.clone(),
            leader,
            health.clone(),
            metrics.clone(),
            config.api_timeout,
        ),
        scraper: Scraper::new(limits, clock),
        sources: config
            .metric_sources
            .iter()
            .map(|(name, server)| {
                (
                    name.clone(),
                    Source::new(server.clone(), prometheus::Limits::default(), clock),
                )
            })
            .collect(),
        clock,
        events,
        bells: Bells::default(),
        pools_listed: Awaited::new(config.scope.places()),
        metrics,
        recorder,
        health,
        stop: stop.clone(),
        config,
    });
    let woken = shared.clone();
    let wake: Wake = Arc::new(move |namespace| woken.bells.ring(namespace));
    let watches = Watches {
        client: &client,
        scope: &shared.config.scope,
        caches: &shared.caches,
        wake: &wake,
        health: &shared.health,
        stop: &stop,
    };
    let mut tasks = JoinSet::new();
    for watch in watches.all() {
        tasks.spawn(watch);
    }
    tasks.spawn(delivery.run(stop.clone()));
    tasks.spawn(beat(shared.clone()));
    tasks.spawn(handback::sweep(shared.clone()));
    tokio::select! {
        () = roster::follow_pools(&client, &shared) => {}
        Some(ended) = tasks.join_next() => too_soon(ended, &shared)?,
    }
    while let Some(ended) = tasks.join_next().await {
        too_soon(ended, &shared)?;
    }
    Ok(())
}

/// A watch or the sweep that ends by itself leaves a cache that nobody fills any more: the process must start afresh.
fn too_soon(ended: Result<(), JoinError>, shared: &Shared) -> Result<(), TaskEnded> {
    match ended {
        Ok(()) if shared.stop.is_cancelled() => Ok(()),
        Ok(()) => Err(TaskEnded("it returned".to_owned())),
        Err(error) => Err(TaskEnded(error.to_string())),
    }
}

/// Tells liveness that the runtime turns, readiness when the caches are filled, and the log what is not seen any more.
async fn beat(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut blind = false;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.health.tick();
        shared.health.set_synced(shared.ready_everywhere());
        let unseen = shared.health.unseen();
        match (blind, unseen.is_empty()) {
            (false, false) => tracing::warn!(
                why = unseen.join("; "),
                "blind: nothing that needs it is written"
            ),
            (true, true) => tracing::info!("everything is seen again"),
            _ => {}
        }
        blind = !unseen.is_empty();
    }
}
