#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::sharing::fixtures::*;
use crate::sharing::types::{AgentObserved, Node, Strategy};
use crate::units::Priority;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

/// GPUs, slices of each, memory, whether pods may come.
type Nodes = Vec<(u32, u32, u64, bool)>;
/// Memory of a copy; the node of every copy (one past the last: none) and whether it goes; copies wanted.
type Agents = Vec<(u64, Vec<(usize, bool)>, u32)>;

fn worlds() -> impl proptest::strategy::Strategy<Value = (Nodes, Agents)> {
    (1..4usize).prop_flat_map(|nodes| {
        let node = (1..3u32, 1..6u32, 1..9000u64, any::<bool>());
        let pods = prop::collection::vec((0..=nodes, any::<bool>()), 0..5);
        let agent = (1..3000u64, pods, 0..7u32);
        (
            prop::collection::vec(node, nodes),
            prop::collection::vec(agent, 1..6),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn copies_hold_when_no_node_is_named_that_they_exceed((nodes, agents) in worlds()) {
        let token = GpuResource::shared();
        let node = |(i, (gpus, slices, memory, schedulable)): (usize, &(u32, u32, u64, bool))| Node {
            allocatable: [(token.clone(), gpus * slices)].into(),
            gpu_memory: Some(Mebibytes(*memory)),
            schedulable: *schedulable,
            ..node(&format!("n{i}"), *gpus)
        };
        let shapes = agents.iter().map(|(need, ..)| {
            with_memory(agent("a", Priority::High, 0, 9, 1), *need)
        });
        let sliced = Strategy::TimeSlicing { resource: token.clone(), slices_per_gpu: None };
        let shape = pool(sliced, shapes.collect());
        let observed = world(
            nodes.iter().enumerate().map(node).collect(),
            agents.iter().map(|(_, pods, _)| {
                let names: Vec<String> = pods.iter().map(|(at, _)| {
                    if *at < nodes.len() { format!("n{at}") } else { String::new() }
                }).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut agent: AgentObserved = running(&token, 1, &names);
                for (pod, (_, goes)) in agent.pods.iter_mut().zip(pods) {
                    if *goes {
                        pod.state = PodState::Terminating;
                    }
                }
                agent
            }).collect(),
        );
        let ground = Ground::new(&shape, &observed);
        let census = Census::read(&shape, &ground, &token).unwrap();
        let copies: Vec<u32> = agents.iter().map(|(.., wanted)| *wanted).collect();
        let excess = census.after(&copies).excess();
        prop_assert_eq!(census.holds(&copies), excess.is_none(), "{:?}", excess);
    }
}
