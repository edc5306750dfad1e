#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::simulation::load::trace::{EVERYONE, Limits, Trace};
use crate::simulation::load::{BuiltIn, recorded_loads};

/// A load as a user writes it, below `agent: a`.
fn written(rest: &str) -> Result<AgentLoad, String> {
    serde_yaml::from_str(&format!("agent: a\n{rest}")).map_err(|error| error.to_string())
}

#[test]
fn every_kind_can_be_written_and_says_what_it_is() {
    for (text, said) in [
        (
            "arrivals: {type: Constant, rate: 4}",
            "generated: 4/s, evenly spaced; exponential work",
        ),
        (
            "arrivals: {type: Poisson, rate: 0.5}\nwork: {type: Deterministic}",
            "generated: Poisson at 0.5/s; equal work",
        ),
        (
            "arrivals: {type: Steps, steps: [{seconds: 60, rate: 1}, {rate: 5}], spacing: Even}",
            "generated: 1/s for 60 s, 5/s for ever, evenly spaced; exponential work",
        ),
        (
            "arrivals: {type: Square, low: 1, high: 9, period: 60}",
            "generated: 9/s for 30 s and 1/s for 30 s in turn, Poisson; exponential work",
        ),
        (
            "arrivals: {type: Sine, rate: 5, amplitude: 0.5, period: 600}",
            "generated: a sine of 5/s ± 50 % with a period of 600 s in 96 steps, Poisson; exponential work",
        ),
        (
            "arrivals: {type: Diurnal, rate: 5}",
            "generated: 5/s with a daily shape in 24 steps of 3600 s, Poisson; exponential work",
        ),
        (
            "arrivals: {type: Bursty, rate: 6, like: {mean: 3, idc1s: 2, idc60s: 20, cv: 1.5}}",
            "generated: bursts (MMPP) fitted to 3.000/s with an index of dispersion of 2 in 1 s and 20 in 60 s and gaps with a \
             variation of 1.5, time compressed 2.000 times to 6/s; exponential work",
        ),
        (
            "arrivals: {type: Drifting, rate: 6, sigma: 0.5, correlation: 0.8, window: 600}",
            "generated: Poisson at a rate that drifts around 6/s, windows of 600 s, deviation 0.5 and correlation 0.8 of its \
             logarithm; exponential work",
        ),
    ] {
        let load = written(text).unwrap();
        load.check().unwrap();
        assert_eq!(load.describe(), said);
        assert!(load.requests(1).next().is_some(), "{text}");
    }
}

#[test]
fn an_unknown_field_or_kind_is_refused_by_name() {
    for (text, part) in [
        ("arrivals: {type: Poisson, rate: 1, burst: 2}", "burst"),
        (
            "arrivals: {type: Drifting, rate: 6, sigma: 0.5, correlation: 0.8, window: 600, x: 1}",
            "x",
        ),
        ("arrivals: {type: Trace, file: t.csv, at: 3}", "at"),
        (
            "arrivals: {type: Trace, file: t.csv, scaling: {type: Compression, rate: 1, by: 2}}",
            "by",
        ),
        ("arrivals: {type: Pareto}", "Pareto"),
        ("arrivals: {type: Poisson}", "rate"),
        (
            "arrivals: {type: Poisson, rate: 1}\nwork: {type: Exponential, mean: 2}",
            "mean",
        ),
        ("arrivals: {type: Poisson, rate: 1}\nseed: 2", "seed"),
    ] {
        let error = written(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

/// What cannot be: as written, the field and what would be right.
const WRONG: [(&str, &str, &str); 32] = [
    (
        "arrivals: {type: Constant, rate: -1}",
        "arrivals.rate is -1",
        "from 0",
    ),
    (
        "arrivals: {type: Poisson, rate: .nan}",
        "arrivals.rate is NaN",
        "from 0",
    ),
    (
        "arrivals: {type: Poisson, rate: .inf}",
        "arrivals.rate is inf",
        "1000000000",
    ),
    (
        "arrivals: {type: Steps, steps: []}",
        "arrivals.steps is empty",
        "at least one",
    ),
    (
        "arrivals: {type: Steps, steps: [{seconds: -1, rate: 1}]}",
        "arrivals.steps[0].seconds is -1",
        "at least 0",
    ),
    (
        "arrivals: {type: Steps, steps: [{rate: 1}, {seconds: .nan, rate: 1}]}",
        "arrivals.steps[1].seconds is NaN",
        "at least 0",
    ),
    (
        "arrivals: {type: Steps, steps: [{seconds: 1, rate: -2}]}",
        "arrivals.steps[0].rate is -2",
        "from 0",
    ),
    (
        "arrivals: {type: Square, low: -1, high: 9, period: 60}",
        "arrivals.low is -1",
        "from 0",
    ),
    (
        "arrivals: {type: Square, low: 0, high: 0, period: 60}",
        "arrivals.high is 0",
        "above 0",
    ),
    (
        "arrivals: {type: Square, low: 0, high: 1, period: 0}",
        "arrivals.period is 0",
        "0.001",
    ),
    (
        "arrivals: {type: Square, low: 0, high: 1, period: 60, duty: 1}",
        "arrivals.duty is 1",
        "between",
    ),
    (
        "arrivals: {type: Sine, rate: 0, amplitude: 0, period: 1}",
        "arrivals.rate is 0",
        "above 0",
    ),
    (
        "arrivals: {type: Sine, rate: 1, amplitude: 1.5, period: 1}",
        "arrivals.amplitude is 1.5",
        "0 to 1",
    ),
    (
        "arrivals: {type: Sine, rate: 1, amplitude: 1, period: .inf}",
        "arrivals.period is inf",
        "1000000000",
    ),
    (
        "arrivals: {type: Diurnal, rate: 0}",
        "arrivals.rate is 0",
        "above 0",
    ),
    (
        "arrivals: {type: Diurnal, rate: 1, shape: []}",
        "arrivals.shape is 0",
        "sum above 0",
    ),
    (
        "arrivals: {type: Diurnal, rate: 1, shape: [1, -1]}",
        "arrivals.shape[1] is -1",
        "from 0",
    ),
    (
        "arrivals: {type: Diurnal, rate: 1, day: 0}",
        "arrivals.day is 0",
        "0.001",
    ),
    (
        "arrivals: {type: Bursty, rate: 0, like: {mean: 3, idc1s: 2, idc60s: 20, cv: 1.5}}",
        "arrivals.rate is 0",
        "above 0",
    ),
    (
        "arrivals: {type: Bursty, rate: 1, like: {mean: 0, idc1s: 2, idc60s: 20, cv: 1.5}}",
        "arrivals.like.mean is 0",
        "0.01",
    ),
    (
        "arrivals: {type: Bursty, rate: 1, like: {mean: 1, idc1s: 0.5, idc60s: 20, cv: 1.5}}",
        "arrivals.like.idc1s is 0.5",
        "at least 1",
    ),
    (
        "arrivals: {type: Bursty, rate: 1, like: {mean: 1, idc1s: 2, idc60s: .nan, cv: 1.5}}",
        "arrivals.like.idc60s is NaN",
        "at least 1",
    ),
    (
        "arrivals: {type: Bursty, rate: 1, like: {mean: 1, idc1s: 2, idc60s: 20, cv: .inf}}",
        "arrivals.like.cv is inf",
        "1000000",
    ),
    (
        "arrivals: {type: Drifting, rate: 0, sigma: 0.5, correlation: 0.8, window: 600}",
        "arrivals.rate is 0",
        "above 0",
    ),
    (
        "arrivals: {type: Drifting, rate: 1, sigma: 4, correlation: 0.8, window: 600}",
        "arrivals.sigma is 4",
        "0 to 3",
    ),
    (
        "arrivals: {type: Drifting, rate: 1, sigma: 1, correlation: 1, window: 600}",
        "arrivals.correlation is 1",
        "below 1",
    ),
    (
        "arrivals: {type: Drifting, rate: 1, sigma: 1, correlation: 0, window: -1}",
        "arrivals.window is -1",
        "0.001",
    ),
    (
        "arrivals: {type: Trace, file: t.csv}",
        "arrivals.file is \"t.csv\"",
        "must have a request",
    ),
    (
        "arrivals: {type: Trace, file: t.csv, from: -1}",
        "arrivals.from is -1",
        "at least 0",
    ),
    (
        "arrivals: {type: Poisson, rate: 1}\nwork: {type: Tokens}",
        "work is Tokens",
        "needs arrivals from a trace",
    ),
    (
        "arrivals: {type: Square, low: 0, high: 1e-6, period: 0.01}",
        "arrivals.period is 0.01",
        "at least 1",
    ),
    (
        "arrivals: {type: Drifting, rate: 1e-6, sigma: 1, correlation: 0, window: 0.5}",
        "arrivals.window is 0.5",
        "at least 1",
    ),
];

#[test]
fn every_load_that_cannot_be_is_refused_by_field_and_has_no_requests() {
    for (text, field, right) in WRONG {
        let load = written(text).unwrap();
        let error = load.check().expect_err(text).to_string();
        assert!(error.starts_with("load of \"a\": "), "{error}");
        assert!(
            error.contains(field) && error.contains(right),
            "{text}: {error}"
        );
        assert_eq!(load.requests(1).next(), None, "{text}");
    }
}

fn trace(text: &str) -> Trace {
    Trace::read(text.as_bytes(), "t.csv", Limits::default()).unwrap()
}

#[test]
fn every_replay_that_cannot_be_is_refused_by_field() {
    let requests = trace("arrival_s\n1\n2\n3\n");
    let rates = trace("t_s,agent,rate_rps\n0,a,1\n10,a,2\n");
    let once = trace("arrival_s\n0\n0\n");
    for (trace, rest, part) in [
        (&requests, "seconds: 0}", "arrivals.seconds is 0"),
        (
            &requests,
            "from: 5}",
            "arrivals.file is \"t.csv\": must have a request",
        ),
        (
            &requests,
            "scaling: {type: Compression, rate: 0}}",
            "arrivals.scaling.rate is 0",
        ),
        (
            &requests,
            "scaling: {type: Thinning, rate: 2}}",
            "must be at most what was recorded, 1.000/s",
        ),
        (
            &requests,
            "scaling: {type: Superposition, rate: 1001}}",
            "at most 1000 times",
        ),
        (
            &once,
            "scaling: {type: Compression, rate: 1}}",
            "say how long it is in `seconds`",
        ),
        (
            &requests,
            "seconds: 10}\nwork: {type: Tokens}",
            "needs a trace with tokens",
        ),
        (
            &rates,
            "seconds: 10}\nwork: {type: Tokens}",
            "a table of rates has no tokens",
        ),
        (
            &requests,
            "seconds: 10}\nwork: {type: Tokens, prefill: -1}",
            "work.prefill is -1",
        ),
        (
            &requests,
            "seconds: 10}\nwork: {type: Tokens, decode: .nan}",
            "work.decode is NaN",
        ),
        (
            &requests,
            "seconds: 10}\nwork: {type: Tokens, mean: 0}",
            "work.mean is 0",
        ),
    ] {
        let mut load = written(&format!("arrivals: {{type: Trace, file: t.csv, {rest}")).unwrap();
        if let Arrivals::Trace(replay) = &mut load.arrivals {
            replay.attach("a", trace).unwrap();
        }
        let error = load.check().expect_err(rest).to_string();
        assert!(error.contains(part), "{rest}: {error}");
        assert_eq!(load.requests(1).next(), None, "{rest}");
    }
}

#[test]
fn agents_that_only_the_trace_or_only_the_pool_has_are_named() {
    let named = trace("arrival_s,agent\n1,a\n2,b\n");
    let error = |trace: &Trace, agents: &[&str]| {
        let loads = recorded_loads(trace, "t.csv", agents, &[], Work::Exponential);
        loads.unwrap_err().to_string()
    };
    let stranger = error(&named, &["a"]);
    assert!(
        stranger.contains("\"b\"") && stranger.contains("the pool lacks"),
        "{stranger}"
    );
    let missing = error(&named, &["a", "b", "c"]);
    assert!(
        missing.contains("\"c\"") && missing.contains("it has a, b"),
        "{missing}"
    );
    let loads = recorded_loads(&named, "t.csv", &["b", "a"], &[], Work::Exponential).unwrap();
    let first: Vec<f64> = loads
        .iter()
        .filter_map(|load| Some(load.requests(1).next()?.at))
        .collect();
    assert_eq!(first, [2.0, 1.0]);
}

#[test]
fn a_trace_that_names_no_agent_is_the_load_of_an_only_one_and_never_that_of_several() {
    for text in ["arrival_s\n1\n", "0,1,1,Gamma,1,1\n600,2,1,Gamma,1,1\n"] {
        let everyone = trace(text);
        assert!(everyone.agents.contains_key(EVERYONE));
        let loads =
            |agents: &[&str]| recorded_loads(&everyone, "t.csv", agents, &[], Work::Exponential);
        assert!(loads(&["a"]).is_ok());
        let error = loads(&["a", "b"]).unwrap_err().to_string();
        for part in [
            "trace is \"t.csv\": names no agent, and the pool has 2 (a, b)",
            "a column `agent`",
            "agents.a.arrivals: {type: Trace",
        ] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

#[test]
fn the_built_in_loads_can_be_and_have_the_rates_that_are_asked_for() {
    let rates = [8.0, 4.0, 4.5, 2.5];
    for name in ["four_agent_A", "four_agent_B", "four_agent_C_rates"] {
        let built_in = BuiltIn::of(name).unwrap();
        for (load, rate) in built_in.loads(Some(rates)).iter().zip(rates) {
            load.check().unwrap();
            assert!(load.describe().starts_with("generated: "));
            // The drift of B goes on for longer than a test: its mean is looked at where it is made.
            if name != "four_agent_B" {
                let times = load.requests(1).take_while(|r| r.at < 86_400.0);
                let mean = times.count() as f64 / 86_400.0;
                assert!((mean / rate - 1.0).abs() < 0.05, "{load:?}: {mean}");
            }
        }
        assert!(built_in.loads(None).iter().all(|load| load.check().is_ok()));
    }
    assert_eq!(BuiltIn::of("azure_code_2023"), None);
}
