//! Whole runs.

use super::super::control::Operator;
use super::super::{Outcome, run};
use super::*;
use crate::allocation::Policy;

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
    assert_eq!((equal.moves, equal.series.len()), (0, 600));
}

#[test]
fn what_is_never_served_is_reported_and_ends_the_run() {
    let mut scenario = scenario(&["a", "b"], 1.0, 5.0, 100.0);
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 0.1 };
    let outcome = under(&scenario, Policy::StaticEqual, 1);
    let a = &outcome.agents[0];
    assert_eq!(outcome.seconds, 200.0);
    assert!(a.served < 150 && a.arrived > 400 && a.latency.count() == a.arrived);
    assert!(
        a.latency.quantile(0.9) > Some(90.0),
        "they count with their age"
    );
}
