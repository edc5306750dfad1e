use super::Caches;
use super::store::{Filed, Key, Store};
use crate::telemetry::Health;
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// What is kept of objects of kind `K`.
pub trait Record<K>: PartialEq + Filed + Send + Sync + 'static {
    /// The record, or `None` when the object is of no interest.
    fn of(object: K) -> Option<Self>
    where
        Self: Sized;
}

/// What to watch.
#[derive(Debug)]
pub struct Source<K> {
    /// The plural, for messages.
    pub what: &'static str,
    /// Where.
    pub api: Api<K>,
    /// How.
    pub config: watcher::Config,
    /// The namespace, when not all.
    pub namespace: Option<String>,
}

/// Called with the namespace in which something changed; empty: it may concern every pool.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// The key of an object in a store.
pub fn key(meta: &ObjectMeta) -> Key {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// The version that a record of an object is of.
pub fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// What is watched, in words.
pub fn label(what: &str, namespace: Option<&str>) -> String {
    match namespace {
        None => what.to_owned(),
        Some(namespace) => format!("{what} in {namespace}"),
    }
}

/// Keeps a store up to date until stopped: list, watch, list again when the API server says so. `changed` hears of every change
/// with the namespace it was in; of a list with an empty one. `health` hears whether it works.
pub async fn follow<K, R>(
    source: Source<K>,
    caches: Arc<Caches>,
    pick: fn(&Caches) -> &Store<R>,
    changed: Wake,
    health: Health,
    stop: CancellationToken,
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    R: Record<K>,
{
    let store = pick(&caches);
    let Source {
        what,
        api,
        config,
        namespace,
    } = source;
    let label = label(what, namespace.as_deref());
    let complained = AtomicBool::new(false);
    let events = watcher(api, config).default_backoff().inspect_err(|error| {
        health.watches(&label, Err(error.to_string()));
        // Once per outage: the backoff repeats it for as long as the API server is away.
        if !complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, what, "cannot watch; trying again until it works");
        }
    });
    let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
    let mut fresh: BTreeMap<Key, (u64, R)> = BTreeMap::new();
    let mut first = true;
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        complained.store(false, Ordering::Relaxed);
        health.watches(&label, Ok(()));
        match event {
            Event::Init => fresh.clear(),
            Event::InitApply(object) => {
                let (key, version) = (key(object.meta()), version(object.meta()));
                if let Some(record) = R::of(object) {
                    fresh.insert(key, (version, record));
                }
            }
            Event::InitDone => {
                store.replace(namespace.as_deref(), std::mem::take(&mut fresh));
                if std::mem::take(&mut first) {
                    store.listed();
                }
                changed("");
            }
            Event::Apply(object) => {
                let (key, version) = (key(object.meta()), version(object.meta()));
                let differs = match R::of(object) {
                    Some(record) => store.put(key.clone(), version, record),
                    None => store.remove(&key),
                };
                if differs {
                    changed(&key.0);
                }
            }
            Event::Delete(object) => {
                let key = key(object.meta());
                if store.remove(&key) {
                    changed(&key.0);
                }
            }
        }
    }
}
