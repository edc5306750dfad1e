//! What the tests of all policies share.

use super::types::{Agent, Allotment, Load, Policy, Snapshot, Spare};
use super::{Memory, allocate};
use crate::units::{MilliGpus, Priority};
use std::time::Duration;

/// The policies that spend what there is.
pub(super) const SPENDING: [Policy; 4] = [
    Policy::WaterFilling,
    Policy::Adaptive,
    Policy::StaticEqual,
    Policy::Balanced(Spare::Lend),
];

/// All policies.
pub(super) const POLICIES: [Policy; 5] = [
    Policy::WaterFilling,
    Policy::Adaptive,
    Policy::StaticEqual,
    Policy::Balanced(Spare::Lend),
    Policy::Balanced(Spare::Save {
        headroom_milli: 2000,
    }),
];

/// An agent without load that serves 100 requests a second on one GPU, and may hold anything from nothing to 64 GPUs.
pub(super) fn agent(name: &str) -> Agent<'_> {
    Agent {
        name,
        priority: Priority::Medium,
        min_share: MilliGpus::ZERO,
        base_throughput: 100.0,
        speed_exponent: 1.0,
        part: MilliGpus::ZERO,
        swaps: false,
        load: arrivals(0.0),
        floor: MilliGpus::ZERO,
        ceiling: MilliGpus::whole(64),
        quantum: MilliGpus::ZERO,
        realized: MilliGpus::ZERO,
    }
}

pub(super) fn arrivals(per_second: f64) -> Load {
    Load::Measured {
        arrivals_per_second: per_second,
        backlog: 0.0,
    }
}

/// What `policy` makes of `agents`, which stand in order of name.
pub(super) fn decide(policy: Policy, capacity: u64, agents: &[Agent<'_>]) -> Vec<Allotment> {
    let mut out = vec![Allotment::default(); agents.len()];
    let snapshot = Snapshot {
        capacity: MilliGpus(capacity),
        drain: Duration::from_secs(60),
        now: Duration::ZERO,
        interval: Duration::from_secs(1),
        lag: Duration::ZERO,
        agents,
    };
    allocate(policy, &snapshot, &mut Memory::default(), &mut out);
    out
}

pub(super) fn targets(out: &[Allotment]) -> Vec<u64> {
    out.iter().map(|a| a.target.0).collect()
}

/// The paper's four agents, by name.
pub(super) fn paper() -> [Agent<'static>; 4] {
    let one = |name, priority, minimum, throughput, rate| Agent {
        priority,
        min_share: MilliGpus(minimum),
        base_throughput: throughput,
        load: arrivals(rate),
        ceiling: MilliGpus::ONE,
        ..agent(name)
    };
    [
        one("coordinator", Priority::High, 100, 100.0, 80.0),
        one("nlp", Priority::Medium, 300, 50.0, 40.0),
        one("reasoning", Priority::High, 350, 30.0, 25.0),
        one("vision", Priority::Medium, 250, 60.0, 45.0),
    ]
}

#[test]
fn a_shorter_output_gets_as_many_agents_as_it_has_room_for() {
    let agents = [agent("a"), agent("b"), agent("c")];
    for policy in POLICIES {
        let mut out = [Allotment::default(); 2];
        let snapshot = Snapshot {
            capacity: MilliGpus(1000),
            drain: Duration::from_secs(60),
            now: Duration::ZERO,
            interval: Duration::from_secs(1),
            lag: Duration::ZERO,
            agents: &agents,
        };
        allocate(policy, &snapshot, &mut Memory::default(), &mut out);
        assert_eq!(
            out.to_vec(),
            decide(policy, 1000, &agents[..2]),
            "{policy:?}"
        );
    }
}
