//! What must not matter: the order and names of agents, the unit of time, whether a server pauses between.

use super::super::control::Operator;
use super::super::load::Replay;
use super::super::load::trace::{Recorded, Recording};
use super::super::{Outcome, run};
use super::*;
use crate::allocation::{Pace, Policy};
use std::time::Duration;

/// Recorded arrivals: Poisson at this rate, times and tokens scaled.
fn recorded(name: &str, rate: f64, seconds: f64, scale: f64) -> Arrivals {
    let load = AgentLoad {
        agent: name.to_owned(),
        arrivals: Arrivals::Poisson { rate },
        work: Work::Exponential,
    };
    let row = |r: super::super::load::Request| Recorded {
        at: r.at * scale,
        input_tokens: 0,
        output_tokens: (r.work * 1e6) as u32,
    };
    let requests = load.requests(5).take_while(|r| r.at < seconds).map(row);
    Arrivals::Trace(Replay {
        recorded: Recording::Requests(requests.collect()),
        ..Replay::default()
    })
}

/// Four agents with these names and unequal recorded loads, the first of the loads at the first name; `scale` is the unit of time.
fn of(names: [&str; 4], scale: f64) -> Scenario {
    let mut sorted = names;
    sorted.sort_unstable();
    let mut scenario = scenario(&sorted, 10.0 / scale, 1.0, 500.0 * scale);
    for (load, agent) in scenario.loads.iter_mut().zip(sorted) {
        let i = names.iter().position(|name| *name == agent).unwrap();
        load.arrivals = recorded(
            ["p", "q", "r", "s"][i],
            [1.0, 1.7, 2.3, 2.9][i],
            500.0,
            scale,
        );
        load.work = Work::Tokens(Default::default());
    }
    let times = |seconds: u64| Duration::from_secs(seconds * scale as u64);
    scenario.pool.interval = times(1);
    scenario.pool.pace = Pace {
        window: times(20),
        drain: times(10),
    };
    let Cluster::Fractions(fractions) = &mut scenario.cluster else {
        panic!("fractions");
    };
    fractions.lag = 7.0 * scale;
    scenario.metric_age = 3.0 * scale;
    scenario
}

fn under(scenario: &Scenario, policy: Policy) -> Outcome {
    let mut operator =
        Operator::new(&scenario.pool, policy, scenario.metric_age).at_declared_pace();
    run(scenario, &mut operator, "x", 1, &mut |_| {}).unwrap()
}

#[test]
fn names_and_order_of_agents_change_nothing() {
    // A tie for a thousandth of a GPU goes by name, so that rules that move shares agree to that.
    for (policy, close) in [
        (Policy::StaticEqual, 0.0),
        (Policy::WaterFilling, 0.01),
        (Policy::Adaptive, 0.01),
    ] {
        let (one, other) = (["a", "b", "c", "d"], ["c", "a", "d", "b"]);
        let (first, second) = (under(&of(one, 1.0), policy), under(&of(other, 1.0), policy));
        for (was, is) in one.iter().zip(other) {
            let find = |outcome: &Outcome, name: &str| {
                outcome
                    .agents
                    .iter()
                    .find(|a| a.name == name)
                    .cloned()
                    .unwrap()
            };
            let (was, is) = (find(&first, was), find(&second, is));
            assert_eq!((was.arrived, was.cut), (is.arrived, is.cut));
            let (was, is) = (was.latency.sum(), is.latency.sum());
            assert!((was / is - 1.0).abs() <= close, "{policy:?}: {was} {is}");
        }
    }
}

#[test]
fn time_that_runs_half_as_fast_doubles_every_latency() {
    let names = ["a", "b", "c", "d"];
    let one = under(&of(names, 1.0), Policy::StaticEqual);
    let two = under(&of(names, 2.0), Policy::StaticEqual);
    let doubled = |a: f64, b: f64| assert!((2.0 * a / b - 1.0).abs() < 1e-9, "{a} {b}");
    doubled(one.seconds, two.seconds);
    for (a, b) in one.agents.iter().zip(&two.agents) {
        assert_eq!(a.arrived, b.arrived);
        doubled(a.latency.sum(), b.latency.sum());
        doubled(a.waiting.sum(), b.waiting.sum());
        doubled(a.granted, b.granted);
        doubled(a.starved, b.starved);
        for q in [0.5, 0.95, 0.99] {
            doubled(
                a.latency.quantile(q).unwrap(),
                b.latency.quantile(q).unwrap(),
            );
        }
    }
}
