//! Whole runs.

use super::super::control::Operator;
use super::super::{Outcome, run};
use super::*;
use crate::allocation::Policy;
use crate::sharing::{Node, Strategy};
use crate::simulation::{NodeGroup, Nodes};
use crate::units::{GpuResource, Mebibytes};
use std::collections::BTreeMap;

fn mean(outcome: &Outcome) -> f64 {
    let sum: f64 = outcome.agents.iter().map(|a| a.latency.sum()).sum();
    let count: u64 = outcome.agents.iter().map(|a| a.latency.count()).sum();
    sum / count as f64
}

fn under(scenario: &Scenario, policy: Policy, seed: u64) -> Outcome {
    let mut operator = Operator::new(&scenario.pool, policy, scenario.metric_age);
    run(scenario, &mut operator, "x", seed, &mut |_| {}).unwrap()
}

#[test]
fn policies_are_compared_on_the_same_requests_and_a_run_repeats_to_the_bit() {
    let scenario = scenario(&["a", "b", "c", "d"], 10.0, 1.75, 1000.0);
    let equal = under(&scenario, Policy::StaticEqual, 1);
    let water = under(&scenario, Policy::WaterFilling, 1);
    for (a, b) in equal.agents.iter().zip(&water.agents) {
        assert_eq!((a.arrived, a.served), (b.arrived, b.served));
        assert!((a.busy / b.busy - 1.0).abs() < 1e-9, "the same work");
    }
    // Without a lag, moving shares to where requests wait pays even under even Poisson load.
    assert!(
        mean(&water) < 0.9 * mean(&equal),
        "{} {}",
        mean(&water),
        mean(&equal)
    );
    assert_eq!(water, under(&scenario, Policy::WaterFilling, 1));
    assert_ne!(water, under(&scenario, Policy::WaterFilling, 2));
    assert_eq!(equal.moves, 0);
    let points = equal.series.len();
    assert!((470..=600).contains(&points), "{points}");
}

#[test]
fn what_is_never_served_is_reported_and_ends_the_run() {
    let mut scenario = scenario(&["a", "b"], 1.0, 5.0, 100.0);
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 0.1 };
    let outcome = under(&scenario, Policy::StaticEqual, 1);
    let a = &outcome.agents[0];
    assert_eq!(outcome.seconds, 200.0);
    // Twice as long as planned: every second point went.
    let points = outcome.series.len();
    assert!((400..=600).contains(&points), "{points}");
    assert!(a.served < 150 && a.arrived > 400 && a.latency.count() == a.arrived);
    assert!(
        a.latency.quantile(0.9) > Some(90.0),
        "they count with their age"
    );
}

/// Eight whole GPUs on two nodes, pods that start in 20 s.
fn on_nodes(mut scenario: Scenario, sharing: &str) -> Scenario {
    let resource = GpuResource::whole();
    let node = Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([(resource.clone(), 4)]),
        gpus: if sharing == "slices" { 1 } else { 4 },
        gpu_memory: Some(Mebibytes(80_000)),
        ..Node::default()
    };
    if sharing == "slices" {
        scenario.pool.shape.strategy = Strategy::TimeSlicing {
            resource,
            slices_per_gpu: Some(4),
        };
        for agent in &mut scenario.pool.shape.agents {
            agent.memory_per_replica = Some(Mebibytes(10_000));
        }
    }
    for service in &mut scenario.services {
        service.cold_start = 20.0;
        service.drain = 5.0;
    }
    scenario.cluster = Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node,
            count: if sharing == "slices" { 1 } else { 2 },
            elastic: None,
        }],
        switching_efficiency: 0.9,
    });
    scenario
}

#[test]
fn whole_gpus_move_to_the_agent_that_needs_them() {
    let mut scenario = on_nodes(scenario(&["a", "b"], 10.0, 10.0, 2000.0), "whole");
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 48.0 };
    let (equal, water) = (
        under(&scenario, Policy::StaticEqual, 1),
        under(&scenario, Policy::WaterFilling, 1),
    );
    assert_eq!((equal.moves, equal.agents[1].restarts), (0, 0));
    assert!(
        water.moves > 0 && water.agents[1].restarts >= 2,
        "{}",
        water.moves
    );
    assert!(
        mean(&water) < 0.2 * mean(&equal),
        "{} {}",
        mean(&water),
        mean(&equal)
    );
    let last = water.series.last().unwrap();
    assert!(
        last.agents[1].replicas >= 6 && last.agents[0].replicas >= 1,
        "{last:?}"
    );
    for outcome in [equal, water] {
        assert_eq!(outcome.paid, 8.0 * outcome.seconds);
        let granted: f64 = outcome.agents.iter().map(|a| a.granted).sum();
        assert!((granted + outcome.stranded - outcome.paid).abs() < 1e-6);
        assert!(
            outcome
                .agents
                .iter()
                .all(|a| a.served == a.arrived && a.busy < a.granted)
        );
    }
}

#[test]
fn agents_on_one_sliced_gpu_lend_each_other_their_turns() {
    // 0.7 of a GPU in sum; a hard quarter would be overloaded by b.
    let mut scenario = on_nodes(scenario(&["a", "b", "c", "d"], 10.0, 0.5, 4000.0), "slices");
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 5.5 };
    let outcome = under(&scenario, Policy::StaticEqual, 1);
    assert!(mean(&outcome) < 0.5, "{}", mean(&outcome));
    assert_eq!(outcome.paid, outcome.seconds);
}
