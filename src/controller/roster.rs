//! Which pools there are: follows AgentPools, and keeps a task for each.

use super::cache::{Key, Pauses, heard, is_unknown_kind, key, works};
use super::pools::Pools;
use super::shared::Shared;
use super::watches;
use crate::api::AgentPool;
use crate::telemetry::Watched;
use futures::StreamExt;
use kube::CustomResourceExt;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::sync::Arc;

/// Where `kubectl apply` keeps the object as it was applied
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-last-applied-configuration>).
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Pools of one page of a list. With what [`trimmed`] takes out a large pool has some hundred kilobytes in memory, and all of a page are there at once.
const PAGE: u32 = 50;

type Guarded = DeserializeGuard<AgentPool>;

/// A list under way: a namespace (`None`: all), and the pools in it so far.
struct Listing {
    namespace: Option<String>,
    present: Vec<Key>,
    watched: Watched,
    /// What was said of it last, while it fails.
    complaint: Option<String>,
}

/// Keeps a task for every pool, until stopped.
pub async fn follow_pools(client: &kube::Client, shared: &Arc<Shared>) {
    let listing = |namespace: Option<String>| Listing {
        watched: Watched::new("agentpools", namespace.as_deref()),
        namespace,
        present: Vec::new(),
        complaint: None,
    };
    let places = shared.config.scope.places().into_iter();
    let mut listings: Vec<Listing> = places.map(listing).collect();
    let streams = listings.iter().enumerate().map(|(i, listing)| {
        let client = heard(client, &listing.watched, &shared.health);
        let api: Api<Guarded> = match &listing.namespace {
            None => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        let config = watches::config().page_size(PAGE);
        let events = watcher(api, config).backoff(Pauses::default());
        events.map(move |event| (i, event)).boxed()
    });
    let events =
        futures::stream::select_all(streams).take_until(shared.stop.clone().cancelled_owned());
    let mut events = std::pin::pin!(events);
    let mut pools = Pools::default();
    while let Some((i, event)) = events.next().await {
        let listing = &mut listings[i];
        match event {
            Ok(event) => {
                if works(&event) {
                    listing.complaint = None;
                    shared.health.watches(&listing.watched, Ok(()));
                }
                take(shared, &mut pools, listing, event);
            }
            Err(error) => {
                let why = in_words(&error);
                // The backoff repeats it for as long as it is so.
                if listing.complaint.as_ref() != Some(&why) {
                    tracing::warn!(
                        why,
                        what = %listing.watched,
                        "cannot list or watch; trying again until it works"
                    );
                    listing.complaint = Some(why.clone());
                }
                shared.health.watches(&listing.watched, Err(why));
            }
        }
    }
    pools.join().await;
}

/// A kind that the API server does not know is a CustomResourceDefinition that is missing.
fn in_words(error: &watcher::Error) -> String {
    if !is_unknown_kind(error) {
        return error.to_string();
    }
    format!(
        "the CustomResourceDefinition {} is not installed; it is part of the chart (value crds.install) and of deploy/install.yaml, and alone: kubectl apply --server-side -f crds/{}.yaml",
        AgentPool::crd_name(),
        AgentPool::crd_name(),
    )
}

fn take(shared: &Arc<Shared>, pools: &mut Pools, listing: &mut Listing, event: Event<Guarded>) {
    match event {
        Event::Init => listing.present.clear(),
        Event::InitApply(DeserializeGuard(pool)) => {
            listing.present.push(key_of(&pool));
            put(shared, pools, pool);
        }
        Event::InitDone => {
            // What went while the watch was down is told by no event.
            let namespace = listing.namespace.as_deref();
            pools.keep_only(shared, namespace, &listing.present);
            pools.listed(shared, namespace);
        }
        Event::Apply(DeserializeGuard(pool)) => put(shared, pools, pool),
        Event::Delete(DeserializeGuard(pool)) => {
            let (namespace, name) = key_of(&pool);
            pools.remove(shared, &namespace, &name);
        }
    }
}

fn key_of(pool: &Result<AgentPool, InvalidObject>) -> Key {
    match pool {
        Ok(pool) => key(&pool.metadata),
        Err(invalid) => key(&invalid.metadata),
    }
}

/// An object that is no AgentPool by today's types is left alone with all that it may name, and said.
fn put(shared: &Arc<Shared>, pools: &mut Pools, pool: Result<AgentPool, InvalidObject>) {
    match pool {
        Ok(pool) => pools.put(shared, trimmed(pool)),
        Err(invalid) => {
            let key = key(&invalid.metadata);
            tracing::error!(namespace = key.0, name = key.1, error = %invalid.error, "an AgentPool cannot be read: is the CRD of this version installed? Its workloads are left as they are");
            pools.put_unreadable(shared, invalid);
        }
    }
}

/// Without what nobody here reads: who manages each field, and what kubectl remembers, together ten times the rest.
fn trimmed(mut pool: AgentPool) -> AgentPool {
    pool.metadata.managed_fields = None;
    if let Some(annotations) = &mut pool.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_kept_without_what_only_the_api_server_and_kubectl_read() {
        let mut pool = crate::controller::fixtures::object("pool", "WholeGPU", &["chat"]);
        let (paused, spec) = ("agentpool.dev/paused".to_owned(), pool.spec.clone());
        pool.metadata.managed_fields = Some(vec![Default::default()]);
        pool.metadata.annotations = Some(
            [
                (LAST_APPLIED.to_owned(), "{}".to_owned()),
                (paused.clone(), "true".to_owned()),
            ]
            .into(),
        );
        let kept = trimmed(pool);
        assert_eq!(kept.metadata.managed_fields, None);
        let annotations = kept.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [&paused]);
        assert_eq!(kept.spec, spec);
    }

    #[test]
    fn a_kind_that_is_not_served_is_said_to_be_installed_and_how() {
        let answered = |code| {
            let status = kube::core::Status {
                code,
                message: "no".to_owned(),
                ..kube::core::Status::default()
            };
            in_words(&watcher::Error::InitialListFailed(kube::Error::Api(
                Box::new(status),
            )))
        };
        let said = answered(404);
        for part in ["agentpools.agentpool.dev is not installed", "kubectl apply"] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        assert!(!answered(403).contains("installed"));
    }
}
