//! What is held while nothing pays.

use super::*;

fn in_force(share: u64, agent: Agent<'static>) -> Agent<'static> {
    let realized = MilliGpus(share);
    Agent { realized, ..agent }
}

#[test]
fn what_was_in_force_is_held_without_evidence() {
    let mut pool = Pool::new(LEND);
    let agents = [
        in_force(700, loaded("a", 20.0, 0.0)),
        in_force(300, loaded("b", 20.0, 0.0)),
    ];
    let out = pool.decide(1000, &agents);
    assert_eq!(targets(&out), [700, 300]);
    assert!(out.iter().all(|a| a.reason == Reason::HoldingSteady));
}

#[test]
fn where_capacity_is_another_it_is_held_in_proportion() {
    let mut pool = Pool::new(LEND);
    let agents = [
        in_force(750, loaded("a", 20.0, 0.0)),
        in_force(250, loaded("b", 20.0, 0.0)),
    ];
    assert_eq!(targets(&pool.decide(2000, &agents)), [1500, 500]);
    assert_eq!(targets(&pool.decide(400, &agents)), [300, 100]);
}

#[test]
fn who_had_nothing_begins_with_a_twentieth_of_an_equal_part() {
    let mut pool = Pool::new(LEND);
    let agents = [
        in_force(1000, loaded("a", 20.0, 0.0)),
        in_force(0, loaded("b", 20.0, 0.0)),
    ];
    let held = targets(&pool.decide(1000, &agents));
    assert_eq!(held.iter().sum::<u64>(), 1000);
    assert!((20..30).contains(&held[1]), "{held:?}");
}

#[test]
fn replicas_that_nobody_holds_go_to_whom_the_load_asks_for_and_none_changes_hands() {
    let agents = |waits: f64| {
        [
            in_force(2000, on_pods(loaded("a", 20.0, 0.0))),
            in_force(4000, on_pods(loaded("b", 450.0, waits))),
        ]
    };
    // As an operator leaves it that ended after it had taken two from the one and before it gave them to the other.
    assert_eq!(
        targets(&Pool::new(LEND).decide(8000, &agents(500.0))),
        [2000, 6000]
    );
    assert_eq!(
        targets(&Pool::new(LEND).decide(6000, &agents(0.0))),
        [2000, 4000]
    );
    let calm = [
        in_force(3000, on_pods(loaded("a", 20.0, 0.0))),
        in_force(1000, on_pods(loaded("b", 20.0, 0.0))),
    ];
    assert_eq!(
        targets(&Pool::new(LEND).decide(8000, &calm)),
        [6000, 2000],
        "nobody needs more: in proportion"
    );
}

#[test]
fn after_a_time_without_any_metrics_everybody_goes_on_with_what_it_had() {
    let rates = [450.0, 50.0, 50.0];
    let mut pool = Pool::new(LEND);
    let decide = |pool: &mut Pool, held: &[u64], known: bool| {
        let agents: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .zip(rates)
            .zip(held)
            .map(|((name, rate), share)| {
                let agent = in_force(*share, on_pods(loaded(name, rate, 0.0)));
                match known {
                    true => agent,
                    false => Agent {
                        load: Load::Unknown,
                        ..agent
                    },
                }
            })
            .collect();
        targets(&pool.decide(8000, &agents))
    };
    let mut held = vec![3000, 3000, 2000];
    (0..600).for_each(|_| held = decide(&mut pool, &held, true));
    assert!(held[0] >= 5000, "{held:?}");
    for known in [false, true] {
        for second in 0..60 {
            assert_eq!(decide(&mut pool, &held, known), held, "{known} {second}");
        }
    }
}

#[test]
fn a_replica_that_takes_the_lead_goes_on_with_what_the_other_left_in_force() {
    let rates = [450.0, 50.0, 50.0];
    let mut follower = Pool::new(LEND);
    let agents = |held: [u64; 3]| {
        let all = ["a", "b", "c"].into_iter().zip(rates).zip(held);
        all.map(|((name, rate), share)| in_force(share, on_pods(loaded(name, rate, 0.0))))
            .collect::<Vec<_>>()
    };
    (0..600).for_each(|_| drop(follower.decide(8000, &agents([3000, 3000, 2000]))));
    follower.memory.begin_anew();
    for _ in 0..60 {
        let left = [6000, 1000, 1000];
        assert_eq!(targets(&follower.decide(8000, &agents(left))), left);
    }
    assert!(
        follower
            .memory
            .outlook("a", Duration::from_secs(10), Duration::from_secs(1))
            .is_some()
    );
}

/// Targets after ten minutes in which this load lasted, from these shares on; and whether they ever were others on the way.
fn settles(memory: Memory, held: &[u64], rates: [f64; 3]) -> (Vec<u64>, bool) {
    let mut pool = Pool::new(LEND);
    pool.memory = memory;
    let names = ["a", "b", "c"].into_iter().zip(rates).zip(held);
    let agents: Vec<_> = names
        .map(|((name, rate), share)| in_force(*share, on_pods(loaded(name, rate, 0.0))))
        .collect();
    let mut moved = false;
    let mut last = held.to_vec();
    for _ in 0..600 {
        last = targets(&pool.decide(8000, &agents));
        moved |= last != held;
    }
    (last, moved)
}

#[test]
fn an_operator_that_is_restarted_goes_on_with_what_its_predecessor_found() {
    let rates = [450.0, 50.0, 50.0];
    let (found, moved) = settles(Memory::default(), &[3000, 3000, 2000], rates);
    assert!(moved && found[0] >= 5000, "{found:?}");
    assert_eq!(settles(Memory::default(), &found, rates), (found, false));
}

#[test]
fn a_split_that_the_load_speaks_against_is_left() {
    let (found, _) = settles(Memory::default(), &[6000, 1000, 1000], [50.0, 50.0, 450.0]);
    assert!(found[2] >= 5000, "{found:?}");
}
