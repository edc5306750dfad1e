//! TimeSlicing: a slice is an access token of which a container asks for exactly one; copies of an agent are its weight.
//!
//! The GPU's own time-slicer gives every busy process the same time and lends what is idle, so one copy of each agent is the
//! natural state, and copies count only while all are busy: they are added only while the demands exceed the GPUs, and as
//! few as bring every share within tolerance of its target.

use super::market::{Market, Unit};
use super::types::{Extent, Node, PoolShape, Strategy, Survey};
use crate::units::MilliGpus;

/// Slices that one GPU of the node is divided into: as declared, else what is allocatable over the GPUs, else the label.
///
/// The label comes last: GPU feature discovery writes 1 when it lacks the plugin's configuration (k8s-device-plugin #732).
pub(super) fn slices(shape: &PoolShape, node: &Node, tokens: u32) -> u64 {
    let declared = match &shape.strategy {
        Strategy::TimeSlicing { slices_per_gpu, .. } => *slices_per_gpu,
        Strategy::WholeGpu | Strategy::Mig => None,
    };
    let counted = (node.gpus > 0).then(|| tokens.div_ceil(node.gpus));
    let slices = declared
        .or(counted)
        .or(node.slices_per_gpu)
        .unwrap_or(tokens);
    u64::from(slices.max(1))
}

/// The one unit of the strategy: a token. Its share is what it is worth while all tokens are busy.
pub(super) fn units(shape: &PoolShape, market: &super::ground::Ground<'_>) -> Vec<Unit> {
    let Strategy::TimeSlicing { resource, .. } = &shape.strategy else {
        return Vec::new();
    };
    let offers = market
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.allocatable.get(resource).copied()?)))
        .filter(|(_, tokens)| *tokens > 0);
    let share = offers
        .clone()
        .map(|(node, tokens)| 1000 / slices(shape, node, tokens))
        .min();
    vec![Unit {
        resource: resource.clone(),
        share: share.unwrap_or(0).max(1),
        memory: offers
            .map(|(node, _)| node.gpu_memory)
            .max_by_key(|memory| memory.map_or(u64::MAX, |memory| memory.0))
            .flatten(),
        spots: market.spots(resource),
    }]
}

/// What is there to be shared.
pub(super) fn survey(market: &Market<'_>) -> Survey {
    let (shape, ground) = (market.shape, market.ground);
    let Some(unit) = market.units.first() else {
        return super::survey::nothing(shape.agents.len(), Vec::new());
    };
    let (mut found, mut foreign) = (0u64, 0u64);
    let mut notes = market.notes.clone();
    for (node, spot) in ground.nodes.iter().zip(&unit.spots) {
        let tokens = node.allocatable.get(&unit.resource).copied().unwrap_or(0);
        if tokens == 0 {
            continue;
        }
        let slices = slices(shape, node, tokens);
        let usable = if spot.schedulable {
            u64::from(tokens)
        } else {
            spot.pool
        };
        found = found.saturating_add(usable.saturating_mul(1000) / slices);
        if spot.schedulable {
            let held = u64::from(node.foreign.get(&unit.resource).copied().unwrap_or(0));
            foreign = foreign.saturating_add(held.min(usable).saturating_mul(1000) / slices);
        }
        if node.gpu_memory.is_none() && !shape.nodes_hidden {
            notes.push(format!(
                "node {} has no label nvidia.com/gpu.memory: no copies are added",
                node.name
            ));
        }
    }
    let capacity = super::survey::capacity(shape, MilliGpus(found), MilliGpus(foreign));
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
                realized: MilliGpus(share(capacity.0, mine, all)),
            }
        })
        .collect();
    Survey {
        capacity,
        found: (!shape.nodes_hidden).then_some(MilliGpus(found)),
        foreign: MilliGpus(foreign),
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
