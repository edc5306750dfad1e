//! The page about a comparison of rules.

use super::page::{Block, Figure, Page};
use super::results::{Measures, Results, RuleResult};
use super::table::Table;
use crate::simulation::statistics::Interval;

/// What was simulated, the rules beside each other, then agent by agent, and the figures.
pub fn comparison(results: &Results, figures: Vec<Figure>) -> Page {
    let described = &results.scenario;
    let mut page = Page {
        title: format!("Simulation of {}", described.pool),
        ..Page::default()
    };
    let warmup = match described.warmup_seconds {
        0.0 => String::new(),
        seconds => format!(", of which the first {seconds} s are not counted"),
    };
    page.text(format!(
        "{} s of arrivals{warmup}; {}; {} {}.",
        described.seconds,
        described.cluster,
        results.seeds.len(),
        if results.seeds.len() == 1 {
            "seed"
        } else {
            "seeds"
        },
    ));
    for assumed in &described.assumed {
        page.text(format!("Assumed: {assumed}."));
    }
    let mut loads = Table::new(["<agent", "<load"]);
    for load in &described.loads {
        loads.row([&load.agent, &load.load].map(String::as_str));
    }
    page.table(loads);
    page.heading("Rules");
    page.table(rules(results));
    if let Some(first) = results
        .results
        .first()
        .filter(|_| results.results.len() > 1)
    {
        page.text(format!(
            "A ratio is to {}, paired by seed (the same requests), with 95 % confidence; below 1 is better. What is not served in the end \
             counts with its age.",
            first.policy
        ));
    }
    page.text("What the columns are: docs/simulate.md, Columns.");
    if !results.bounds.is_empty() {
        page.heading("Bounds");
        page.table(bounds(results));
        for bound in &results.bounds {
            page.text(bound.describe());
        }
    }
    page.heading("Agents");
    page.table(agents(results));
    for figure in figures {
        page.blocks.push(Block::Figure(figure));
    }
    page
}

fn rules(results: &Results) -> Table {
    let mut names = vec![
        "<rule",
        "mean s",
        "p50 s",
        "p95 s",
        "p99 s",
        "wait s",
        "mean ratio",
        "p95 ratio",
        "served/s",
        "in target",
        "GPU-h",
        "USD",
        "used",
        "stranded",
        "fair",
        "starved s",
        "moves/h",
        "restarts",
    ];
    let energy = results
        .results
        .iter()
        .any(|r| r.measures.energy_kwh.is_some());
    if energy {
        names.push("kWh");
    }
    let mut table = Table::new(names);
    for (i, rule) in results.results.iter().enumerate() {
        let m = &rule.measures;
        let ratio = |ratio: Option<Interval>| {
            if i == 0 {
                "1".to_owned()
            } else {
                ratio_cell(ratio)
            }
        };
        let mut row = vec![rule.policy.clone()];
        row.extend(latencies(m));
        row.extend([
            ratio(rule.intervals.mean_latency_ratio),
            ratio(rule.intervals.p95_latency_ratio),
            number(m.throughput_per_second),
            percent(m.within_target),
            number(m.gpu_hours),
            number(m.cost_usd),
            percent(m.utilisation),
            percent(stranded(rule)),
            rule.fairness.map_or_else(none, |f| format!("{f:.2}")),
            number(m.longest_starvation_seconds),
            number(m.moves_per_hour),
            number(m.restarts),
        ]);
        if energy {
            row.push(m.energy_kwh.map_or_else(none, number));
        }
        table.row(row);
    }
    table
}

fn agents(results: &Results) -> Table {
    let mut table = Table::new([
        "<agent",
        "<rule",
        "mean s",
        "p50 s",
        "p95 s",
        "p99 s",
        "wait s",
        "requests",
        "unserved",
        "in target",
        "GPU-h",
        "used",
        "starved s",
        "moves/h",
        "restarts",
    ]);
    let names = results.results.first().map_or(0, |rule| rule.agents.len());
    for agent in 0..names {
        for rule in &results.results {
            let Some(of) = rule.agents.get(agent) else {
                continue;
            };
            let m = &of.measures;
            let mut row = vec![of.name.clone(), rule.policy.clone()];
            row.extend(latencies(m));
            row.extend([
                number(m.requests),
                number(m.unserved),
                percent(m.within_target),
                number(m.gpu_hours),
                percent(m.utilisation),
                number(m.longest_starvation_seconds),
                number(m.moves_per_hour),
                number(m.restarts),
            ]);
            table.row(row);
        }
    }
    table
}

fn bounds(results: &Results) -> Table {
    let mut table = Table::new(["<bound", "mean s", "mean ratio", "GPU-h"]);
    for bound in &results.bounds {
        table.row([
            bound.bound.clone(),
            bound.mean_latency_seconds.map_or_else(none, number),
            ratio_cell(bound.mean_latency_ratio),
            bound.gpu_hours.map_or_else(none, number),
        ]);
    }
    table
}

fn latencies(m: &Measures) -> [String; 5] {
    [
        m.mean_latency_seconds,
        m.p50_latency_seconds,
        m.p95_latency_seconds,
        m.p99_latency_seconds,
        m.mean_waiting_seconds,
    ]
    .map(|seconds| seconds.map_or_else(none, number))
}

fn stranded(rule: &RuleResult) -> Option<f64> {
    let paid = rule.measures.gpu_hours;
    (paid > 0.0).then(|| (rule.stranded_gpu_hours / paid).max(0.0))
}

/// Three significant digits, and no more than a whole number needs.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if v < 5e-5 => "0".to_owned(),
        v if v < 0.1 => format!("{value:.4}"),
        v if v < 1.0 => format!("{value:.3}"),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A ratio and where it lies.
pub fn ratio_cell(interval: Option<Interval>) -> String {
    interval.map_or_else(none, |i| {
        format!("{} [{}, {}]", number(i.mean), number(i.low), number(i.high))
    })
}

fn percent(part: Option<f64>) -> String {
    part.map_or_else(none, |part| format!("{:.1} %", 100.0 * part))
}

fn none() -> String {
    "-".to_owned()
}
