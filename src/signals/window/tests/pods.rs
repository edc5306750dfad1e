//! Pods that come, go, get unready and are not measured.
use super::*;
use crate::signals::Input;

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

#[test]
fn what_a_pod_received_after_its_last_sample_is_assumed_when_it_vanishes() {
    let mut driver = Driver::new();
    steady(&mut driver, &["a", "b"], 10.0, 12);
    let well = |driver: &Driver| sample((driver.now + SECOND).as_secs_f64() * 10.0, 2.0, 1.0);
    for _ in 0..2 {
        driver.tick(&[("a", well(&driver)), ("b", Err(Problem::Timeout))]);
    }
    let signal = driver.tick(&[("a", well(&driver))]);
    assert_near(rate(&signal), 20.0);
}
