//! What queueing theory says of runs.

use super::super::control::Operator;
use super::super::run;
use super::*;
use crate::allocation::Policy;

#[test]
fn a_single_server_waits_as_the_theory_says() {
    // M/M/1 at load 0.7: the mean time in the system is 1 / (mu - lambda), its 95th percentile ln(20) times as long.
    let scenario = scenario(&["a"], 10.0, 7.0, 30_000.0);
    let mut operator = Operator::new(&scenario.pool, Policy::StaticEqual, 0.0);
    let outcome = run(&scenario, &mut operator, "x", 1, &mut |_| {}).unwrap();
    let latency = &outcome.agents[0].latency;
    let near = |told: Option<f64>, exact: f64| {
        assert!(
            told.is_some_and(|t| (t / exact - 1.0).abs() < 0.03),
            "{told:?} for {exact}"
        );
    };
    near(latency.mean(), 1.0 / 3.0);
    near(latency.quantile(0.95), 20f64.ln() / 3.0);
    near(outcome.agents[0].waiting.mean(), 1.0 / 3.0 - 0.1);
}
