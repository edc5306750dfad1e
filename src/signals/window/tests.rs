#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::signals::Input;

mod properties;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn pod(uid: &str, ready: bool) -> Pod {
    Pod {
        uid: uid.into(),
        name: format!("pod-{uid}").into(),
        ready,
        started: None,
    }
}

/// Drives a tracker tick by tick, a second each, as a controller does.
struct Driver {
    tracker: Tracker,
    now: Duration,
}

type Outcome = Result<PodSample, Problem>;

impl Driver {
    fn new() -> Self {
        let mut settings = Settings::new(SECOND, Duration::from_secs(120));
        settings.stale_after = at(3.0);
        Self {
            tracker: Tracker::new(settings),
            now: Duration::from_secs(1000),
        }
    }

    /// A tick with ready pods, each `(uid, outcome)`.
    fn tick(&mut self, outcomes: &[(&str, Outcome)]) -> AgentSignal {
        let pods: Vec<Pod> = outcomes.iter().map(|(uid, _)| pod(uid, true)).collect();
        self.tick_with(&pods, outcomes)
    }

    fn tick_with(&mut self, pods: &[Pod], outcomes: &[(&str, Outcome)]) -> AgentSignal {
        self.now += SECOND;
        let now = self.now;
        let samples = outcomes
            .iter()
            .map(|(uid, outcome)| (*uid, outcome.map(|sample| PodSample { at: now, ..sample })));
        self.tracker.observe(now, pods, samples);
        self.signal()
    }

    fn signal(&self) -> AgentSignal {
        self.tracker.signal(self.now, WINDOW)
    }
}

/// A sample; the driver sets its time.
fn sample(finished: f64, running: f64, waiting: f64) -> Outcome {
    Ok(PodSample::new(finished, running, waiting, Duration::ZERO))
}

fn rate(signal: &AgentSignal) -> f64 {
    match signal.load {
        Load::Measured {
            arrivals_per_second,
            ..
        } => arrivals_per_second,
        Load::Unknown => panic!("unknown: {signal:?}"),
    }
}

fn backlog(signal: &AgentSignal) -> f64 {
    match signal.load {
        Load::Measured { backlog, .. } => backlog,
        Load::Unknown => panic!("unknown: {signal:?}"),
    }
}

#[track_caller]
fn assert_near(actual: f64, expected: f64) {
    assert!(
        (actual - expected).abs() < 1e-6 * expected.abs().max(1.0),
        "{actual} is not {expected}"
    );
}

/// `n` ticks of one pod per uid with `per_second` arrivals each, all served at once.
fn steady(driver: &mut Driver, uids: &[&str], per_second: f64, n: u32) -> AgentSignal {
    let mut last = driver.signal();
    for _ in 0..n {
        let finished = (driver.now + SECOND).as_secs_f64() * per_second;
        let outcomes: Vec<_> = uids
            .iter()
            .map(|uid| (*uid, sample(finished, 2.0, 1.0)))
            .collect();
        last = driver.tick(&outcomes);
    }
    last
}

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
fn one_of_three_pods_that_is_not_measured_counts_with_what_was_known_of_it() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b", "c"], 10.0, 12);
    for tick in 0..200 {
        let finished = (driver.now + SECOND).as_secs_f64() * 10.0;
        let well = sample(finished, 2.0, 1.0);
        let signal = driver.tick(&[("a", well), ("b", well), ("c", Err(Problem::Timeout))]);
        assert_near(rate(&signal), 30.0);
        assert_near(backlog(&signal), 9.0);
        if tick > 4 {
            assert_eq!(signal.freshness, Freshness::Partial);
            assert_eq!(
                signal.coverage,
                Coverage {
                    fresh: 2,
                    expected: 3
                }
            );
            assert_eq!(signal.problems, [("pod-c".into(), Problem::Timeout)]);
        }
    }
    let signal = steady(&mut driver, &["a", "b", "c"], 10.0, 1);
    assert_near(rate(&signal), 30.0);
    assert_eq!(signal.freshness, Freshness::Fresh);
}

#[test]
fn a_pod_that_is_not_measured_grows_with_the_others() {
    let mut driver = Driver::new();
    let mut finished = 0.0;
    let mut signal = driver.signal();
    for tick in 0..300 {
        finished += if tick < 20 { 10.0 } else { 100.0 };
        let well = sample(finished, 2.0, 1.0);
        let third = if tick < 20 {
            well
        } else {
            Err(Problem::Timeout)
        };
        signal = driver.tick(&[("a", well), ("b", well), ("c", third)]);
    }
    assert!(rate(&signal) > 290.0, "{signal:?}");
}

#[test]
fn with_too_few_pods_measured_the_load_is_unknown_and_says_for_how_long() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b", "c"], 10.0, 12);
    let mut signal = driver.signal();
    for _ in 0..20 {
        let finished = (driver.now + SECOND).as_secs_f64() * 10.0;
        signal = driver.tick(&[
            ("a", sample(finished, 2.0, 1.0)),
            ("b", Err(Problem::ConnectionRefused)),
            ("c", Err(Problem::BadStatus(503))),
        ]);
    }
    assert_eq!(
        (signal.load, signal.freshness),
        (Load::Unknown, Freshness::Stale)
    );
    assert_eq!(signal.lost_for, at(17.0));
    assert_eq!(signal.age, Some(Duration::ZERO));
}

#[test]
fn an_unready_pod_that_answers_counts_and_one_that_does_not_counts_until_its_grace_is_over() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b", "c"], 10.0, 12);
    let pods = [pod("a", true), pod("b", true), pod("c", false)];
    for tick in 0..60 {
        let finished = (driver.now + SECOND).as_secs_f64() * 10.0;
        let well = sample(finished, 2.0, 1.0);
        let signal = driver.tick_with(
            &pods,
            &[
                ("a", well),
                ("b", well),
                ("c", Err(Problem::ConnectionRefused)),
            ],
        );
        match tick {
            5..=29 => {
                assert_near(rate(&signal), 30.0);
                assert_eq!(signal.freshness, Freshness::Partial);
            }
            31.. => assert_eq!(
                (signal.freshness, signal.coverage.expected),
                (Freshness::Fresh, 2)
            ),
            _ => {}
        }
        if tick > 45 {
            assert_near(rate(&signal), 20.0);
        }
    }
    let finished = (driver.now + SECOND).as_secs_f64() * 10.0;
    let well = sample(finished, 2.0, 1.0);
    let signal = driver.tick_with(&pods, &[("a", well), ("b", well), ("c", well)]);
    assert_eq!(
        signal.coverage,
        Coverage {
            fresh: 3,
            expected: 3
        }
    );
}

#[test]
fn a_pod_that_vanishes_takes_its_requests_with_it_and_no_arrivals() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b"], 10.0, 12);
    // b goes with 3 requests in it; a gets everything from now on.
    let mut finished = driver.now.as_secs_f64() * 10.0;
    let mut signal = driver.signal();
    for _ in 0..10 {
        finished += 20.0;
        signal = driver.tick(&[("a", sample(finished, 2.0, 1.0))]);
        assert!(rate(&signal) >= 20.0 - 1e-9, "{signal:?}");
    }
    assert!(rate(&signal) <= 21.0 + 1e-9, "{signal:?}"); // b's last second is assumed
    assert_near(backlog(&signal), 3.0);
    assert_eq!(
        signal.coverage,
        Coverage {
            fresh: 1,
            expected: 1
        }
    );
}

#[test]
fn a_pod_that_started_since_the_last_tick_is_counted_from_zero_and_an_old_one_from_its_second_sample()
 {
    for (started, expected) in [(Some(0.5), 17.0), (Some(-100.0), 10.0), (None, 10.0)] {
        let mut driver = Driver::new();
        steady(&mut driver, &["a"], 1.0, 12);
        let b = Pod {
            started: started.map(|ago| at((driver.now.as_secs_f64() + ago).max(0.0))),
            ..pod("b", false)
        };
        let finished = (driver.now + SECOND).as_secs_f64();
        let pods = [pod("a", true), b];
        let signal = driver.tick_with(
            &pods,
            &[
                ("a", sample(finished, 2.0, 1.0)),
                ("b", sample(5.0, 2.0, 0.0)),
            ],
        );
        assert_near(rate(&signal) * 10.0, expected);
    }
}

#[test]
fn an_engine_that_did_not_listen_yet_at_the_last_tick_is_counted_from_zero() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 1.0, 12);
    let pods = [pod("a", true), pod("b", false)];
    let mut finished = driver.now.as_secs_f64();
    for _ in 0..5 {
        finished += 1.0;
        let signal = driver.tick_with(
            &pods,
            &[
                ("a", sample(finished, 2.0, 1.0)),
                ("b", Err(Problem::ConnectionRefused)),
            ],
        );
        assert_eq!(
            signal.freshness,
            Freshness::Fresh,
            "a loading pod is not expected"
        );
    }
    let signal = driver.tick_with(
        &pods,
        &[
            ("a", sample(finished + 1.0, 2.0, 1.0)),
            ("b", sample(3.0, 4.0, 0.0)),
        ],
    );
    assert_near(rate(&signal), 1.7);
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
fn a_server_that_repeats_its_last_sample_is_fresh_until_the_next_is_overdue() {
    let mut driver = Driver::new();
    driver.tracker = Tracker::new(Settings {
        stale_after: at(35.0),
        ..Settings::new(SECOND, at(120.0))
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
fn an_agent_without_pods_is_unknown_and_not_idle() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a"], 10.0, 12);
    let signal = driver.tick(&[]);
    assert_eq!(
        (signal.load, signal.freshness),
        (Load::Unknown, Freshness::NoPods)
    );
    assert!(signal.pods.is_empty());
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
fn a_signal_lists_a_few_problems_and_counts_all() {
    let mut driver = Driver::new();
    let uids: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
    let outcomes: Vec<(&str, Outcome)> = uids
        .iter()
        .map(|uid| (&**uid, Err(Problem::Missing(Input::Running))))
        .collect();
    let signal = driver.tick(&outcomes);
    assert_eq!((signal.problems.len(), signal.coverage.expected), (16, 100));
}
