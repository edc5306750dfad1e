//! The ready pods of every agent, as a Service's endpoints would have them: Ready, with an address, not being deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use std::net::SocketAddr;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backend::Target;
use crate::engine::view::PodView;

/// The ready pods by `namespace/agent`; the agent is the one that the pod's annotations or its label `app` name.
#[derive(Debug, Default)]
pub struct Endpoints {
    pods: RwLock<BTreeMap<String, (String, Target)>>,
    _follow: Option<DropGuard>,
}

impl Endpoints {
    /// Follows the pods of one namespace until the last handle is dropped.
    pub fn follow(client: Client, namespace: &str) -> Arc<Self> {
        let stop = CancellationToken::new();
        let endpoints = Arc::new(Self {
            pods: RwLock::default(),
            _follow: Some(stop.clone().drop_guard()),
        });
        let stream = watch(
            Api::<Pod>::namespaced(client, namespace),
            watcher::Config::default(),
        );
        let weak = Arc::downgrade(&endpoints);
        tokio::spawn(async move {
            let mut stream = pin!(stream.default_backoff());
            let mut listed = BTreeSet::new();
            loop {
                let event = tokio::select! {
                    event = stream.next() => event,
                    () = stop.cancelled() => return,
                };
                let (Some(event), Some(endpoints)) = (event, weak.upgrade()) else {
                    return;
                };
                // While the API server is away the last known endpoints stay, as with kube-proxy.
                let Ok(event) = event else { continue };
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(pod) => {
                        let view = PodView::of(&pod);
                        listed.insert(view.uid.clone());
                        endpoints.apply(&view);
                    }
                    Event::InitDone => endpoints.retain(&listed),
                    Event::Apply(pod) => endpoints.apply(&PodView::of(&pod)),
                    Event::Delete(pod) => endpoints.remove(&pod.metadata.uid.unwrap_or_default()),
                }
            }
        });
        endpoints
    }

    /// A pod appeared or changed.
    pub fn apply(&self, view: &PodView) {
        let agent = match &view.profile {
            Some(Ok(profile)) => profile.agent.clone(),
            _ => return self.remove(&view.uid),
        };
        let usable = view.ready && view.deleting.is_none() && !view.ended;
        let Some(ip) = view.ip.filter(|_| usable) else {
            return self.remove(&view.uid);
        };
        let target = Target {
            uid: view.uid.clone(),
            address: SocketAddr::new(ip, view.port),
        };
        let entry = (format!("{}/{agent}", view.namespace), target);
        self.write().insert(view.uid.clone(), entry);
    }

    /// A pod is gone.
    pub fn remove(&self, uid: &str) {
        self.write().remove(uid);
    }

    /// The ready pods of `namespace/agent`, in the order of their uids.
    pub fn ready(&self, agent: &str) -> Vec<Target> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        let of_agent = pods.values().filter(|(owner, _)| owner == agent);
        of_agent.map(|(_, target)| target.clone()).collect()
    }

    fn retain(&self, listed: &BTreeSet<String>) {
        self.write().retain(|uid, _| listed.contains(uid));
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, (String, Target)>> {
        self.pods.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(ready: &str) -> PodView {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "p", "namespace": "ns", "labels": {"app": "a"},
                "annotations": {"bench.agentpool.dev/engine": "vllm", "bench.agentpool.dev/requests-per-second-per-gpu": "1"}},
            "status": {"podIP": "127.0.0.9", "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap();
        PodView::of(&pod)
    }

    #[test]
    fn only_ready_pods_that_stay_are_endpoints() {
        let endpoints = Endpoints::default();
        endpoints.apply(&pod("False"));
        assert_eq!(endpoints.ready("ns/a"), []);
        endpoints.apply(&pod("True"));
        assert_eq!(
            endpoints.ready("ns/a")[0].address,
            "127.0.0.9:8000".parse().unwrap()
        );
        assert_eq!(endpoints.ready("ns/b"), []);
        endpoints.apply(&PodView {
            deleting: Some(30.0),
            ..pod("True")
        });
        assert_eq!(endpoints.ready("ns/a"), []);
    }

    #[test]
    fn pods_that_a_new_list_does_not_have_are_dropped() {
        let endpoints = Endpoints::default();
        endpoints.apply(&pod("True"));
        endpoints.retain(&BTreeSet::new());
        assert_eq!(endpoints.ready("ns/a"), []);
    }
}
