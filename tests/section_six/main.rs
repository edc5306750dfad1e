//! The table of docs/design.md, section 6, on the real traces: three cells here, all of them with `AGENTPOOL_EVALUATION=1`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cell;
mod table;

use cell::{pair, scenario};
use std::path::PathBuf;
use table::{COLUMNS, ROWS};

/// Rows and the column that are measured in short.
const SHORT: ([usize; 3], usize) = ([0, 2, 4], 1);
const SEEDS: u64 = 3;

#[test]
fn the_ratios_that_an_independent_simulation_found_are_found_again() {
    let full = std::env::var_os("AGENTPOOL_EVALUATION").is_some();
    let traces = std::env::var_os("AGENTPOOL_TRACES")
        .map_or_else(|| PathBuf::from("../shared/traces"), PathBuf::from);
    if !traces.exists() {
        let ci = std::env::var("CI").is_ok_and(|v| v == "true");
        assert!(
            !ci,
            "{}: no traces; nothing is skipped in CI",
            traces.display()
        );
        eprintln!(
            "skipped: no traces in {} (AGENTPOOL_TRACES)",
            traces.display()
        );
        return;
    }
    let mut wrong = Vec::new();
    for (c, column) in COLUMNS
        .iter()
        .enumerate()
        .filter(|(c, _)| full || *c == SHORT.1)
    {
        let trace = agentpool::cli::traces::read(&traces.join(column.trace)).unwrap();
        for (_, row) in ROWS
            .iter()
            .enumerate()
            .filter(|(r, _)| full || SHORT.0.contains(r))
        {
            let scenario = scenario(&trace, column, row);
            let pairs: Vec<(f64, f64)> =
                (1..=SEEDS).map(|seed| pair(&scenario, row, seed)).collect();
            let mean =
                |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / SEEDS as f64;
            let (ratio, equal) = (mean(&|(ruled, equal)| ruled / equal), mean(&|p| p.1));
            let other = row.independent.map(|row| row[c]);
            let line = format!(
                "{} {} {:?}: {}: {ratio:.3} of {equal:.2} s; independent {other:?}, published {:?}",
                column.trace,
                column.load,
                column.split,
                row.describe(),
                row.published[c]
            );
            println!("{line}");
            // Ratios near zero are known to three digits only.
            if other.is_some_and(|other| (ratio - other).abs() > (0.1 * other).max(0.005)) {
                wrong.push(line);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "off by more than 10 %:\n{}",
        wrong.join("\n")
    );
}
