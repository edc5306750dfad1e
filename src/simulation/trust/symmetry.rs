//! What must not matter: the order and names of agents, the unit of time, whether a server pauses between.

use super::super::control::Operator;
use super::super::load::Replay;
use super::super::load::trace::{Recorded, Recording};
use super::super::{AgentOutcome, Outcome, run};
use super::pods::whole;
use super::*;
use crate::allocation::{Pace, Policy, Spare};
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const POLICIES: [Policy; 4] = [
    Policy::StaticEqual,
    Policy::WaterFilling,
    Policy::Adaptive,
    Policy::Balanced(Spare::Lend),
];

/// Recorded arrivals: Poisson at this rate.
fn recorded(name: &str, rate: f64, seconds: f64) -> Arrivals {
    let load = AgentLoad {
        agent: name.to_owned(),
        arrivals: Arrivals::Poisson { rate },
        work: Work::Exponential,
    };
    let row = |r: super::super::load::Request| Recorded {
        at: r.at,
        input_tokens: 0,
        output_tokens: (r.work * 1e6) as u32,
    };
    let requests = load.requests(5).take_while(|r| r.at < seconds).map(row);
    Arrivals::Trace(Replay {
        recorded: Recording::Requests(requests.collect()),
        ..Replay::default()
    })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Four agents with these names and unequal recorded loads, the first of the loads at the first name.
fn of(names: [&str; 4]) -> Scenario {
    let mut sorted = names;
    sorted.sort_unstable();
    let mut scenario = scenario(&sorted, 10.0, 1.0, 500.0);
    let agents = scenario.loads.iter_mut().zip(&mut scenario.pool.agents);
    for (load, agent) in agents {
        let i = names.iter().position(|name| *name == agent.name).unwrap();
        agent.min_share = MilliGpus([100, 200, 200, 300][i]);
        load.arrivals = recorded(["p", "q", "r", "s"][i], [1.0, 1.7, 2.3, 2.9][i], 500.0);
        load.work = Work::Tokens(Default::default());
    }
    scenario.pool.pace = Pace {
        window: seconds(20),
        drain: seconds(10),
    };
    let Cluster::Fractions(fractions) = &mut scenario.cluster else {
        panic!("fractions");
    };
    fractions.lag = 7.0;
    scenario.metric_age = 3.0;
    scenario
}

/// The same agents with pods: eight whole GPUs, a load that moves from the first name to the last, and every delay that pods have.
fn with_pods(names: [&str; 4]) -> Scenario {
    let mut scenario = of(names);
    scenario.cluster = whole(&names, 8, 10.0, 1.0, 500.0).cluster;
    for load in &mut scenario.loads {
        let i = names.iter().position(|name| *name == load.agent).unwrap();
        let (early, late) = [(30.0, 4.0), (9.0, 9.0), (6.0, 6.0), (4.0, 30.0)][i];
        let early = recorded(["p", "q", "r", "s"][i], early, 250.0);
        let late = recorded(["t", "u", "v", "w"][i], late, 250.0);
        load.arrivals = one_after_the_other(early, late, 250.0);
    }
    for service in &mut scenario.services {
        service.max_running = 4;
        (service.cold_start, service.image_pull, service.drain) = (9.0, 2.0, 3.0);
    }
    scenario.pool.declared_lag = seconds(5);
    scenario.pool.shape.behavior.scale_up_window = seconds(4);
    scenario.pool.shape.behavior.scale_down_window = seconds(16);
    scenario
}

fn one_after_the_other(first: Arrivals, second: Arrivals, after: f64) -> Arrivals {
    let (mut all, next) = (rows(first), rows(second));
    all.extend(next.into_iter().map(|row| Recorded {
        at: row.at + after,
        ..row
    }));
    Arrivals::Trace(Replay {
        recorded: Recording::Requests(all.into()),
        ..Replay::default()
    })
}

fn rows(arrivals: Arrivals) -> Vec<Recorded> {
    match arrivals {
        Arrivals::Trace(Replay {
            recorded: Recording::Requests(rows),
            ..
        }) => rows.to_vec(),
        other => panic!("recorded: {other:?}"),
    }
}

/// The same where everything takes so many times as long.
fn slower(mut scenario: Scenario, times: u32) -> Scenario {
    let factor = f64::from(times);
    let pool = &mut scenario.pool;
    for duration in [
        &mut pool.interval,
        &mut pool.pace.window,
        &mut pool.pace.drain,
        &mut pool.declared_lag,
        &mut pool.hold_for,
        &mut pool.shape.behavior.scale_up_window,
        &mut pool.shape.behavior.scale_down_window,
    ] {
        *duration *= times;
    }
    for agent in &mut pool.agents {
        agent.base_throughput /= factor;
    }
    for service in &mut scenario.services {
        service.throughput /= factor;
        service.cold_start *= factor;
        service.image_pull *= factor;
        service.drain *= factor;
    }
    for load in &mut scenario.loads {
        let later = |row: Recorded| Recorded {
            at: row.at * factor,
            ..row
        };
        load.arrivals = Arrivals::Trace(Replay {
            recorded: Recording::Requests(
                rows(load.arrivals.clone()).into_iter().map(later).collect(),
            ),
            ..Replay::default()
        });
    }
    if let Cluster::Fractions(fractions) = &mut scenario.cluster {
        fractions.lag *= factor;
    }
    scenario.seconds *= factor;
    scenario.metric_age *= factor;
    scenario
}

fn under(scenario: &Scenario, policy: Policy) -> Outcome {
    let mut operator =
        Operator::new(&scenario.pool, policy, scenario.metric_age).at_declared_pace();
    run(scenario, &mut operator, "x", 1, &mut |_| {}).unwrap()
}

/// What became of each agent, and of the same agents under other names in another order.
fn renamed(scenario: impl Fn([&str; 4]) -> Scenario, policy: Policy) -> Vec<[AgentOutcome; 2]> {
    let (one, other) = (NAMES, ["c", "a", "d", "b"]);
    let (first, second) = (
        under(&scenario(one), policy),
        under(&scenario(other), policy),
    );
    let find = |outcome: &Outcome, name: &str| {
        let mut agents = outcome.agents.iter();
        agents.find(|a| a.name == name).cloned().unwrap()
    };
    let pairs = one.iter().zip(other);
    pairs
        .map(|(was, is)| [find(&first, was), find(&second, is)])
        .collect()
}

#[test]
fn names_and_order_of_agents_change_nothing() {
    for policy in POLICIES {
        // A tie for a thousandth of a GPU goes by name, so that policies that move shares agree to that; what it changes in a queue is
        // evidence to Balanced.
        let close = match policy {
            Policy::StaticEqual => 0.0,
            Policy::WaterFilling | Policy::Adaptive => 0.01,
            Policy::Balanced(_) => 0.05,
        };
        for [was, is] in renamed(of, policy) {
            assert_eq!((was.arrived, was.cut), (is.arrived, is.cut));
            let (was, is) = (was.latency.sum(), is.latency.sum());
            assert!((was / is - 1.0).abs() <= close, "{policy:?}: {was} {is}");
        }
    }
}

/// Who gives a GPU first goes by name where nothing else tells two agents apart, and the other waits as long as a pod drains and starts.
#[test]
fn names_and_order_of_agents_with_pods_change_nothing_but_whose_turn_is_first() {
    let sum = |agents: &[[AgentOutcome; 2]], k: usize| -> f64 {
        agents.iter().map(|pair| pair[k].latency.sum()).sum()
    };
    for policy in POLICIES {
        let agents = renamed(with_pods, policy);
        for [was, is] in &agents {
            assert_eq!(was.arrived, is.arrived, "{policy:?}");
            if policy == Policy::StaticEqual {
                assert_eq!(was.latency.sum(), is.latency.sum(), "{}", was.name);
            }
        }
        let ratio = sum(&agents, 0) / sum(&agents, 1);
        assert!((0.5..=2.0).contains(&ratio), "{policy:?}: {ratio}");
    }
}

/// Twice as slow in everything, and twice as long in everything.
///
/// What is left are times that are no times of the pool, and none of them plays a part here: samples count as stale after 5 s
/// at least, which is five intervals of a second or more; SGLang's 30 s and other habits of engines and of Kubernetes
/// (`signals::window`), which matter when pods fall silent; the patience with a copy that never starts (`sharing::starts`); and the
/// longest window there is, four hours. Whatever else is in seconds must follow the interval, the window or the lag.
fn doubles(scenario: &Scenario, policy: Policy) {
    let one = under(scenario, policy);
    let two = under(&slower(scenario.clone(), 2), policy);
    let doubled = |what: &str, a: f64, b: f64| {
        assert!(
            (2.0 * a - b).abs() <= 1e-9 * b.abs(),
            "{policy:?}: {what} is {a} s, then {b} s"
        );
    };
    doubled("the run", one.seconds, two.seconds);
    assert_eq!(one.moves, two.moves, "{policy:?}: moves");
    for (a, b) in one.agents.iter().zip(&two.agents) {
        let counts = |o: &AgentOutcome| (o.arrived, o.served, o.restarts, o.cut);
        assert_eq!(counts(a), counts(b), "{policy:?}: {}", a.name);
        doubled("latency", a.latency.sum(), b.latency.sum());
        doubled("waiting", a.waiting.sum(), b.waiting.sum());
        doubled("what was granted", a.granted, b.granted);
        doubled("starvation", a.starved, b.starved);
        for q in [0.5, 0.95, 0.99] {
            let quantile = |o: &AgentOutcome| o.latency.quantile(q).unwrap();
            doubled("a quantile", quantile(a), quantile(b));
        }
    }
}

#[test]
fn time_that_runs_half_as_fast_doubles_every_latency_under_every_policy() {
    for policy in POLICIES {
        doubles(&of(NAMES), policy);
    }
}

#[test]
fn time_that_runs_half_as_fast_doubles_every_latency_of_pods_too() {
    let scenario = with_pods(NAMES);
    for policy in POLICIES {
        doubles(&scenario, policy);
    }
    let moved = under(&scenario, Policy::WaterFilling);
    assert!(moved.moves >= 4, "pods came and went: {}", moved.moves);
}
