//! Where requests wait, in whole runs with pods on nodes.

use super::super::control::{Controller, Sight, Wish};
use super::super::load::{Piece, Spacing};
use super::super::{Dispatch, NodeGroup, Nodes, Outcome, run};
use super::*;
use crate::sharing::Node;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Whole GPUs of one node, pods that start in 5 s and drain for as long as they need.
pub(super) fn on_pods(mut scenario: Scenario, gpus: u32) -> Scenario {
    for service in &mut scenario.services {
        service.cold_start = 5.0;
        service.drain = 600.0;
    }
    let node = Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::whole(), gpus)]),
        gpus,
        ..Node::default()
    };
    scenario.cluster = Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node,
            count: 1,
            elastic: None,
        }],
        switching_efficiency: 1.0,
    });
    scenario
}

/// One pod for each of two agents, and from the 60th second on three for the first.
struct Grows {
    dispatch: Dispatch,
}

impl Controller for Grows {
    fn interval(&self) -> f64 {
        1.0
    }

    fn dispatch(&self) -> Dispatch {
        self.dispatch
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        *wish = Wish::Replicas(vec![if sight.now < 60.0 { 1 } else { 3 }, 1]);
    }
}

/// A hundred requests of a second each for the first agent, ten a second from the 50th second on.
fn burst() -> Scenario {
    let mut scenario = on_pods(scenario(&["a", "b"], 1.0, 0.1, 90.0), 4);
    let piece = |seconds, rate| Piece { seconds, rate };
    scenario.loads[0].arrivals = Arrivals::Steps {
        steps: vec![piece(50.0, 0.0), piece(10.0, 10.0), piece(60.0, 0.0)],
        spacing: Spacing::Even,
    };
    scenario.loads[0].work = Work::Deterministic;
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 1e-9 };
    scenario
}

fn under(scenario: &Scenario, dispatch: Dispatch) -> Outcome {
    run(scenario, &mut Grows { dispatch }, "x", 1, &mut |_| {}).unwrap()
}

/// The first request comes at 50.1 s. One pod alone has served 14 of them when two more serve at 65 s.
#[test]
fn new_pods_take_a_backlog_from_one_queue_and_nothing_of_it_from_an_old_pod() {
    let scenario = burst();
    let within = |outcome: &Outcome, from: f64, to: f64| {
        assert_eq!(outcome.agents[0].served, 100);
        assert!(
            (from..=to).contains(&outcome.seconds),
            "{}",
            outcome.seconds
        );
    };
    // 86 are left: 29 more for one of the three.
    within(&under(&scenario, Dispatch::OneQueue), 93.0, 95.0);
    // They wait where they were sent, while two pods are idle.
    within(&under(&scenario, Dispatch::FewestRequests), 150.0, 150.2);
}

#[test]
fn the_rule_brings_a_dispatch_along_unless_the_scenario_says() {
    let mut scenario = burst();
    let queue = under(&scenario, Dispatch::OneQueue);
    let service = under(&scenario, Dispatch::FewestRequests);
    scenario.dispatch = Some(Dispatch::OneQueue);
    assert_eq!(under(&scenario, Dispatch::FewestRequests), queue);
    scenario.dispatch = Some(Dispatch::FewestRequests);
    assert_eq!(under(&scenario, Dispatch::OneQueue), service);
}

/// What waits in front of the pods is seen by a rule that looks at one pod, in equal parts.
#[test]
fn the_fuller_of_two_pods_has_about_half_of_all_requests_wherever_they_wait() {
    struct Sees(Vec<(f64, f64, f64)>);
    impl Controller for Sees {
        fn interval(&self) -> f64 {
            1.0
        }

        fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
            let a = &sight.agents[0];
            self.0.push((a.running, a.waiting, a.fullest));
            *wish = Wish::Replicas(vec![2, 2]);
        }
    }
    let mut scenario = burst();
    for dispatch in [Dispatch::OneQueue, Dispatch::FewestRequests] {
        scenario.dispatch = Some(dispatch);
        let mut sees = Sees(Vec::new());
        run(&scenario, &mut sees, "x", 1, &mut |_| {}).unwrap();
        let busy: Vec<_> = sees.0.iter().filter(|(_, waits, _)| *waits > 0.0).collect();
        assert!(busy.len() > 20);
        for (running, waiting, fullest) in busy {
            let half = (running + waiting) / 2.0;
            assert!((fullest - half).abs() <= 1.0, "{fullest} {half}");
        }
    }
}
