//! Properties of plans under any interleaving of operator, scheduler, workload controllers and crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::*;
use super::model::{Cluster, Dice, run};
use super::*;
use crate::units::{GpuResource, Priority};
use proptest::prelude::*;

fn rollout(n: u8) -> Rollout {
    [Rollout::Rolling, Rollout::Recreate, Rollout::Ordered][usize::from(n) % 3]
}

fn priority(n: u8) -> Priority {
    [Priority::High, Priority::Medium, Priority::Low][usize::from(n) % 3]
}

fn empty(template: &GpuResource, size: u32) -> AgentObserved {
    AgentObserved {
        replicas: 0,
        pods: Vec::new(),
        ..running(template, size, &["x"])
    }
}

/// Checks that the end is what was decided, or that a hold says why not.
fn assert_settled(cluster: &Cluster, plan: &Plan) {
    for (i, w) in cluster.workloads.iter().enumerate() {
        let Some(quantum) = &plan.quanta[i] else {
            continue;
        };
        let as_decided = w.replicas == quantum.replicas
            && (quantum.replicas == 0
                || w.template
                    == std::collections::BTreeMap::from([(
                        quantum.resource.clone(),
                        quantum.count,
                    )]));
        assert!(
            as_decided || plan.holds[i].is_some(),
            "agent {i} has {} x {:?}, decided {quantum:?}, no hold",
            w.replicas,
            w.template
        );
        assert!(
            w.restore.is_none(),
            "agent {i}: a swap is left half done: {:?}",
            plan.holds
        );
    }
}

#[derive(Debug, Clone)]
struct Whole {
    nodes: Vec<u32>,
    agents: Vec<(u8, u8, u32, u32)>, // rollout, priority, gpus per replica, max
    targets: Vec<Vec<u64>>,
    seed: u64,
}

fn whole_pools() -> impl Strategy2<Value = Whole> {
    (1..4usize, 1..5usize).prop_flat_map(|(nodes, agents)| {
        (
            prop::collection::vec(0..6u32, nodes),
            prop::collection::vec((any::<u8>(), any::<u8>(), 1..4u32, 1..6u32), agents),
            prop::collection::vec(prop::collection::vec(0..5000u64, agents), 1..4),
            any::<u64>(),
        )
            .prop_map(|(nodes, agents, targets, seed)| Whole {
                nodes,
                agents,
                targets,
                seed,
            })
    })
}

use proptest::strategy::Strategy as Strategy2;

fn start(case: &Whole) -> (PoolShape, Cluster) {
    let shapes = case
        .agents
        .iter()
        .enumerate()
        .map(|(i, (_, p, k, max))| agent(&format!("a{i}"), priority(*p), 0, *max, *k));
    let shape = pool(super::Strategy::WholeGpu, shapes.collect());
    let nodes = case
        .nodes
        .iter()
        .enumerate()
        .map(|(i, gpus)| node(&format!("n{i}"), *gpus));
    let agents = case.agents.iter().map(|(r, _, k, _)| AgentObserved {
        rollout: rollout(*r),
        ..empty(&whole(), *k)
    });
    let cluster = Cluster::new(nodes.collect(), agents.collect());
    (shape, cluster)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whole_gpus_settle_on_what_is_decided_and_no_pod_is_ever_unschedulable(case in whole_pools()) {
        let (mut shape, mut cluster) = start(&case);
        shape.max_concurrent = 1 + (case.seed % 3) as u32;
        let mut dice = Dice::new(case.seed);
        for targets in &case.targets {
            let decision: Vec<Allotment> = targets.iter().map(|t| hungry(*t)).collect();
            let outcome = run(&mut cluster, &shape, &decision, &mut dice, case.seed.is_multiple_of(2));
            assert_settled(&cluster, &outcome.plan);
            prop_assert!(cluster.unschedulable.is_empty(), "{:?}", cluster.unschedulable);
        }
    }
}
