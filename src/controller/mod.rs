//! Wiring and the only writes: observe, apply, report; and who may write.

mod apply;
mod backoff;
pub mod cache;
mod claims;
mod config;
mod events;
#[cfg(test)]
mod fixtures;
mod handback;
pub mod leadership;
mod observe;
mod outage;
mod outcome;
mod pools;
mod promises;
mod readings;
mod reconcile;
mod report;
mod reverts;
mod shared;
mod short;
mod standing;
mod watches;
mod write;

pub use config::{ElectionConfig, PodIdentity, RunConfig, Scope, ScrapeLimits, Wiring};
pub use handback::{HandBackError, Returned, hand_back_all, wait_for_no_pods};
pub use write::{GPU_MANAGER, PODS_MANAGER, REPLICAS_MANAGER, STATUS_MANAGER, WriteError, Writer};

use crate::api::AgentPool;
use crate::signals::Clock;
use crate::signals::prometheus::{self, Source};
use crate::signals::scrape::{Limits, Scraper};
use cache::{Caches, Wake, key};
use claims::Claims;
use futures::StreamExt;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher::{self, Event, watcher};
use pools::Pools;
use shared::{Bells, Shared};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use watches::Watches;

/// Runs the controller until `wiring.stop` is cancelled.
///
/// # Errors
/// When it cannot go on: the process then exits non-zero, to be started again.
pub async fn run(wiring: Wiring) -> Result<(), kube::Error> {
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
    let limits = Limits {
        request_timeout: config.scrape.timeout,
        deadline: config.scrape.timeout,
        // A quarter a pool, so that no pool whose pods hang keeps the others' pods waiting.
        concurrency: config.scrape.concurrency.div_ceil(4),
        total_concurrency: config.scrape.concurrency,
        page: crate::signals::exposition::PageLimits {
            bytes: config.scrape.max_bytes,
            ..Default::default()
        },
        ..Limits::for_interval(Duration::from_secs(1))
    };
    let shared = Arc::new(Shared {
        caches: Arc::new(Caches::default()),
        claims: Claims::default(),
        writer: Writer::new(client.clone(), leader, metrics.clone(), config.api_timeout),
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
        events: Recorder::new(
            client.clone(),
            Reporter {
                controller: "agentpool".into(),
                instance: config.pod.name.clone(),
            },
        ),
        bells: Bells::default(),
        pools_listed: AtomicBool::new(false),
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
        stop: &stop,
    };
    let mut tasks = JoinSet::new();
    for watch in watches.all() {
        tasks.spawn(watch);
    }
    tasks.spawn(beat(shared.clone()));
    tasks.spawn(handback::sweep(shared.clone()));
    follow_pools(&client, &shared).await;
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Tells liveness that the runtime turns, and readiness when the caches are filled.
async fn beat(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.health.tick();
        shared.health.set_synced(shared.caches.synced());
    }
}

/// Keeps a task for every pool, until stopped.
async fn follow_pools(client: &kube::Client, shared: &Arc<Shared>) {
    let apis: Vec<Api<DeserializeGuard<AgentPool>>> = match &shared.config.scope {
        Scope::Cluster => vec![Api::all(client.clone())],
        Scope::Namespaces(namespaces) => namespaces
            .iter()
            .map(|ns| Api::namespaced(client.clone(), ns))
            .collect(),
    };
    let lists = apis.len();
    let streams = apis.into_iter().map(|api| {
        watcher(api, watcher::Config::default())
            .default_backoff()
            .boxed()
    });
    let events =
        futures::stream::select_all(streams).take_until(shared.stop.clone().cancelled_owned());
    let mut events = std::pin::pin!(events);
    let mut pools = Pools::default();
    let mut listed = Vec::new();
    let mut unlisted = lists;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(DeserializeGuard(pool))) => {
                if let Some(pool) = readable(pool) {
                    listed.push(key(&pool.metadata));
                    pools.put(shared, pool);
                }
            }
            Ok(Event::InitDone) => {
                if matches!(shared.config.scope, Scope::Cluster) {
                    pools.keep_only(shared, &listed);
                }
                unlisted = unlisted.saturating_sub(1);
                if unlisted == 0 {
                    shared.pools_listed.store(true, Ordering::Release);
                }
            }
            Ok(Event::Apply(DeserializeGuard(pool))) => {
                if let Some(pool) = readable(pool) {
                    pools.put(shared, pool);
                }
            }
            Ok(Event::Delete(DeserializeGuard(pool))) => {
                let meta = match &pool {
                    Ok(pool) => &pool.metadata,
                    Err(invalid) => &invalid.metadata,
                };
                let (namespace, name) = key(meta);
                pools.remove(shared, &namespace, &name);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch AgentPools (is the CRD installed, may the operator list them?); trying again")
            }
        }
    }
    pools.join().await;
}

/// An object that is no AgentPool by today's types is left alone, and said.
fn readable(
    pool: Result<AgentPool, kube::core::error_boundary::InvalidObject>,
) -> Option<AgentPool> {
    pool.inspect_err(|invalid| {
        let (namespace, name) = (&invalid.metadata.namespace, &invalid.metadata.name);
        tracing::error!(?namespace, ?name, error = %invalid.error, "an AgentPool cannot be read: is the CRD of this version installed?");
    })
    .ok()
}
