use super::cache::{Awaited, Caches};
use super::claims::Claims;
use super::config::{RunConfig, Scope};
use super::events::Events;
use super::promises::Promises;
use super::write::Writer;
use crate::signals::Clock;
use crate::signals::prometheus::Source;
use crate::signals::scrape::Scraper;
use crate::telemetry::{Health, Metrics, Recorder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What all pools share.
pub struct Shared {
    /// The administrator's decisions.
    pub config: RunConfig,
    /// What is known of the cluster.
    pub caches: Arc<Caches>,
    /// Which pool may act on which workload.
    pub claims: Claims,
    /// What is free and promised.
    pub promises: Promises,
    /// Makes the writes.
    pub writer: Writer,
    /// Reads the pods.
    pub scraper: Scraper,
    /// The Prometheus servers that pools may refer to, by name.
    pub sources: BTreeMap<String, Source>,
    /// The only time that drives intervals.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Records decisions; `None`: nothing is recorded.
    pub recorder: Option<Recorder>,
    /// Liveness and readiness.
    pub health: Health,
    /// Takes events.
    pub events: Events,
    /// Ends everything.
    pub stop: CancellationToken,
    /// Where every AgentPool that exists is known. Before, no workload is an orphan there, and nothing is decided.
    pub pools_listed: Awaited,
    /// Wakes the pools of a namespace between their ticks.
    pub bells: Bells,
}

impl Shared {
    /// Everything in a namespace has been listed once: without all its pools the younger of two that name one workload could write before
    /// the older one is known.
    pub fn ready_to_decide(&self, namespace: &str) -> bool {
        self.caches.synced_in(namespace) && self.pools_listed.has(namespace)
    }

    /// The same, in all that is served.
    pub fn ready_everywhere(&self) -> bool {
        let places = self.config.scope.places();
        let mut namespaces = places
            .iter()
            .map(|place| place.as_deref().unwrap_or_default());
        namespaces.all(|namespace| self.ready_to_decide(namespace))
    }

    /// Nodes cannot be seen: capacity is as declared.
    pub fn nodes_hidden(&self) -> bool {
        matches!(self.config.scope, Scope::Namespaces(_))
    }
}

/// Bells by namespace: a change in a namespace wakes its pools between their ticks.
#[derive(Debug, Default)]
pub struct Bells {
    by_pool: Mutex<BTreeMap<(String, String), Arc<Notify>>>,
}

impl Bells {
    /// The bell of a pool.
    pub fn of(&self, namespace: &str, pool: &str) -> Arc<Notify> {
        let mut bells = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        bells
            .entry((namespace.to_owned(), pool.to_owned()))
            .or_default()
            .clone()
    }

    /// The pool is gone.
    pub fn remove(&self, namespace: &str, pool: &str) {
        self.by_pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), pool.to_owned()));
    }

    /// Rings for all pools of a namespace; an empty one is all of them.
    pub fn ring(&self, namespace: &str) {
        let bells = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bell) in bells
            .iter()
            .filter(|((ns, _), _)| namespace.is_empty() || ns == namespace)
        {
            bell.notify_one();
        }
    }
}
