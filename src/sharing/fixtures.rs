//! Small worlds for the tests of this folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::allocation::Reason;
use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};
use std::collections::BTreeMap;

/// No tolerance and no windows: every recommendation is followed at once, but for half a step.
pub(super) const EAGER: Behavior = Behavior {
    tolerance: 0.0,
    scale_up_window: Duration::ZERO,
    scale_down_window: Duration::ZERO,
};

pub(super) fn whole() -> GpuResource {
    GpuResource::whole()
}

pub(super) fn agent(name: &str, priority: Priority, min: u32, max: u32, k: u32) -> AgentShape {
    AgentShape {
        name: name.to_owned(),
        priority,
        min_replicas: min,
        max_replicas: max,
        gpus_per_replica: k,
        memory_per_replica: None,
    }
}

pub(super) fn pool(strategy: Strategy, agents: Vec<AgentShape>) -> PoolShape {
    PoolShape {
        strategy,
        declared_gpus: None,
        nodes_hidden: false,
        allow_downtime: false,
        max_concurrent: 8,
        behavior: EAGER,
        agents,
    }
}

pub(super) fn node(name: &str, gpus: u32) -> Node {
    Node {
        name: name.to_owned(),
        schedulable: true,
        allocatable: BTreeMap::from([(whole(), gpus)]),
        gpus,
        ..Node::default()
    }
}

/// An agent whose ready pods sit on the named nodes.
pub(super) fn running(resource: &GpuResource, size: u32, nodes: &[&str]) -> AgentObserved {
    let requests = BTreeMap::from([(resource.clone(), size)]);
    AgentObserved {
        replicas: u32::try_from(nodes.len()).unwrap(),
        template: requests.clone(),
        rollout: Rollout::Rolling,
        rolling: false,
        pods: nodes
            .iter()
            .enumerate()
            .map(|(i, node)| Pod {
                name: format!("pod-{i}"),
                node: (!node.is_empty()).then(|| (*node).to_owned()),
                requests: requests.clone(),
                state: if node.is_empty() {
                    PodState::Pending
                } else {
                    PodState::Ready
                },
                unschedulable: false,
                load: Some(1.0),
            })
            .collect(),
        restore: None,
        frozen: false,
        template_locked: false,
    }
}

/// Fills in what the nodes see of the agents' pods, beside what is foreign.
pub(super) fn world(mut nodes: Vec<Node>, agents: Vec<AgentObserved>) -> Observed {
    for node in &mut nodes {
        node.used = node.foreign.clone();
        for pod in agents.iter().flat_map(|agent| &agent.pods) {
            if pod.node.as_deref() == Some(&node.name) {
                for (resource, count) in &pod.requests {
                    *node.used.entry(resource.clone()).or_insert(0) += count;
                }
            }
        }
    }
    Observed {
        nodes,
        agents,
        ..Observed::default()
    }
}

/// A target that the agent's load asks for in full.
pub(super) fn hungry(milli: u64) -> Allotment {
    Allotment {
        target: MilliGpus(milli),
        demand: MilliGpus(milli),
        reason: Reason::CapacityShared,
        minimum_unmet: false,
    }
}

pub(super) fn planned(shape: &PoolShape, observed: &Observed, targets: &[u64]) -> Plan {
    let decision: Vec<Allotment> = targets.iter().map(|t| hungry(*t)).collect();
    plan(
        shape,
        observed,
        &decision,
        &Memory::default(),
        Duration::ZERO,
    )
    .0
}

/// The scale steps of a plan as (agent, from, to).
pub(super) fn scales(plan: &Plan) -> Vec<(usize, u32, u32)> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::Scale {
                agent, from, to, ..
            } => Some((*agent, *from, *to)),
            _ => None,
        })
        .collect()
}

pub(super) fn replicas(plan: &Plan) -> Vec<Option<u32>> {
    plan.quanta
        .iter()
        .map(|q| q.as_ref().map(|q| q.replicas))
        .collect()
}

/// A MIG resource by its profile.
pub(super) fn mig(profile: &str) -> GpuResource {
    GpuResource::parse(&format!("nvidia.com/mig-{profile}")).unwrap()
}

/// A node with one A100-80 in the given layout, with the labels that GPU feature discovery writes.
pub(super) fn a100(name: &str, layout: &[(&str, u32)]) -> Node {
    let facts = |profile: &str| {
        let (multiprocessors, memory) = match profile {
            "1g.10gb" => (14, 9728),
            "2g.20gb" => (28, 19968),
            "3g.40gb" => (42, 40192),
            "4g.40gb" => (56, 40192),
            "7g.80gb" => (98, 80896),
            other => panic!("no facts of {other}"),
        };
        InstanceFacts {
            multiprocessors,
            memory: Mebibytes(memory),
        }
    };
    Node {
        name: name.to_owned(),
        schedulable: true,
        allocatable: layout.iter().map(|(p, n)| (mig(p), *n)).collect(),
        gpus: 1,
        gpu_memory: Some(Mebibytes(81920)),
        multiprocessors: Some(108),
        instances: layout.iter().map(|(p, _)| (mig(p), facts(p))).collect(),
        ..Node::default()
    }
}

/// An agent whose model needs this much memory.
pub(super) fn with_memory(agent: AgentShape, mebibytes: u64) -> AgentShape {
    AgentShape {
        memory_per_replica: Some(Mebibytes(mebibytes)),
        ..agent
    }
}
