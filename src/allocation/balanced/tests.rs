#![allow(clippy::unwrap_used)]

mod hold;
mod save;

use super::super::tests::{agent, targets};
use super::super::types::Policy;
use super::super::{Load, allocate};
use super::*;
use crate::units::{MilliGpus, Priority};
use proptest::prelude::*;
use std::time::Duration;

pub(super) const LEND: Policy = Policy::Balanced(Spare::Lend);

/// A pool that decides every second with a lag of 10 s.
pub(super) struct Pool {
    pub(super) memory: Memory,
    second: u64,
    policy: Policy,
    /// In seconds.
    drain: u64,
}

impl Pool {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            memory: Memory::default(),
            second: 0,
            policy,
            drain: 20,
        }
    }

    pub(super) fn decide(&mut self, capacity: u64, agents: &[Agent<'_>]) -> Vec<Allotment> {
        let snapshot = Snapshot {
            capacity: MilliGpus(capacity),
            now: Duration::from_secs(self.second),
            interval: Duration::from_secs(1),
            lag: Duration::from_secs(10),
            drain: Duration::from_secs(self.drain),
            agents,
        };
        self.second += 1;
        let mut out = vec![Allotment::default(); agents.len()];
        allocate(self.policy, &snapshot, &mut self.memory, &mut out);
        out
    }
}

pub(super) fn loaded(name: &'static str, per_second: f64, backlog: f64) -> Agent<'static> {
    Agent {
        load: Load::Measured {
            arrivals_per_second: per_second,
            backlog,
        },
        ..agent(name)
    }
}

#[test]
fn where_nothing_is_in_force_the_equal_split_is_held() {
    let mut pool = Pool::new(LEND);
    let out = pool.decide(1000, &[loaded("a", 50.0, 0.0), loaded("b", 5.0, 0.0)]);
    assert_eq!(targets(&out), [500, 500]);
    assert!(out.iter().all(|a| a.reason == Reason::HoldingSteady));
}

#[test]
fn an_uneven_load_is_followed_once_the_equal_split_has_been_seen_to_cost() {
    let mut pool = Pool::new(LEND);
    let agents = [loaded("a", 60.0, 0.0), loaded("b", 5.0, 0.0)];
    let mut moved = None;
    for second in 0..600 {
        let out = pool.decide(1000, &agents);
        if moved.is_none() && out[0].target.0 > 600 {
            moved = Some(second);
        }
    }
    // Not before a wish could have been in force for a while, and not long after.
    assert!(moved.is_some_and(|s| (10..120).contains(&s)), "{moved:?}");
    let out = pool.decide(1000, &agents);
    assert!(out[0].target.0 > 700, "{out:?}");
    assert_eq!(out[0].reason, Reason::DemandMet);
}

#[test]
fn what_lost_its_signal_keeps_its_share_and_teaches_nothing() {
    let mut pool = Pool::new(LEND);
    let agents = [loaded("a", 30.0, 0.0), loaded("b", 30.0, 0.0)];
    (0..60).for_each(|_| drop(pool.decide(1000, &agents)));
    let before = pool.memory.agents[1].clone();
    let lost = Agent {
        load: Load::Unknown,
        realized: MilliGpus(300),
        ..agents[1]
    };
    let out = pool.decide(1000, &[agents[0], lost]);
    assert_eq!(targets(&out), [700, 300]);
    assert_eq!(out[1].reason, Reason::SignalLost);
    let after = &pool.memory.agents[1];
    assert_eq!((after.rate, after.error), (before.rate, before.error));
}

#[test]
fn agents_that_come_and_go_leave_what_is_known_of_the_others() {
    let mut pool = Pool::new(LEND);
    let (a, b, c) = (
        loaded("a", 30.0, 0.0),
        loaded("b", 20.0, 0.0),
        loaded("c", 9.0, 0.0),
    );
    (0..60).for_each(|_| drop(pool.decide(1000, &[a, c])));
    let seen = pool.memory.agents[1].seen;
    pool.decide(1000, &[a, b, c]);
    assert_eq!(pool.memory.agents[1].seen, 0.0 + 20.0);
    assert_eq!(pool.memory.agents[2].seen, seen + 9.0);
    pool.decide(1000, &[b, c]);
    assert_eq!(pool.memory.agents[1].seen, seen + 18.0);
}

#[test]
fn a_clock_that_begins_anew_begins_the_memory_anew() {
    let mut pool = Pool::new(LEND);
    let agents = [loaded("a", 60.0, 0.0), loaded("b", 5.0, 0.0)];
    (0..600).for_each(|_| drop(pool.decide(1000, &agents)));
    pool.second = 0;
    assert_eq!(targets(&pool.decide(1000, &agents)), [500, 500]);
}

#[test]
fn nobody_of_known_load_falls_below_a_twentieth_of_an_equal_part() {
    let mut pool = Pool::new(LEND);
    let agents = [loaded("a", 95.0, 900.0), loaded("b", 0.01, 0.0)];
    for _ in 0..3000 {
        let out = pool.decide(1000, &agents);
        assert!(out[1].target.0 >= 25, "{out:?}");
    }
}

#[test]
fn under_overload_the_more_important_gets_at_least_its_equal_part() {
    let mut pool = Pool::new(LEND);
    let high = Agent {
        priority: Priority::High,
        ..loaded("a", 50.0, 400.0)
    };
    let low = Agent {
        priority: Priority::Low,
        ..loaded("b", 90.0, 400.0)
    };
    for second in 0..2000 {
        let out = pool.decide(1000, &[high, low]);
        assert!(out[0].target.0 >= 480, "{second}: {out:?}");
        assert!(out[1].target.0 >= 100, "{second}: {out:?}");
    }
}

#[test]
fn under_overload_the_more_important_keeps_an_equal_part_even_with_little_load() {
    let mut pool = Pool::new(LEND);
    let light = Agent {
        priority: Priority::High,
        ..loaded("a", 5.0, 0.0)
    };
    let agents = [light, loaded("b", 60.0, 90.0), loaded("c", 70.0, 90.0)];
    for second in 0..2000 {
        let out = pool.decide(1000, &agents);
        assert!(out[0].target.0 >= 333, "{second}: {out:?}");
    }
    // Without overload it is not kept idle for it.
    let calm = [light, loaded("b", 60.0, 0.0), loaded("c", 10.0, 0.0)];
    (0..4000).for_each(|_| drop(pool.decide(1000, &calm)));
    let out = pool.decide(1000, &calm);
    assert!(out[0].target.0 < 300, "{out:?}");
}

#[test]
fn small_corrections_hardly_ever_move_anything() {
    let mut pool = Pool::new(LEND);
    let mut moves = 0;
    let mut before = Vec::new();
    for second in 0..3000u64 {
        // A swing of a tenth around 60 and 5 a second.
        let swing = if second / 7 % 2 == 0 { 1.05 } else { 0.95 };
        let agents = [
            loaded("a", 60.0 * swing, 2.0),
            loaded("b", 5.0 / swing, (second % 3) as f64),
        ];
        let now = targets(&pool.decide(1000, &agents));
        moves += usize::from(second > 1000 && now != before);
        before = now;
    }
    assert!(before[0] > 700, "{before:?}");
    assert!(moves <= 2, "{moves} moves in 2000 decisions");
}

#[test]
fn who_leaves_leaves_no_hole() {
    let mut pool = Pool::new(LEND);
    let (a, b, c) = (
        loaded("a", 60.0, 0.0),
        loaded("b", 5.0, 0.0),
        loaded("c", 5.0, 0.0),
    );
    (0..600).for_each(|_| drop(pool.decide(1000, &[a, b, c])));
    for agents in [&[a, b][..], &[b, c], &[a, b, c], &[c]] {
        let out = pool.decide(1000, agents);
        assert_eq!(targets(&out).iter().sum::<u64>(), 1000, "{out:?}");
    }
}

#[test]
fn memory_survives_being_written_and_read() {
    let mut pool = Pool::new(LEND);
    let agents = [loaded("a", 61.7, 3.0), loaded("b", 5.3, 0.0)];
    (0..100).for_each(|_| drop(pool.decide(1000, &agents)));
    let written = serde_json::to_string(&pool.memory).unwrap();
    let read: Memory = serde_json::from_str(&written).unwrap();
    assert_eq!(read, pool.memory);
    assert!(written.len() < 2 * 3000, "{} bytes", written.len());
    let nan = written.replacen(
        &61.7f64.to_bits().to_string(),
        &f64::NAN.to_bits().to_string(),
        1,
    );
    if nan != written {
        assert!(serde_json::from_str::<Memory>(&nan).is_err());
    }
}

/// One replica a GPU, one at least.
fn on_pods(agent: Agent<'static>) -> Agent<'static> {
    Agent {
        floor: MilliGpus(1000),
        ceiling: MilliGpus(8000),
        quantum: MilliGpus(1000),
        ..agent
    }
}

#[test]
fn where_shares_are_whole_replicas_only_whole_replicas_are_asked_for() {
    let mut pool = Pool::new(LEND);
    let agents = [
        on_pods(loaded("a", 450.0, 0.0)),
        on_pods(loaded("b", 50.0, 0.0)),
        on_pods(loaded("c", 50.0, 0.0)),
    ];
    assert_eq!(targets(&pool.decide(8000, &agents)), [4000, 2000, 2000]);
    let mut last = Vec::new();
    for _ in 0..600 {
        last = targets(&pool.decide(8000, &agents));
        assert_eq!(last.iter().sum::<u64>(), 8000);
        assert!(last.iter().all(|share| share % 1000 == 0), "{last:?}");
    }
    assert!(last[0] >= 5000, "{last:?}");
}

/// Seconds of 3000 in which more than the equal split is asked for, when two agents take turns of `turn` seconds.
fn followed(turn: u64, whole: bool) -> usize {
    let mut pool = Pool::new(LEND);
    let mut backlog = [0.0f64; 2];
    let moved = |second: u64| {
        let high = (second / turn).is_multiple_of(2);
        let rates = if high { [260.0, 60.0] } else { [60.0, 260.0] };
        // What waits with the equal split, which is in force.
        for (waits, rate) in backlog.iter_mut().zip(rates) {
            *waits = (*waits + rate - 200.0).max(0.0);
        }
        let agent = |name, i: usize| {
            let agent = on_pods(loaded(name, rates[i], backlog[i]));
            let quantum = MilliGpus(if whole { 1000 } else { 0 });
            Agent { quantum, ..agent }
        };
        let out = pool.decide(4000, &[agent("a", 0), agent("b", 1)]);
        second >= 1000 && out[0].target.0 != 2000
    };
    (0..4000).map(moved).filter(|moved| *moved).count()
}

#[test]
fn turns_that_pay_in_fractions_and_not_after_a_restart_are_followed_in_fractions_alone() {
    assert!(followed(80, false) > 1000);
    assert_eq!(followed(80, true), 0);
    assert!(followed(400, true) > 1000);
}

/// Starts that are asked for in so many seconds of two agents that take turns of `turn` seconds; at every second no more than one an
/// agent in ten lags.
fn started(turn: u64, high: f64, low: f64, seconds: u64) -> u64 {
    let mut pool = Pool::new(LEND);
    let (mut starts, mut before) = (0, vec![4000, 4000]);
    for second in 0..seconds {
        let first = (second / turn).is_multiple_of(2);
        let agents = [
            on_pods(loaded("a", if first { high } else { low }, 0.0)),
            on_pods(loaded("b", if first { low } else { high }, 0.0)),
        ];
        let now = targets(&pool.decide(8000, &agents));
        starts += (0..2)
            .map(|i| now[i].saturating_sub(before[i]) / 1000)
            .sum::<u64>();
        // Ten lags are 100 s.
        assert!(starts * 100 <= 2 * second, "{starts} after {second} s");
        before = now;
    }
    starts
}

#[test]
fn an_agent_starts_a_replica_once_in_ten_lags_from_the_beginning_on() {
    // Turns so long that they pay, and so short that following them all would be too many starts.
    let starts = started(200, 650.0, 50.0, 6000);
    assert!(starts > 40, "{starts}");
}

#[test]
fn two_replicas_of_one_gpu_give_way_to_one_of_two() {
    let mut pool = Pool::new(LEND);
    let large = Agent {
        floor: MilliGpus(2000),
        quantum: MilliGpus(2000),
        ..on_pods(loaded("a", 380.0, 0.0))
    };
    let small = |name| on_pods(loaded(name, 20.0, 0.0));
    let agents = [large, small("b"), small("c")];
    let mut last = Vec::new();
    for _ in 0..900 {
        last = targets(&pool.decide(6000, &agents));
    }
    assert_eq!(last, [4000, 1000, 1000]);
}

fn tick() -> impl Strategy<Value = (u64, Vec<Option<(f64, f64)>>)> {
    let rate = prop_oneof![Just(0.0), 0.0..300.0f64, Just(f64::MAX), Just(5e-324)];
    let backlog = prop_oneof![Just(0.0), 0.0..9000.0f64, Just(f64::MAX)];
    let load = prop_oneof![1 => Just(None), 6 => (rate, backlog).prop_map(Some)];
    (
        prop_oneof![Just(0u64), 0u64..6000],
        proptest::collection::vec(load, 4),
    )
}

/// Alone on a part of a GPU; others of other sizes exist.
fn on_part(name: &'static str, share: u64, load: (f64, f64)) -> Agent<'static> {
    Agent {
        speed_exponent: 0.5,
        part: MilliGpus(388),
        swaps: true,
        floor: MilliGpus(129),
        ceiling: MilliGpus(388),
        realized: MilliGpus(share),
        ..loaded(name, load.0, load.1)
    }
}

/// Two agents on a small and a large part, with arrivals by the second: what they hold in the end, and how often they changed places.
/// What is asked for is in force at once, and serves after the lag.
fn on_parts(seconds: u64, rates: impl Fn(u64) -> [f64; 2]) -> ([u64; 2], usize) {
    let mut pool = Pool::new(LEND);
    let (mut held, mut backlog, mut changes, mut serves) = ([129, 388], [0.0f64; 2], 0, 0);
    for second in 0..seconds {
        let rates = rates(second);
        for i in 0..2 {
            let speed = 100.0 * (held[i] as f64 / 1000.0).sqrt();
            let served = if second < serves { 0.0 } else { speed };
            backlog[i] = (backlog[i] + rates[i] - served).max(0.0);
        }
        let agents = [
            on_part("a", held[0], (rates[0], backlog[0])),
            on_part("b", held[1], (rates[1], backlog[1])),
        ];
        let now = targets(&pool.decide(517, &agents));
        assert!(now == [129, 388] || now == [388, 129], "{now:?}");
        if now != held {
            held = [now[0], now[1]];
            (changes, serves) = (changes + 1, second + 10);
        }
    }
    (held, changes)
}

#[test]
fn on_unequal_parts_agents_keep_what_they_have_without_evidence() {
    let mut pool = Pool::new(LEND);
    let agents = [
        on_part("a", 388, (38.0, 0.0)),
        on_part("b", 129, (30.0, 90.0)),
    ];
    let out = pool.decide(517, &agents);
    assert_eq!(targets(&out), [388, 129]);
    assert_eq!(out[0].reason, Reason::HoldingSteady);
}

#[test]
fn who_has_too_small_a_part_changes_places_once() {
    // The small part serves 36 a second, the large one 62.
    let (held, changes) = on_parts(3000, |_| [45.0, 15.0]);
    assert_eq!((held, changes), ([388, 129], 1));
}

#[test]
fn bursts_that_are_over_before_a_pod_has_started_move_nobody() {
    let burst = |second: u64| match second % 120 {
        0..8 => [60.0, 20.0],
        60..68 => [20.0, 60.0],
        _ => [20.0, 20.0],
    };
    assert_eq!(on_parts(6000, burst), ([129, 388], 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_waves_no_more_replicas_are_started_than_time_allows(
        turn in 10u64..400,
        high in 250.0..780.0f64,
        low in 0.0..250.0f64,
    ) {
        started(turn, high, low, 600);
    }

    /// The laws at every decision of a history, whatever has been learned.
    #[test]
    fn whatever_it_has_learned_the_laws_hold(
        ticks in proptest::collection::vec(tick(), 1..60),
        facts in proptest::collection::vec((0u64..900, 0u64..600, 0u64..3000, 0.3..1.0f64, 0usize..3, prop_oneof![Just(0u64), 1u64..900]), 4),
        (whole, swaps) in (any::<bool>(), any::<bool>()),
    ) {
        let mut pool = Pool::new(LEND);
        let priorities = [Priority::High, Priority::Medium, Priority::Low];
        for (capacity, loads) in &ticks {
            let agents: Vec<Agent<'_>> = ["a", "b", "c", "d"].into_iter().zip(&facts).zip(loads).map(|((name, f), load)| Agent {
                min_share: MilliGpus(f.0),
                floor: MilliGpus(f.1),
                ceiling: MilliGpus(f.1 + f.2),
                speed_exponent: f.3,
                priority: priorities[f.4],
                quantum: MilliGpus(if whole { f.5 } else { 0 }),
                swaps,
                realized: MilliGpus(f.0),
                load: load.map_or(Load::Unknown, |(arrivals_per_second, backlog)| Load::Measured { arrivals_per_second, backlog }),
                ..agent(name)
            }).collect();
            let mut twin = Pool { memory: pool.memory.clone(), ..pool };
            let out = pool.decide(*capacity, &agents);
            prop_assert_eq!(&twin.decide(*capacity, &agents), &out);
            prop_assert_eq!(&twin.memory, &pool.memory);

            let kept = |a: &Agent<'_>| match a.load {
                Load::Unknown => a.realized.max(a.floor).min(a.ceiling).0,
                Load::Measured { .. } => a.floor.0,
            };
            let most = |a: &Agent<'_>| match a.load {
                Load::Unknown => kept(a),
                Load::Measured { .. } => a.ceiling.0,
            };
            let entitled = |a: &Agent<'_>, o: &Allotment| match a.load {
                Load::Unknown => kept(a),
                Load::Measured { .. } => a.floor.max(o.demand.min(a.min_share)).0,
            };
            let sum = |f: &dyn Fn(&Agent<'_>, &Allotment) -> u64| -> u64 {
                agents.iter().zip(&out).map(|(a, o)| f(a, o)).sum()
            };
            // Nothing above capacity and nothing stranded.
            prop_assert_eq!(sum(&|_, o| o.target.0), (*capacity).min(sum(&|a, _| most(a))), "{:?}", out);
            for (agent, got) in agents.iter().zip(&out) {
                prop_assert!(got.target <= agent.ceiling, "{agent:?} {got:?}");
                if sum(&|a, _| kept(a)) <= *capacity {
                    prop_assert!(got.target.0 >= kept(agent), "{agent:?} {got:?}");
                }
                if sum(&entitled) <= *capacity {
                    prop_assert!(got.target.0 >= entitled(agent, got), "{agent:?} {got:?}");
                    prop_assert!(!got.minimum_unmet);
                }
                if agent.load == Load::Unknown {
                    prop_assert_eq!(got.reason, Reason::SignalLost);
                }
            }
            let written = serde_json::to_string(&pool.memory).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Memory>(&written).unwrap(), &pool.memory);
        }
    }
}
