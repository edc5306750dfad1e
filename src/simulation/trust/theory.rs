//! Queueing theory: means and tails of simulated queues are those of the closed formulas, within confidence intervals of batch means.

use super::super::control::{Operator, Rule};
use super::super::engine::{Device, Dispatch, Engine, Finished, ServerSpec};
use super::super::{Sketch, run};
use super::dispatch::on_pods;
use super::*;
use crate::allocation::Policy;

/// Requests of a test; debug builds serve about a million a second.
const REQUESTS: usize = 120_000;
const BATCHES: usize = 20;
/// Student's t of 19 degrees of freedom at 99.9 %.
const T: f64 = 3.883;

/// The mean of consecutive values is `exact` within the confidence interval of batch means, and the interval is at most `narrow` of it.
fn agrees(values: impl Iterator<Item = f64>, exact: f64, narrow: f64) {
    let values: Vec<f64> = values.collect();
    let size = values.len() / BATCHES;
    assert!(size > 100, "{} values", values.len());
    let batches = values.chunks_exact(size);
    let means = batches.map(|batch| batch.iter().sum::<f64>() / size as f64);
    means_agree(&means.collect::<Vec<_>>(), exact, narrow);
}

/// The mean of independent estimates is `exact` within its confidence interval, and the interval is at most `narrow` of it.
fn means_agree(means: &[f64], exact: f64, narrow: f64) {
    assert_eq!(means.len(), BATCHES);
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (means.len() - 1) as f64;
    let half = T * (variance / means.len() as f64).sqrt();
    assert!(
        (mean - exact).abs() <= half,
        "{mean} ± {half} is not {exact}"
    );
    assert!(
        half <= narrow * exact,
        "{mean} ± {half} says too little of {exact}"
    );
}

/// Unit exponential works and gaps, independent of each other.
fn stream(agent: &str, rate: f64) -> impl Iterator<Item = (f64, f64)> {
    let load = AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Poisson { rate },
        work: Work::Exponential,
    };
    load.requests(7).map(|r| (r.at, r.work))
}

/// A server on nothing but itself.
fn server(agent: usize, max_running: u32) -> ServerSpec {
    ServerSpec {
        agent,
        devices: Vec::new(),
        speed: 1.0,
        weight: 1.0,
        max_running,
    }
}

/// Serves arrivals (time, agent, work), in order, and the laws hold; what was served, each with the work that it was.
fn serve(
    mut engine: Engine,
    arrivals: impl Iterator<Item = (f64, usize, f64)>,
    agents: usize,
) -> Vec<Finished> {
    let (mut served, mut now) = (Vec::new(), 0.0);
    for (at, agent, work) in arrivals.take(REQUESTS) {
        while engine.next() <= at {
            served.extend(engine.step());
        }
        engine.arrive(at, agent, work);
        now = at;
    }
    while engine.present() > 0 {
        let last = engine.step().unwrap();
        now = last.at;
        served.push(last);
    }
    let mut latencies = vec![0.0; agents];
    served
        .iter()
        .for_each(|f| latencies[f.agent] += f.at - f.arrived);
    engine.check(now, &latencies).unwrap();
    served
}

fn times(served: &[Finished], agent: usize) -> impl Iterator<Item = f64> {
    served
        .iter()
        .filter(move |f| f.agent == agent)
        .map(|f| f.at - f.arrived)
}

fn above(values: impl Iterator<Item = f64>, limit: f64) -> impl Iterator<Item = f64> {
    values.map(move |value| f64::from(u8::from(value > limit)))
}

#[test]
fn a_run_of_one_agent_is_a_single_server() {
    // The whole path: load, run, account. Mean 1 / (mu - lambda), 95th percentile ln(20) times as long.
    let scenario = scenario(&["a"], 10.0, 6.0, 20_000.0);
    let mut operator = Operator::new(&scenario.pool, Policy::StaticEqual, 0.0);
    let outcome = run(&scenario, &mut operator, "x", 1, &mut |_| {}).unwrap();
    let latency = &outcome.agents[0].latency;
    let near = |told: Option<f64>, exact: f64| {
        assert!(
            told.is_some_and(|t| (t / exact - 1.0).abs() < 0.03),
            "{told:?} for {exact}"
        );
    };
    near(latency.mean(), 0.25);
    near(latency.quantile(0.95), 20f64.ln() / 4.0);
    near(outcome.agents[0].waiting.mean(), 0.25 - 0.1);
}

#[test]
fn m_m_1_has_an_exponential_time_in_the_system() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.start(0.0, server(0, 1));
    let served = serve(engine, stream("a", 0.6).map(|(at, work)| (at, 0, work)), 1);
    agrees(times(&served, 0), 1.0 / 0.4, 0.1);
    for t in [1.0, 5.0] {
        agrees(above(times(&served, 0), t), (-0.4f64 * t).exp(), 0.2);
    }
}

#[test]
fn m_d_1_waits_half_as_long() {
    let mut engine = Engine::new(1, Dispatch::FewestRequests);
    engine.start(0.0, server(0, 1));
    let served = serve(engine, stream("a", 0.6).map(|(at, _)| (at, 0, 1.0)), 1);
    let waits = || served.iter().map(|f| f.started - f.arrived);
    agrees(waits(), 0.6 / (2.0 * 0.4), 0.1);
    // Up to one service time, P(wait <= t) = (1 - rho) e^(lambda t) (Erlang, 1909).
    agrees(above(waits(), 0.5), 1.0 - 0.4 * (0.6f64 * 0.5).exp(), 0.1);
}

/// The whole path: four pods on four GPUs behind one queue.
#[test]
fn m_m_c_waits_with_the_probability_that_erlang_says() {
    let load = 2.8f64; // of 4 servers
    let mut scenario = on_pods(scenario(&["a"], 1.0, load, 2200.0), 4);
    scenario.dispatch = Some(Dispatch::OneQueue);
    scenario.warmup = 100.0;
    let waits: Vec<_> = (1..=BATCHES as u64)
        .map(|seed| {
            let mut hold = Rule::Hold.build(&scenario).unwrap();
            let outcome = run(&scenario, hold.as_mut(), "x", seed, &mut |_| {}).unwrap();
            assert_eq!(outcome.series.last().unwrap().agents[0].replicas, 4);
            outcome.agents[0].waiting.clone()
        })
        .collect();
    let each = |of: &dyn Fn(&Sketch) -> Option<f64>| -> Vec<f64> {
        waits.iter().map(|waits| of(waits).unwrap()).collect()
    };
    let term = |n: i32| load.powi(n) / (1..=n).map(f64::from).product::<f64>();
    let all_busy = term(4) / (1.0 - load / 4.0);
    let erlang_c = all_busy / ((0..4).map(term).sum::<f64>() + all_busy);
    means_agree(&each(&Sketch::mean), erlang_c / (4.0 - load), 0.2);
    for t in [0.5, 1.5] {
        // P(wait > t), and so the quantile that t is.
        let beyond = erlang_c * (-(4.0 - load) * t).exp();
        means_agree(&each(&|waits| waits.quantile(1.0 - beyond)), t, 0.3);
    }
}

#[test]
fn processor_sharing_does_not_see_the_distribution_of_work() {
    let uniform = |other: f64| (-other).exp();
    let kinds: [fn(f64, f64) -> f64; 3] = [
        |exponential, _| exponential,
        |_, _| 1.0,
        // One in ten is 5.5 times as long, the others half: a squared coefficient of variation of 5.5.
        |exponential, uniform| exponential * if uniform < 0.1 { 5.5 } else { 0.5 },
    ];
    for kind in kinds {
        let mut engine = Engine::new(1, Dispatch::FewestRequests);
        engine.start(0.0, server(0, u32::MAX));
        let arrivals = stream("a", 0.6).zip(stream("b", 1.0));
        let works: Vec<(f64, usize, f64)> = arrivals
            .take(REQUESTS)
            .map(|((at, work), (_, other))| (at, 0, kind(work, uniform(other))))
            .collect();
        let served = serve(engine, works.iter().copied(), 1);
        agrees(times(&served, 0), 1.0 / 0.4, 0.15);
        // Everybody is slowed down alike, whatever the size: E[T | x] = x / (1 - rho).
        let work_of = |f: &Finished| {
            let at = works.partition_point(|w| w.0 < f.arrived);
            works[at].2
        };
        let slowdowns = served
            .iter()
            .map(|f| (f.at - f.arrived, work_of(f)))
            .filter(|(_, work)| *work > 0.3)
            .map(|(time, work)| time / work);
        agrees(slowdowns, 1.0 / 0.4, 0.1);
    }
}

#[test]
fn the_preferred_of_two_classes_does_not_see_the_other() {
    let mut engine = Engine::new(2, Dispatch::FewestRequests);
    let gpu = engine.add_device(Device::Priority);
    for (agent, weight) in [(0, 2.0), (1, 1.0)] {
        let devices = vec![gpu];
        engine.start(
            0.0,
            ServerSpec {
                devices,
                weight,
                ..server(agent, 1)
            },
        );
    }
    // Works of mean 1 and 2; loads 0.3 and 0.4.
    let mut arrivals: Vec<(f64, usize, f64)> = stream("a", 0.3)
        .map(|(at, work)| (at, 0, work))
        .take(REQUESTS * 3 / 5)
        .chain(
            stream("b", 0.2)
                .map(|(at, work)| (at, 1, 2.0 * work))
                .take(REQUESTS * 2 / 5),
        )
        .collect();
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let served = serve(engine, arrivals.into_iter(), 2);
    // Preemptive resume (Cobham, White and Christie): E[S_k]/(1 - s_(k-1)) + sum of lambda_i E[S_i^2]/2 / ((1 - s_(k-1))(1 - s_k)).
    agrees(times(&served, 0), 1.0 / 0.7, 0.1);
    agrees(above(times(&served, 0), 2.0), (-0.7f64 * 2.0).exp(), 0.1);
    let residual = 0.3 * 2.0 / 2.0 + 0.2 * 8.0 / 2.0;
    agrees(times(&served, 1), 2.0 / 0.7 + residual / (0.7 * 0.3), 0.2);
}
