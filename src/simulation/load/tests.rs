#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn load(agent: &str, arrivals: Arrivals, work: Work) -> AgentLoad {
    AgentLoad {
        agent: agent.to_owned(),
        arrivals,
        work,
    }
}

fn poisson(agent: &str, rate: f64) -> AgentLoad {
    load(agent, Arrivals::Poisson { rate }, Work::Exponential)
}

fn head(load: &AgentLoad, seed: u64) -> Vec<Request> {
    load.requests(seed).take(200).collect()
}

/// One of each kind that draws something.
fn kinds(agent: &str) -> Vec<AgentLoad> {
    let of = |arrivals| load(agent, arrivals, Work::Exponential);
    let spacing = Spacing::Poisson;
    vec![
        of(Arrivals::Poisson { rate: 5.0 }),
        of(Arrivals::Steps {
            steps: vec![Piece::forever(5.0)],
            spacing,
        }),
        of(Arrivals::Square {
            low: 1.0,
            high: 9.0,
            period: 10.0,
            duty: 0.5,
            spacing,
        }),
        of(Arrivals::Sine {
            rate: 5.0,
            amplitude: 1.0,
            period: 10.0,
            spacing,
        }),
        of(Arrivals::Diurnal {
            rate: 5.0,
            shape: DAY.to_vec(),
            day: 24.0,
            spacing,
        }),
        of(Arrivals::Bursty {
            rate: 40.0,
            like: FOUR_AGENT_A[0].1,
        }),
        of(Arrivals::Drifting(FOUR_AGENT_B[1].1.scaled(20.0, 600.0))),
    ]
}

#[test]
fn two_streams_of_one_load_are_equal_and_seeds_and_agents_differ() {
    for (a, b) in kinds("a").iter().zip(&kinds("b")) {
        assert_eq!(head(a, 7), head(a, 7), "{a:?}");
        assert_ne!(head(a, 7), head(a, 8), "{a:?}");
        assert_ne!(head(a, 7), head(b, 7), "{a:?}");
    }
}

#[test]
fn other_works_leave_the_arrivals_as_they_are() {
    for drawn in kinds("a") {
        let equal = AgentLoad {
            work: Work::Deterministic,
            ..drawn.clone()
        };
        let times = |load: &AgentLoad| head(load, 3).iter().map(|r| r.at).collect::<Vec<_>>();
        assert_eq!(times(&drawn), times(&equal), "{drawn:?}");
        assert!(head(&equal, 3).iter().all(|request| request.work == 1.0));
    }
}

#[test]
fn arrivals_and_works_and_agents_are_independent() {
    let correlation = |a: &[f64], b: &[f64]| {
        let pairs: Vec<f64> = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - 1.0) * (b - 1.0))
            .collect();
        statistics::moments(&pairs).0
    };
    let n = 100_000;
    let series = |agent: &str| {
        let requests: Vec<Request> = poisson(agent, 1.0).requests(1).take(n).collect();
        let gaps: Vec<f64> = requests.windows(2).map(|p| p[1].at - p[0].at).collect();
        let works: Vec<f64> = requests.iter().map(|r| r.work).collect();
        (gaps, works)
    };
    let ((gaps_a, works_a), (gaps_b, works_b)) = (series("a"), series("b"));
    // Four standard errors: products of independent ones have deviation 1.
    for (a, b) in [
        (&gaps_a, &works_a),
        (&gaps_a, &gaps_b),
        (&works_a, &works_b),
    ] {
        let correlation = correlation(a, b);
        assert!(correlation.abs() < 0.0127, "{correlation}");
    }
}

#[test]
fn requests_never_fall_in_time_and_are_finite() {
    for load in kinds("a") {
        let requests: Vec<Request> = load.requests(1).take(20_000).collect();
        assert_eq!(requests.len(), 20_000, "{load:?}");
        assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let sound = |r: &Request| r.at.is_finite() && r.work.is_finite() && r.work >= 0.0;
        assert!(requests.iter().all(sound));
    }
}

#[test]
fn a_constant_load_is_even_and_starts_after_one_gap() {
    let load = load("a", Arrivals::Constant { rate: 4.0 }, Work::Deterministic);
    let times: Vec<f64> = load.requests(1).take(3).map(|r| r.at).collect();
    assert_eq!(times, [0.25, 0.5, 0.75]);
}

#[test]
fn a_few_steps_are_told_one_by_one_and_many_by_number_mean_and_range() {
    let piece = |seconds, rate| Piece { seconds, rate };
    let said = |steps: Vec<Piece>| {
        let spacing = Spacing::Poisson;
        Arrivals::Steps { steps, spacing }.describe()
    };
    assert_eq!(
        said(vec![piece(10.0, 2.0), Piece::forever(0.1 + 0.2)]),
        "generated: 2/s for 10 s, 0.3/s for ever, Poisson"
    );
    let many: Vec<Piece> = (0..10)
        .map(|i| piece(1.0 + 3.0 * f64::from(i % 2), f64::from(i)))
        .collect();
    // 0, 2, .. 8/s for 1 s and 1, 3, .. 9/s for 4 s.
    assert_eq!(
        said(many.clone()),
        "generated: 10 steps in 25 s, 4.8/s on average, from 0/s to 9/s, Poisson"
    );
    let endless = [many, vec![Piece::forever(1.0)]].concat();
    assert!(said(endless).ends_with(" from 0/s to 9/s, then 1/s, Poisson"));
    assert!(said(vec![piece(0.0, 1.0); 9]).contains("9 steps in 0 s, 0/s on average"));
}

#[test]
fn a_load_of_nothing_has_no_requests() {
    assert_eq!(poisson("a", 0.0).requests(1).next(), None);
}

/// Anything that a user could write, sound or not.
fn anything() -> impl Strategy<Value = Arrivals> {
    let number = || {
        prop_oneof![
            1e-4..1e4f64,
            Just(0.0),
            Just(-1.0),
            Just(1e9),
            Just(1e-9),
            Just(f64::NAN),
            Just(f64::INFINITY),
        ]
    };
    let spacing = || prop_oneof![Just(Spacing::Even), Just(Spacing::Poisson)];
    prop_oneof![
        number().prop_map(|rate| Arrivals::Poisson { rate }),
        (number(), number(), number(), 0.0..1.0f64, spacing()).prop_map(
            |(low, high, period, duty, spacing)| Arrivals::Square {
                low,
                high,
                period,
                duty,
                spacing
            }
        ),
        (number(), 0.0..1.1f64, number(), spacing()).prop_map(
            |(rate, amplitude, period, spacing)| Arrivals::Sine {
                rate,
                amplitude,
                period,
                spacing
            }
        ),
        (number(), number(), number(), number(), number()).prop_map(
            |(rate, mean, idc_1s, idc_60s, cv)| Arrivals::Bursty {
                rate,
                like: Burstiness {
                    mean,
                    idc_1s,
                    idc_60s,
                    cv
                }
            }
        ),
        (number(), 0.0..3.1f64, 0.0..1.1f64, number()).prop_map(
            |(rate, sigma, correlation, window)| Arrivals::Drifting(Drift {
                rate,
                sigma,
                correlation,
                window
            })
        ),
        proptest::collection::vec((number(), number()), 0..5).prop_map(|steps| {
            let steps = steps.into_iter();
            Arrivals::Steps {
                steps: steps
                    .map(|(seconds, rate)| Piece { seconds, rate })
                    .collect(),
                spacing: Spacing::Poisson,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_its_requests_are_sound_and_come_soon(arrivals in anything(), seed in 0u64..1000) {
        let load = load("a", arrivals, Work::Exponential);
        let requests: Vec<Request> = load.requests(seed).take(20).collect();
        prop_assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
        prop_assert!(requests.iter().all(|r| r.at.is_finite() && r.at >= 0.0 && r.work.is_finite()));
        prop_assert!(load.check().is_ok() || requests.is_empty());
    }
}
