//! What is saved, and what is not.

use super::*;

fn save(headroom_milli: u32) -> Pool {
    Pool::new(Policy::Balanced(Spare::Save { headroom_milli }))
}

/// What ten minutes of the same loads come to.
fn settled(headroom_milli: u32, capacity: u64, agents: &[Agent<'_>]) -> Vec<Allotment> {
    let mut pool = save(headroom_milli);
    let mut out = Vec::new();
    (0..600).for_each(|_| out = pool.decide(capacity, agents));
    out
}

/// One GPU serves 100 a second: loads of one and of four GPUs.
fn one_and_four() -> [Agent<'static>; 2] {
    [loaded("a", 100.0, 0.0), loaded("b", 400.0, 0.0)]
}

fn near(targets: &[u64], expected: [u64; 2]) -> bool {
    let pairs = targets.iter().zip(expected);
    targets.len() == 2 && pairs.into_iter().all(|(got, e)| got.abs_diff(e) <= e / 50)
}

#[test]
fn what_is_saved_covers_the_load_and_grows_with_the_headroom() {
    let after = |headroom_milli| {
        let mut pool = Pool::new(Policy::Balanced(Spare::Save { headroom_milli }));
        let mut out = Vec::new();
        for second in 0..600u64 {
            // Mean 20 a second, in twos: now none, now four times as many.
            let rate = if second % 4 < 3 { 10.0 } else { 50.0 };
            out = pool.decide(4000, &[loaded("a", rate, 0.0), loaded("b", 0.0, 0.0)]);
        }
        targets(&out)
    };
    let (lean, ample) = (after(0), after(3000));
    assert!((190..230).contains(&lean[0]), "{lean:?}");
    // Three times the square root of a fifth of a GPU is 1.34, and no more is known of a swing that ends within a horizon.
    assert!((1500..1700).contains(&ample[0]), "{ample:?}");
    assert!(lean[1] <= 1, "{lean:?}");
}

#[test]
fn headroom_is_counted_in_square_roots_of_the_load() {
    for (headroom, expected) in [
        (0, [1000, 4000]),
        (1000, [2000, 6000]),
        (2000, [3000, 8000]),
    ] {
        let out = targets(&settled(headroom, 64_000, &one_and_four()));
        assert!(near(&out, expected), "{headroom}: {out:?}");
    }
}

#[test]
fn what_cannot_be_foretold_adds_to_the_headroom() {
    let after = |headroom_milli: u32| {
        let mut pool = save(headroom_milli);
        let mut out = Vec::new();
        for second in 0..600u64 {
            // A load of one GPU, and one of four with half as much again and half as much by turns of half a minute.
            let swing = if second / 30 % 2 == 0 { 1.5 } else { 0.5 };
            let agents = [loaded("a", 100.0, 0.0), loaded("b", 400.0 * swing, 0.0)];
            out = targets(&pool.decide(64_000, &agents));
        }
        out
    };
    let (without, with) = (after(0), after(1000));
    let roots = |agent: usize| {
        let headroom = (with[agent] - without[agent]) as f64;
        headroom / (1000.0 * without[agent] as f64).sqrt()
    };
    assert!((0.98..1.02).contains(&roots(0)), "{}", roots(0));
    assert!(roots(1) > 1.1, "{}", roots(1));
}

#[test]
fn headrooms_that_do_not_all_fit_are_cut_by_the_same_part() {
    // Loads of five GPUs and headrooms of three; half of them fit.
    let out = targets(&settled(1000, 6500, &one_and_four()));
    assert!(near(&out, [1500, 5000]), "{out:?}");
    assert!((6490..=6500).contains(&out.iter().sum::<u64>()), "{out:?}");
}

#[test]
fn what_is_saved_for_counts_as_demand_so_that_whole_replicas_cover_it() {
    for got in settled(1000, 64_000, &one_and_four()) {
        assert_eq!(got.demand, got.target);
        assert_eq!(got.reason, Reason::DemandMet);
    }
}

#[test]
fn when_not_even_the_loads_fit_nothing_is_saved() {
    let out = settled(1000, 4000, &one_and_four());
    assert_eq!(targets(&out).iter().sum::<u64>(), 4000, "{out:?}");
}

/// Targets of agent `a` alone, second by second, under loads of its own.
fn alone(mut pool: Pool, seconds: u64, rate: impl Fn(u64) -> f64) -> Vec<u64> {
    let decide = |second| targets(&pool.decide(64_000, &[loaded("a", rate(second), 0.0)]))[0];
    (0..seconds).map(decide).collect()
}

#[test]
fn a_jump_is_followed_long_before_the_means_have_seen_it() {
    // One GPU for half an hour, then two: the shortest of the means lasts a horizon of 12 s.
    let up = |second| if second < 1800 { 100.0 } else { 200.0 };
    let got = alone(save(0), 1806, up);
    assert!((980..=1020).contains(&got[1799]), "{}", got[1799]);
    assert!(got[1803] > 1500, "{}", got[1803]);
    let down = |second| if second < 1800 { 200.0 } else { 100.0 };
    let got = alone(save(0), 1806, down);
    assert!(got[1803] < 1500, "{}", got[1803]);
}

#[test]
fn random_arrivals_are_no_jump() {
    // Counts of ten and of fourteen: a Poisson process of twelve a second differs by more.
    let rate = |second: u64| if second * 7 % 5 < 2 { 14.0 } else { 10.0 };
    let mut calm = save(0);
    let mut seen = Vec::new();
    for second in 0..1800 {
        let out = calm.decide(64_000, &[loaded("a", rate(second), 0.0)]);
        seen.push((targets(&out)[0], calm.memory.agents[0].forecast));
    }
    for (target, forecast) in &seen[600..] {
        assert!(
            (*target as f64 - 10.0 * forecast).abs() <= 1.0,
            "{target} {forecast}"
        );
    }
}

#[test]
fn bursts_that_are_over_within_the_horizon_are_no_jump() {
    // A hundred at once every four seconds: 25 a second, a quarter of a GPU.
    let rate = |second| if second % 4 == 3 { 100.0 } else { 0.0 };
    for target in &alone(save(0), 1800, rate)[600..] {
        assert!((200..300).contains(target), "{target}");
    }
}

#[test]
fn a_drain_beyond_what_the_lag_asks_for_lets_as_much_wait() {
    // A load of two GPUs; the lag of 10 s asks for a drain of 20 s, and 30 s is what nobody declared.
    let after = |drain: u64, backlog: f64| {
        let mut pool = save(0);
        pool.drain = drain;
        let mut out = Vec::new();
        (0..600).for_each(|_| out = pool.decide(64_000, &[loaded("a", 200.0, backlog)]));
        out[0]
    };
    let near_two = |got: Allotment| (1990..=2010).contains(&got.target.0);
    assert!(near_two(after(30, 0.0)), "{:?}", after(30, 0.0));
    assert_eq!(after(30, 0.0), after(5, 0.0));
    // A minute more: as much is served as comes, when what comes in a minute waits, and nobody is short meanwhile.
    assert!(near_two(after(90, 200.0 * 60.0)));
    let patient = after(90, 0.0);
    assert!(patient.target.0 < 500, "{patient:?}");
    assert_eq!(patient.reason, Reason::DemandMet);
}

#[test]
fn an_absurd_load_leaves_finite_shares() {
    let absurd = Agent {
        base_throughput: f64::MAX,
        ..loaded("a", f64::MAX, f64::MAX)
    };
    for headroom in [0, 1000, 10_000] {
        let out = settled(headroom, 8000, &[absurd, loaded("b", 5e-324, 0.0)]);
        assert!(targets(&out).iter().sum::<u64>() <= 8000, "{out:?}");
    }
}
