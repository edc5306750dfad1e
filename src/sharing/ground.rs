//! What the nodes offer, who holds it, and what is promised already.

use super::types::{AgentObserved, Node, Observed, Pod, PodState, PoolShape, Strategy};
use crate::units::GpuResource;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One resource on one node, in units of the resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spot {
    /// Pods may land here.
    pub schedulable: bool,
    /// What the pool may hold here: allocatable less foreign pods, and never less than its live pods hold there now. A device
    /// plugin that restarts announces nothing for a while; pods that run go on, and a cordoned node keeps its pods.
    pub pool: u64,
    /// Of `pool`: what live pods hold on a schedulable node that does not offer so much now.
    pub missing: u64,
    /// What the node has of the resource, as far as that is known: what it offers, or what pods hold where that is more.
    pub whole: u64,
    /// Free for a new pod now: allocatable less the requests of every pod, terminating ones included.
    pub free: u64,
}

/// The cluster as the planner reads it.
pub(super) struct Ground<'a> {
    /// The agents, with their pods.
    pub agents: &'a [AgentObserved],
    /// The nodes.
    pub nodes: &'a [Node],
    /// What other pools' replicas are about to take.
    others: &'a BTreeMap<GpuResource, BTreeMap<u32, u64>>,
    index: BTreeMap<&'a str, usize>,
    /// The one node stands for what is declared: who holds more than that is to give it back.
    declared: bool,
}

impl<'a> Ground<'a> {
    /// Reads `observed`, which must have gone through [`reveal`].
    pub fn new(shape: &PoolShape, observed: &'a Observed) -> Self {
        let index = observed
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (node.name.as_str(), i))
            .collect();
        Self {
            agents: &observed.agents,
            nodes: &observed.nodes,
            others: &observed.promised,
            index,
            declared: shape.nodes_hidden,
        }
    }

    /// The node a pod is bound to: `None` when it is unbound or its node is gone.
    pub fn node_of(&self, pod: &Pod) -> Option<usize> {
        self.index.get(pod.node.as_deref()?).copied()
    }

    /// `resource` on every node, in order of nodes.
    pub fn spots(&self, resource: &GpuResource) -> Vec<Spot> {
        let of = |map: &BTreeMap<GpuResource, u32>| map.get(resource).copied().map_or(0, u64::from);
        let spot = |(node, held): (&Node, u64)| {
            let (allocatable, foreign) = (of(&node.allocatable), of(&node.foreign));
            let open = |taken: u64| match node.schedulable {
                true => allocatable.saturating_sub(taken),
                false => 0,
            };
            let offered = open(foreign);
            Spot {
                schedulable: node.schedulable && held <= offered,
                pool: offered.max(held),
                missing: match node.schedulable {
                    true => held.saturating_sub(offered),
                    false => 0,
                },
                whole: allocatable.max(held.saturating_add(foreign)),
                free: open(of(&node.used)),
            }
        };
        self.nodes
            .iter()
            .zip(self.staying(resource))
            .map(spot)
            .collect()
    }

    /// What the pool's live pods hold of `resource` and are left with whatever their node offers, in order of nodes.
    fn staying(&self, resource: &GpuResource) -> Vec<u64> {
        let mut held = vec![0u64; self.nodes.len()];
        if self.declared {
            return held;
        }
        for pod in self.agents.iter().flat_map(|agent| &agent.pods) {
            if pod.state != PodState::Terminating
                && let Some(at) = self.node_of(pod)
            {
                let here = pod.requests.get(resource).copied().map_or(0, u64::from);
                held[at] = held[at].saturating_add(here);
            }
        }
        held
    }

    /// Replicas of `agent` that are in its spec and have no bound pod with what the template asks for: the scheduler will
    /// place them as soon as it can.
    pub fn promised(&self, agent: usize) -> u64 {
        let agent = &self.agents[agent];
        let bound = agent
            .pods
            .iter()
            .filter(|pod| {
                pod.node.is_some()
                    && pod.state != PodState::Terminating
                    && covers(&pod.requests, &agent.template)
            })
            .count() as u64;
        u64::from(agent.replicas).saturating_sub(bound)
    }

    /// As [`Self::promises`], with those of other pools: they may land wherever ours do.
    pub fn all_promises(&self, resource: &GpuResource) -> BTreeMap<u32, u64> {
        let mut sizes = self.promises(resource);
        for (size, n) in self.others.get(resource).into_iter().flatten() {
            let all = sizes.entry(*size).or_insert(0);
            *all = all.saturating_add(*n);
        }
        sizes
    }

    /// Sizes of the pool's replicas that ask, or are about to ask, for `resource` and have no node yet, with how many there are of
    /// each. Pods that exist count even when the spec wants fewer: the scheduler may be faster than whoever deletes them.
    pub fn promises(&self, resource: &GpuResource) -> BTreeMap<u32, u64> {
        let mut sizes = BTreeMap::new();
        let mut promise = |map: &BTreeMap<GpuResource, u32>, n: u64| {
            if let Some(size @ 1..) = map.get(resource).copied()
                && n > 0
            {
                *sizes.entry(size).or_insert(0) += n;
            }
        };
        for (i, agent) in self.agents.iter().enumerate() {
            let unbound = agent.pods.iter().filter(|pod| pod.node.is_none());
            let (current, outdated): (Vec<&Pod>, Vec<&Pod>) =
                unbound.partition(|pod| covers(&pod.requests, &agent.template));
            promise(&agent.template, self.promised(i).max(current.len() as u64));
            for pod in outdated {
                promise(&pod.requests, 1);
            }
        }
        sizes
    }
}

/// Whether a pod asks for what the template asks for, GPU by GPU.
pub(super) fn covers(
    requests: &BTreeMap<GpuResource, u32>,
    template: &BTreeMap<GpuResource, u32>,
) -> bool {
    let nonzero = |map: &BTreeMap<GpuResource, u32>| {
        map.iter()
            .filter(|(_, count)| **count > 0)
            .map(|(resource, count)| (resource.clone(), *count))
            .collect::<Vec<_>>()
    };
    nonzero(requests) == nonzero(template)
}

/// `observed`, and where the nodes are hidden one node in their place that has what is declared and holds all pods of the pool.
pub(super) fn reveal<'a>(shape: &PoolShape, observed: &'a Observed) -> Cow<'a, Observed> {
    if !shape.nodes_hidden {
        return Cow::Borrowed(observed);
    }
    let gpus = u32::try_from(shape.declared_gpus.unwrap_or_default().0 / 1000).unwrap_or(u32::MAX);
    let mut node = Node {
        schedulable: true,
        gpus,
        ..Node::default()
    };
    match &shape.strategy {
        Strategy::WholeGpu => {
            node.allocatable.insert(GpuResource::whole(), gpus);
        }
        Strategy::TimeSlicing {
            resource,
            slices_per_gpu,
        } => {
            node.slices_per_gpu = *slices_per_gpu;
            let tokens = gpus.saturating_mul(slices_per_gpu.unwrap_or(1));
            node.allocatable.insert(resource.clone(), tokens);
        }
        Strategy::Mig => {}
    }
    let mut observed = observed.clone();
    for pod in observed.agents.iter_mut().flat_map(|agent| &mut agent.pods) {
        if pod.node.is_some() {
            pod.node = Some(node.name.clone());
            for (resource, count) in &pod.requests {
                let used = node.used.entry(resource.clone()).or_insert(0);
                *used = used.saturating_add(*count);
            }
        }
    }
    observed.nodes = vec![node];
    Cow::Owned(observed)
}
