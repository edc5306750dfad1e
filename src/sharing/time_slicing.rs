//! TimeSlicing: a slice is an access token of which a container asks for exactly one; copies of an agent are its weight.
//!
//! The GPU's own time-slicer gives every busy process the same time and lends what is idle, so one copy of each agent is the
//! natural state, and copies count only while all are busy: they are added only while the demands exceed the GPUs, and as
//! few as bring every share within tolerance of its target.

use super::ground::{Ground, Spot};
use super::market::{Market, Unit};
use super::survey::Missing;
use super::types::{Extent, Node, PoolShape, Strategy, Survey};
use crate::units::{GpuResource, MilliGpus};
use std::collections::BTreeMap;

/// Slices that one GPU of the node is divided into: as declared, else the tokens that it has over the GPUs, else the label.
///
/// The label comes last: GPU feature discovery writes 1 when it lacks the plugin's configuration (k8s-device-plugin #732).
/// It comes first while the node announces nothing: the tokens that pods hold are not all there were.
pub(super) fn slices(shape: &PoolShape, node: &Node, spot: &Spot, resource: &GpuResource) -> u64 {
    let declared = match &shape.strategy {
        Strategy::TimeSlicing { slices_per_gpu, .. } => slices_per_gpu.map(u64::from),
        Strategy::WholeGpu | Strategy::Mig => None,
    };
    let label = node.slices_per_gpu.map(u64::from);
    let announced = node.allocatable.get(resource).is_some_and(|n| *n > 0);
    let counted = (node.gpus > 0).then(|| spot.whole.div_ceil(u64::from(node.gpus)));
    let slices = declared
        .or(label.filter(|_| !announced))
        .or(counted)
        .or(label)
        .unwrap_or(spot.whole);
    slices.max(1)
}

/// The one unit of the strategy: a token. Its share is what it is worth while all tokens are busy.
pub(super) fn units(shape: &PoolShape, ground: &Ground<'_>) -> Vec<Unit> {
    let Strategy::TimeSlicing { resource, .. } = &shape.strategy else {
        return Vec::new();
    };
    let spots = ground.spots(resource);
    let there = ground.nodes.iter().zip(&spots);
    let offers = there.filter(|(_, spot)| spot.whole > 0);
    let share = offers
        .clone()
        .map(|(node, spot)| 1000 / slices(shape, node, spot, resource))
        .min();
    let memory = offers
        .map(|(node, _)| node.gpu_memory)
        .max_by_key(|memory| memory.map_or(u64::MAX, |memory| memory.0))
        .flatten();
    vec![Unit {
        resource: resource.clone(),
        share: share.unwrap_or(0).max(1),
        memory,
        spots,
    }]
}

/// What is there to be shared.
pub(super) fn survey(market: &Market<'_>) -> Survey {
    let (shape, ground) = (market.shape, market.ground);
    let Some(unit) = market.units.first() else {
        return super::survey::nothing(shape.agents.len(), Vec::new());
    };
    let (mut found, mut foreign) = (0u64, 0u64);
    let mut missing = Missing::default();
    let mut notes = market.notes.clone();
    for (node, spot) in ground.nodes.iter().zip(&unit.spots) {
        if spot.whole == 0 {
            continue;
        }
        let slices = slices(shape, node, spot, &unit.resource);
        let gpus = |tokens: u64| tokens.saturating_mul(1000) / slices;
        let of = |map: &BTreeMap<GpuResource, u32>| {
            map.get(&unit.resource).copied().map_or(0, u64::from)
        };
        if node.schedulable {
            let tokens = of(&node.allocatable);
            found = found.saturating_add(gpus(tokens));
            foreign = foreign.saturating_add(gpus(of(&node.foreign).min(tokens)));
        } else {
            found = found.saturating_add(gpus(spot.pool));
        }
        missing.add(
            node,
            match of(&node.allocatable) {
                // While it announces nothing its copies still have the whole of the GPUs that they are on.
                0 if node.gpus > 0 => u64::from(node.gpus)
                    .min(spot.missing)
                    .saturating_mul(1000)
                    .saturating_sub(gpus(of(&node.foreign))),
                _ => gpus(spot.missing),
            },
        );
        if node.gpu_memory.is_none() && !shape.nodes_hidden {
            notes.push(format!(
                "node {} has no label nvidia.com/gpu.memory: no copies are added",
                node.name
            ));
        }
    }
    let capacity = missing.capacity(shape, MilliGpus(found), MilliGpus(foreign));
    let copies = in_force(market);
    let all: u64 = copies.iter().flatten().map(|n| u64::from(*n)).sum();
    let agents = (0..shape.agents.len())
        .map(|i| {
            let agent = &shape.agents[i];
            let most = u64::from(agent.max_replicas).min(unit.total());
            let ceiling = share(capacity.0, most, most);
            let floor = u64::from(agent.min_replicas)
                .min(most)
                .saturating_mul(unit.share);
            let mine = copies[i].map_or(0, u64::from);
            Extent {
                floor: MilliGpus(floor.min(ceiling)),
                ceiling: MilliGpus(ceiling),
                quantum: MilliGpus::ZERO,
                part: MilliGpus::ZERO,
                swaps: false,
                realized: MilliGpus(share(capacity.0, mine, all)),
            }
        })
        .collect();
    Survey {
        capacity,
        found: (!shape.nodes_hidden).then_some(MilliGpus(found)),
        foreign: MilliGpus(foreign),
        missing: missing.0,
        unfit: BTreeMap::new(),
        agents,
        notes,
    }
}

/// Share of `copies` among `all` busy copies; one copy cannot use more than one GPU.
pub(super) fn share(capacity: u64, copies: u64, all: u64) -> u64 {
    let part = u128::from(capacity) * u128::from(copies) / u128::from(all.max(1));
    u64::try_from(part)
        .unwrap_or(u64::MAX)
        .min(copies.saturating_mul(1000))
}

/// Copies in force per agent; `None` when the template asks for something else than one token.
pub(super) fn in_force(market: &Market<'_>) -> Vec<Option<u32>> {
    (0..market.shape.agents.len())
        .map(|i| {
            let quantum = market.in_force(i)?;
            (quantum.count == 1).then_some(quantum.replicas)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};

    /// The paper's four agents (arXiv 2512.22149) on T4s with 16 GiB and ten slices each.
    fn paper() -> PoolShape {
        let agents = [
            ("coordinator", Priority::High, 500),
            ("nlp", Priority::Medium, 2000),
            ("reasoning", Priority::High, 3000),
            ("vision", Priority::Medium, 1500),
        ];
        let agents = agents
            .map(|(name, priority, memory)| with_memory(agent(name, priority, 1, 10, 1), memory));
        let sliced = super::super::Strategy::TimeSlicing {
            resource: GpuResource::shared(),
            slices_per_gpu: Some(10),
        };
        pool(sliced, agents.to_vec())
    }

    fn t4(name: &str, gpus: u32) -> Node {
        Node {
            name: name.to_owned(),
            schedulable: true,
            allocatable: [(GpuResource::shared(), 10 * gpus)].into(),
            gpus,
            gpu_memory: Some(Mebibytes(16_384)),
            ..Node::default()
        }
    }

    fn copies(counts: [usize; 4]) -> Vec<AgentObserved> {
        counts
            .iter()
            .map(|n| running(&GpuResource::shared(), 1, &vec!["t4"; *n]))
            .collect()
    }

    const SHARES: [u64; 4] = [239, 254, 296, 211];

    #[test]
    fn one_copy_each_is_within_tolerance_of_the_papers_shares() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let seen = survey(&paper(), &observed);
        assert_eq!(seen.capacity, MilliGpus(1000));
        assert_eq!(seen.agents[0].realized, MilliGpus(250));
        assert_eq!(seen.agents[0].floor, MilliGpus(100));
        assert_eq!(seen.agents[0].ceiling, MilliGpus(1000));
        for started in [[1; 4], [3, 1, 1, 2]] {
            let observed = world(vec![t4("t4", 1)], copies(started));
            let plan_of = |targets: [u64; 4]| {
                let decision = targets.map(|t| Allotment {
                    target: MilliGpus(t),
                    ..hungry(3 * t)
                });
                super::super::plan(
                    &paper(),
                    &observed,
                    &decision,
                    &Memory::default(),
                    Duration::ZERO,
                )
                .0
            };
            assert_eq!(replicas(&plan_of(SHARES)), [Some(1); 4], "{started:?}");
        }
    }

    fn overload(shape: &PoolShape, observed: &Observed, targets: [u64; 4]) -> Plan {
        let decision = targets.map(|t| Allotment {
            target: MilliGpus(t),
            ..hungry(2 * t)
        });
        super::super::plan(
            shape,
            observed,
            &decision,
            &Memory::default(),
            Duration::ZERO,
        )
        .0
    }

    #[test]
    fn overload_adds_as_few_copies_as_bring_the_shares_near() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [200, 200, 200, 400]);
        // 2 of 5 is 0.4, and each of the others has 0.2.
        assert_eq!(scales(&plan), [(3, 1, 2)]);
        assert_eq!(plan.memory_bound, [None, None, None, None]);
    }

    #[test]
    fn copies_on_a_node_that_announces_no_slices_for_a_while_are_kept_and_keep_their_memory() {
        let mut away = t4("t4", 1);
        away.allocatable.insert(GpuResource::shared(), 0);
        let started = [1, 1, 2, 1];
        let observed = world(vec![away], copies(started));
        let seen = survey(&paper(), &observed);
        assert_eq!(seen.capacity, MilliGpus(1000));
        assert_eq!(seen.missing, [("t4".to_owned(), MilliGpus(1000))].into());
        let plan = overload(&paper(), &observed, [200, 200, 400, 200]);
        assert_eq!(replicas(&plan), [Some(1), Some(1), Some(2), Some(1)]);
        assert_eq!(plan.steps, []);
        let more = overload(&paper(), &observed, [200, 200, 200, 400]);
        let grows = scales(&more).iter().any(|(_, from, to)| to > from);
        assert!(!grows, "nothing starts where nothing is offered: {more:?}");
    }

    #[test]
    fn without_overload_one_copy_each_suffices_whatever_the_targets_are() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let decision = [50, 50, 50, 850].map(|t| Allotment {
            target: MilliGpus(t),
            ..hungry(t - 10)
        });
        let plan = plan(
            &paper(),
            &observed,
            &decision,
            &Memory::default(),
            Duration::ZERO,
        )
        .0;
        assert_eq!(plan.steps, []);
        assert!(plan.holds[3].as_ref().unwrap().message.contains("lends"));
    }

    #[test]
    fn memory_bounds_the_copies_and_the_numbers_are_said() {
        let observed = world(vec![t4("t4", 1)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [50, 50, 850, 50]);
        // 7000 are resident; 3 copies more of 3000 make 16000 of 16384.
        assert_eq!(replicas(&plan)[2], Some(4));
        assert_eq!(scales(&plan), [(2, 1, 2)], "one at a time");
        let why = plan.memory_bound[2].clone().unwrap();
        assert!(why.contains("19000Mi") && why.contains("16Gi"), "{why}");
    }

    #[test]
    fn memory_of_pods_on_their_way_out_is_still_held() {
        let mut agents = copies([1, 1, 3, 1]);
        agents[2].replicas = 1;
        for pod in &mut agents[2].pods[1..] {
            pod.state = PodState::Terminating;
        }
        // 13000 are resident; another 1500 fit 16384, and not 14000. Pods that never go are not waited for any longer.
        for (memory, steps) in [(16_384, vec![(3, 1, 2)]), (14_000, vec![])] {
            let node = Node {
                gpu_memory: Some(Mebibytes(memory)),
                ..t4("t4", 1)
            };
            let observed = world(vec![node], agents.clone());
            let decision = [100, 100, 100, 700].map(|t| Allotment {
                target: MilliGpus(t),
                ..hungry(2 * t)
            });
            let plan_at = |memory: &Memory, now| plan(&paper(), &observed, &decision, memory, now);
            let (waiting, memory) = plan_at(&Memory::default(), Duration::ZERO);
            assert_eq!(scales(&waiting), []);
            let (plan, _) = plan_at(&memory, super::super::starts::PATIENCE);
            assert_eq!(scales(&plan), steps);
            assert!(plan.unfinished);
        }
    }

    #[test]
    fn on_a_node_with_several_gpus_the_largest_copies_are_taken_to_share_one() {
        // 2 GPUs of 10 slices: all of 7000 + 3 x 3000 could sit on one of them.
        let observed = world(vec![t4("t4", 2)], copies([1; 4]));
        let plan = overload(&paper(), &observed, [100, 100, 1700, 100]);
        assert_eq!(replicas(&plan)[2], Some(4));
        assert!(plan.memory_bound[2].is_some());
    }

    #[test]
    fn beside_memory_that_nobody_knows_not_even_the_first_copy_is_started() {
        let alone = t4("t4", 1);
        let mut crowded = alone.clone();
        crowded.foreign.insert(GpuResource::shared(), 1);
        for (node, steps) in [(alone, vec![(3, 0, 1)]), (crowded, vec![])] {
            let observed = world(vec![node], copies([1, 1, 1, 0]));
            let plan = overload(&paper(), &observed, [250; 4]);
            assert_eq!(scales(&plan), steps);
            assert_eq!(plan.memory_bound[3].is_some(), steps.is_empty());
        }
    }

    #[test]
    fn where_memory_is_not_known_no_copy_is_added_and_it_is_said() {
        let missing_need = {
            let mut shape = paper();
            shape.agents[1].memory_per_replica = None;
            (shape, t4("t4", 1), "agent nlp")
        };
        let missing_label = {
            let node = Node {
                gpu_memory: None,
                ..t4("t4", 1)
            };
            (paper(), node, "nvidia.com/gpu.memory")
        };
        let foreign = {
            let mut node = t4("t4", 1);
            node.foreign.insert(GpuResource::shared(), 1);
            (paper(), node, "outside the pool")
        };
        for (shape, node, word) in [missing_need, missing_label, foreign] {
            let observed = world(vec![node], copies([1; 4]));
            let plan = overload(&shape, &observed, [50, 50, 50, 850]);
            assert_eq!(plan.steps, [], "{word}");
            let why = plan.memory_bound[3].clone().unwrap();
            assert!(why.contains(word), "{why}");
        }
    }
}
