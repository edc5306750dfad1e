//! A decision allocates nothing: the reconcile loop may call it as often as it likes.

use agentpool::allocation::{Agent, Allotment, Load, Memory, Policy, Snapshot, Spare, allocate};
use agentpool::units::{MilliGpus, Priority};
use std::time::Duration;

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

/// Every third agent idle, every seventh without a signal; floors, minima, ceilings and exponents of all kinds.
/// Shares are any, or with `whole` above zero one or two of that size; with `swaps` parts of several sizes for every third.
fn pool(names: &[String], whole: u64, swaps: bool) -> Vec<Agent<'_>> {
    let load = |i: u64| match (i % 7, i % 3) {
        (6, _) => Load::Unknown,
        (_, 2) => Load::Measured {
            arrivals_per_second: 0.0,
            backlog: 0.0,
        },
        _ => Load::Measured {
            arrivals_per_second: (i % 101) as f64,
            backlog: (i % 17) as f64,
        },
    };
    let agent = |i: u64| Agent {
        name: "",
        priority: [Priority::High, Priority::Medium, Priority::Low][(i % 3) as usize],
        min_share: MilliGpus(i % 300),
        base_throughput: 40.0,
        speed_exponent: if i.is_multiple_of(5) { 0.6 } else { 1.0 },
        part: MilliGpus(i % 7 * 100),
        swaps: swaps && i.is_multiple_of(3),
        load: load(i),
        floor: MilliGpus(i % 11 * 10),
        ceiling: MilliGpus(200 + i % 1900),
        quantum: MilliGpus(whole * (1 + i % 2)),
        realized: MilliGpus(i % 500),
    };
    names
        .iter()
        .zip(0u64..)
        .map(|(name, i)| Agent { name, ..agent(i) })
        .collect()
}

#[test]
fn no_policy_allocates_on_the_heap_in_any_of_its_stages() {
    let policies = [
        Policy::WaterFilling,
        Policy::Adaptive,
        Policy::StaticEqual,
        Policy::Balanced(Spare::Lend),
        Policy::Balanced(Spare::Save {
            headroom_milli: 2000,
        }),
    ];
    for (n, whole, swaps) in [
        (1, 0, false),
        (10, 0, false),
        (10, 0, true),
        (10, 50, false),
        (64, 50, false),
        (511, 0, false),
        (511, 0, true),
        (511, 100, false),
        (5000, 0, false),
    ] {
        let names: Vec<String> = (0..n).map(|i| format!("agent-{i:05}")).collect();
        let agents = pool(&names, whole, swaps);
        let mut out = vec![Allotment::default(); n];
        // From a shortage of floors over a shortage of entitlements and of demand to headroom.
        for capacity_per_agent in [0, 20, 100, 300, 800, 5000] {
            for policy in policies {
                let mut memory = Memory::default();
                for second in 0..30 {
                    let snapshot = Snapshot {
                        capacity: MilliGpus(capacity_per_agent * n as u64),
                        now: Duration::from_secs(second),
                        interval: Duration::from_secs(1),
                        lag: Duration::from_secs(5),
                        drain: Duration::from_secs(60),
                        agents: &agents,
                    };
                    let count = allocations(|| allocate(policy, &snapshot, &mut memory, &mut out));
                    // Balanced makes room for an agent, and for the first marks, when it first sees it.
                    assert!(
                        count == 0 || (second == 0 && matches!(policy, Policy::Balanced(_))),
                        "{policy:?}, {n} agents, {capacity_per_agent} each, second {second}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
}
