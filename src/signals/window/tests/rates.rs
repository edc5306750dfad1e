//! What a window says of samples that are all sound.
use super::*;

#[test]
fn arrivals_are_what_finished_plus_what_is_still_there() {
    let mut driver = Driver::new();
    let mut signal = driver.tick(&[("a", sample(100.0, 0.0, 0.0))]);
    for tick in 1..=10 {
        // 5 arrive and 2 finish each second: the queue grows by 3.
        let tick = f64::from(tick);
        signal = driver.tick(&[("a", sample(100.0 + 2.0 * tick, 1.0, 3.0 * tick - 1.0))]);
    }
    assert_near(rate(&signal), 5.0);
    assert_near(backlog(&signal), 30.0);
    assert_eq!(signal.freshness, Freshness::Fresh);
}

#[test]
fn a_start_holds_until_half_a_window_was_seen() {
    let mut driver = Driver::new();
    for tick in 0..5 {
        let signal = driver.tick(&[("a", sample(f64::from(tick), 0.0, 0.0))]);
        assert_eq!(
            (signal.load, signal.freshness),
            (Load::Unknown, Freshness::Warming),
            "tick {tick}"
        );
    }
    let signal = driver.tick(&[("a", sample(5.0, 0.0, 0.0))]);
    assert_near(rate(&signal), 1.0);
}

#[test]
fn an_idle_agent_is_measured_as_idle() {
    let mut driver = Driver::new();
    let mut signal = driver.signal();
    for _ in 0..12 {
        signal = driver.tick(&[("a", sample(7.0, 0.0, 0.0))]);
    }
    assert_eq!(
        signal.load,
        Load::Measured {
            arrivals_per_second: 0.0,
            backlog: 0.0
        }
    );
}

#[test]
fn a_counter_reset_is_neither_negative_nor_zero_nor_a_jump() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let signal = driver.tick(&[("a", sample(3.0, 0.0, 0.0))]);
    assert_eq!(signal.problems, [("pod-a".into(), Problem::CounterReset)]);
    assert_near(rate(&signal), 10.0);
    let mut signal = signal;
    for tick in 1..=10 {
        signal = driver.tick(&[("a", sample(3.0 + 10.0 * f64::from(tick), 0.0, 0.0))]);
        assert_near(rate(&signal), 10.0);
    }
    assert_eq!(
        (signal.freshness, signal.problems.len()),
        (Freshness::Fresh, 0)
    );
}

#[test]
fn a_restart_that_the_counter_hides_is_seen_by_the_start_time_of_the_process() {
    let with_start = |finished: f64, start: f64| {
        sample(finished, 0.0, 0.0).map(|s| PodSample {
            process_start: Some(start),
            ..s
        })
    };
    let mut driver = Driver::new();
    for tick in 0..12 {
        driver.tick(&[("a", with_start(f64::from(tick), 100.0))]);
    }
    let signal = driver.tick(&[("a", with_start(500.0, 200.0))]);
    assert_eq!(signal.problems, [("pod-a".into(), Problem::CounterReset)]);
    assert_near(rate(&signal), 1.0);
}

#[test]
fn a_server_that_repeats_its_last_sample_is_fresh_until_the_next_is_overdue() {
    let mut driver = Driver::new();
    driver.tracker = Tracker::new(Settings {
        stale_after: at(35.0),
        ..Settings::new(SECOND, WINDOW, at(120.0))
    });
    let window = at(60.0);
    let mut last = sample(0.0, 0.0, 0.0).unwrap();
    let mut tick = |driver: &mut Driver, renew: bool| {
        driver.now += SECOND;
        if renew && driver.now.as_secs().is_multiple_of(15) {
            last = PodSample {
                finished: driver.now.as_secs_f64() * 4.0,
                at: driver.now - at(0.2),
                ..last
            };
        }
        driver
            .tracker
            .observe(driver.now, &[pod("a", true)], [("a", Ok(last))]);
        driver.tracker.signal(driver.now, window)
    };
    for _ in 0..90 {
        tick(&mut driver, true);
    }
    for _ in 0..30 {
        let signal = tick(&mut driver, true);
        assert!((rate(&signal) - 4.0).abs() < 0.1, "{signal:?}");
        assert_eq!(signal.freshness, Freshness::Fresh);
    }
    for _ in 0..40 {
        tick(&mut driver, false);
    }
    assert_eq!(tick(&mut driver, false).freshness, Freshness::Stale);
}

#[test]
fn time_without_any_measured_pod_does_not_dilute_the_rate() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    for _ in 0..4 {
        driver.tick(&[]);
    }
    let mut signal = driver.signal();
    for tick in 0..4 {
        signal = driver.tick(&[("b", sample(10.0 * f64::from(tick), 0.0, 0.0))]);
    }
    assert_near(rate(&signal), 10.0);
}

#[test]
fn the_load_of_each_pod_names_the_least_loaded() {
    let mut driver = Driver::new();
    let mut signal = driver.signal();
    for tick in 0..12 {
        let tick = f64::from(tick);
        signal = driver.tick(&[
            ("a", sample(tick, 9.0, 0.0)),
            ("b", sample(2.0 * tick, 1.0, 1.0)),
        ]);
    }
    let loads: Vec<_> = signal
        .pods
        .values()
        .map(|p| (p.arrivals_per_second.unwrap().round(), p.backlog))
        .collect();
    assert_eq!(loads, [(1.0, 9.0), (2.0, 2.0)]);
}

#[test]
fn a_reset_after_missed_samples_keeps_the_rate_of_the_time_between() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b"], 10.0, 12);
    let well = |driver: &Driver| sample((driver.now + SECOND).as_secs_f64() * 10.0, 2.0, 1.0);
    for _ in 0..2 {
        driver.tick(&[("a", well(&driver)), ("b", Err(Problem::Timeout))]);
    }
    let signal = driver.tick(&[("a", well(&driver)), ("b", sample(4.0, 0.0, 0.0))]);
    assert_near(rate(&signal), 20.0);
}

#[test]
fn requests_that_an_engine_drops_make_no_negative_rate() {
    let mut driver = Driver::new();
    let mut signal = driver.signal();
    for tick in 0..12 {
        signal = driver.tick(&[("a", sample(0.0, 0.0, 60.0 - 5.0 * f64::from(tick)))]);
    }
    assert_eq!(
        signal.load,
        Load::Measured {
            arrivals_per_second: 0.0,
            backlog: 5.0
        }
    );
}

#[test]
fn one_sample_alone_is_no_evidence_of_an_idle_agent() {
    let mut driver = Driver::new();
    driver.tracker = Tracker::new(Settings::of_server(SECOND, WINDOW, at(120.0)));
    let first = PodSample::new(0.0, 0.0, 0.0, driver.now);
    for tick in 0..60 {
        driver.now += SECOND;
        let second = PodSample::new(120.0, 0.0, 0.0, first.at + at(30.0));
        let latest = if tick < 30 { first } else { second };
        driver
            .tracker
            .observe(driver.now, &[pod("a", true)], [("a", Ok(latest))]);
        let signal = driver.signal();
        if tick < 30 {
            assert_eq!(
                (signal.load, signal.freshness),
                (Load::Unknown, Freshness::Warming),
                "{tick}"
            );
        } else {
            assert_near(rate(&signal), 4.0);
        }
    }
}

#[test]
fn a_clock_that_runs_half_as_fast_halves_every_rate_that_is_measured_or_assumed() {
    let loads = |times: u32| -> Vec<Load> {
        let (interval, window) = (SECOND * times, WINDOW * times);
        let mut tracker = Tracker::new(Settings::new(interval, window, window));
        let mut finished = 0.0;
        let tick = |tick: u32| {
            let now = interval * tick;
            finished += f64::from(tick % 7);
            let sample = Ok(PodSample::new(finished, 1.0, 0.0, now));
            // b is silent now and then: what it gets meanwhile is assumed.
            let silent = Err(Problem::Timeout);
            let b = if tick % 20 < 16 { sample } else { silent };
            let pods = [pod("a", true), pod("b", true)];
            tracker.observe(now, &pods, [("a", sample), ("b", b)]);
            tracker.load(now, window).0
        };
        (1..60).map(tick).collect()
    };
    let per_second = |load: Load| match load {
        Load::Measured {
            arrivals_per_second,
            ..
        } => Some(arrivals_per_second),
        Load::Unknown => None,
    };
    for (once, twice) in loads(1).into_iter().zip(loads(2)) {
        match (per_second(once), per_second(twice)) {
            (Some(once), Some(twice)) => assert_near(once, 2.0 * twice),
            (once, twice) => assert_eq!(once, twice),
        }
    }
}
