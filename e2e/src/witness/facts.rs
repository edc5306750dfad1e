//! What the witness reads of nodes and pods.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::rules::GPU_MEMORY_ANNOTATION;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodKey {
    pub namespace: String,
    pub name: String,
}

impl PodKey {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A node, as far as GPUs go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeFacts {
    /// GPU resources only.
    pub allocatable: BTreeMap<String, u64>,
    /// Memory of one GPU, on nodes whose GPUs are time-sliced.
    pub shared_gpu_memory_mib: Option<u64>,
    pub slices_per_gpu: usize,
}

impl NodeFacts {
    pub(super) fn of(node: &Node) -> Self {
        let label = |key: &str| {
            node.labels()
                .get(key)
                .and_then(|text| text.parse::<u64>().ok())
        };
        let allocatable = node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref());
        let shared = node
            .labels()
            .get("nvidia.com/gpu.sharing-strategy")
            .is_some_and(|strategy| strategy == "time-slicing");
        Self {
            allocatable: gpu_amounts(allocatable),
            shared_gpu_memory_mib: label("nvidia.com/gpu.memory").filter(|_| shared),
            slices_per_gpu: label("nvidia.com/gpu.replicas")
                .and_then(|slices| usize::try_from(slices).ok())
                .unwrap_or(usize::MAX),
        }
    }
}

/// A pod, as far as GPUs and its life go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub uid: String,
    pub namespace: String,
    /// Name of the Deployment, StatefulSet or other owner; the pod's own name if it has none.
    pub workload: String,
    pub node: Option<String>,
    /// GPU resources only; the larger of the containers' sum and the largest init container, as the scheduler counts.
    pub requests: BTreeMap<String, u64>,
    /// What its annotation says.
    pub memory_mib: Option<u64>,
    pub terminating: bool,
    /// Succeeded or Failed.
    pub finished: bool,
    pub ready: bool,
    pub running: bool,
    pub restarts: u32,
    /// The scheduler's message, when it found no node.
    pub unschedulable: Option<String>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Unschedulable,
    Pending,
    Loading,
    Ready,
    Terminating,
    Finished,
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "is unschedulable",
            Self::Pending => "is pending",
            Self::Loading => "is loading",
            Self::Ready => "is ready",
            Self::Terminating => "is terminating",
            Self::Finished => "has finished",
        })
    }
}

impl PodFacts {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let phase = status
            .and_then(|status| status.phase.as_deref())
            .unwrap_or("Pending");
        let conditions = || {
            status
                .into_iter()
                .flat_map(|status| status.conditions.iter().flatten())
        };
        let containers = || {
            status
                .into_iter()
                .flat_map(|status| status.container_statuses.iter().flatten())
        };
        Self {
            uid: pod.uid().unwrap_or_default(),
            namespace: pod.namespace().unwrap_or_default(),
            workload: workload_of(pod),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            requests: requests_of(pod),
            memory_mib: pod
                .annotations()
                .get(GPU_MEMORY_ANNOTATION)
                .and_then(|text| text.parse().ok()),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            finished: matches!(phase, "Succeeded" | "Failed"),
            running: phase == "Running",
            ready: conditions()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            restarts: containers()
                .map(|container| u32::try_from(container.restart_count).unwrap_or(0))
                .sum(),
            unschedulable: conditions()
                .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
                .filter(|condition| condition.reason.as_deref() == Some("Unschedulable"))
                .map(|condition| condition.message.clone().unwrap_or_default()),
        }
    }

    /// Whether the scheduler counts it on its node: until its object is gone or it has finished.
    pub(super) fn holds_resources(&self) -> bool {
        self.node.is_some() && !self.finished
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        match self {
            Self { finished: true, .. } => Lifecycle::Finished,
            Self {
                terminating: true, ..
            } => Lifecycle::Terminating,
            Self {
                unschedulable: Some(_),
                ..
            } => Lifecycle::Unschedulable,
            Self { ready: true, .. } => Lifecycle::Ready,
            Self { running: true, .. } => Lifecycle::Loading,
            _ => Lifecycle::Pending,
        }
    }
}

/// The name of the Deployment for a pod of its ReplicaSet: that of the ReplicaSet without the hash of the template.
fn workload_of(pod: &Pod) -> String {
    let Some(owner) = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true))
    else {
        return pod.name_any();
    };
    match (owner.kind.as_str(), pod.labels().get("pod-template-hash")) {
        ("ReplicaSet", Some(hash)) => owner
            .name
            .strip_suffix(&format!("-{hash}"))
            .unwrap_or(&owner.name)
            .to_owned(),
        _ => owner.name.clone(),
    }
}

fn requests_of(pod: &Pod) -> BTreeMap<String, u64> {
    let Some(spec) = &pod.spec else {
        return BTreeMap::new();
    };
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        // The API server copies limits of extended resources to requests.
        gpu_amounts(
            resources
                .and_then(|resources| resources.requests.as_ref().or(resources.limits.as_ref())),
        )
    };
    let mut sum = BTreeMap::new();
    for container in &spec.containers {
        for (resource, amount) in of(container) {
            *sum.entry(resource).or_insert(0) += amount;
        }
    }
    for container in spec.init_containers.iter().flatten() {
        for (resource, amount) in of(container) {
            let most = sum.entry(resource).or_insert(0);
            *most = amount.max(*most);
        }
    }
    sum.retain(|_, amount| *amount > 0);
    sum
}

/// Whole amounts of GPU resources of any vendor.
fn gpu_amounts(quantities: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<String, u64> {
    let gpu = |name: &str| name.contains('/') && !name.starts_with("kubernetes.io/");
    quantities
        .into_iter()
        .flatten()
        .filter(|(name, _)| gpu(name))
        .filter_map(|(name, amount)| Some((name.clone(), whole(&amount.0)?)))
        .collect()
}

/// Extended resources are whole numbers; the API server writes large ones as `1k`.
fn whole(text: &str) -> Option<u64> {
    match text.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}
