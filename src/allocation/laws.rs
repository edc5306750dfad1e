//! The laws, as properties of any pool.

use super::tests::{POLICIES, agent, decide, targets};
use super::types::{Agent, Allotment, Load, Policy, Reason};
use crate::units::{MilliGpus, Priority};
use proptest::prelude::*;

/// An agent without its name.
#[derive(Debug, Clone)]
struct Facts {
    priority: Priority,
    minimum: u64,
    throughput: f64,
    exponent: f64,
    part: u64,
    swaps: bool,
    load: Option<(f64, f64)>,
    floor: u64,
    above_floor: u64,
    realized: u64,
    quantum: u64,
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![
        Just(Priority::High),
        Just(Priority::Medium),
        Just(Priority::Low)
    ]
}

/// Small numbers meet often, so that ties, zeros and exhausted bounds are the rule and not the exception.
fn milli() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0u64), 0u64..12, 0u64..2000, Just(1000u64)]
}

fn load() -> impl Strategy<Value = Option<(f64, f64)>> {
    let rate = prop_oneof![Just(0.0), 0.0..3.0f64, 0.0..300.0f64];
    let backlog = prop_oneof![Just(0.0), 0.0..9000.0f64];
    prop_oneof![
        1 => Just(None),
        5 => (rate, backlog).prop_map(Some),
    ]
}

fn facts() -> impl Strategy<Value = Facts> {
    let exponent = prop_oneof![Just(1.0), 0.3..1.0f64];
    (
        priority(),
        milli(),
        10.0..200.0f64,
        (exponent, prop_oneof![Just(0u64), 1u64..1200], any::<bool>()),
        load(),
        milli(),
        milli(),
        milli(),
        prop_oneof![Just(0u64), Just(0u64), 0u64..12, Just(1000u64)],
    )
        .prop_map(
            |(
                priority,
                minimum,
                throughput,
                (exponent, part, swaps),
                load,
                floor,
                above_floor,
                realized,
                quantum,
            )| Facts {
                priority,
                minimum,
                throughput,
                exponent,
                part,
                swaps,
                load,
                floor,
                above_floor,
                realized,
                quantum,
            },
        )
}

fn pool() -> impl Strategy<Value = (u64, Vec<Facts>)> {
    let capacity = prop_oneof![0u64..40, 0u64..4000, 0u64..30_000];
    (capacity, proptest::collection::vec(facts(), 1..9))
}

const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

fn agents(facts: &[Facts]) -> Vec<Agent<'static>> {
    let one = |(name, f): (&&'static str, &Facts)| Agent {
        priority: f.priority,
        min_share: MilliGpus(f.minimum),
        base_throughput: f.throughput,
        speed_exponent: f.exponent,
        part: MilliGpus(f.part),
        swaps: f.swaps,
        load: f
            .load
            .map_or(Load::Unknown, |(arrivals_per_second, backlog)| {
                Load::Measured {
                    arrivals_per_second,
                    backlog,
                }
            }),
        floor: MilliGpus(f.floor),
        ceiling: MilliGpus(f.floor + f.above_floor),
        quantum: MilliGpus(f.quantum),
        realized: MilliGpus(f.realized),
        ..agent(name)
    };
    NAMES.iter().zip(facts).map(one).collect()
}

fn total(out: &[Allotment]) -> u64 {
    targets(out).iter().sum()
}

/// What an agent counts at before the others share.
fn kept(agent: &Agent<'_>) -> u64 {
    match agent.load {
        Load::Unknown => agent.realized.max(agent.floor).min(agent.ceiling).0,
        Load::Measured { .. } => agent.floor.0,
    }
}

/// What an agent is entitled to.
fn entitled(agent: &Agent<'_>, out: &Allotment) -> u64 {
    match agent.load {
        Load::Unknown => kept(agent),
        Load::Measured { .. } => agent.floor.max(out.demand.min(agent.min_share)).0,
    }
}

/// What serves an agent's load.
fn wanted(agent: &Agent<'_>, out: &Allotment) -> u64 {
    match agent.load {
        Load::Unknown => kept(agent),
        Load::Measured { .. } => agent.floor.max(out.demand).0,
    }
}

/// The most that WaterFilling may give an agent, when some agent has demand or when none has.
fn most(agent: &Agent<'_>, out: &Allotment, any_basis: bool) -> u64 {
    let receives =
        agent.load != Load::Unknown && (out.demand.0 > 0 || agent.min_share.0 > 0 || !any_basis);
    if receives {
        agent.ceiling.0
    } else {
        wanted(agent, out)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_policy_gives_more_than_capacity((capacity, facts) in pool()) {
        for policy in POLICIES {
            let out = decide(policy, capacity, &agents(&facts));
            prop_assert!(total(&out) <= capacity, "{policy:?}: {out:?}");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_whatever_was_in_the_output((capacity, facts) in pool()) {
        let agents = agents(&facts);
        for policy in POLICIES {
            let fresh = decide(policy, capacity, &agents);
            let mut dirty = vec![
                Allotment {
                    target: MilliGpus(u64::MAX),
                    demand: MilliGpus(7),
                    reason: Reason::SignalLost,
                    minimum_unmet: true,
                };
                agents.len()
            ];
            let snapshot = super::Snapshot {
                capacity: MilliGpus(capacity),
                drain: std::time::Duration::from_secs(60),
                now: std::time::Duration::ZERO,
                interval: std::time::Duration::from_secs(1),
                lag: std::time::Duration::ZERO,
                agents: &agents,
            };
            super::allocate(policy, &snapshot, &mut super::Memory::default(), &mut dirty);
            prop_assert_eq!(fresh, dirty, "{:?}", policy);
        }
    }

    /// Written in any order and sorted by name, as `api::ValidPool` does: the same. And names matter only between equals:
    /// renaming moves no agent's target by more than one milli-GPU an agent, where no floor has to go.
    #[test]
    fn the_order_in_which_agents_are_written_does_not_matter(
        ((capacity, facts), shuffled) in pool().prop_flat_map(|(c, f)| (Just((c, f.clone())), Just(f).prop_shuffle())),
    ) {
        let written = agents(&facts);
        for policy in POLICIES {
            let mut reversed = written.clone();
            reversed.reverse();
            reversed.sort_by_key(|a| a.name);
            prop_assert_eq!(
                decide(policy, capacity, &written),
                decide(policy, capacity, &reversed),
                "{:?}", policy
            );

            let renamed = agents(&shuffled);
            let out = decide(policy, capacity, &renamed);
            let floors: u64 = renamed.iter().map(kept).sum();
            if matches!(policy, Policy::Adaptive | Policy::StaticEqual) || floors <= capacity {
                let ranked = |agents: &[Agent<'_>], out: &[Allotment]| {
                    let mut rows: Vec<_> = agents
                        .iter()
                        .zip(out)
                        .map(|(a, o)| (format!("{:?}", Agent { name: "", ..*a }), o.demand, o.target.0))
                        .collect();
                    rows.sort();
                    rows
                };
                let before = ranked(&written, &decide(policy, capacity, &written));
                for (one, other) in before.iter().zip(ranked(&renamed, &out)) {
                    prop_assert_eq!(&one.0, &other.0);
                    // Of those who wish for equally much only one gets the last whole replica.
                    let replica = match policy {
                        Policy::Balanced(_) => renamed.iter().map(|a| a.quantum.0).max(),
                        _ => None,
                    };
                    let slack = renamed.len() as u64 * 6 + replica.unwrap_or(0);
                    prop_assert!(one.2.abs_diff(other.2) <= slack, "{policy:?}: {one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn water_filling_respects_ceilings((capacity, facts) in pool()) {
        let agents = agents(&facts);
        for (agent, got) in agents.iter().zip(decide(Policy::WaterFilling, capacity, &agents)) {
            prop_assert!(got.target <= agent.ceiling, "{agent:?}: {got:?}");
        }
    }

    #[test]
    fn water_filling_keeps_floors_and_who_lost_its_signal_where_they_fit((capacity, facts) in pool()) {
        let agents = agents(&facts);
        let out = decide(Policy::WaterFilling, capacity, &agents);
        if agents.iter().map(kept).sum::<u64>() <= capacity {
            for (agent, got) in agents.iter().zip(&out) {
                prop_assert!(got.target.0 >= kept(agent), "{agent:?}: {got:?}");
                if agent.load == Load::Unknown {
                    prop_assert_eq!(got.target.0, kept(agent));
                    prop_assert_eq!(got.reason, Reason::SignalLost);
                }
            }
        }
    }

    #[test]
    fn water_filling_gives_every_entitlement_where_they_fit_and_demand_beyond_when_that_fits_too(
        (capacity, facts) in pool(),
    ) {
        let agents = agents(&facts);
        let out = decide(Policy::WaterFilling, capacity, &agents);
        let sum = |f: fn(&Agent<'_>, &Allotment) -> u64| -> u64 {
            agents.iter().zip(&out).map(|(a, o)| f(a, o)).sum()
        };
        for (agent, got) in agents.iter().zip(&out) {
            if sum(entitled) <= capacity {
                prop_assert!(got.target.0 >= entitled(agent, got), "{agent:?}: {got:?}");
                prop_assert!(!got.minimum_unmet, "{agent:?}: {got:?}");
            }
            if sum(wanted) <= capacity {
                prop_assert!(got.target.0 >= wanted(agent, got), "{agent:?}: {got:?}");
            }
        }
        if sum(entitled) > capacity {
            prop_assert!(agents.iter().zip(&out).any(|(a, o)| o.target.0 < entitled(a, o)));
        }
    }

    #[test]
    fn water_filling_says_who_is_below_its_entitlement((capacity, facts) in pool()) {
        let agents = agents(&facts);
        for (agent, got) in agents.iter().zip(decide(Policy::WaterFilling, capacity, &agents)) {
            let due = match agent.load {
                Load::Unknown => agent.floor.max(MilliGpus(kept(agent)).min(agent.min_share)).0,
                Load::Measured { .. } => entitled(agent, &got),
            };
            prop_assert_eq!(got.minimum_unmet, got.target.0 < due, "{:?}: {:?}", agent, got);
        }
    }

    /// While one agent is short of what it counts at (or is entitled to), no less important one has more than nothing
    /// (or than what it counts at).
    #[test]
    fn water_filling_takes_from_the_lowest_priority_first((capacity, facts) in pool()) {
        let agents = agents(&facts);
        let out = decide(Policy::WaterFilling, capacity, &agents);
        let rows: Vec<_> = agents.iter().zip(&out).collect();
        let floors_fit = agents.iter().map(kept).sum::<u64>() <= capacity;
        for (one, got) in &rows {
            for (other, other_got) in rows.iter().filter(|(a, _)| a.priority > one.priority) {
                if got.target.0 < kept(one) {
                    prop_assert_eq!(other_got.target.0, 0, "{:?} {:?}", other, one);
                }
                if floors_fit && got.target.0 < entitled(one, got) {
                    prop_assert_eq!(other_got.target.0, kept(other), "{:?} {:?}", other, one);
                }
            }
            for (other, other_got) in rows.iter().filter(|(a, _)| a.priority == one.priority) {
                // Equals: a floor that is short leaves nothing held beyond floors, nor to those behind by name.
                if got.target.0 < one.floor.0 {
                    prop_assert!(other_got.target.0 <= other.floor.0);
                    prop_assert!(other.name <= one.name || other_got.target.0 == 0);
                }
                // And an entitlement that is short leaves nobody at a higher level above its floor, remainders aside.
                if floors_fit && got.target.0 < entitled(one, got) {
                    let above = |a: &Agent<'_>, o: &Allotment| o.target.0 - kept(a);
                    prop_assert!(above(other, other_got) <= above(one, got) + 1);
                }
            }
        }
    }

    #[test]
    fn water_filling_strands_nothing((capacity, facts) in pool()) {
        let agents = agents(&facts);
        let out = decide(Policy::WaterFilling, capacity, &agents);
        let any = agents.iter().zip(&out).any(|(a, o)| a.load != Load::Unknown && o.demand.0.max(a.min_share.0) > 0);
        let room: u64 = agents.iter().zip(&out).map(|(a, o)| most(a, o, any)).sum();
        prop_assert_eq!(total(&out), capacity.min(room), "{:?}", out);
    }

    #[test]
    fn water_filling_shares_what_is_short_by_weight_alone((capacity, facts) in pool()) {
        let agents = agents(&facts);
        let out = decide(Policy::WaterFilling, capacity, &agents);
        let rows: Vec<_> = agents.iter().zip(&out).collect();
        if rows.iter().all(|(a, o)| o.target.0 >= entitled(a, o)) {
            for (one, got) in rows.iter().filter(|(a, o)| o.target.0 < wanted(a, o)) {
                for (other, other_got) in &rows {
                    // One's level is the lowest that would take it further; nobody has taken from above it.
                    let level = (got.target.0 - entitled(one, got)) / one.priority.weight() + 1;
                    let reach = level * other.priority.weight();
                    prop_assert!(other_got.target.0 <= entitled(other, other_got) + reach);
                }
            }
        }
    }

    #[test]
    fn more_demand_never_gets_less_from_water_filling(
        (capacity, facts) in pool(),
        who in 0usize..9,
        more in prop_oneof![0.0..0.5f64, 0.0..500.0f64],
    ) {
        let mut agents = agents(&facts);
        let who = who % agents.len();
        let before = decide(Policy::WaterFilling, capacity, &agents);
        let Load::Measured { arrivals_per_second, backlog } = agents[who].load else {
            return Ok(());
        };
        agents[who].load = Load::Measured { arrivals_per_second: arrivals_per_second + more, backlog };
        let after = decide(Policy::WaterFilling, capacity, &agents);
        prop_assert!(after[who].target >= before[who].target, "{:?} {:?}", before, after);
        prop_assert!(after[who].demand >= before[who].demand);
    }

    #[test]
    fn a_higher_priority_never_gets_less_from_water_filling(
        (capacity, facts) in pool(),
        who in 0usize..9,
        higher in priority(),
    ) {
        let mut agents = agents(&facts);
        let who = who % agents.len();
        let before = decide(Policy::WaterFilling, capacity, &agents);
        agents[who].priority = agents[who].priority.min(higher);
        let after = decide(Policy::WaterFilling, capacity, &agents);
        prop_assert!(after[who].target >= before[who].target, "{:?} {:?}", before, after);
    }

    #[test]
    fn adaptive_spends_capacity_exactly_when_there_is_demand((capacity, facts) in pool()) {
        let agents = agents(&facts);
        let out = decide(Policy::Adaptive, capacity, &agents);
        let weighted = |a: &Agent<'_>| match a.load {
            Load::Measured { arrivals_per_second, .. } => arrivals_per_second * a.min_share.as_gpus(),
            Load::Unknown => 0.0,
        };
        let held: u64 = agents.iter().filter(|a| a.load == Load::Unknown).map(|a| a.realized.0).sum();
        if held <= capacity && agents.iter().map(weighted).sum::<f64>() > 0.0 {
            prop_assert_eq!(total(&out), capacity);
        }
        for (agent, got) in agents.iter().zip(&out) {
            prop_assert_eq!(got.minimum_unmet, got.target < agent.min_share);
            if agent.load == Load::Unknown && held <= capacity {
                prop_assert_eq!(got.target, agent.realized);
            }
        }
    }

    #[test]
    fn static_equal_gives_all_the_same_and_spends_capacity((capacity, facts) in pool()) {
        let out = decide(Policy::StaticEqual, capacity, &agents(&facts));
        let each = capacity / out.len() as u64;
        prop_assert!(out.iter().all(|a| a.target.0 == each || a.target.0 == each + 1));
        prop_assert!(out.is_sorted_by(|a, b| a.target >= b.target));
        prop_assert_eq!(total(&out), capacity);
    }
}
