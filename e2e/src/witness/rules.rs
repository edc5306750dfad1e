//! What a witness watches, and what it lets pass.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::PodFacts;

/// The annotation of a pod (in its template) that says how much GPU memory it holds, in MiB.
pub const GPU_MEMORY_ANNOTATION: &str = "bench.agentpool.dev/gpu-memory-mib";

/// What a witness watches, and what it lets pass. By default: all namespaces, and no pod may ever be unschedulable.
#[derive(Debug, Clone, Default)]
pub struct WitnessRules {
    /// Namespaces whose pods must be schedulable; empty: all. Capacity is watched for all pods in any case.
    pub namespaces: Vec<String>,
    /// How long a pod may be unschedulable before that is a violation.
    pub unschedulable_grace: Duration,
    /// GPU memory of each pod of a workload in MiB, by workload name; over what its annotation says.
    pub memory_mib: BTreeMap<String, u64>,
    /// At most so many of each resource for the pods of the watched namespaces, whatever the nodes have: what pools declare. Those on
    /// their way out count until they are gone.
    pub declared: BTreeMap<String, u64>,
}

impl WitnessRules {
    /// Watches the pods of one more namespace for schedulability.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespaces.push(name.into());
        self
    }

    /// Lets pods be unschedulable for a while; [`Duration::MAX`] for ever.
    #[must_use]
    pub fn unschedulable_grace(mut self, grace: Duration) -> Self {
        self.unschedulable_grace = grace;
        self
    }

    /// Declares the GPU memory of each pod of a workload, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, workload: impl Into<String>, mib: u64) -> Self {
        self.memory_mib.insert(workload.into(), mib);
        self
    }

    /// Bounds how many of a resource the pods of the watched namespaces may ask for together.
    #[must_use]
    pub fn declared(mut self, resource: impl Into<String>, amount: u64) -> Self {
        self.declared.insert(resource.into(), amount);
        self
    }

    pub(super) fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| name == namespace)
    }

    pub(super) fn memory_of(&self, pod: &PodFacts) -> Option<u64> {
        self.memory_mib
            .get(&pod.workload)
            .copied()
            .or(pod.memory_mib)
    }
}
