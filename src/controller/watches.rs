//! Which watches fill the caches, and whom a change wakes.

mod keda;

use super::cache::{
    Caches, Record, Source, Store, WATCH_SECONDS, Wake, follow, heard, scaled_objects,
};
use super::config::Scope;
use crate::telemetry::{Health, Watched};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use keda::Keda;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Everything a watch needs.
pub struct Watches<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Which namespaces.
    pub scope: &'a Scope,
    /// What is filled.
    pub caches: &'a Arc<Caches>,
    /// Who hears of changes.
    pub wake: &'a Wake,
    /// Who hears of watches that fail.
    pub health: &'a Health,
    /// Ends all.
    pub stop: &'a CancellationToken,
}

impl Watches<'_> {
    /// The watches, one future each.
    pub fn all(&self) -> Vec<BoxFuture<'static, ()>> {
        // Pods that have ended hold no GPU; the API server sends their end as a deletion.
        let live = config().fields("status.phase!=Succeeded,status.phase!=Failed");
        let mut all = self.namespaced::<Pod, _>("pods", live, |c| &c.pods);
        all.extend(self.namespaced::<Deployment, _>("deployments", config(), |c| &c.deployments));
        all.extend(
            self.namespaced::<StatefulSet, _>("statefulsets", config(), |c| &c.stateful_sets),
        );
        all.extend(self.namespaced::<HorizontalPodAutoscaler, _>(
            "horizontalpodautoscalers",
            config(),
            |c| &c.autoscalers,
        ));
        match self.scope {
            Scope::Cluster => {
                let watched = Watched::new("nodes", None);
                let api = Api::<Node>::all(self.heard(&watched));
                all.push(self.one(watched, api, config(), None, |c: &Caches| &c.nodes));
            }
            Scope::Namespaces(_) => self.caches.nodes.listed(None),
        }
        let places = self.scope.places();
        self.caches.scaled_objects.expect_lists(places.clone());
        all.extend(places.into_iter().map(|place| self.keda(place)));
        all
    }

    /// The client to watch this with.
    fn heard(&self, watched: &Watched) -> Client {
        heard(self.client, watched, self.health)
    }

    fn namespaced<K, R>(
        &self,
        what: &'static str,
        config: watcher::Config,
        pick: fn(&Caches) -> &Store<R>,
    ) -> Vec<BoxFuture<'static, ()>>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
        R: Record<K>,
    {
        let places = self.scope.places();
        pick(self.caches).expect_lists(places.clone());
        let watch = |place: Option<String>| {
            let watched = Watched::new(what, place.as_deref());
            let client = self.heard(&watched);
            let api = match &place {
                None => Api::<K>::all(client),
                Some(namespace) => Api::namespaced(client, namespace),
            };
            self.one(watched, api, config.clone(), place, pick)
        };
        places.into_iter().map(watch).collect()
    }

    fn one<K, R>(
        &self,
        watched: Watched,
        api: Api<K>,
        config: watcher::Config,
        namespace: Option<String>,
        pick: fn(&Caches) -> &Store<R>,
    ) -> BoxFuture<'static, ()>
    where
        K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Debug + Clone + Default + Eq + std::hash::Hash + Send + Sync + 'static,
        R: Record<K>,
    {
        let source = Source {
            watched,
            api,
            config,
            namespace,
            optional: false,
        };
        follow(
            source,
            self.caches.clone(),
            pick,
            self.wake.clone(),
            self.health.clone(),
            self.stop.clone(),
        )
        .boxed()
    }

    fn keda(&self, namespace: Option<String>) -> BoxFuture<'static, ()> {
        let watched = Watched::new("scaledobjects", namespace.as_deref());
        let (client, kind) = (self.heard(&watched), scaled_objects());
        let keda = Keda {
            api: match &namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, &kind),
                None => Api::all_with(client, &kind),
            },
            config: config(),
            namespace,
            watched,
            caches: self.caches.clone(),
            wake: self.wake.clone(),
            health: self.health.clone(),
            stop: self.stop.clone(),
        };
        keda.run().boxed()
    }
}

/// Objects of one page of a list: each page must be there in time over a slow connection too, and all of it is in memory at once.
const PAGE: u32 = 200;

/// Of every watch: it ends soon and is resumed, so that one that works is never silent for long.
pub fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
