//! Inputs that no cluster should produce and that must do no harm.

use super::Memory;
use super::tests::{POLICIES, SPENDING, agent, arrivals, decide, paper, targets};
use super::types::{Agent, Allotment, Load, Policy, Reason, Snapshot};
use crate::units::{MilliGpus, Priority};
use std::time::Duration;

const ABSURD: [f64; 8] = [
    f64::NAN,
    -f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.0,
    -5e-324,
    -1e308,
    f64::MIN,
];
const EXTREME: [f64; 6] = [0.0, -0.0, 5e-324, f64::MIN_POSITIVE, 1e308, f64::MAX];

fn load(arrivals_per_second: f64, backlog: f64) -> Load {
    Load::Measured {
        arrivals_per_second,
        backlog,
    }
}

fn sum(out: &[Allotment]) -> u128 {
    targets(out).into_iter().map(u128::from).sum()
}

#[test]
fn an_absurd_load_is_a_lost_signal_and_never_zero_load() {
    for absurd in ABSURD {
        for load in [load(absurd, 0.0), load(1.0, absurd), load(absurd, absurd)] {
            for policy in [Policy::WaterFilling, Policy::Adaptive] {
                let mut agents = paper();
                agents[1].load = load;
                agents[1].realized = MilliGpus(300);
                let out = decide(policy, 1000, &agents);
                assert_eq!(
                    (out[1].reason, out[1].target.0),
                    (Reason::SignalLost, 300),
                    "{policy:?} {load:?}"
                );
                assert_eq!(sum(&out), 1000, "{policy:?} {load:?}");
            }
        }
    }
}

#[test]
fn an_absurd_throughput_or_exponent_is_a_lost_signal_too() {
    for absurd in ABSURD.into_iter().chain([0.0, -0.0]) {
        for (throughput, exponent) in [(absurd, 1.0), (100.0, absurd)] {
            for policy in [Policy::WaterFilling, Policy::Adaptive] {
                let mut agents = paper();
                agents[1].base_throughput = throughput;
                agents[1].speed_exponent = exponent;
                agents[1].realized = MilliGpus(300);
                let out = decide(policy, 1000, &agents);
                assert_eq!((out[1].reason, out[1].target.0), (Reason::SignalLost, 300));
            }
        }
    }
    let mut agents = paper();
    agents[1].speed_exponent = 1.0 + f64::EPSILON;
    assert_eq!(
        decide(Policy::WaterFilling, 1000, &agents)[1].reason,
        Reason::SignalLost
    );
}

#[test]
fn every_float_at_its_extremes_leaves_every_sum_within_capacity() {
    for rate in EXTREME {
        for backlog in EXTREME {
            for throughput in EXTREME {
                for exponent in EXTREME.into_iter().chain([1.0, 0.3]) {
                    let extreme = Agent {
                        base_throughput: throughput,
                        speed_exponent: exponent,
                        load: load(rate, backlog),
                        ..paper()[0]
                    };
                    for drain in [Duration::ZERO, Duration::from_secs(60), Duration::MAX] {
                        for policy in POLICIES {
                            let agents = [extreme, paper()[1], extreme];
                            let mut out = [Allotment::default(); 3];
                            let snapshot = Snapshot {
                                capacity: MilliGpus(1000),
                                drain,
                                now: Duration::ZERO,
                                interval: Duration::from_secs(1),
                                lag: Duration::ZERO,
                                agents: &agents,
                            };
                            super::allocate(policy, &snapshot, &mut Memory::default(), &mut out);
                            assert!(sum(&out) <= 1000, "{policy:?} {extreme:?} {out:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn one_agent_with_a_monstrous_rate_cannot_poison_the_shares_of_the_others() {
    for monster in [1e308, f64::MAX, 1e200] {
        let mut agents = paper();
        agents[0].load = arrivals(monster);
        let out = decide(Policy::Adaptive, 1000, &agents);
        // By the paper's rule it takes all that the minima leave: 1 / (1 + 0.3 + 0.35 + 0.25), and so on.
        assert_eq!(targets(&out), [526, 158, 184, 132]);
        let out = decide(Policy::WaterFilling, 1000, &agents);
        assert_eq!(targets(&out), [100, 300, 350, 250]);
    }
}

#[test]
fn rates_too_faint_for_the_papers_sum_count_as_none() {
    let faint = paper().map(|a| Agent {
        load: arrivals(5e-324),
        ..a
    });
    let out = decide(Policy::Adaptive, 2000, &faint);
    assert_eq!(targets(&out), [100, 300, 350, 250]);
    assert!(
        out.iter().all(|a| a.reason == Reason::Proportional),
        "faint is not idle"
    );
}

#[test]
fn without_capacity_everyone_gets_nothing_and_minima_are_unmet() {
    for policy in POLICIES {
        let out = decide(policy, 0, &paper());
        assert!(
            out.iter().all(|a| a.target.0 == 0 && a.minimum_unmet),
            "{policy:?}"
        );
        assert!(decide(policy, 1000, &[]).is_empty());
    }
}

#[test]
fn one_agent_alone_gets_what_there_is_up_to_its_ceiling() {
    for policy in SPENDING {
        assert_eq!(
            targets(&decide(policy, 1000, &paper()[..1])),
            [1000],
            "{policy:?}"
        );
    }
    assert_eq!(
        targets(&decide(Policy::WaterFilling, 5000, &paper()[..1])),
        [1000]
    );
}

#[test]
fn all_without_a_signal_keep_what_they_have_and_the_rest_stays_free() {
    let lost = paper().map(|a| Agent {
        load: Load::Unknown,
        realized: MilliGpus(200),
        ..a
    });
    for policy in [Policy::WaterFilling, Policy::Adaptive] {
        let out = decide(policy, 1000, &lost);
        assert_eq!(targets(&out), [200; 4], "{policy:?}");
        assert!(out.iter().all(|a| a.reason == Reason::SignalLost));
    }
    // Capacity went away: High before Medium in WaterFilling, in proportion by the paper's kind of normalisation.
    assert_eq!(
        targets(&decide(Policy::WaterFilling, 500, &lost)),
        [200, 100, 200, 0]
    );
    assert_eq!(targets(&decide(Policy::Adaptive, 500, &lost)), [125; 4]);
}

#[test]
fn the_largest_integers_neither_overflow_nor_exceed_capacity() {
    let extremes = [0, 1, 999, 1 << 32, 1 << 52, 1 << 63, u64::MAX - 1, u64::MAX];
    for capacity in extremes {
        for value in extremes {
            for other in extremes {
                let big = |name, priority, load| Agent {
                    priority,
                    load,
                    min_share: MilliGpus(value),
                    floor: MilliGpus(other),
                    ceiling: MilliGpus(value),
                    realized: MilliGpus(other),
                    ..agent(name)
                };
                let agents = [
                    big("a", Priority::High, arrivals(1e300)),
                    big("b", Priority::Low, arrivals(0.0)),
                    big("c", Priority::Medium, Load::Unknown),
                    Agent {
                        ceiling: MilliGpus(u64::MAX),
                        ..big("d", Priority::Low, arrivals(1.0))
                    },
                    big("e", Priority::Low, Load::Unknown),
                ];
                for policy in POLICIES {
                    let out = decide(policy, capacity, &agents);
                    assert!(
                        sum(&out) <= u128::from(capacity),
                        "{policy:?} {agents:?} {out:?}"
                    );
                }
                let all = decide(Policy::WaterFilling, capacity, &agents);
                assert_eq!(
                    sum(&all),
                    u128::from(capacity),
                    "\"d\" can use all the rest: {all:?}"
                );
            }
        }
    }
}

#[test]
fn a_floor_above_the_ceiling_counts_as_the_ceiling() {
    let odd = Agent {
        floor: MilliGpus(2000),
        ceiling: MilliGpus(500),
        ..agent("a")
    };
    assert_eq!(targets(&decide(Policy::WaterFilling, 4000, &[odd])), [500]);
}

/// A hundred thousand agents: more digits than a rounding table, more agents than milli-GPUs, equal and unequal ones.
#[test]
fn a_hundred_thousand_agents_are_shared_exactly() {
    let names: Vec<String> = (0..100_000).map(|i| format!("agent-{i:06}")).collect();
    for equal in [true, false] {
        let agents: Vec<Agent<'_>> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Agent {
                min_share: MilliGpus(if equal { 7 } else { 1 + i as u64 % 13 }),
                load: arrivals(if equal { 3.0 } else { 1.0 + (i % 997) as f64 }),
                ..agent(name)
            })
            .collect();
        for policy in SPENDING {
            for capacity in [99_999, 1_234_567, 987_654_321] {
                let out = decide(policy, capacity, &agents);
                assert_eq!(
                    sum(&out),
                    u128::from(capacity),
                    "{policy:?} {capacity} equal: {equal}"
                );
                if equal {
                    let (least, most) = (
                        targets(&out).into_iter().min(),
                        targets(&out).into_iter().max(),
                    );
                    assert!(most <= least.map(|x| x + 1 + 2), "{policy:?} {capacity}");
                    assert!(
                        out.is_sorted_by(|a, b| a.target >= b.target),
                        "{policy:?}: the first by name"
                    );
                }
            }
        }
    }
}
