//! What a hostile or broken cluster can show: nothing of it panics, overflows, or makes a write that makes no sense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::*;
use super::*;
use crate::allocation::Reason;
use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};
use proptest::prelude::*;
use proptest::strategy::Strategy as Strategy2;
use std::collections::BTreeMap;

fn number() -> impl Strategy2<Value = u32> {
    prop_oneof![4 => 0..4u32, 1 => Just(u32::MAX), 1 => Just(u32::MAX - 1), 1 => any::<u32>()]
}

fn large() -> impl Strategy2<Value = u64> {
    prop_oneof![4 => 0..6000u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn resource() -> impl Strategy2<Value = GpuResource> {
    prop_oneof![
        Just(whole()),
        Just(GpuResource::shared()),
        Just(mig("1g.10gb")),
        Just(mig("7g.80gb")),
        Just(mig("9g.9999gb")),
    ]
}

fn amounts() -> impl Strategy2<Value = BTreeMap<GpuResource, u32>> {
    prop::collection::btree_map(resource(), number(), 0..3)
}

fn nodes() -> impl Strategy2<Value = Vec<Node>> {
    let node = (
        (0..4u8, any::<bool>()),
        (amounts(), amounts(), amounts()),
        (
            number(),
            prop::option::of(number()),
            prop::option::of(large()),
            prop::option::of(number()),
        ),
        prop::collection::btree_map(resource(), (number(), large()), 0..3),
    )
        .prop_map(|((name, schedulable), maps, facts, instances)| Node {
            name: format!("n{name}"),
            schedulable,
            allocatable: maps.0,
            used: maps.1,
            foreign: maps.2,
            gpus: facts.0,
            slices_per_gpu: facts.1,
            mig_single: name == 0,
            gpu_memory: facts.2.map(Mebibytes),
            multiprocessors: facts.3,
            instances: instances
                .into_iter()
                .map(|(r, (multiprocessors, memory))| {
                    let memory = Mebibytes(memory);
                    (
                        r,
                        InstanceFacts {
                            multiprocessors,
                            memory,
                        },
                    )
                })
                .collect(),
        });
    prop::collection::vec(node, 0..4)
}

fn pod() -> impl Strategy2<Value = Pod> {
    let states = [
        PodState::Pending,
        PodState::Loading,
        PodState::Ready,
        PodState::Terminating,
        PodState::Stranded,
        PodState::Lost,
    ];
    let load = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(2.0)];
    (
        0..9u8,
        prop::option::of(0..6u8),
        amounts(),
        0..6usize,
        prop::option::of(load),
    )
        .prop_map(move |(name, node, requests, state, load)| Pod {
            name: format!("p-{name}"),
            node: node.map(|n| format!("n{n}")),
            requests,
            state: states[state],
            unschedulable: state == 0,
            load,
        })
}

fn observed_agent() -> impl Strategy2<Value = AgentObserved> {
    let rollouts = [Rollout::Recreate, Rollout::Rolling, Rollout::Ordered];
    let restore = (number(), resource(), resource(), number(), any::<bool>()).prop_map(
        |(replicas, from, to, to_replicas, known)| Restore {
            replicas,
            from: from.to_string(),
            to: if known {
                to.to_string()
            } else {
                "nonsense".to_owned()
            },
            to_replicas,
        },
    );
    (
        (number(), amounts(), 0..3usize),
        prop::collection::vec(pod(), 0..4),
        prop::option::of(restore),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            move |((replicas, template, rollout), pods, restore, flags)| AgentObserved {
                replicas,
                template,
                rollout: rollouts[rollout],
                rolling: flags.0,
                pods,
                restore,
                frozen: flags.1,
                template_locked: flags.2,
            },
        )
}

fn agent_shape() -> impl Strategy2<Value = AgentShape> {
    (
        0..3usize,
        number(),
        number(),
        number(),
        prop::option::of(large()),
    )
        .prop_map(|(priority, min, max, k, memory)| AgentShape {
            name: String::new(),
            priority: [Priority::High, Priority::Medium, Priority::Low][priority],
            min_replicas: min,
            max_replicas: max,
            gpus_per_replica: k,
            memory_per_replica: memory.map(Mebibytes),
        })
}

fn shapes() -> impl Strategy2<Value = PoolShape> {
    let strategy = prop_oneof![
        Just(super::Strategy::WholeGpu),
        Just(super::Strategy::Mig),
        prop::option::of(number()).prop_map(|slices_per_gpu| super::Strategy::TimeSlicing {
            resource: GpuResource::shared(),
            slices_per_gpu,
        }),
    ];
    let tolerance = prop_oneof![Just(f64::NAN), Just(-1.0), Just(1e308), Just(0.1)];
    (
        strategy,
        prop::option::of(large()),
        (any::<bool>(), any::<bool>(), number(), tolerance, 0..100u64),
    )
        .prop_map(
            |(strategy, declared, (hidden, downtime, most, tolerance, window))| PoolShape {
                strategy,
                declared_gpus: declared.map(MilliGpus),
                nodes_hidden: hidden,
                allow_downtime: downtime,
                max_concurrent: most,
                behavior: Behavior {
                    tolerance,
                    scale_up_window: Duration::from_secs(window),
                    scale_down_window: Duration::MAX,
                },
                agents: Vec::new(),
            },
        )
}

fn allotment() -> impl Strategy2<Value = Allotment> {
    (large(), large(), any::<bool>()).prop_map(|(target, demand, lost)| Allotment {
        target: MilliGpus(target),
        demand: MilliGpus(demand),
        reason: if lost {
            Reason::SignalLost
        } else {
            Reason::CapacityShared
        },
        minimum_unmet: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_observed_is_survived(
        mut shape in shapes(),
        nodes in nodes(),
        agents in prop::collection::vec((agent_shape(), observed_agent(), allotment()), 0..5),
        now in 0..1000u64,
    ) {
        let mut observed = Observed { nodes, ..Observed::default() };
        let mut decision = Vec::new();
        for (i, (one, seen, allotment)) in agents.into_iter().enumerate() {
            shape.agents.push(AgentShape { name: format!("a{i}"), ..one });
            observed.agents.push(seen);
            decision.push(allotment);
        }
        let seen = survey(&shape, &observed);
        prop_assert_eq!(seen.agents.len(), observed.agents.len());
        for extent in &seen.agents {
            prop_assert!(extent.floor <= extent.ceiling);
        }
        let now = Duration::from_secs(now);
        let (first, memory) = plan(&shape, &observed, &decision, &Memory::default(), now);
        let (again, _) = plan(&shape, &observed, &decision, &Memory::default(), now);
        prop_assert_eq!(&first, &again, "the same input gives the same plan");
        let (second, _) = plan(&shape, &observed, &decision, &memory, now);
        for step in first.steps.iter().chain(&second.steps) {
            let (Step::Remember { agent, .. }
            | Step::Forget { agent }
            | Step::Scale { agent, .. }
            | Step::Retarget { agent, .. }) = step;
            let seen = &observed.agents[*agent];
            prop_assert!(!seen.frozen, "{step:?}");
            if let Step::Scale { from, to, .. } = step {
                prop_assert_eq!(*from, seen.replicas);
                prop_assert!(from != to);
                // What is lost is replaced before it is given up.
                let lost = seen.pods.iter().filter(|pod| pod.state == PodState::Lost);
                let lost = u32::try_from(lost.count()).unwrap();
                let most = shape.agents[*agent].max_replicas.saturating_add(lost);
                let put_back = seen.restore.is_some();
                prop_assert!(to < from || *to <= most || put_back, "{step:?} above {most}");
            }
            if let Step::Retarget { remove, .. } = step {
                prop_assert_eq!(remove, &seen.template);
            }
            let set_aside = |pod: &Pod| matches!(pod.state, PodState::Lost | PodState::Stranded);
            let blind = decision[*agent].reason == Reason::SignalLost;
            if blind && seen.restore.is_none() && !seen.pods.iter().any(set_aside) {
                let falls = matches!(step, Step::Scale { from, to, .. } if to < from);
                prop_assert!(!falls, "{step:?} although its load is not known");
            }
        }
    }
}

fn four() -> PoolShape {
    let agents = ["a", "b", "c", "d"].map(|name| agent(name, Priority::Medium, 1, 8, 1));
    pool(super::Strategy::WholeGpu, agents.to_vec())
}

#[test]
fn without_any_node_nothing_is_written_and_everyone_is_told_why() {
    let agents = vec![running(&whole(), 1, &["gone", "gone"]); 4];
    let observed = world(Vec::new(), agents);
    assert_eq!(survey(&four(), &observed).capacity, MilliGpus(0));
    let plan = planned(&four(), &observed, &[4000; 4]);
    assert_eq!(plan.steps, []);
    for why in &plan.unmet {
        assert!(why.as_ref().unwrap().contains("no node"), "{why:?}");
    }
}

#[test]
fn when_a_node_vanishes_its_pods_are_the_first_to_be_given_up() {
    let observed = world(
        vec![node("n", 4)],
        vec![
            running(&whole(), 1, &["n", "gone"]),
            running(&whole(), 1, &["gone", "n", "gone"]),
            running(&whole(), 1, &["n"]),
            running(&whole(), 1, &["n"]),
        ],
    );
    let plan = planned(&four(), &observed, &[1000; 4]);
    assert_eq!(scales(&plan), [(0, 2, 1), (1, 3, 1)]);
    let Step::Scale { victims, .. } = &plan.steps[1] else {
        panic!();
    };
    assert_eq!(victims, &["pod-0", "pod-2"]);
}

/// Two nodes of 4, four agents with a pod on each; the first node offers fewer than that, as while its device plugin restarts.
fn less_offered(gpus: Option<u32>) -> Observed {
    let mut less = node("n", 4);
    less.allocatable.clear();
    less.allocatable.extend(gpus.map(|gpus| (whole(), gpus)));
    let agents = vec![running(&whole(), 1, &["n", "o"]); 4];
    world(vec![less, node("o", 4)], agents)
}

#[test]
fn while_a_node_offers_less_than_its_pods_hold_none_of_them_is_given_up_and_nothing_grows() {
    for (gpus, lost) in [(Some(0), 4), (Some(2), 2), (None, 4)] {
        let observed = less_offered(gpus);
        let seen = survey(&four(), &observed);
        assert_eq!(seen.capacity, MilliGpus(8000));
        assert_eq!(seen.found, Some(MilliGpus(8000 - 1000 * lost)));
        let missing = [("n".to_owned(), MilliGpus::whole(lost))];
        assert_eq!(seen.missing, missing.into());
        let plan = planned(&four(), &observed, &[2000; 4]);
        assert_eq!(plan.steps, [], "{gpus:?}");
    }
}

#[test]
fn what_moves_while_a_node_offers_nothing_moves_on_the_others() {
    let plan = planned(&four(), &less_offered(Some(0)), &[3000, 2000, 2000, 1000]);
    assert_eq!(scales(&plan), [(3, 2, 1)]);
    let Step::Scale { victims, .. } = &plan.steps[0] else {
        panic!();
    };
    assert_eq!(
        victims,
        &["pod-1"],
        "the one on node o, where another may start"
    );
}

#[test]
fn a_pod_that_ended_with_its_gpu_is_no_longer_counted() {
    let mut observed = less_offered(Some(0));
    observed.agents[3].pods.remove(0);
    assert_eq!(survey(&four(), &observed).capacity, MilliGpus(7000));
    let plan = planned(&four(), &observed, &[2000; 4]);
    assert_eq!(scales(&plan).len(), 1, "{:?}", plan.steps);
}

#[test]
fn more_than_is_declared_is_given_back_where_nodes_are_hidden() {
    let mut shape = four();
    (shape.nodes_hidden, shape.declared_gpus) = (true, Some(MilliGpus(4000)));
    let observed = less_offered(None);
    assert_eq!(survey(&shape, &observed).missing, [].into());
    let plan = planned(&shape, &observed, &[1000; 4]);
    assert_eq!(replicas(&plan), [Some(1); 4]);
}

#[test]
fn a_thousand_pods_are_planned_for() {
    let names: Vec<String> = (0..125).map(|n| format!("n{n:03}")).collect();
    let nodes = names.iter().map(|name| node(name, 8)).collect();
    let on: Vec<&str> = names
        .iter()
        .flat_map(|n| [n.as_str(), n.as_str()])
        .collect();
    let agents = vec![running(&whole(), 1, &on); 4];
    let mut shape = four();
    for agent in &mut shape.agents {
        agent.max_replicas = 1000;
    }
    let observed = world(nodes, agents);
    let plan = planned(&shape, &observed, &[400_000, 200_000, 200_000, 200_000]);
    assert_eq!(
        scales(&plan).len(),
        3,
        "three give what one gets: {:?}",
        scales(&plan)
    );
    assert_eq!(replicas(&plan)[0], Some(400));
}
