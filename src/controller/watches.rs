//! Which watches fill the caches, and whom a change wakes.

use super::cache::{Caches, Record, Source, Store, Wake, follow, scaled_objects};
use super::config::Scope;
use crate::telemetry::Health;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether KEDA has been installed.
const KEDA_EVERY: Duration = Duration::from_secs(300);

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
        let live =
            watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        let mut all = self.namespaced::<Pod, _>("pods", live, |c| &c.pods);
        let any = watcher::Config::default;
        all.extend(self.namespaced::<Deployment, _>("deployments", any(), |c| &c.deployments));
        all.extend(self.namespaced::<StatefulSet, _>("statefulsets", any(), |c| &c.stateful_sets));
        all.extend(self.namespaced::<HorizontalPodAutoscaler, _>(
            "horizontalpodautoscalers",
            any(),
            |c| &c.autoscalers,
        ));
        match self.scope {
            Scope::Cluster => {
                let api = Api::<Node>::all(self.client.clone());
                all.push(self.one(
                    Source {
                        what: "nodes",
                        api,
                        config: any(),
                        namespace: None,
                    },
                    |c: &Caches| &c.nodes,
                ));
            }
            Scope::Namespaces(_) => self.caches.nodes.listed(),
        }
        all.push(self.keda());
        all
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
        match self.scope {
            Scope::Cluster => vec![self.one(
                Source {
                    what,
                    api: Api::<K>::all(self.client.clone()),
                    config,
                    namespace: None,
                },
                pick,
            )],
            Scope::Namespaces(namespaces) => {
                pick(self.caches).expect_lists(namespaces.len());
                let source = |ns: &String| Source {
                    what,
                    api: Api::<K>::namespaced(self.client.clone(), ns),
                    config: config.clone(),
                    namespace: Some(ns.clone()),
                };
                namespaces
                    .iter()
                    .map(|ns| self.one(source(ns), pick))
                    .collect()
            }
        }
    }

    fn one<K, R>(&self, source: Source<K>, pick: fn(&Caches) -> &Store<R>) -> BoxFuture<'static, ()>
    where
        K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Debug + Clone + Default + Eq + std::hash::Hash + Send + Sync + 'static,
        R: Record<K>,
    {
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

    /// KEDA may not be installed, or be installed later: its kind is watched once it is there.
    fn keda(&self) -> BoxFuture<'static, ()> {
        let (client, caches, wake, health, stop) = (
            self.client.clone(),
            self.caches.clone(),
            self.wake.clone(),
            self.health.clone(),
            self.stop.clone(),
        );
        let namespaces: Vec<Option<String>> = match self.scope {
            Scope::Cluster => vec![None],
            Scope::Namespaces(namespaces) => namespaces.iter().cloned().map(Some).collect(),
        };
        caches.scaled_objects.expect_lists(namespaces.len());
        async move {
            let kind = scaled_objects();
            let api = |namespace: &Option<String>| match namespace {
                Some(ns) => Api::<DynamicObject>::namespaced_with(client.clone(), ns, &kind),
                None => Api::all_with(client.clone(), &kind),
            };
            // Until it is known that there is none, nothing is decided; that there is no such kind is knowledge.
            let mut known = false;
            loop {
                match api(namespaces.first().unwrap_or(&None)).list(&ListParams::default().limit(1)).await {
                    Ok(_) => break,
                    Err(kube::Error::Api(status)) if status.code == 404 && !known => {
                        known = true;
                        health.watches("scaledobjects", Ok(()));
                        namespaces.iter().for_each(|_| caches.scaled_objects.listed());
                    }
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot list KEDA ScaledObjects; trying again until it works");
                        health.watches("scaledobjects", Err(error.to_string()));
                    }
                }
                let pause = if known { KEDA_EVERY } else { Duration::from_secs(2) };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            let watches = namespaces.iter().map(|ns| {
                let source = Source { what: "scaledobjects", api: api(ns), config: watcher::Config::default(), namespace: ns.clone() };
                follow(source, caches.clone(), |c: &Caches| &c.scaled_objects, wake.clone(), health.clone(), stop.clone())
            });
            futures::future::join_all(watches).await;
        }
        .boxed()
    }
}
