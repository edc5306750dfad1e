//! What `docs/traces.md` and the built-in loads say of the real traces, measured on the files.
//!
//! They are looked for in the folder that `AGENTPOOL_TRACES` names, by default `../shared/traces` beside the repository, and
//! nothing is skipped with `CI=true`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use agentpool::cli::traces;
use agentpool::simulation::load::statistics::{Burstiness, autocorrelation, counts, moments};
use agentpool::simulation::load::trace::{EVERYONE, Recorded, Recording, Trace};
use agentpool::simulation::load::{FOUR_AGENT_A, FOUR_AGENT_B, FOUR_AGENT_C, Piece};

/// The trace, or a word that it was skipped.
fn trace(name: &str) -> Option<Trace> {
    let folder = std::env::var_os("AGENTPOOL_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces"),
        PathBuf::from,
    );
    let path = folder.join(name);
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    if !path.exists() && !strict {
        // Past the capture of the test harness, which hides what passing tests print.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: a check of the trace {name}, which is not in {} (AGENTPOOL_TRACES names the folder; docs/traces.md says \
             where the traces are published)",
            folder.display()
        );
        return None;
    }
    Some(traces::read(&path).unwrap_or_else(|error| panic!("{error}")))
}

fn rows<'t>(trace: &'t Trace, agent: &str) -> &'t [Recorded] {
    match &trace.agents[agent] {
        Recording::Requests(rows) => rows,
        Recording::Rates(_) => panic!("{agent}: rates"),
    }
}

fn rates<'t>(trace: &'t Trace, agent: &str) -> &'t [Piece] {
    match &trace.agents[agent] {
        Recording::Rates(windows) => windows,
        Recording::Requests(_) => panic!("{agent}: requests"),
    }
}

fn times(rows: &[Recorded]) -> Vec<f64> {
    rows.iter().map(|row| row.at).collect()
}

/// Equal to what is published, which is rounded to this.
fn near(what: &str, got: f64, want: f64, rounding: f64) {
    assert!(
        (got - want).abs() <= rounding / 2.0 + 1e-9,
        "{what}: {got} instead of {want}"
    );
}

/// By how much a published index of dispersion depends on where its windows begin, which is not published: 1.2 % at most here, and
/// a part either way.
const BINS: f64 = 2.0 * 0.012;

/// Trace, agent, seconds, requests, index of dispersion in 1 s and in 60 s, variation of the gaps.
const PUBLISHED: [(&str, &str, f64, usize, f64, f64, f64); 12] = [
    (
        "azure_code_2023",
        EVERYONE,
        2100.0,
        6621,
        13.26,
        157.9,
        12.80,
    ),
    ("azure_conv_2023", EVERYONE, 2100.0, 12337, 1.35, 15.5, 1.08),
    (
        "mooncake_conversation",
        EVERYONE,
        2100.0,
        6758,
        7.54,
        2.6,
        2.94,
    ),
    (
        "servegen_deepseek_r1",
        EVERYONE,
        10800.0,
        115_090,
        4.70,
        131.0,
        1.46,
    ),
    (
        "servegen_mm_image",
        EVERYONE,
        10800.0,
        29944,
        2.75,
        6.9,
        1.17,
    ),
    (
        "four_agent_A",
        "coordinator",
        2100.0,
        6621,
        13.26,
        157.9,
        12.80,
    ),
    ("four_agent_A", "nlp", 2100.0, 12337, 1.35, 15.5, 1.08),
    ("four_agent_A", "vision", 2100.0, 10389, 1.21, 2.1, 1.02),
    ("four_agent_A", "reasoning", 2100.0, 6758, 7.54, 2.6, 2.94),
    (
        "four_agent_B",
        "coordinator",
        10800.0,
        158_218,
        1.14,
        4.3,
        1.04,
    ),
    ("four_agent_B", "vision", 10800.0, 29944, 2.75, 6.9, 1.17),
    (
        "four_agent_B",
        "reasoning",
        10800.0,
        115_090,
        4.70,
        131.0,
        1.46,
    ),
];

#[test]
fn the_traces_have_the_statistics_that_are_published_with_them() {
    let mut read: Option<(&str, Option<Trace>)> = None;
    for (name, agent, seconds, requests, idc_1s, idc_60s, cv) in PUBLISHED {
        if read.as_ref().is_none_or(|(last, _)| *last != name) {
            read = Some((name, trace(name)));
        }
        let Some((_, Some(trace))) = &read else {
            continue;
        };
        let times = times(rows(trace, agent));
        let what = format!("{name}, {agent}");
        assert_eq!(times.len(), requests, "{what}");
        let measured = Burstiness::of(&times, seconds);
        // Up to ten requests lie at the very end.
        near(&what, measured.mean, requests as f64 / seconds, 0.003);
        let rounded = |value: f64, digit: f64| BINS * value + digit;
        near(&what, measured.idc_1s, idc_1s, rounded(idc_1s, 0.01));
        near(&what, measured.idc_60s, idc_60s, rounded(idc_60s, 0.1));
        near(&what, measured.cv, cv, 0.01);
    }
}

/// Trace, and mean of input and of output tokens.
const TOKENS: [(&str, f64, f64); 3] = [
    ("azure_code_2023", 2033.0, 27.0),
    ("azure_conv_2023", 1246.0, 204.0),
    ("mooncake_conversation", 12592.0, 347.0),
];

#[test]
fn tokens_are_read_as_they_are_published() {
    for (name, input, output) in TOKENS {
        let Some(trace) = trace(name) else { continue };
        let rows = rows(&trace, EVERYONE);
        let mean = |tokens: fn(&Recorded) -> u32| {
            rows.iter().map(|r| f64::from(tokens(r))).sum::<f64>() / rows.len() as f64
        };
        // Some of the published means are rounded down.
        near(name, mean(|r| r.input_tokens), input, 2.0);
        near(name, mean(|r| r.output_tokens), output, 2.0);
    }
}

#[test]
fn the_built_in_bursts_have_the_statistics_of_the_trace() {
    let Some(trace) = trace("four_agent_A") else {
        return;
    };
    for (agent, declared) in FOUR_AGENT_A {
        let real = Burstiness::of(&times(rows(&trace, agent)), 2100.0);
        near(agent, real.mean, declared.mean, 0.001);
        near(agent, real.idc_60s, declared.idc_60s, 0.1);
        // The arrivals of reasoning lie on a grid of 3 s: its short window and gaps are declared without it.
        if agent != "reasoning" {
            near(agent, real.idc_1s, declared.idc_1s, 0.02);
            near(agent, real.cv, declared.cv, 0.01);
        }
    }
}

#[test]
fn the_built_in_drifts_have_the_statistics_of_the_trace() {
    let Some(trace) = trace("four_agent_B") else {
        return;
    };
    for (agent, declared) in FOUR_AGENT_B {
        let windows = counts(&times(rows(&trace, agent)), declared.window, 10_800.0);
        let (mean, _) = moments(&windows);
        // Up to ten requests lie beyond the end of the last window.
        near(agent, mean / declared.window, declared.rate, 0.003);
        let logs: Vec<f64> = windows.iter().map(|count| count.ln()).collect();
        near(agent, moments(&logs).1.sqrt(), declared.sigma, 0.001);
        near(agent, autocorrelation(&logs), declared.correlation, 0.001);
    }
}

#[test]
fn the_built_in_day_has_the_hours_of_the_trace() {
    let Some(trace) = trace("four_agent_C_rates/rates_24h.csv.gz") else {
        return;
    };
    for (agent, mean, hours) in FOUR_AGENT_C {
        let windows = rates(&trace, agent);
        assert_eq!(windows.len(), 144);
        assert!(windows.iter().all(|w| w.seconds == 600.0));
        let real = windows.iter().map(|w| w.rate).sum::<f64>() / 144.0;
        near(agent, real, mean, 0.001);
        for (hour, declared) in windows.chunks(6).zip(hours) {
            let rate = hour.iter().map(|w| w.rate).sum::<f64>() / 6.0;
            near(agent, rate / real, declared, 0.001);
        }
    }
}

#[test]
fn fourteen_days_of_rates_are_read_class_by_class() {
    let Some(trace) = trace("four_agent_C_rates/language_rates_14d.csv.gz") else {
        return;
    };
    for class in ["m-small", "m-mid", "m-large"] {
        assert_eq!(rates(&trace, class).len(), 2016, "{class}");
        assert_eq!(trace.agents[class].seconds(), 14.0 * 86_400.0, "{class}");
    }
}
