//! What a decision costs: nanoseconds an agent for each policy, beside the time to copy the same bytes in the same run.
//!
//! The copy is that of the input and the output, once. All times are the shortest of many short samples taken in turn, so
//! that a busy machine disturbs the figures least.
#![forbid(unsafe_code)]

use crate::dice::Dice;
use agentpool::allocation::{Agent, Allotment, Load, Memory, Policy, Snapshot, Spare, allocate};
use agentpool::units::{MilliGpus, Priority};
use agentpool_e2e::figures::{Figure, publish};
use anyhow::Result;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Policy, a name for the case, and capacity an agent: less than demand, or more.
const CASES: [(&str, Policy, u64); 6] = [
    ("Adaptive", Policy::Adaptive, 400),
    ("WaterFilling, hungry", Policy::WaterFilling, 200),
    ("WaterFilling, headroom", Policy::WaterFilling, 2000),
    ("StaticEqual", Policy::StaticEqual, 400),
    ("Balanced, hungry", Policy::Balanced(Spare::Lend), 200),
    ("Balanced, headroom", Policy::Balanced(Spare::Lend), 2000),
];
const SIZES: [usize; 4] = [10, 100, 1000, 100_000];
/// Agents decided on in one sample; tens of microseconds.
const SAMPLE: usize = 5000;
const SAMPLES: usize = 400;

fn pool<'a>(names: &'a [String], dice: &mut Dice) -> Vec<Agent<'a>> {
    let mut agent = |name: &'a String| {
        let throughput = 20 + dice.below(100);
        Agent {
            name,
            priority: [Priority::High, Priority::Medium, Priority::Low][dice.below(3) as usize],
            min_share: MilliGpus(dice.below(200)),
            base_throughput: throughput as f64,
            speed_exponent: 1.0,
            part: MilliGpus::ZERO,
            swaps: false,
            load: Load::Measured {
                arrivals_per_second: dice.below(throughput) as f64,
                backlog: dice.below(50) as f64,
            },
            floor: MilliGpus(dice.below(100)),
            ceiling: MilliGpus(8000),
            quantum: MilliGpus::ZERO,
            realized: MilliGpus(dice.below(1000)),
        }
    };
    names.iter().map(&mut agent).collect()
}

/// Nanoseconds an agent of one sample.
fn sample(agents: usize, mut work: impl FnMut()) -> f64 {
    let rounds = (SAMPLE / agents).max(1);
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    start.elapsed().as_nanos() as f64 / (rounds * agents) as f64
}

/// Measures and publishes.
///
/// # Errors
/// The report cannot be written.
pub fn run() -> Result<()> {
    let mut figures = Vec::new();
    let mut smallest = [0.0; CASES.len()];
    for n in SIZES {
        let names: Vec<String> = (0..n).map(|i| format!("agent-{i:06}")).collect();
        let agents = pool(&names, &mut Dice(0x9e37_79b9_7f4a_7c15));
        let mut out = vec![Allotment::default(); n];
        let (mut agents_copy, mut out_copy) = (agents.clone(), out.clone());
        let mut copy = f64::MAX;
        let mut best = [f64::MAX; CASES.len()];
        // Balanced learns from sample to sample, a second of its time each.
        let mut memories: [Memory; CASES.len()] = Default::default();
        let mut now = Duration::ZERO;
        for _ in 0..SAMPLES {
            copy = copy.min(sample(n, || {
                agents_copy.copy_from_slice(black_box(&agents));
                out_copy.copy_from_slice(black_box(&out));
                black_box((&agents_copy, &out_copy));
            }));
            let cases = best.iter_mut().zip(CASES).zip(&mut memories);
            for ((best, (_, policy, each)), memory) in cases {
                let mut snapshot = Snapshot {
                    capacity: MilliGpus(each * n as u64),
                    drain: Duration::from_secs(60),
                    now,
                    interval: Duration::from_secs(1),
                    lag: Duration::from_secs(30),
                    agents: &agents,
                };
                *best = best.min(sample(n, || {
                    now += Duration::from_secs(1);
                    snapshot.now = now;
                    allocate(
                        policy,
                        black_box(&snapshot),
                        black_box(memory),
                        black_box(&mut out),
                    );
                }));
            }
        }
        if n == SIZES[0] {
            smallest = best;
        }
        figures.push(Figure::new(
            format!("copy, {n} agents"),
            copy,
            "ns an agent",
        ));
        for ((case, policy, _), (ns, first)) in CASES.iter().zip(best.iter().zip(smallest)) {
            let figure = Figure::new(format!("{case}, {n} agents"), *ns, "ns an agent");
            let growth = Figure::new(
                format!("{case}, {n} agents beside {}", SIZES[0]),
                ns / first,
                "times",
            );
            if *policy == Policy::Adaptive {
                figures.push(figure.at_most(10.0));
                figures.push(growth.at_most(2.0));
            } else {
                figures.push(figure);
                figures.push(growth);
            }
        }
    }
    publish("allocate", figures)
}
