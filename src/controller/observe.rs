//! Records -> what sharing looks at. No I/O: reads the caches, writes nothing.

use super::cache::{
    AutoscalerRecord, Caches, NodeRecord, PodRecord, UpdateStrategy, WorkloadRecord, add,
};
use super::claims::Claims;
use super::dark::Dark;
use super::reverts;
use super::standing::{self, Refusal, Surroundings};
use crate::api::{ValidAgent, ValidPool, annotations};
use crate::sharing::{AgentObserved, InstanceFacts, Node, Observed, Pod, Restore, Rollout};
use crate::units::{GpuResource, Mebibytes};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A pool's agents and nodes, as the caches have them.
#[derive(Debug)]
pub struct View {
    /// The agents, in the pool's order.
    pub agents: Vec<AgentView>,
    /// Nodes that the pool's selector matches, in order of name.
    pub nodes: Vec<(String, Arc<NodeRecord>)>,
    /// Nodes among them to which not every agent's pods can come, by name, and why. Which of them the scheduler would give to whom is
    /// not known beforehand, so nothing new is placed there.
    pub closed: BTreeMap<String, String>,
}

/// One agent's workload and pods.
#[derive(Debug)]
pub struct AgentView {
    /// Its workload, when there is one that asks for GPUs.
    pub workload: Option<Arc<WorkloadRecord>>,
    /// Index of the container that asks for the GPU.
    pub container: Option<usize>,
    /// Its pods, in order of name.
    pub pods: Vec<(String, Arc<PodRecord>)>,
    /// Why nothing may be written for it.
    pub refusal: Option<Refusal>,
    /// Why its pods are not created, as far as that is seen from outside.
    pub short: Option<String>,
}

/// Looks a pool up in the caches.
pub fn view(pool: &ValidPool, caches: &Caches, claims: &Claims) -> View {
    let autoscalers: Vec<Arc<AutoscalerRecord>> = [&caches.autoscalers, &caches.scaled_objects]
        .into_iter()
        .flat_map(|s| s.in_namespace(&pool.namespace))
        .map(|(_, a)| a)
        .collect();
    let agents: Vec<AgentView> = pool
        .agents
        .iter()
        .zip(&pool.shape.agents)
        .map(|(agent, shape)| {
            let Some(workload) = caches
                .workloads(agent.kind)
                .get(&pool.namespace, &agent.workload)
            else {
                let message = format!(
                    "{} does not exist in namespace {}, or asks for no GPU",
                    standing::describe(agent),
                    pool.namespace
                );
                let refusal = Refusal {
                    reason: "WorkloadNotFound",
                    message,
                    conflict: false,
                };
                return AgentView {
                    workload: None,
                    container: None,
                    pods: Vec::new(),
                    refusal: Some(refusal),
                    short: None,
                };
            };
            let claimed_by = claims.other_holder(pool, agent);
            let around = Surroundings {
                autoscalers: &autoscalers,
                claimed_by: claimed_by.as_deref(),
            };
            let refusal = standing::refusal(
                agent,
                shape,
                &pool.shape.strategy,
                pool.take_over,
                &workload,
                around,
            )
            .or_else(|| reverts::refusal(agent, &workload, pool.generation));
            AgentView {
                container: standing::gpu_container(agent, &workload).ok(),
                pods: caches.pods_of(&pool.namespace, &workload),
                refusal,
                short: None,
                workload: Some(workload),
            }
        })
        .collect();
    let nodes: Vec<(String, Arc<NodeRecord>)> = caches
        .nodes
        .all()
        .into_iter()
        .filter(|(_, node)| node.bears(&pool.node_selector))
        .map(|((_, name), node)| (name, node))
        .collect();
    View {
        closed: closed(pool, &agents, &nodes),
        agents,
        nodes,
    }
}

/// The nodes with a taint that the template of some agent does not tolerate.
fn closed(
    pool: &ValidPool,
    agents: &[AgentView],
    nodes: &[(String, Arc<NodeRecord>)],
) -> BTreeMap<String, String> {
    let mut closed = BTreeMap::new();
    for (name, node) in nodes.iter().filter(|(_, n)| !n.taints.is_empty()) {
        let repelled = agents.iter().zip(&pool.agents).find_map(|(view, agent)| {
            let taint = view.workload.as_ref()?.repelled(&node.taints)?;
            Some((&agent.name, taint))
        });
        if let Some((agent, taint)) = repelled.filter(|_| node.schedulable) {
            let why = format!(
                "node {name} has taint {taint}, which agent {agent} does not tolerate: nothing new is placed there"
            );
            closed.insert(name.clone(), why);
        }
    }
    closed
}

impl View {
    /// What sharing looks at. `load` gives the requests in a pod by its uid, when its metrics are fresh.
    pub fn observed(
        &self,
        pool: &ValidPool,
        caches: &Caches,
        load: impl Fn(&str) -> Option<f64>,
    ) -> Observed {
        let usage = caches.usage.by_node(&caches.pods);
        let mut ours: BTreeMap<&str, BTreeMap<GpuResource, u32>> = BTreeMap::new();
        for (_, pod) in self.agents.iter().flat_map(|a| &a.pods) {
            if let Some(node) = pod.node.as_deref() {
                add(ours.entry(node).or_default(), &pod.requests);
            }
        }
        let nodes = self
            .nodes
            .iter()
            .map(|(name, record)| {
                let used = usage.get(name).cloned().unwrap_or_default();
                let foreign = less(&used, ours.get(name.as_str()));
                let node = node(name, record, used, foreign);
                Node {
                    schedulable: node.schedulable && !self.closed.contains_key(name),
                    ..node
                }
            })
            .collect();
        let dark = match pool.shape.nodes_hidden {
            true => Dark::default(),
            false => Dark::look(&self.agents, caches, &usage, Instant::now()),
        };
        let agents = self
            .agents
            .iter()
            .zip(&pool.agents)
            .map(|(view, agent)| view.observed(agent, pool, &dark, &load))
            .collect();
        Observed {
            nodes,
            agents,
            ..Observed::default()
        }
    }
}

fn less(
    all: &BTreeMap<GpuResource, u32>,
    part: Option<&BTreeMap<GpuResource, u32>>,
) -> BTreeMap<GpuResource, u32> {
    let mine = |resource| part.and_then(|p| p.get(resource)).copied().unwrap_or(0);
    all.iter()
        .map(|(resource, n)| (resource.clone(), n.saturating_sub(mine(resource))))
        .filter(|(_, n)| *n > 0)
        .collect()
}

fn node(
    name: &str,
    record: &NodeRecord,
    used: BTreeMap<GpuResource, u32>,
    foreign: BTreeMap<GpuResource, u32>,
) -> Node {
    let number = |label: &str| record.labels.get(label).and_then(|v| v.parse::<u32>().ok());
    // From the labels, not from what is allocatable: they stay while the device plugin is away.
    let profiles = record.labels.keys();
    let profiles = profiles.filter_map(|label| label.strip_suffix(".multiprocessors"));
    let instances = profiles
        .filter_map(|profile| {
            let resource = GpuResource::parse(profile).ok()?;
            resource.mig_profile()?;
            let multiprocessors = number(&format!("{profile}.multiprocessors"))?;
            let memory = Mebibytes(number(&format!("{profile}.memory"))?.into());
            Some((
                resource,
                InstanceFacts {
                    multiprocessors,
                    memory,
                },
            ))
        })
        .collect();
    Node {
        name: name.to_owned(),
        schedulable: record.schedulable,
        allocatable: record.allocatable.clone(),
        used,
        foreign,
        gpus: number("nvidia.com/gpu.count").unwrap_or(0),
        slices_per_gpu: number("nvidia.com/gpu.replicas").filter(|n| *n > 1),
        mig_single: is_mig_single(&record.labels),
        gpu_memory: number("nvidia.com/gpu.memory").map(|mib| Mebibytes(mib.into())),
        multiprocessors: record
            .labels
            .get("nvidia.com/gpu.product")
            .and_then(|product| multiprocessors(product)),
        instances,
    }
}

/// Whether `nvidia.com/gpu` are MIG slices on this node.
///
/// The label of the strategy alone does not say it: it stands on every node of a cluster that is set to `single`, the default of NVIDIA's
/// GPU operator, and means nothing on GPUs that are not in MIG mode. Those that are have a product of their own.
fn is_mig_single(labels: &BTreeMap<String, String>) -> bool {
    let label = |name: &str| labels.get(name).map(String::as_str);
    let sliced = label("nvidia.com/gpu.product").is_some_and(|p| p.contains("-MIG-"));
    label("nvidia.com/mig.strategy") == Some("single")
        && (sliced || label("nvidia.com/gpu.slices.gi").is_some())
}

/// Streaming multiprocessors of a whole GPU, by product name; the labels of the `mixed` MIG strategy do not say it.
///
/// Source: NVIDIA A100, H100 and H200 architecture papers (A100: 108; H100 SXM and NVL, H200: 132; H100 PCIe: 114).
fn multiprocessors(product: &str) -> Option<u32> {
    let known = [
        ("A100", 108),
        ("H100-PCIe", 114),
        ("H100", 132),
        ("H200", 132),
    ];
    known
        .into_iter()
        .find(|(name, _)| product.contains(name))
        .map(|(_, count)| count)
}

impl AgentView {
    fn observed(
        &self,
        agent: &ValidAgent,
        pool: &ValidPool,
        dark: &Dark,
        load: impl Fn(&str) -> Option<f64>,
    ) -> AgentObserved {
        let now = Timestamp::now();
        let workload = self.workload.as_deref();
        let pods = self.pods.iter().map(|(name, pod)| Pod {
            name: name.clone(),
            node: pod.node.clone(),
            requests: pod.requests.clone(),
            state: dark.state(pod, now),
            unschedulable: pod.unschedulable_since.is_some() && pod.node.is_none(),
            load: load(&pod.uid),
        });
        let container = self
            .container
            .and_then(|i| workload.and_then(|w| w.containers.get(i)));
        AgentObserved {
            replicas: workload.map_or(0, |w| w.replicas),
            template: container
                .map(super::cache::ContainerRecord::gpus)
                .unwrap_or_default(),
            rollout: match workload.map(|w| w.strategy) {
                Some(UpdateStrategy::Recreate) => Rollout::Recreate,
                Some(UpdateStrategy::Ordered | UpdateStrategy::OnDelete) => Rollout::Ordered,
                Some(UpdateStrategy::Rolling) | None => Rollout::Rolling,
            },
            rolling: workload.is_some_and(|w| w.rolling),
            pods: pods.collect(),
            restore: workload
                .and_then(|w| w.notes.get(annotations::RESTORE))
                .and_then(|note| serde_json::from_str::<Restore>(note).ok()),
            frozen: self.refusal.is_some(),
            template_locked: workload.is_some_and(|w| !pool.take_over && !owns_request(w, agent)),
        }
    }
}

/// Whether the GPU request in the template is ours: no other manager owns a GPU resource of the container.
fn owns_request(workload: &WorkloadRecord, agent: &ValidAgent) -> bool {
    let only = |container: &str| {
        agent
            .container
            .as_deref()
            .is_none_or(|name| name == container)
    };
    !workload
        .owners
        .iter()
        .filter(|o| o.manager != super::GPU_MANAGER)
        .any(|o| o.gpus.iter().any(|(c, _)| only(c)))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{caches, deployment, node, pool};
    use super::*;
    use serde_json::{Value, json};

    /// Whether new pods of an agent with these tolerations, which has one pod there, may come to a node with this taint.
    fn may_come(taint: Value, tolerations: Value) -> bool {
        let tainted = node(json!({}), json!({ "nvidia.com/gpu": "4" }), json!([taint]));
        let agents = [
            ("a", deployment("a", 1, tolerations)),
            ("b", deployment("b", 0, json!([{ "operator": "Exists" }]))),
        ];
        let caches = caches(&[("gpu-a", tainted)], &agents, &[("a", "gpu-a")]);
        let pool = pool("p", "WholeGPU", &["a", "b"]);
        let view = view(&pool, &caches, &Claims::default());
        let observed = view.observed(&pool, &caches, |_| None);
        let seen = crate::sharing::survey(&pool.shape, &observed);
        assert_eq!(
            seen.agents[0].realized,
            crate::units::MilliGpus::ONE,
            "its pod stays"
        );
        observed.nodes[0].schedulable
    }

    #[test]
    fn a_node_whose_taint_one_agent_does_not_tolerate_takes_no_new_pod() {
        let taint = |effect: &str| json!({ "key": "karpenter.sh/disrupted", "effect": effect });
        assert!(!may_come(taint("NoSchedule"), json!([])));
        assert!(!may_come(taint("NoExecute"), json!([])));
        assert!(may_come(taint("PreferNoSchedule"), json!([])));
        let tolerated = json!([{ "key": "karpenter.sh/disrupted", "operator": "Exists" }]);
        assert!(may_come(taint("NoSchedule"), tolerated));
    }

    #[test]
    fn the_taint_of_gpu_nodes_is_tolerated_although_no_template_says_so() {
        let gpus = json!({ "key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule" });
        assert!(may_come(gpus, json!([])));
    }

    #[test]
    fn a_node_is_told_to_have_mig_slices_under_the_name_of_gpus_by_its_product_not_by_its_strategy()
    {
        let is = |strategy: &str, product: &str| {
            let labels = [
                ("nvidia.com/mig.strategy", strategy),
                ("nvidia.com/gpu.product", product),
            ];
            let owned = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            is_mig_single(&owned.into())
        };
        assert!(is("single", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"));
        assert!(!is("single", "NVIDIA-A100-SXM4-80GB"), "not in MIG mode");
        assert!(!is("mixed", "NVIDIA-A100-SXM4-80GB"));
    }
}
