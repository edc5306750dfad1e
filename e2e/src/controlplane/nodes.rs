//! GPU nodes as KWOK plays them: the resources that a device plugin would announce, and the labels that GPU feature discovery would set.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

pub use super::gpus::{A100_40, A100_80, GpuModel, MigProfile, T4};
use crate::wait;

/// The label of every node that the bench made.
pub const BENCH_NODE_LABEL: &str = "bench.agentpool.dev/node";

/// What a node announces; made by one of the constructors, changed by the others.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    name: String,
    labels: BTreeMap<String, String>,
    resources: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

impl NodeSpec {
    /// A node without GPUs: 64 cores, 512 GiB, 250 pods.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            (BENCH_NODE_LABEL, "true"),
        ];
        let resources = [
            ("cpu", "64"),
            ("memory", "512Gi"),
            ("ephemeral-storage", "1Ti"),
            ("pods", "250"),
        ];
        Self {
            labels: owned(&labels),
            resources: owned(&resources),
            taints: Vec::new(),
            name,
        }
    }

    /// `gpus` whole GPUs of a model: `nvidia.com/gpu`.
    pub fn whole(name: impl Into<String>, model: GpuModel, gpus: u32) -> Self {
        Self::new(name)
            .gpu_labels(model, gpus)
            .label("nvidia.com/gpu.product", model.product)
            .label("nvidia.com/gpu.replicas", "1")
            .label("nvidia.com/gpu.sharing-strategy", "none")
            .resource("nvidia.com/gpu", gpus)
    }

    /// `gpus` GPUs, each announced `slices` times by time-slicing with `renameByDefault`: `nvidia.com/gpu.shared`.
    pub fn time_sliced(name: impl Into<String>, model: GpuModel, gpus: u32, slices: u32) -> Self {
        Self::new(name)
            .gpu_labels(model, gpus)
            .label("nvidia.com/gpu.product", model.product)
            .label("nvidia.com/gpu.replicas", slices.to_string())
            .label("nvidia.com/gpu.sharing-strategy", "time-slicing")
            .resource("nvidia.com/gpu.shared", gpus.saturating_mul(slices))
    }

    /// `gpus` GPUs in MIG mode, strategy `mixed`, with so many instances of each profile on the whole node: `nvidia.com/mig-<profile>`.
    ///
    /// # Errors
    /// The model has no such profile.
    pub fn mig(
        name: impl Into<String>,
        model: GpuModel,
        gpus: u32,
        instances: &[(&str, u32)],
    ) -> Result<Self> {
        let mut spec = Self::new(name)
            .gpu_labels(model, gpus)
            .label("nvidia.com/gpu.product", model.product)
            .label("nvidia.com/gpu.replicas", "1")
            .label("nvidia.com/gpu.sharing-strategy", "none")
            .label("nvidia.com/mig.strategy", "mixed");
        for (wanted, count) in instances {
            let Some(profile) = model.mig.iter().find(|profile| profile.name == *wanted) else {
                let known: Vec<&str> = model.mig.iter().map(|profile| profile.name).collect();
                bail!(
                    "{} has no MIG profile {wanted}; it has {}",
                    model.product,
                    known.join(", ")
                );
            };
            let prefix = format!("nvidia.com/mig-{wanted}");
            spec = spec
                .label(
                    format!("{prefix}.product"),
                    format!("{}-MIG-{wanted}", model.product),
                )
                .label(format!("{prefix}.count"), count.to_string())
                .label(format!("{prefix}.replicas"), "1")
                .label(format!("{prefix}.sharing-strategy"), "none")
                .label(format!("{prefix}.memory"), profile.memory_mib.to_string())
                .label(
                    format!("{prefix}.multiprocessors"),
                    profile.multiprocessors.to_string(),
                )
                .label(format!("{prefix}.slices.gi"), profile.slices.to_string())
                .label(format!("{prefix}.slices.ci"), profile.slices.to_string())
                .resource(prefix, *count);
        }
        // In MIG mode the device plugin announces no whole GPU.
        Ok(spec.resource("nvidia.com/gpu", 0))
    }

    fn gpu_labels(self, model: GpuModel, gpus: u32) -> Self {
        let capable = if model.mig.is_empty() {
            "false"
        } else {
            "true"
        };
        self.label("nvidia.com/gpu.present", "true")
            .label("nvidia.com/gpu.count", gpus.to_string())
            .label("nvidia.com/gpu.memory", model.memory_mib.to_string())
            .label("nvidia.com/mig.capable", capable)
            .label(
                "bench.agentpool.dev/multiprocessors",
                model.multiprocessors.to_string(),
            )
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Takes a label away, for nodes whose feature discovery is broken.
    #[must_use]
    pub fn without_label(mut self, key: &str) -> Self {
        self.labels.remove(key);
        self
    }

    /// Sets how much of an extended resource the node has, as capacity and as allocatable.
    #[must_use]
    pub fn resource(mut self, key: impl Into<String>, amount: u32) -> Self {
        self.resources.insert(key.into(), amount.to_string());
        self
    }

    /// Adds a taint with effect `NoSchedule`.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str) -> Self {
        self.taints.push(Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        });
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn object(&self) -> Result<Node> {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {"taints": self.taints},
            "status": {"capacity": self.resources, "allocatable": self.resources},
        });
        serde_json::from_value(node).context("a node object")
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Makes and changes nodes.
pub struct Nodes {
    nodes: Api<Node>,
    client: Client,
}

impl Nodes {
    /// Nodes of the cluster that `client` reaches.
    pub fn new(client: Client) -> Self {
        Self {
            nodes: Api::all(client.clone()),
            client,
        }
    }

    /// Creates a node and waits until it is Ready (KWOK makes it so).
    pub async fn add(&self, spec: &NodeSpec) -> Result<()> {
        self.nodes
            .create(&PostParams::default(), &spec.object()?)
            .await
            .with_context(|| format!("create node {}", spec.name))?;
        wait::until(
            Duration::from_secs(60),
            format!("node {} is Ready and has its resources", spec.name),
            async || {
                let node = self.nodes.get(&spec.name).await?;
                // The node lifecycle controller puts taints of its own on a new node and takes them away.
                let tainted = node
                    .spec
                    .iter()
                    .flat_map(|spec| spec.taints.iter().flatten())
                    .any(|taint| taint.key.starts_with("node.kubernetes.io/"));
                Ok((is_ready(&node) && !tainted).then_some(()))
            },
        )
        .await
    }

    /// Removes a node; its pods are then deleted by the controllers, as after the loss of a machine.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.nodes
            .delete(name, &DeleteParams::background())
            .await
            .with_context(|| format!("delete node {name}"))?;
        Ok(())
    }

    /// Changes what a running node has of a resource, as its device plugin would: a lost GPU, a new MIG layout. Pods that run there stay.
    pub async fn set_resource(&self, name: &str, resource: &str, amount: u32) -> Result<()> {
        let amounts = json!({ resource: amount.to_string() });
        let patch = json!({"status": {"capacity": amounts, "allocatable": amounts}});
        self.nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("set {resource} of node {name} to {amount}"))?;
        Ok(())
    }

    /// Takes a resource away altogether, as after the removal of a device plugin.
    pub async fn remove_resource(&self, name: &str, resource: &str) -> Result<()> {
        let patch = json!({"status": {"capacity": {resource: Value::Null}, "allocatable": {resource: Value::Null}}});
        self.nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("remove {resource} of node {name}"))?;
        Ok(())
    }

    /// Sets a label of a running node.
    pub async fn set_label(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"labels": {key: value}}});
        self.nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("label node {name}"))?;
        Ok(())
    }

    /// Makes a node unschedulable, or schedulable again.
    pub async fn cordon(&self, name: &str, cordoned: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": cordoned}});
        self.nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("cordon node {name}"))?;
        Ok(())
    }

    /// A node that does not answer any more, as after a loss of power: it is Unknown, its pods are not ready, and what is deleted there stays,
    /// for the grace period of its pods or an hour.
    pub async fn silence(&self, name: &str) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
        let notes = json!({"metadata": {"annotations": {
            "bench.agentpool.dev/unready": "true", "bench.agentpool.dev/drain-delay": "1h",
        }}});
        for pod in pods.list(&on_node).await?.items {
            let namespace = pod.namespace().unwrap_or_default();
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            pods.patch(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&notes),
            )
            .await
            .with_context(|| format!("silence pod {}", pod.name_any()))?;
        }
        let silent = json!({"metadata": {"annotations": {"bench.agentpool.dev/silent": "true"}}});
        self.nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(silent))
            .await
            .with_context(|| format!("silence node {name}"))?;
        let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status."});
        let status = json!({"status": {"conditions": [unknown]}});
        self.nodes
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .with_context(|| format!("node {name} is not Ready"))?;
        Ok(())
    }

    /// Cordons a node, evicts its pods (disruption budgets are respected) and waits until they are gone.
    pub async fn drain(&self, name: &str, limit: Duration) -> Result<()> {
        self.cordon(name, true).await?;
        let all: Api<Pod> = Api::all(self.client.clone());
        let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
        wait::until(limit, format!("node {name} is drained"), async || {
            let pods = all.list(&on_node).await?.items;
            for pod in pods
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            {
                let api: Api<Pod> =
                    Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
                match api.evict(&pod.name_any(), &EvictParams::default()).await {
                    Ok(_) => {}
                    // Gone meanwhile, or a disruption budget says: later.
                    Err(kube::Error::Api(status)) if status.code == 404 || status.code == 429 => {}
                    Err(error) => {
                        return Err(error).with_context(|| format!("evict {}", pod.name_any()));
                    }
                }
            }
            Ok(pods.is_empty().then_some(()))
        })
        .await
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_mig_node_announces_instances_with_their_usable_memory_and_no_whole_gpu() {
        let spec = NodeSpec::mig("n", A100_80, 1, &[("1g.10gb", 3), ("4g.40gb", 1)]).unwrap();
        let node = spec.object().unwrap();
        let allocatable = node.status.unwrap().allocatable.unwrap();
        assert_eq!(allocatable["nvidia.com/mig-1g.10gb"].0, "3");
        assert_eq!(allocatable["nvidia.com/gpu"].0, "0");
        assert_eq!(
            node.metadata.labels.unwrap()["nvidia.com/mig-4g.40gb.multiprocessors"],
            "56"
        );
    }

    #[test]
    fn a_profile_that_the_gpu_has_not_is_refused_with_those_it_has() {
        let error = NodeSpec::mig("n", A100_80, 1, &[("1g.5gb", 1)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("1g.5gb") && error.contains("3g.40gb"),
            "{error}"
        );
    }

    #[test]
    fn a_time_sliced_node_announces_every_slice() {
        let node = NodeSpec::time_sliced("n", T4, 2, 10).object().unwrap();
        assert_eq!(
            node.status.unwrap().allocatable.unwrap()["nvidia.com/gpu.shared"].0,
            "20"
        );
    }
}
