//! Nothing is written when nothing changes but noise: the whole loop of allocation and sharing under Poisson arrivals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::*;
use super::model::{Cluster, Dice};
use super::*;
use crate::allocation::{self, Agent, Load, Pace, Policy, Snapshot, Spare};
use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};
use std::collections::VecDeque;

/// Requests of one second from a Poisson process (Knuth's method).
fn poisson(dice: &mut Dice, rate: f64) -> f64 {
    let limit = libm::exp(-rate);
    let (mut n, mut product) = (0.0, 1.0);
    loop {
        product *= (dice.roll(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
        if product <= limit {
            return n;
        }
        n += 1.0;
    }
}

/// Plans every second for `seconds` under steady Poisson load; returns how many steps were taken after the first quarter.
fn steps_when_settled(
    policy: Policy,
    shape: &PoolShape,
    mut cluster: Cluster,
    rates: &[f64],
    seconds: usize,
) -> usize {
    let minute = Duration::from_secs(60);
    let pace = Pace {
        window: minute,
        drain: minute,
    };
    let seen = policy.window(pace, Duration::from_secs(1)).as_secs() as usize;
    let mut learned = allocation::Memory::default();
    let mut dice = Dice::new(7);
    let mut windows: Vec<VecDeque<f64>> = vec![VecDeque::new(); rates.len()];
    let (mut memory, mut late) = (Memory::default(), 0);
    for second in 0..seconds {
        let observed = cluster.observed();
        let there = survey(shape, &observed);
        let agents: Vec<Agent<'_>> = shape
            .agents
            .iter()
            .zip(&there.agents)
            .enumerate()
            .map(|(i, (agent, extent))| {
                windows[i].push_back(poisson(&mut dice, rates[i]));
                if windows[i].len() > seen {
                    windows[i].pop_front();
                }
                let mean = windows[i].iter().sum::<f64>() / windows[i].len() as f64;
                Agent {
                    name: &agent.name,
                    priority: agent.priority,
                    min_share: MilliGpus(100),
                    base_throughput: 10.0,
                    speed_exponent: 1.0,
                    part: extent.part,
                    swaps: extent.swaps,
                    load: Load::Measured {
                        arrivals_per_second: mean,
                        backlog: mean / 5.0,
                    },
                    floor: extent.floor,
                    ceiling: extent.ceiling,
                    quantum: extent.quantum,
                    realized: extent.realized,
                }
            })
            .collect();
        let snapshot = Snapshot {
            capacity: there.capacity,
            drain: Duration::from_secs(60),
            now: Duration::from_secs(second as u64),
            interval: Duration::from_secs(1),
            lag: Duration::from_secs(30),
            agents: &agents,
        };
        let mut decision = vec![Allotment::default(); agents.len()];
        allocation::allocate(policy, &snapshot, &mut learned, &mut decision);
        let now = Duration::from_secs(second as u64);
        let (plan, next) = plan(shape, &observed, &decision, &memory, now);
        memory = next;
        for step in &plan.steps {
            cluster.apply(step);
            late += usize::from(second > seconds / 4);
        }
        while cluster.turn(&mut dice) {}
    }
    late
}

fn default_behavior() -> Behavior {
    Behavior {
        tolerance: 0.1,
        scale_up_window: Duration::ZERO,
        scale_down_window: Duration::from_secs(300),
    }
}

fn agents(max: u32) -> Vec<AgentShape> {
    let priorities = [
        Priority::High,
        Priority::Medium,
        Priority::High,
        Priority::Low,
    ];
    ["a", "b", "c", "d"]
        .iter()
        .zip(priorities)
        .map(|(name, priority)| with_memory(agent(name, priority, 1, max, 1), 9000))
        .collect()
}

#[test]
fn a_settled_pool_of_whole_gpus_is_quiet_under_poisson_load() {
    let mut shape = pool(Strategy::WholeGpu, agents(8));
    shape.behavior = default_behavior();
    let start = || {
        let running = running(&whole(), 1, &["n"]);
        Cluster::new(vec![node("n", 8)], vec![running; 4])
    };
    for rates in [
        [14.0, 6.0, 9.0, 3.0],
        [2.0, 2.0, 2.0, 2.0],
        [40.0, 25.0, 20.0, 9.0],
        [15.0; 4],
    ] {
        assert_eq!(
            steps_when_settled(Policy::WaterFilling, &shape, start(), &rates, 3600),
            0,
            "{rates:?}"
        );
        // What pays is learned over half an hour; once it is, it may come out differently, and two agents change places.
        let learned =
            steps_when_settled(Policy::Balanced(Spare::Lend), &shape, start(), &rates, 3600);
        assert!(learned <= 2, "{rates:?}: {learned}");
    }
}

#[test]
fn a_settled_pool_of_mig_instances_is_quiet_under_poisson_load() {
    let mut shape = pool(Strategy::Mig, agents(4));
    shape.behavior = default_behavior();
    shape.allow_downtime = true;
    let layout = [("1g.10gb", 7), ("2g.20gb", 3), ("3g.40gb", 2)];
    let start = || {
        let running = running(&mig("1g.10gb"), 1, &["n"]);
        Cluster::new(vec![a100("n", &layout)], vec![running; 4])
    };
    for rates in [
        [3.0, 2.0, 1.0, 4.0],
        [6.0, 6.0, 3.0, 1.0],
        [12.0, 2.0, 5.0, 7.0],
    ] {
        for policy in [Policy::WaterFilling, Policy::Balanced(Spare::Lend)] {
            assert_eq!(
                steps_when_settled(policy, &shape, start(), &rates, 3600),
                0,
                "{policy:?} {rates:?}"
            );
        }
    }
}

#[test]
fn a_settled_pool_of_time_slices_is_quiet_under_poisson_load() {
    let token = GpuResource::shared();
    let strategy = Strategy::TimeSlicing {
        resource: token.clone(),
        slices_per_gpu: Some(10),
    };
    let mut shape = pool(strategy, agents(4));
    shape.behavior = default_behavior();
    let start = || {
        let node = Node {
            allocatable: [(token.clone(), 10)].into(),
            gpu_memory: Some(Mebibytes(81_920)),
            ..node("n", 1)
        };
        Cluster::new(vec![node], vec![running(&token, 1, &["n"]); 4])
    };
    for rates in [[1.0, 2.0, 1.5, 1.0], [4.0, 0.5, 2.0, 1.0]] {
        for policy in [Policy::WaterFilling, Policy::Balanced(Spare::Lend)] {
            assert_eq!(
                steps_when_settled(policy, &shape, start(), &rates, 3600),
                0,
                "{policy:?} {rates:?}"
            );
        }
    }
}
