use super::Caches;
use super::pauses::Pauses;
use super::store::{Filed, Key, Listed, Store};
use crate::telemetry::{Health, Watched};
use futures::{Stream, StreamExt};
use kube::api::{Api, ObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
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
    /// What, for messages and for who hears whether it works.
    pub watched: Watched,
    /// Where.
    pub api: Api<K>,
    /// How.
    pub config: watcher::Config,
    /// The namespace, when not all.
    pub namespace: Option<String>,
    /// The kind may be taken away: the watch then ends.
    pub optional: bool,
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

/// Keeps a store up to date until stopped, or until there is no such kind where that is to be expected: list, watch, list again when the API server says so. `changed` hears of every change
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
    let Source {
        watched,
        api,
        config,
        namespace,
        optional,
    } = source;
    let follower = Follower {
        watched,
        namespace,
        optional,
        store: pick(&caches),
        changed,
        health,
    };
    let events = watcher(api, config).backoff(Pauses::default());
    let events = events.take_until(stop.cancelled_owned());
    follower.take(events).await;
}

/// Whether an event says that a watch works. That a list begins does not: it begins anew before every try.
pub fn works<K>(event: &Event<K>) -> bool {
    match event {
        Event::InitDone | Event::Apply(_) | Event::Delete(_) => true,
        Event::Init | Event::InitApply(_) => false,
    }
}

/// Whether the API server does not know the kind: its CustomResourceDefinition is not installed.
pub fn is_unknown_kind(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(
        error,
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) if status.code == 404
    )
}

struct Follower<'a, R> {
    watched: Watched,
    namespace: Option<String>,
    optional: bool,
    store: &'a Store<R>,
    changed: Wake,
    health: Health,
}

impl<R> Follower<'_, R> {
    async fn take<K>(self, events: impl Stream<Item = watcher::Result<Event<K>>>)
    where
        K: kube::Resource,
        R: Record<K>,
    {
        let store = self.store;
        let mut events = std::pin::pin!(events);
        let mut fresh: Listed<R> = BTreeMap::new();
        let mut complained = false;
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) if self.optional && is_unknown_kind(&error) => return,
                Err(error) => {
                    self.health.watches(&self.watched, Err(error.to_string()));
                    // Once per outage: the backoff repeats it for as long as the API server is away.
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, what = %self.watched, "cannot watch; trying again until it works");
                    }
                    continue;
                }
            };
            if works(&event) {
                complained = false;
                self.health.watches(&self.watched, Ok(()));
            }
            match event {
                Event::Init => fresh.clear(),
                Event::InitApply(object) => {
                    let (key, version) = (key(object.meta()), version(object.meta()));
                    if let Some(record) = R::of(object) {
                        let record = store.shared(&key, record);
                        fresh.insert(key, (version, record));
                    }
                }
                Event::InitDone => {
                    let namespace = self.namespace.as_deref();
                    store.replace(namespace, std::mem::take(&mut fresh));
                    store.listed(namespace);
                    (self.changed)("");
                }
                Event::Apply(object) => {
                    let (key, version) = (key(object.meta()), version(object.meta()));
                    let differs = match R::of(object) {
                        Some(record) => store.put(key.clone(), version, record),
                        None => store.remove(&key),
                    };
                    if differs {
                        (self.changed)(&key.0);
                    }
                }
                Event::Delete(object) => {
                    let key = key(object.meta());
                    if store.remove(&key) {
                        (self.changed)(&key.0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::cache::NodeRecord;
    use futures::stream;
    use k8s_openapi::api::core::v1::Node;
    use std::time::Duration;

    type Told = watcher::Result<Event<Node>>;

    async fn follow_these(health: &Health, events: impl Stream<Item = Told>) {
        let follower = Follower {
            watched: Watched::new("nodes", None),
            namespace: None,
            optional: false,
            store: &Store::<NodeRecord>::default(),
            changed: Arc::new(|_| ()),
            health: health.clone(),
        };
        follower.take(events).await;
    }

    fn failed() -> Told {
        Err(watcher::Error::NoResourceVersion)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_all_the_time_makes_blind_although_every_try_begins_with_an_event() {
        let health = Health::new();
        let tries = stream::iter(0..100).then(async |_| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream::iter([Ok(Event::Init), failed()])
        });
        let tries = tries.flatten().chain(stream::iter([Ok(Event::Init)]));
        follow_these(&health, tries).await;
        assert!(health.is_blind());
        follow_these(&health, stream::iter([Ok(Event::InitDone)])).await;
        assert!(!health.is_blind());
    }

    #[tokio::test]
    async fn what_cannot_be_listed_is_named_while_the_next_try_is_under_way() {
        let health = Health::new();
        health.set_server(Ok(()));
        let events = [Ok(Event::Init), failed(), Ok(Event::Init)];
        follow_these(&health, stream::iter(events)).await;
        let said = health.ready().err().unwrap_or_default();
        assert!(said.starts_with("cannot list or watch nodes: "), "{said}");
    }
}
