//! What the operator knows of the cluster: small records of GPU things, kept up to date by watches.
//!
//! Objects are trimmed to records as they arrive, and what asks for no GPU is not kept at all: a cluster with ten thousand
//! foreign pods costs nothing but the reading.

mod absence;
mod autoscaler;
mod awaited;
mod follow;
mod heard;
mod labels;
mod node;
mod pauses;
mod pod;
mod store;
mod taint;
mod usage;
mod workload;

pub use absence::{Absences, PATIENCE};
pub use autoscaler::{AutoscalerRecord, scaled_objects};
pub use awaited::Awaited;
pub use follow::{Record, Source, Wake, follow, is_unknown_kind, key, version, works};
pub use heard::{WATCH_SECONDS, heard};
pub use node::NodeRecord;
pub use pauses::Pauses;
pub use pod::{Controller, DeletionCost, PodRecord, REVISION_LABEL};
pub use store::{Filed, Key, Store};
pub use taint::{TaintRecord, TolerationRecord};
pub use usage::Usage;
pub use workload::{
    ContainerRecord, FieldOwner, UpdateStrategy, Workload, WorkloadRecord, own_notes,
};

use crate::api::WorkloadKind;
use crate::units::GpuResource;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::SelectorExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that is watched, filled by `watches`.
#[derive(Debug, Default)]
pub struct Caches {
    /// GPU nodes.
    pub nodes: Store<NodeRecord>,
    /// Pods that ask for GPUs, of all namespaces.
    pub pods: Store<PodRecord>,
    /// Deployments that ask for GPUs.
    pub deployments: Store<WorkloadRecord>,
    /// StatefulSets that ask for GPUs.
    pub stateful_sets: Store<WorkloadRecord>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Store<AutoscalerRecord>,
    /// KEDA ScaledObjects, where KEDA is installed.
    pub scaled_objects: Store<AutoscalerRecord>,
    /// GPU requests by node.
    pub usage: Usage,
    /// Nodes that do not offer what pods hold there, and since when.
    pub absences: Absences,
}

impl Caches {
    /// Workloads of a kind.
    pub fn workloads(&self, kind: WorkloadKind) -> &Store<WorkloadRecord> {
        match kind {
            WorkloadKind::Deployment => &self.deployments,
            WorkloadKind::StatefulSet => &self.stateful_sets,
        }
    }

    /// The pods of a workload, in order of name. A pod that another controller has, as of a Job with the same labels, is none of them.
    pub fn pods_of(
        &self,
        namespace: &str,
        workload: &WorkloadRecord,
    ) -> Vec<(String, Arc<PodRecord>)> {
        let Some(selector) = workload.pod_selector() else {
            return Vec::new();
        };
        let none = BTreeMap::new();
        let labels = workload.selector.match_labels.as_ref().unwrap_or(&none);
        let mut pods = self.pods.labelled(namespace, labels);
        pods.retain(|(_, pod)| selector.matches(&pod.labels) && workload.controls(pod));
        pods
    }

    /// Takes the answer to a write, so that nothing is decided on the state before it.
    pub fn remember<K: Workload>(&self, object: K) {
        let (key, version) = (key(object.meta()), version(object.meta()));
        self.workloads(K::KIND)
            .answer(key, version, object.record());
    }

    /// Every cache has been filled once with what there is in a namespace. Nothing is decided on a partial view.
    pub fn synced_in(&self, namespace: &str) -> bool {
        self.nodes.synced_in(namespace)
            && self.pods.synced_in(namespace)
            && self.deployments.synced_in(namespace)
            && self.stateful_sets.synced_in(namespace)
            && self.autoscalers.synced_in(namespace)
            && self.scaled_objects.synced_in(namespace)
    }
}

/// GPU resources of a Kubernetes resource list; other resources and malformed values are left out.
fn gpu_resources(list: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<GpuResource, u32> {
    list.into_iter()
        .flatten()
        .filter_map(|(name, quantity)| {
            Some((GpuResource::parse(name).ok()?, quantity.0.parse().ok()?))
        })
        .collect()
}

/// Adds `more` to `sum`, resource by resource.
pub(super) fn add(sum: &mut BTreeMap<GpuResource, u32>, more: &BTreeMap<GpuResource, u32>) {
    for (resource, count) in more {
        let total = sum.entry(resource.clone()).or_insert(0);
        *total = total.saturating_add(*count);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    /// Names of the pods with the agent's labels that are a workload's: with no controller, and with each of these.
    fn pods_of(workload: &WorkloadRecord, controllers: &[(&str, &str, &str)]) -> Vec<String> {
        let caches = Caches::default();
        let add = |name: &str, owners: Value| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "n", "labels": { "app": "a" }, "ownerReferences": owners },
                "spec": { "containers": [
                    { "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }
                ] }
            }))
            .unwrap();
            let key = ("n".to_owned(), name.to_owned());
            caches.pods.put(key, 1, PodRecord::of(pod).unwrap());
        };
        add("bare", json!([]));
        add(
            "mentioned",
            json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "9" }]),
        );
        for (version, kind, uid) in controllers {
            let owner = json!({ "apiVersion": version, "kind": kind, "name": "x", "uid": uid, "controller": true });
            add(&format!("{kind}-{uid}"), json!([owner]));
        }
        let pods = caches.pods_of("n", workload);
        pods.into_iter().map(|(name, _)| name).collect()
    }

    const CONTROLLERS: [(&str, &str, &str); 5] = [
        ("apps/v1", "ReplicaSet", "1"),
        ("apps/v1", "StatefulSet", "2"),
        ("apps/v1", "StatefulSet", "3"),
        ("batch/v1", "Job", "4"),
        ("example.com/v1", "ReplicaSet", "5"),
    ];

    fn spec() -> Value {
        json!({
            "serviceName": "a", "selector": { "matchLabels": { "app": "a" } },
            "template": { "spec": { "containers": [
                { "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }
            ] } }
        })
    }

    #[test]
    fn a_pod_of_a_job_is_not_an_agents_whatever_its_labels_are() {
        let object = json!({ "metadata": { "name": "a", "uid": "d" }, "spec": spec() });
        let deployment: Deployment = serde_json::from_value(object).unwrap();
        let record = WorkloadRecord::of(deployment).unwrap();
        assert_eq!(
            pods_of(&record, &CONTROLLERS),
            ["ReplicaSet-1", "bare", "mentioned"]
        );
    }

    #[test]
    fn a_stateful_sets_pods_are_those_that_it_controls_itself() {
        let object = json!({ "metadata": { "name": "a", "uid": "2" }, "spec": spec() });
        let set: StatefulSet = serde_json::from_value(object).unwrap();
        let record = WorkloadRecord::of(set).unwrap();
        assert_eq!(
            pods_of(&record, &CONTROLLERS),
            ["StatefulSet-2", "bare", "mentioned"]
        );
    }
}
