#![allow(clippy::unwrap_used)]

use super::*;
use crate::simulation::load::statistics::Burstiness;
use crate::simulation::load::{AgentLoad, Arrivals, FOUR_AGENT_A};

fn recorded(at: f64, input_tokens: u32, output_tokens: u32) -> Recorded {
    Recorded {
        at,
        input_tokens,
        output_tokens,
    }
}

fn replay(rows: &[Recorded], scaling: Scaling) -> Replay {
    Replay {
        file: "t.csv".to_owned(),
        scaling,
        recorded: Recording::Requests(rows.into()),
        ..Replay::default()
    }
}

fn load(replay: Replay, work: Work) -> AgentLoad {
    let load = AgentLoad {
        agent: "a".to_owned(),
        arrivals: Arrivals::Trace(replay),
        work,
    };
    load.check().unwrap();
    load
}

fn times(replay: Replay) -> Vec<f64> {
    let load = load(replay, Work::Deterministic);
    load.requests(1).map(|request| request.at).collect()
}

fn at(times: &[f64]) -> Vec<Recorded> {
    times.iter().map(|at| recorded(*at, 1, 1)).collect()
}

/// A trace with the bursts of a real one.
fn bursts() -> Vec<Recorded> {
    let bursty = AgentLoad {
        agent: "nlp".to_owned(),
        arrivals: Arrivals::Bursty {
            rate: FOUR_AGENT_A[1].1.mean,
            like: FOUR_AGENT_A[1].1,
        },
        work: Work::Deterministic,
    };
    let times = bursty.requests(3).map(|request| request.at);
    at(&times.take_while(|at| *at < 20_000.0).collect::<Vec<_>>())
}

#[test]
fn a_trace_is_replayed_as_it_was_recorded() {
    let rows = at(&[0.0, 0.0, 1.5, 9.0]);
    assert_eq!(
        times(replay(&rows, Scaling::AsRecorded)),
        [0.0, 0.0, 1.5, 9.0]
    );
}

#[test]
fn compression_divides_times_and_multiplies_the_rate() {
    // Five requests in 10 s.
    let rows = at(&[0.0, 1.0, 2.0, 8.0, 10.0]);
    let faster = replay(&rows, Scaling::Compression { rate: 2.0 });
    assert_eq!(times(faster), [0.0, 0.25, 0.5, 2.0, 2.5]);
    let slower = replay(&rows, Scaling::Compression { rate: 0.25 });
    assert_eq!(times(slower), [0.0, 2.0, 4.0, 16.0, 20.0]);
}

#[test]
fn superposition_lays_shifted_copies_on_top_of_each_other() {
    let rows = at(&[0.0, 1.0, 8.0]);
    let doubled = Replay {
        seconds: Some(10.0),
        ..replay(&rows, Scaling::Superposition { rate: 0.6 })
    };
    // The second copy is shifted by 5 s; its request at 8 s comes round to 3 s.
    assert_eq!(times(doubled), [0.0, 1.0, 3.0, 5.0, 6.0, 8.0]);
}

#[test]
fn superposition_keeps_every_request_of_every_copy_in_order_whatever_their_number() {
    for copies in [1, 2, 3, 7, 50] {
        let rows = at(&[0.0, 0.0, 1.0, 4.0, 4.0, 9.5, 10.0]);
        let rate = f64::from(copies) * 0.7;
        let times = times(replay(&rows, Scaling::Superposition { rate }));
        assert_eq!(times.len(), 7 * copies as usize);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
        assert!(
            times.iter().all(|at| (0.0..=10.0).contains(at)),
            "{times:?}"
        );
    }
}

#[test]
fn superposition_reaches_the_rate_and_keeps_the_dispersion_of_long_windows() {
    let rows = bursts();
    let real = Burstiness::of(&rows.iter().map(|r| r.at).collect::<Vec<_>>(), 20_000.0);
    let scaled = Replay {
        seconds: Some(20_000.0),
        ..replay(&rows, Scaling::Superposition { rate: 40.0 })
    };
    let measured = Burstiness::of(&times(scaled), 20_000.0);
    assert!((measured.mean / 40.0 - 1.0).abs() < 0.01, "{measured:?}");
    // Copies are thinned to 97 % here; 20 000 s have 333 windows of 60 s.
    let kept = measured.idc_60s / real.idc_60s;
    assert!((0.75..1.25).contains(&kept), "{measured:?}, {real:?}");
}

#[test]
fn thinning_keeps_its_part_and_the_times() {
    let rows: Vec<Recorded> = (0..10_000).map(|s| recorded(f64::from(s), 1, 1)).collect();
    let thinned = Replay {
        seconds: Some(10_000.0),
        ..replay(&rows, Scaling::Thinning { rate: 0.25 })
    };
    let kept = times(thinned);
    // Four standard errors.
    assert!((kept.len() as f64 - 2500.0).abs() < 174.0, "{}", kept.len());
    assert!(kept.iter().all(|at| at.fract() == 0.0));
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_part_of_a_trace_starts_at_zero_and_has_its_own_mean_rate() {
    let rows = at(&[0.0, 10.0, 11.0, 12.0, 20.0, 30.0]);
    let part = Replay {
        from: 10.0,
        seconds: Some(10.0),
        ..replay(&rows, Scaling::AsRecorded)
    };
    assert_eq!(part.mean_rate(), 0.3);
    assert_eq!(times(part), [0.0, 1.0, 2.0]);
    let rest = Replay {
        from: 11.5,
        ..replay(&rows, Scaling::AsRecorded)
    };
    assert_eq!(times(rest), [0.5, 8.5, 18.5]);
}

#[test]
fn works_follow_from_tokens_by_the_mean_of_the_trace_or_of_the_agent() {
    let rows = [recorded(0.0, 13_454, 0), recorded(6.0, 0, 3 * 6_337)];
    let works = |tokens: TokenWork| {
        let load = load(replay(&rows, Scaling::AsRecorded), Work::Tokens(tokens));
        load.requests(1).map(|r| r.work).collect::<Vec<_>>()
    };
    let near = |got: Vec<f64>, want: [f64; 2]| {
        let apart = got.iter().zip(want).map(|(g, w)| (g - w).abs());
        assert!(
            got.len() == 2 && apart.fold(0.0, f64::max) < 1e-12,
            "{got:?}"
        );
    };
    near(works(TokenWork::default()), [0.5, 1.5]);
    let absolute = TokenWork {
        mean: Some(0.5),
        ..TokenWork::default()
    };
    near(works(absolute), [2.0, 6.0]);
    let prefill_only = TokenWork {
        prefill: 0.001,
        decode: 0.0,
        mean: None,
    };
    near(works(prefill_only), [2.0, 0.0]);
}

#[test]
fn drawn_works_are_the_same_whatever_the_scaling_of_time() {
    let works = |scaling| {
        let load = load(replay(&at(&[0.0, 1.0, 2.0]), scaling), Work::Exponential);
        load.requests(5).map(|r| r.work).collect::<Vec<_>>()
    };
    assert_eq!(
        works(Scaling::AsRecorded),
        works(Scaling::Compression { rate: 9.0 })
    );
}

fn rates(scaling: Scaling) -> Replay {
    let piece = |rate| Piece {
        seconds: 600.0,
        rate,
    };
    Replay {
        recorded: Recording::Rates([piece(10.0), piece(30.0), piece(20.0)].into()),
        scaling,
        ..Replay::default()
    }
}

#[test]
fn rates_are_scaled_in_height_or_in_time() {
    let pieces = |replay: Replay| {
        let pieces = replay.pieces().map(|p| (p.seconds, p.rate));
        pieces.collect::<Vec<_>>()
    };
    assert_eq!(
        pieces(rates(Scaling::Thinning { rate: 2.0 })),
        [(600.0, 1.0), (600.0, 3.0), (600.0, 2.0)]
    );
    assert_eq!(
        pieces(rates(Scaling::Superposition { rate: 50.0 })),
        [(600.0, 25.0), (600.0, 75.0), (600.0, 50.0)]
    );
    assert_eq!(
        pieces(rates(Scaling::Compression { rate: 40.0 })),
        [(300.0, 20.0), (300.0, 60.0), (300.0, 40.0)]
    );
    let part = Replay {
        from: 300.0,
        seconds: Some(600.0),
        ..rates(Scaling::AsRecorded)
    };
    assert_eq!(pieces(part), [(300.0, 10.0), (300.0, 30.0)]);
}

#[test]
fn requests_under_recorded_rates_are_poisson_and_end_with_them() {
    let load = load(rates(Scaling::AsRecorded), Work::Exponential);
    let times: Vec<f64> = load.requests(2).map(|r| r.at).collect();
    let counted = crate::simulation::load::statistics::counts(&times, 600.0, 1800.0);
    for (count, expected) in counted.iter().zip([6_000.0, 18_000.0, 12_000.0_f64]) {
        assert!(
            (count - expected).abs() < 4.0 * expected.sqrt(),
            "{counted:?}"
        );
    }
    assert!(times.iter().all(|at| *at <= 1800.0));
}

#[test]
fn every_scaling_is_said_in_words() {
    let rows = at(&[0.0, 1.0, 2.0, 8.0, 10.0]);
    let said = |scaling| replay(&rows, scaling).describe();
    assert_eq!(
        said(Scaling::AsRecorded),
        "recorded requests of t.csv, at the recorded 0.500/s"
    );
    assert_eq!(
        said(Scaling::Compression { rate: 2.0 }),
        "recorded requests of t.csv, time compressed 4.000 times, from 0.500/s to 2/s"
    );
    assert_eq!(
        said(Scaling::Superposition { rate: 1.25 }),
        "recorded requests of t.csv, 3 shifted copies of which 83.3 % are kept, from 0.500/s to 1.25/s"
    );
    assert_eq!(
        said(Scaling::Thinning { rate: 0.1 }),
        "recorded requests of t.csv, 20.0 % of the requests, from 0.500/s to 0.1/s"
    );
    assert_eq!(
        rates(Scaling::Superposition { rate: 50.0 }).describe(),
        "Poisson under the recorded rates of , 250.0 % of the requests, from 20.000/s to 50/s"
    );
}
