//! Figures of benchmarks: a table for people, and `target/bench/report.json` for programs.
//!
//! ```json
//! { "benchmarks": { "memory": { "measured": "2026-11-20T12:00:00Z", "cores": 2, "loadAverage": 1.5,
//!     "figures": [ { "name": "...", "value": 41.2, "unit": "MiB", "aim": 60.0, "met": true } ] } } }
//! ```
//! Each benchmark replaces its own entry and leaves the others. `aim` is the most that the value may be; both are absent where there
//! is none.

pub mod buckets;
pub mod crowd;
pub mod paired;
pub mod process;

use crate::controlplane::binaries::target;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, with its circumstances.
    pub name: String,
    /// What came out.
    pub value: f64,
    /// In what.
    pub unit: String,
    /// The most that it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<f64>,
    /// Whether it is at most that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Figure {
    /// A figure without an aim.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.to_owned(),
            aim: None,
            met: None,
        }
    }

    /// It should be at most this.
    #[must_use]
    pub fn at_most(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self.met = Some(self.value <= aim);
        self
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    #[serde(default)]
    benchmarks: BTreeMap<String, Benchmark>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Benchmark {
    measured: String,
    cores: usize,
    load_average: f64,
    figures: Vec<Figure>,
}

/// Prints the figures of a benchmark and writes them into the report.
///
/// # Errors
/// When the report cannot be read or written.
pub fn publish(benchmark: &str, figures: Vec<Figure>) -> Result<()> {
    print!("{}", table(benchmark, &figures));
    let path = target().join("bench/report.json");
    let mut report: Report = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: remove it if it is no report", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Report::default(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let entry = Benchmark {
        measured: Timestamp::now().to_string(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load_average: process::load_average().unwrap_or(0.0),
        figures,
    };
    report.benchmarks.insert(benchmark.to_owned(), entry);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("write {}", path.display()))
}

fn table(benchmark: &str, figures: &[Figure]) -> String {
    let width = figures.iter().map(|f| f.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = format!("\n{benchmark}\n");
    for figure in figures {
        let Figure {
            name, value, unit, ..
        } = figure;
        text += &format!("  {name:width$}  {:>10} {unit}", number(*value));
        if let (Some(aim), Some(met)) = (figure.aim, figure.met) {
            let verdict = if met { "met" } else { "MISSED" };
            text += &format!("   aim at most {}: {verdict}", number(aim));
        }
        text += "\n";
    }
    text
}

/// Three digits that count.
fn number(value: f64) -> String {
    let decimals = if value == value.round() || value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

/// The value that the part `q` of these does not exceed. `None` without values.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_is_met_and_what_is_missed() {
        let figures = [
            Figure::new("memory", 41.26, "MiB").at_most(60.0),
            Figure::new("writes", 3.0, "").at_most(0.0),
            Figure::new("pods", 10_000.0, "pods"),
        ];
        let text = table("memory", &figures);
        assert!(
            text.contains("memory        41.3 MiB   aim at most 60: met"),
            "{text}"
        );
        assert!(text.contains("3    aim at most 0: MISSED"), "{text}");
        assert!(text.contains("10000 pods\n"), "{text}");
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&mut values, 0.99), Some(5.0));
        assert_eq!(quantile(&mut values, 0.5), Some(3.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
