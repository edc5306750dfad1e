//! Samples that lie, stand still or come at the wrong time.
use super::*;

#[test]
fn samples_that_are_no_numbers_never_become_zero_load() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e308] {
        let mut driver = Driver::new();
        steady(&mut driver, &["a"], 10.0, 12);
        for tick in 0..30 {
            let signal = driver.tick(&[("a", sample(bad, 0.0, 0.0))]);
            match signal.load {
                Load::Measured { .. } => assert_near(rate(&signal), 10.0),
                Load::Unknown => assert_eq!(signal.freshness, Freshness::Stale),
            }
            assert_eq!(signal.load == Load::Unknown, tick >= 3, "{bad} tick {tick}");
            assert_eq!(signal.problems.len(), 1);
        }
        // The counter went on meanwhile: the first sane sample tells what happened in the gap.
        let signal = steady(&mut driver, &["a"], 10.0, 1);
        assert_near(rate(&signal), 10.0);
        assert_eq!(signal.lost_for, Duration::ZERO);
    }
}

#[test]
fn a_jump_that_no_engine_can_make_is_not_believed_once_and_is_the_new_base_then() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let signal = driver.tick(&[("a", sample(1e12, 5.0, 0.0))]);
    assert_eq!(
        (signal.load, signal.problems[0].1),
        (Load::Unknown, Problem::ImplausibleJump)
    );
    let mut signal = signal;
    for tick in 1..=10 {
        signal = driver.tick(&[("a", sample(1e12 + 10.0 * f64::from(tick), 5.0, 0.0))]);
    }
    assert_near(rate(&signal), 10.0);
}

#[test]
fn a_frozen_exporter_of_a_busy_engine_keeps_its_rate_and_is_named() {
    let mut driver = Driver::new();
    let signal = steady(&mut driver, &["a"], 10.0, 12);
    let frozen = sample(driver.now.as_secs_f64() * 10.0, 2.0, 1.0);
    let mut unknown_after = None;
    assert_near(rate(&signal), 10.0);
    for tick in 1..=100 {
        let signal = driver.tick(&[("a", frozen)]);
        match signal.load {
            Load::Measured { .. } => assert_near(rate(&signal), 10.0),
            Load::Unknown => {
                unknown_after.get_or_insert(tick);
                assert_eq!(signal.problems, [("pod-a".into(), Problem::Frozen)]);
            }
        }
    }
    assert_eq!(unknown_after, Some(61));
    let signal = steady(&mut driver, &["a"], 10.0, 1);
    assert_near(rate(&signal), 10.0);
}

#[test]
fn one_long_request_is_not_frozen_while_its_tokens_move() {
    let mut driver = Driver::new();
    let mut signal = driver.signal();
    for tick in 0..200 {
        let long = sample(50.0, 1.0, 0.0).map(|s| PodSample {
            tokens: Some(f64::from(tick)),
            ..s
        });
        signal = driver.tick(&[("a", long)]);
    }
    assert_eq!(signal.freshness, Freshness::Fresh);
    assert_near(rate(&signal), 0.0);
    assert_near(backlog(&signal), 1.0);
}

#[test]
fn an_exporter_frozen_while_idle_is_seen_by_its_cpu_time() {
    let mut driver = Driver::new();
    let idle = |cpu: f64| {
        sample(50.0, 0.0, 0.0).map(|s| PodSample {
            cpu_seconds: Some(cpu),
            ..s
        })
    };
    let mut signal = driver.signal();
    for tick in 0..20 {
        signal = driver.tick(&[("a", idle(f64::from(tick)))]);
    }
    assert_eq!(
        signal.load,
        Load::Measured {
            arrivals_per_second: 0.0,
            backlog: 0.0
        }
    );
    for _ in 0..70 {
        signal = driver.tick(&[("a", idle(19.0))]);
    }
    assert_eq!(
        (signal.freshness, signal.problems[0].1),
        (Freshness::Stale, Problem::Frozen)
    );
}

#[test]
fn a_tracker_that_nobody_feeds_goes_stale() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let later = driver.tracker.signal(driver.now + at(10.0), WINDOW);
    assert_eq!(
        (later.freshness, later.age),
        (Freshness::Stale, Some(at(10.0)))
    );
    assert_eq!(later.problems[0].1, Problem::Stale);
}

#[test]
fn samples_from_the_future_or_out_of_order_change_nothing() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let before = driver.signal();
    driver.tracker.observe(driver.now, &[], []);
    driver.tracker.observe(driver.now - SECOND, &[], []);
    assert_eq!(
        driver.signal(),
        before,
        "time that stands still or runs backwards is ignored"
    );
    driver.now += SECOND;
    let future = PodSample::new(1e6, 0.0, 0.0, driver.now + at(60.0));
    let past = PodSample::new(1e6, 0.0, 0.0, driver.now - at(5.0));
    for odd in [future, past] {
        let mut tracker = driver.tracker.clone();
        tracker.observe(driver.now, &[pod("a", true)], [("a", Ok(odd))]);
        assert_near(rate(&tracker.signal(driver.now, WINDOW)), 10.0);
    }
}

#[test]
fn after_an_outage_that_ends_in_a_restart_the_rate_is_measured_anew() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    for _ in 0..20 {
        driver.tick(&[("a", Err(Problem::Timeout))]);
    }
    // What was assumed for the outage is no evidence; half a window of samples is.
    for tick in 0..=5 {
        let signal = driver.tick(&[("a", sample(3.0 * f64::from(tick), 0.0, 0.0))]);
        match tick {
            0..=4 => assert_eq!(signal.freshness, Freshness::Warming, "{tick}"),
            _ => assert_near(rate(&signal), 3.0),
        }
    }
}

#[test]
fn that_nothing_arrived_where_nothing_could_is_no_sign_of_low_demand() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let before = driver.now.as_secs_f64() * 10.0;
    for _ in 0..60 {
        driver.tick(&[("a", Err(Problem::ConnectionRefused))]);
    }
    // Its clients were refused as we were: the counter stands where it stood, and goes on from there.
    let mut known_after = None;
    for tick in 0..20 {
        let signal = driver.tick(&[("a", sample(before + 10.0 * f64::from(tick), 0.0, 0.0))]);
        if let Load::Measured { .. } = signal.load {
            known_after.get_or_insert(tick);
            assert_near(rate(&signal), 10.0);
        }
    }
    assert!(
        known_after.is_some_and(|tick| tick <= 10),
        "{known_after:?}"
    );
}

#[test]
fn a_restart_of_an_engine_is_told_once_with_its_pod() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let mut told = Vec::new();
    for tick in 0..5 {
        driver.now += SECOND;
        let sample = PodSample::new(10.0 * f64::from(tick), 0.0, 0.0, driver.now);
        let pods = [pod("a", true)];
        told.extend(
            driver
                .tracker
                .observe(driver.now, &pods, [("a", Ok(sample))]),
        );
    }
    assert_eq!(told, [("pod-a".into(), Problem::CounterReset)]);
}

#[test]
fn a_first_sample_beside_a_pod_whose_samples_went_stale_is_no_pod_without_load() {
    let mut driver = Driver::new();
    let lost = || Err(Problem::Timeout);
    let finished = |tick: i32| sample(10.0 * f64::from(tick), 0.0, 0.0);
    (0..6).for_each(|tick| {
        driver.tick(&[("a", finished(tick)), ("b", lost())]);
    });
    (6..9).for_each(|_| {
        driver.tick(&[("a", lost()), ("b", lost())]);
    });
    // Nobody who is fresh has a rate now.
    let signal = driver.tick(&[("a", lost()), ("b", finished(9))]);
    assert_near(rate(&signal), 20.0);
}
