use super::super::tests::{agent, arrivals, decide, paper, targets};
use super::*;
use crate::allocation::{Load, Policy};
use Priority::{High, Low, Medium};

fn fill(capacity: u64, agents: &[Agent<'_>]) -> Vec<Allotment> {
    decide(Policy::WaterFilling, capacity, agents)
}

/// An agent whose load asks for `demand` milli-GPUs.
fn busy(name: &str, demand: u64, minimum: u64, priority: Priority) -> Agent<'_> {
    Agent {
        priority,
        min_share: MilliGpus(minimum),
        load: arrivals(demand as f64 / 10.0),
        ..agent(name)
    }
}

/// An agent whose signal is lost and that has `realized` milli-GPUs.
fn lost(name: &str, realized: u64, priority: Priority) -> Agent<'_> {
    Agent {
        priority,
        load: Load::Unknown,
        realized: MilliGpus(realized),
        ..agent(name)
    }
}

#[test]
fn demand_above_capacity_is_shared_by_priority_above_entitlements() {
    // Entitled to 100 each; of the remaining 700 "b" takes the 150 it needs, the others share 550 by 6 : 2: level 68, and
    // the 6 milli-GPUs that remain at level 69 go to the first.
    let agents = [
        busy("a", 900, 100, High),
        busy("b", 250, 100, Medium),
        busy("c", 900, 100, Low),
    ];
    let out = fill(1000, &agents);
    assert_eq!(targets(&out), [514, 250, 236]);
    assert_eq!(
        out.iter().map(|a| a.reason).collect::<Vec<_>>(),
        [
            Reason::CapacityShared,
            Reason::DemandMet,
            Reason::CapacityShared
        ]
    );
    assert!(out.iter().all(|a| !a.minimum_unmet));
}

#[test]
fn the_papers_agents_all_hold_their_minima_under_the_papers_overload() {
    let out = fill(1000, &paper());
    assert_eq!(targets(&out), [100, 300, 350, 250]);
    assert!(
        out.iter()
            .all(|a| a.reason == Reason::AtMinimum && !a.minimum_unmet)
    );
    assert_eq!(
        out.iter().map(|a| a.demand.0).collect::<Vec<_>>(),
        [800, 800, 834, 750]
    );
}

#[test]
fn a_minimum_is_an_entitlement_while_there_is_demand_and_not_a_reservation() {
    let agents = [
        busy("a", 0, 500, High),
        busy("b", 2000, 0, Low),
        busy("c", 10, 300, High),
    ];
    let out = fill(1000, &agents);
    assert_eq!(targets(&out), [0, 990, 10]);
    assert_eq!(out[0].reason, Reason::Idle);
    assert!(out.iter().all(|a| !a.minimum_unmet));
}

#[test]
fn when_entitlements_do_not_fit_the_lowest_priority_loses_first_and_equals_share() {
    let agents = [
        busy("a", 900, 400, Low),
        busy("b", 900, 400, Medium),
        busy("c", 900, 100, Medium),
        busy("d", 900, 400, High),
    ];
    let out = fill(801, &agents);
    assert_eq!(targets(&out), [0, 301, 100, 400]);
    assert_eq!(
        out.iter().map(|a| a.minimum_unmet).collect::<Vec<_>>(),
        [true, true, false, false]
    );
    // High has its 400; the 161 that are left raise both of Medium to one level, the odd one to the first.
    assert_eq!(targets(&fill(561, &agents)), [0, 81, 80, 400]);
    assert_eq!(targets(&fill(399, &agents)), [0, 0, 0, 399]);
}

#[test]
fn when_floors_do_not_fit_the_lowest_priority_loses_first_then_the_last_by_name() {
    let floor = |name, priority| Agent {
        floor: MilliGpus(300),
        ..busy(name, 900, 0, priority)
    };
    let agents = [
        floor("a", Low),
        floor("b", Medium),
        floor("c", Medium),
        floor("d", High),
    ];
    let out = fill(700, &agents);
    assert_eq!(targets(&out), [0, 300, 100, 300]);
    assert_eq!(
        out.iter().map(|a| a.minimum_unmet).collect::<Vec<_>>(),
        [true, false, true, false]
    );
}

#[test]
fn within_a_priority_a_floor_outlives_what_is_held_without_a_signal_beyond_floors() {
    let agents = [
        lost("a", 800, Medium),
        Agent {
            floor: MilliGpus(300),
            ..busy("b", 900, 0, Medium)
        },
        lost("c", 400, High),
    ];
    let out = fill(1000, &agents);
    assert_eq!(targets(&out), [300, 300, 400]);
    assert!(out[0].reason == Reason::SignalLost && !out[0].minimum_unmet);
}

#[test]
fn who_lost_its_signal_keeps_what_it_has_whatever_the_others_ask_for() {
    let out = fill(1000, &[lost("a", 600, Low), busy("b", 5000, 500, High)]);
    assert_eq!(targets(&out), [600, 400]);
    assert_eq!(out[0].reason, Reason::SignalLost);
    assert!(out[1].minimum_unmet);
}

#[test]
fn who_lost_its_signal_gets_no_headroom_either() {
    let out = fill(1000, &[lost("a", 100, High), busy("b", 100, 0, Low)]);
    assert_eq!(targets(&out), [100, 900]);
}

#[test]
fn headroom_follows_the_square_root_of_weighted_demand() {
    // sqrt(6·100) : sqrt(6·400) = 1 : 2 of the spare 300.
    let out = fill(
        800,
        &[
            busy("a", 100, 0, High),
            busy("b", 400, 0, High),
            busy("c", 0, 0, High),
        ],
    );
    assert_eq!(targets(&out), [200, 600, 0]);
    // At equal demand the weights count: sqrt(6) : sqrt(2).
    let out = fill(1200, &[busy("a", 100, 0, High), busy("b", 100, 0, Low)]);
    assert_eq!(targets(&out), [734, 466]);
}

#[test]
fn headroom_that_one_cannot_take_goes_to_the_others() {
    let mut agents = [busy("a", 100, 0, High), busy("b", 100, 0, High)];
    agents[0].ceiling = MilliGpus(150);
    let out = fill(1000, &agents);
    assert_eq!(targets(&out), [150, 850]);
    assert!(out.iter().all(|a| a.reason == Reason::DemandMet));
    agents[1].ceiling = MilliGpus(200);
    assert_eq!(
        targets(&fill(1000, &agents)),
        [150, 200],
        "nobody can use the rest"
    );
}

#[test]
fn when_all_are_idle_headroom_goes_by_minimum_share_or_equally() {
    let idle = [busy("a", 0, 100, Low), busy("b", 0, 300, High)];
    let out = fill(1000, &idle);
    assert_eq!(targets(&out), [250, 750]);
    assert!(out.iter().all(|a| a.reason == Reason::Idle));
    let idle = [
        busy("a", 0, 0, Low),
        busy("b", 0, 0, High),
        busy("c", 0, 0, High),
    ];
    assert_eq!(targets(&fill(1000, &idle)), [334, 333, 333]);
}

#[test]
fn a_smallest_quantum_above_demand_counts_before_the_others_share() {
    let agents = [
        Agent {
            floor: MilliGpus(1000),
            ..busy("a", 200, 100, Low)
        },
        busy("b", 3000, 100, High),
    ];
    let out = fill(2500, &agents);
    assert_eq!(targets(&out), [1000, 1500]);
    assert_eq!(out[0].reason, Reason::AtFloor);
}

#[test]
fn a_load_beyond_the_largest_quantum_says_so() {
    let agents = [
        Agent {
            ceiling: MilliGpus(1000),
            ..busy("a", 5000, 0, High)
        },
        busy("b", 100, 0, Low),
    ];
    let out = fill(4000, &agents);
    assert_eq!(out[0].reason, Reason::AtCeiling);
    assert_eq!((out[0].demand.0, targets(&out)), (1000, vec![1000, 3000]));
    let short = fill(500, &agents);
    assert_eq!(
        short[0].reason,
        Reason::CapacityShared,
        "hungry before it is capped"
    );
}
