//! Properties of plans under any interleaving of operator, scheduler, workload controllers and crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::*;
use super::model::{Cluster, Dice, run, turns};
use super::*;
use crate::allocation::Reason;
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
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whole_gpus_settle_on_what_is_decided_and_no_pod_is_ever_unschedulable(case in whole_pools()) {
        let (mut shape, mut cluster) = start(&case);
        shape.max_concurrent = 1 + (case.seed % 3) as u32;
        let mut dice = Dice::new(case.seed);
        for targets in &case.targets {
            let decision: Vec<Allotment> = targets.iter().map(|t| hungry(*t)).collect();
            // Now and then the decision changes while the last one is still being carried out.
            let crashes = (case.seed % 8) as usize;
            let hurried = dice.roll(40);
            turns(&mut cluster, &shape, &decision, &mut dice, crashes, hurried);
            if dice.roll(2) == 0 {
                continue;
            }
            let outcome = run(&mut cluster, &shape, &decision, &mut dice, crashes);
            assert_settled(&cluster, &outcome.plan);
            prop_assert!(cluster.unschedulable.is_empty(), "{:?}", cluster.unschedulable);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn agents_of_unknown_load_come_up_to_their_fewest_replicas_and_never_fall(case in whole_pools()) {
        let (mut shape, mut cluster) = start(&case);
        let mut dice = Dice::new(case.seed);
        let blind: Vec<bool> = case.agents.iter().map(|_| dice.roll(2) == 0).collect();
        let crashes = (case.seed % 8) as usize;
        for targets in &case.targets {
            for agent in &mut shape.agents {
                agent.min_replicas = 1 + dice.roll(agent.max_replicas as usize) as u32;
            }
            let allotments = targets.iter().zip(&blind).map(|(target, blind)| match blind {
                true => Allotment { reason: Reason::SignalLost, ..hungry(0) },
                false => hungry(*target),
            });
            let decision: Vec<Allotment> = allotments.collect();
            for _ in 0..20 {
                let before: Vec<u32> = cluster.workloads.iter().map(|w| w.replicas).collect();
                turns(&mut cluster, &shape, &decision, &mut dice, crashes, 3);
                for (i, w) in cluster.workloads.iter().enumerate() {
                    prop_assert!(!blind[i] || w.replicas >= before[i], "{i}: {before:?}");
                }
            }
            let outcome = run(&mut cluster, &shape, &decision, &mut dice, crashes);
            assert_settled(&cluster, &outcome.plan);
            prop_assert!(cluster.unschedulable.is_empty(), "{:?}", cluster.unschedulable);
            for (i, w) in cluster.workloads.iter().enumerate() {
                let said = outcome.plan.unmet[i].is_some() || outcome.plan.holds[i].is_some();
                prop_assert!(said || w.replicas >= shape.agents[i].min_replicas, "{i}");
            }
        }
    }
}

const PROFILES: [(&str, u64); 4] = [
    ("1g.10gb", 9_000),
    ("2g.20gb", 19_000),
    ("3g.40gb", 40_000),
    ("4g.40gb", 40_000),
];

#[derive(Debug, Clone)]
struct Migs {
    layouts: Vec<[u32; 4]>,
    agents: Vec<(u8, u8, usize, u32)>, // rollout, priority, memory class, max
    allow_downtime: bool,
    targets: Vec<Vec<u64>>,
    seed: u64,
}

fn mig_pools() -> impl Strategy2<Value = Migs> {
    (1..3usize, 1..5usize).prop_flat_map(|(nodes, agents)| {
        (
            prop::collection::vec([0..4u32, 0..3u32, 0..3u32, 0..2u32], nodes),
            prop::collection::vec((any::<u8>(), any::<u8>(), 0..3usize, 1..4u32), agents),
            any::<bool>(),
            prop::collection::vec(prop::collection::vec(0..900u64, agents), 1..4),
            any::<u64>(),
        )
            .prop_map(|(layouts, agents, allow_downtime, targets, seed)| Migs {
                layouts,
                agents,
                allow_downtime,
                targets,
                seed,
            })
    })
}

/// Agents start with one pod each on some instance that is free, those that find none with none.
fn start_migs(case: &Migs) -> (PoolShape, Cluster) {
    let mut nodes = Vec::new();
    for (n, layout) in case.layouts.iter().enumerate() {
        let layout: Vec<(&str, u32)> = PROFILES
            .iter()
            .zip(layout)
            .map(|((profile, _), count)| (*profile, *count))
            .collect();
        nodes.push(a100(&format!("n{n}"), &layout));
    }
    let mut left: Vec<(String, GpuResource, u32)> = Vec::new();
    for node in &nodes {
        for (resource, count) in &node.allocatable {
            left.push((node.name.clone(), resource.clone(), *count));
        }
    }
    let mut dice = Dice::new(case.seed ^ 1);
    let (mut shapes, mut agents) = (Vec::new(), Vec::new());
    for (i, (r, p, class, max)) in case.agents.iter().enumerate() {
        let at = dice.roll(left.len());
        let placed = left.get_mut(at).filter(|(_, _, count)| *count > 0);
        let there = placed.is_some();
        let mut observed = match placed {
            Some((node, resource, count)) => {
                *count -= 1;
                running(resource, 1, &[node])
            }
            None => empty(&mig("1g.10gb"), 1),
        };
        observed.rollout = rollout(*r);
        agents.push(observed);
        let shape = agent(&format!("a{i}"), priority(*p), u32::from(there), *max, 1);
        shapes.push(with_memory(shape, PROFILES[*class].1));
    }
    let mut shape = pool(super::Strategy::Mig, shapes);
    shape.allow_downtime = case.allow_downtime;
    shape.max_concurrent = 1 + (case.seed % 3) as u32;
    (shape, Cluster::new(nodes, agents))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn mig_pools_settle_and_nobody_is_left_at_zero_or_unschedulable(case in mig_pools()) {
        let (shape, mut cluster) = start_migs(&case);
        let mut dice = Dice::new(case.seed);
        let ran: Vec<bool> = cluster.workloads.iter().map(|w| w.replicas > 0).collect();
        let crashes = (case.seed % 8) as usize;
        for (n, targets) in case.targets.iter().enumerate() {
            let decision: Vec<Allotment> = targets.iter().map(|t| hungry(*t)).collect();
            let hurried = dice.roll(60);
            turns(&mut cluster, &shape, &decision, &mut dice, crashes, hurried);
            if n + 1 < case.targets.len() {
                continue;
            }
            let outcome = run(&mut cluster, &shape, &decision, &mut dice, crashes);
            assert_settled(&cluster, &outcome.plan);
            if !shape.allow_downtime {
                for i in outcome.downtime {
                    prop_assert!(!ran[i], "agent {} was stopped", i);
                }
            }
        }
        prop_assert!(cluster.unschedulable.is_empty(), "{:?}", cluster.unschedulable);
        for (i, w) in cluster.workloads.iter().enumerate() {
            prop_assert!(!ran[i] || w.replicas > 0, "agent {} is left at zero", i);
        }
    }
}

#[derive(Debug, Clone)]
struct Sliced {
    nodes: Vec<(u32, u32)>,          // GPUs, slices of each
    agents: Vec<(u8, u8, u64, u32)>, // rollout, priority, memory, max
    targets: Vec<Vec<u64>>,
    seed: u64,
}

fn sliced_pools() -> impl Strategy2<Value = Sliced> {
    (1..3usize, 1..5usize).prop_flat_map(|(nodes, agents)| {
        (
            prop::collection::vec((1..3u32, 1..7u32), nodes),
            prop::collection::vec((any::<u8>(), any::<u8>(), 1..9000u64, 1..7u32), agents),
            prop::collection::vec(prop::collection::vec(0..1500u64, agents), 1..4),
            any::<u64>(),
        )
            .prop_map(|(nodes, agents, targets, seed)| Sliced {
                nodes,
                agents,
                targets,
                seed,
            })
    })
}

/// The largest sum of memory that copies on one GPU of a node could amount to, beyond what the GPU has.
fn overcommitted(cluster: &Cluster, shape: &PoolShape, slices: &[u32]) -> Option<String> {
    let observed = cluster.observed();
    observed
        .nodes
        .iter()
        .zip(slices)
        .find_map(|(node, slices)| {
            let mut copies: Vec<u64> = Vec::new();
            for (agent, shape) in observed.agents.iter().zip(&shape.agents) {
                let here = agent
                    .pods
                    .iter()
                    .filter(|p| p.node.as_deref() == Some(&node.name));
                copies.extend(here.map(|_| shape.memory_per_replica.unwrap().0));
            }
            copies.sort_unstable_by(|a, b| b.cmp(a));
            let worst: u64 = copies.iter().take(*slices as usize).sum();
            (worst > 16_384).then(|| format!("{}: {worst} MiB", node.name))
        })
}

/// Copies that start.
fn starting(cluster: &Cluster) -> usize {
    let observed = cluster.observed();
    let pods = observed.agents.iter().flat_map(|agent| &agent.pods);
    let starts = |pod: &&Pod| matches!(pod.state, PodState::Pending | PodState::Loading);
    pods.filter(starts).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn copies_start_one_at_a_time_and_never_need_more_memory_than_a_gpu_has_wherever_they_land(case in sliced_pools()) {
        let token = GpuResource::shared();
        let shapes = case.agents.iter().enumerate().map(|(i, (_, p, memory, max))| {
            with_memory(agent(&format!("a{i}"), priority(*p), 0, *max, 1), *memory)
        });
        let sliced = super::Strategy::TimeSlicing { resource: token.clone(), slices_per_gpu: None };
        let mut shape = pool(sliced, shapes.collect());
        shape.max_concurrent = 1 + (case.seed % 3) as u32;
        let nodes = case.nodes.iter().enumerate().map(|(i, (gpus, slices))| Node {
            allocatable: [(token.clone(), gpus * slices)].into(),
            gpu_memory: Some(crate::units::Mebibytes(16_384)),
            ..node(&format!("n{i}"), *gpus)
        });
        let agents = case.agents.iter().map(|(r, ..)| AgentObserved {
            rollout: rollout(*r),
            ..empty(&token, 1)
        });
        let mut cluster = Cluster::new(nodes.collect(), agents.collect());
        let slices: Vec<u32> = case.nodes.iter().map(|(_, slices)| *slices).collect();
        let mut dice = Dice::new(case.seed);
        let crashes = (case.seed % 8) as usize;
        for targets in &case.targets {
            let decision: Vec<Allotment> = targets.iter().map(|t| hungry(3 * t)).collect();
            for _ in 0..15 {
                turns(&mut cluster, &shape, &decision, &mut dice, crashes, 3);
                let over = overcommitted(&cluster, &shape, &slices);
                prop_assert!(over.is_none(), "{over:?}");
                prop_assert!(starting(&cluster) <= 1);
            }
            let outcome = run(&mut cluster, &shape, &decision, &mut dice, crashes);
            assert_settled(&cluster, &outcome.plan);
            let over = overcommitted(&cluster, &shape, &slices);
            prop_assert!(over.is_none(), "{over:?}");
            prop_assert!(cluster.unschedulable.is_empty(), "{:?}", cluster.unschedulable);
        }
    }
}
