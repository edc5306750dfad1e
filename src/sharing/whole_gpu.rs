//! WholeGPU: a replica holds whole GPUs alone, several of one node when the model is tensor parallel; the share becomes a
//! replica count.

use super::ground::Ground;
use super::market::Unit;
use crate::units::GpuResource;

/// The one unit of the strategy: a whole GPU.
pub(super) fn unit(ground: &Ground<'_>) -> Unit {
    let resource = GpuResource::whole();
    let spots = ground.spots(&resource);
    let offers = ground.nodes.iter().zip(&spots);
    Unit {
        share: 1000,
        memory: offers
            .filter(|(_, spot)| spot.whole > 0)
            .map(|(node, _)| node.gpu_memory)
            .max_by_key(|memory| memory.map_or(u64::MAX, |memory| memory.0))
            .flatten(),
        resource,
        spots,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::units::{MilliGpus, Priority};

    fn two(min: u32) -> PoolShape {
        let agents = vec![
            agent("a", Priority::High, min, 8, 1),
            agent("b", Priority::Low, min, 8, 1),
        ];
        pool(Strategy::WholeGpu, agents)
    }

    #[test]
    fn capacity_is_what_is_declared_or_found_less_what_others_hold() {
        let mut shape = two(1);
        let mut node = node("n", 8);
        node.foreign.insert(whole(), 3);
        let observed = world(
            vec![node],
            vec![
                running(&whole(), 1, &["n"]),
                running(&whole(), 1, &["n", ""]),
            ],
        );
        let seen = survey(&shape, &observed);
        assert_eq!(seen.capacity, MilliGpus(5000));
        assert_eq!(seen.found, Some(MilliGpus(8000)));
        assert_eq!(seen.foreign, MilliGpus(3000));
        assert_eq!(seen.agents[0].floor, MilliGpus(1000));
        assert_eq!(seen.agents[0].ceiling, MilliGpus(5000));
        assert_eq!(
            seen.agents[1].realized,
            MilliGpus(2000),
            "a pending copy is a grant"
        );
        shape.declared_gpus = Some(MilliGpus(4000));
        assert_eq!(survey(&shape, &observed).capacity, MilliGpus(4000));
        shape.nodes_hidden = true;
        let seen = survey(&shape, &observed);
        assert_eq!((seen.capacity, seen.found), (MilliGpus(4000), None));
    }

    #[test]
    fn the_share_becomes_a_replica_count() {
        let observed = world(
            vec![node("n", 4)],
            vec![running(&whole(), 1, &["n"]), running(&whole(), 1, &["n"])],
        );
        let plan = planned(&two(1), &observed, &[3000, 1000]);
        assert_eq!(scales(&plan), [(0, 1, 3)]);
        assert!(!plan.unfinished);
    }

    #[test]
    fn shrink_comes_before_grow_and_grow_waits_until_pods_are_gone() {
        let mut observed = world(
            vec![node("n", 4)],
            vec![
                running(&whole(), 1, &["n"]),
                running(&whole(), 1, &["n", "n", "n"]),
            ],
        );
        let shape = two(1);
        let plan = planned(&shape, &observed, &[3000, 1000]);
        assert_eq!(scales(&plan), [(1, 3, 1)]);
        assert_eq!(
            plan.holds[0].as_ref().unwrap().reason,
            HoldReason::WaitingForCapacity
        );
        assert!(plan.unfinished);
        // The scale-in is written; its pods still hold their GPUs while they drain.
        observed.agents[1].replicas = 1;
        for pod in &mut observed.agents[1].pods[..2] {
            pod.state = PodState::Terminating;
        }
        assert_eq!(scales(&planned(&shape, &observed, &[3000, 1000])), []);
        // One is gone.
        observed.agents[1].pods.remove(0);
        let observed = world(observed.nodes, observed.agents);
        let plan = planned(&shape, &observed, &[3000, 1000]);
        assert_eq!(scales(&plan), [(0, 1, 2)]);
        assert!(plan.unfinished);
    }

    #[test]
    fn what_another_pool_is_about_to_take_is_not_free() {
        let agents = || vec![running(&whole(), 1, &["n"]), running(&whole(), 1, &["n"])];
        let grown = |sizes: &[(u32, u64)]| {
            let mut observed = world(vec![node("n", 6)], agents());
            let sizes = sizes.iter().copied().collect();
            observed.promised.insert(whole(), sizes);
            let scales = scales(&planned(&two(1), &observed, &[3000, 3000]));
            scales.iter().map(|(_, from, to)| to - from).sum::<u32>()
        };
        assert_eq!(grown(&[]), 4);
        assert_eq!(grown(&[(1, 3)]), 1);
        assert_eq!(grown(&[(1, 4)]), 0);
        assert_eq!(grown(&[(2, 1)]), 1, "each of ours could part a pair");
    }

    #[test]
    fn an_agent_with_a_pod_that_no_node_takes_gets_no_other_and_the_hold_names_it() {
        let agents = vec![
            running(&whole(), 1, &["n", ""]),
            running(&whole(), 1, &["n"]),
        ];
        let mut observed = world(vec![node("n", 8)], agents);
        observed.agents[0].pods[1].unschedulable = true;
        let plan = planned(&two(1), &observed, &[4000, 3000]);
        assert_eq!(scales(&plan), [(1, 1, 3)], "the other one grows");
        let hold = plan.holds[0].as_ref().unwrap();
        assert_eq!(hold.reason, HoldReason::WaitingForCapacity);
        assert!(hold.message.contains("pod-1"), "{hold:?}");
    }

    #[test]
    fn what_is_declared_is_not_exceeded_while_pods_are_on_their_way_out() {
        let mut shape = two(1);
        shape.declared_gpus = Some(MilliGpus(4000));
        let mut shrinking = running(&whole(), 1, &["n", "n", "n"]);
        shrinking.replicas = 1;
        shrinking.pods[2].state = PodState::Terminating;
        let agents = vec![running(&whole(), 1, &["n"]), shrinking];
        let observed = world(vec![node("n", 8)], agents);
        let plan = planned(&shape, &observed, &[3000, 1000]);
        assert_eq!(
            plan.steps,
            [],
            "four of the node's eight GPUs are free, none of the pool's four"
        );
        let agents = vec![running(&whole(), 1, &["n"]), running(&whole(), 1, &["n"])];
        let observed = world(vec![node("n", 8)], agents);
        assert_eq!(
            scales(&planned(&shape, &observed, &[8000, 1000])),
            [(0, 1, 3)]
        );
    }

    #[test]
    fn a_tensor_parallel_replica_needs_its_gpus_on_one_node() {
        let shape = pool(
            Strategy::WholeGpu,
            vec![
                agent("a", Priority::High, 0, 4, 2),
                agent("b", Priority::High, 1, 4, 1),
            ],
        );
        let nodes = || vec![node("n", 2), node("o", 2)];
        let idle = |template: u32| AgentObserved {
            replicas: 0,
            ..running(&whole(), template, &["n"])
        };
        let mut none = idle(2);
        none.pods.clear();
        let spread = world(
            nodes(),
            vec![none.clone(), running(&whole(), 1, &["n", "o"])],
        );
        let plan = planned(&shape, &spread, &[2000, 2000]);
        // Two GPUs would be free in sum, but one on each node: b gives one up so that a finds two on one node.
        assert_eq!(replicas(&plan), [Some(1), Some(1)]);
        assert_eq!(scales(&plan), [(1, 2, 1)]);
        let packed = world(nodes(), vec![none, running(&whole(), 1, &["n", "n"])]);
        let plan = planned(&shape, &packed, &[2000, 2000]);
        assert_eq!(scales(&plan), [(0, 0, 1)]);
    }
}
