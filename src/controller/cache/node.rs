use super::{Filed, Record, TaintRecord, gpu_resources};
use crate::units::GpuResource;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;

/// A node that offers GPU resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its kubelet answers: pods that are deleted there end.
    pub ready: bool,
    /// Ready and not cordoned.
    pub schedulable: bool,
    /// Taints that keep pods away which do not tolerate them.
    pub taints: Vec<TaintRecord>,
    /// Allocatable GPU resources.
    pub allocatable: BTreeMap<GpuResource, u32>,
}

impl NodeRecord {
    /// Whether it has all of these labels, as a `nodeSelector` asks.
    pub fn bears(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(k, v)| self.labels.get(k) == Some(v))
    }
}

impl Filed for NodeRecord {}

impl Record<Node> for NodeRecord {
    fn of(node: Node) -> Option<Self> {
        let status = node.status.unwrap_or_default();
        let allocatable = gpu_resources(status.allocatable.as_ref());
        let labels = node.metadata.labels.unwrap_or_default();
        // A GPU node whose device plugin is away still counts as one: it says that capacity is missing, not that there is none.
        if allocatable.is_empty() && !labels.keys().any(|k| k.starts_with("nvidia.com/gpu")) {
            return None;
        }
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let spec = node.spec.unwrap_or_default();
        let cordoned = spec.unschedulable.unwrap_or(false);
        let taints = spec.taints.into_iter().flatten();
        Some(Self {
            labels,
            ready,
            schedulable: ready && !cordoned,
            taints: taints.filter_map(TaintRecord::of).collect(),
            allocatable,
        })
    }
}
