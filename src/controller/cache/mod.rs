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
pub use pod::{DeletionCost, PodRecord, REVISION_LABEL};
pub use store::{Filed, Key, Store};
pub use taint::{TaintRecord, TolerationRecord};
pub use usage::Usage;
pub use workload::{ContainerRecord, FieldOwner, UpdateStrategy, Workload, WorkloadRecord};

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

    /// The pods of a workload, in order of name.
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
        pods.retain(|(_, pod)| selector.matches(&pod.labels));
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
