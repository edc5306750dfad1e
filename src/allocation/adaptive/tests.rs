#![allow(clippy::panic)]

use super::super::tests::{agent, arrivals, decide, paper, targets};
use super::*;
use crate::allocation::Policy;

fn rate(agent: &Agent<'_>) -> f64 {
    match agent.load {
        Load::Measured {
            arrivals_per_second,
            ..
        } => arrivals_per_second,
        Load::Unknown => panic!("the paper knows every load"),
    }
}

/// The rule's shares before rounding, in GPUs.
fn shares(capacity: u64, agents: &[Agent<'_>]) -> Vec<f64> {
    let demand = |agent| Rule::demand(rate(agent), agent);
    let rule = Rule::new(capacity, agents.iter().map(demand).sum());
    let total = agents
        .iter()
        .map(|a| rule.share(demand(a), a.min_share.0 as f64))
        .sum();
    let milli = |a| rule.share(demand(a), a.min_share.0 as f64) * rule.scale(total);
    agents.iter().map(|a| milli(a) / 1000.0).collect()
}

/// The paper's formulas as they stand there, in GPUs.
fn by_the_paper(capacity: f64, agents: &[(f64, f64, f64)]) -> Vec<f64> {
    let demand: Vec<f64> = agents.iter().map(|(rate, r, p)| rate * r / p).collect();
    let total: f64 = demand.iter().sum();
    let mut shares: Vec<f64> = agents
        .iter()
        .zip(&demand)
        .map(|((_, r, _), d)| r.max(d / total * capacity))
        .collect();
    let sum: f64 = shares.iter().sum();
    if sum > capacity {
        shares.iter_mut().for_each(|g| *g = *g / sum * capacity);
    }
    shares
}

#[test]
fn the_papers_four_agents_get_the_papers_shares_to_the_digit() {
    let digits: Vec<String> = shares(1000, &paper())
        .iter()
        .map(|g| format!("{g:.4}"))
        .collect();
    // In order of name: coordinator, nlp, reasoning, vision. The first is 0.238539; 0.2386 is what it is sometimes rounded to
    // so that the four printed digits sum to one.
    assert_eq!(digits, ["0.2385", "0.2538", "0.2961", "0.2115"]);
}

#[test]
fn the_shares_are_the_papers_formulas_to_fourteen_digits() {
    let facts = [
        (80.0, 0.10, 1.0),
        (40.0, 0.30, 2.0),
        (25.0, 0.35, 1.0),
        (45.0, 0.25, 2.0),
    ];
    for capacity in [1u64, 2, 4, 8] {
        let ours = shares(capacity * 1000, &paper());
        let theirs = by_the_paper(capacity as f64, &facts);
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() <= 1e-14 * theirs, "{ours} {theirs}");
        }
    }
}

#[test]
fn shares_are_rounded_by_largest_remainder_to_all_of_capacity() {
    // 238.54, 253.82, 296.12, 211.52: two milli-GPUs are left, for .82 and .54.
    let out = decide(Policy::Adaptive, 1000, &paper());
    assert_eq!(targets(&out), [239, 254, 296, 211]);
}

/// The paper's own example breaks its own guarantee, and we say so.
#[test]
fn after_its_normalisation_the_papers_rule_breaks_its_own_minima() {
    let out = decide(Policy::Adaptive, 1000, &paper());
    let nlp = out[1];
    assert!(nlp.target.0 == 254 && paper()[1].min_share.0 == 300);
    let unmet: Vec<bool> = out.iter().map(|a| a.minimum_unmet).collect();
    assert_eq!(unmet, [false, true, true, true]);
    assert!(out.iter().all(|a| a.reason == Reason::Proportional));
}

#[test]
fn without_any_arrivals_everyone_keeps_its_minimum() {
    let idle = paper().map(|a| Agent {
        load: arrivals(0.0),
        ..a
    });
    let out = decide(Policy::Adaptive, 2000, &idle);
    assert_eq!(targets(&out), [100, 300, 350, 250]);
    assert!(
        out.iter()
            .all(|a| a.reason == Reason::Idle && !a.minimum_unmet)
    );

    let out = decide(Policy::Adaptive, 500, &idle);
    assert_eq!(
        targets(&out),
        [50, 150, 175, 125],
        "minima above capacity are normalised"
    );
    assert!(out.iter().all(|a| a.minimum_unmet));
}

#[test]
fn an_agent_without_a_minimum_gets_nothing_by_the_papers_rule() {
    let mut agents = paper();
    agents[0].min_share = MilliGpus::ZERO;
    assert_eq!(
        decide(Policy::Adaptive, 1000, &agents)[0].target,
        MilliGpus::ZERO
    );
}

#[test]
fn who_lost_its_signal_keeps_its_share_and_the_others_divide_the_rest() {
    let mut agents = paper();
    agents[2].load = Load::Unknown;
    agents[2].realized = MilliGpus(400);
    let out = decide(Policy::Adaptive, 1000, &agents);
    assert_eq!((out[2].target.0, out[2].reason), (400, Reason::SignalLost));
    assert_eq!(targets(&out).iter().sum::<u64>(), 1000);

    let rest = [paper()[0], paper()[1], paper()[3]];
    let alone = targets(&decide(Policy::Adaptive, 600, &rest));
    assert_eq!([out[0], out[1], out[3]].map(|a| a.target.0).to_vec(), alone);
}

#[test]
fn agents_without_a_signal_that_hold_more_than_capacity_shrink_in_proportion() {
    let lost = |name, realized| Agent {
        load: Load::Unknown,
        realized: MilliGpus(realized),
        ..agent(name)
    };
    let out = decide(
        Policy::Adaptive,
        1000,
        &[lost("a", 3000), lost("b", 1000), paper()[3]],
    );
    assert_eq!(targets(&out), [750, 250, 0]);
    assert!(out[2].minimum_unmet);
}

/// The paper's model of time: arrivals join, `min(queue, T·g)` are served, the sample is `queue / (T·g)` capped at 1000 s.
/// Returns mean latency in seconds and requests served a second.
fn run(shares: impl Fn(usize) -> Vec<f64>) -> (f64, f64) {
    const TICKS: usize = 100;
    let agents = paper();
    let (mut queues, mut latency, mut served) = ([0.0f64; 4], 0.0, 0.0);
    for tick in 0..TICKS {
        let shares = shares(tick);
        for (i, agent) in agents.iter().enumerate() {
            let speed = agent.base_throughput * shares[i];
            queues[i] += rate(agent);
            let done = speed.min(queues[i]);
            queues[i] -= done;
            served += done;
            latency += if speed > 0.0 {
                (queues[i] / speed).min(1000.0)
            } else {
                1000.0
            };
        }
    }
    (
        latency / (TICKS * agents.len()) as f64,
        served / TICKS as f64,
    )
}

fn figures((latency, throughput): (f64, f64)) -> String {
    format!("{latency:.2} s, {throughput:.2}/s")
}

#[test]
fn in_the_papers_model_of_time_its_figures_reproduce_to_the_digit() {
    assert_eq!(
        figures(run(|_| shares(1000, &paper()))),
        "111.93 s, 58.12/s"
    );
    assert_eq!(figures(run(|_| vec![0.25; 4])), "110.26 s, 60.00/s");
}

/// Published: 756.1 s and 60.0/s. The model gives this for the order of the paper's table; the difference is unexplained.
#[test]
fn in_the_papers_model_of_time_round_robin_comes_within_a_second_of_the_paper() {
    // Its turns go by the table: coordinator, nlp, vision, reasoning; our order is by name.
    const TURN: [usize; 4] = [0, 1, 3, 2];
    let turns = run(|tick| {
        let mut shares = vec![0.0; 4];
        shares[TURN[tick % 4]] = 1.0;
        shares
    });
    assert_eq!(figures(turns), "756.81 s, 59.80/s");
}
