//! The tables of docs/design.md, section 6, on the real traces: a few cells here, all of them with `AGENTPOOL_EVALUATION=1`, as
//! `make evaluation` sets it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod apart;
mod cell;
mod table;

use agentpool::cli::traces;
use agentpool::simulation::load::trace::Trace;
use apart::{Reading, Requests};
use std::io::Write as _;
use std::path::PathBuf;
use table::{COLUMNS, Column, ROWS, Row};

const SEEDS: u64 = 3;

/// The traces are large, and most columns take minutes in a debug build.
fn is_full() -> bool {
    std::env::var_os("AGENTPOOL_EVALUATION").is_some()
}

/// Columns that are measured, each with its trace; none where there are no traces, but for CI, where nothing is skipped.
fn columns(short: impl Fn(&Column) -> bool) -> Vec<(usize, &'static Column, Trace)> {
    let folder = std::env::var_os("AGENTPOOL_TRACES")
        .map_or_else(|| PathBuf::from("../shared/traces"), PathBuf::from);
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let columns = COLUMNS.iter().enumerate();
    let columns = columns.filter(|(_, column)| is_full() || short(column));
    let mut found = Vec::new();
    for (c, column) in columns {
        let path = folder.join(column.trace);
        if !path.exists() && !strict {
            // Past the capture of the test harness, which hides what passing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: a check of docs/design.md, section 6, on the trace {}, which is not in {} (AGENTPOOL_TRACES names the \
                 folder; docs/traces.md says where the traces are published)",
                column.trace,
                folder.display()
            );
            return Vec::new();
        }
        let trace = traces::read(&path).unwrap_or_else(|error| panic!("{error}"));
        found.push((c, column, trace));
    }
    found
}

fn describe(column: &Column, row: &Row) -> String {
    let Column {
        trace, load, split, ..
    } = column;
    format!("{trace} {load} {split:?}: {}", row.describe())
}

/// Mean over the seeds.
fn mean(of: impl FnMut(u64) -> f64) -> f64 {
    (1..=SEEDS).map(of).sum::<f64>() / SEEDS as f64
}

/// Nothing is off by more than a tenth and half of the last digit that was written.
fn assert_near(found: Vec<(String, f64, f64)>) {
    let mut wrong = Vec::new();
    for (what, is, expected) in found {
        let line = format!("{what}: {is:.3} for {expected:.3}");
        println!("{line}");
        if (is - expected).abs() > 0.1 * expected + 0.005 {
            wrong.push(line);
        }
    }
    assert!(
        wrong.is_empty(),
        "off by more than 10 %:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_simulator_finds_the_ratios_of_a_simulation_that_was_written_apart() {
    let mut found = Vec::new();
    for (_, column, trace) in columns(|c| c.load == 0.7 && c.equal.is_some()) {
        for row in &ROWS {
            let scenario = cell::scenario(&trace, column, row);
            let ours = mean(|seed| {
                let (ruled, equal) = cell::pair(&scenario, row, seed);
                ruled / equal
            });
            let apart = mean(|seed| {
                let requests = Requests::draw(&trace, column, seed);
                let mean = |row| apart::mean(&requests, row, Reading::Operator);
                mean(Some(row)) / mean(None)
            });
            found.push((describe(column, row), ours, apart));
        }
    }
    assert_near(found);
}

/// The cells that no reading tried explains: a quick pace where queues are long. What was tried: proportional instead of level
/// sharing of what does not suffice, arrivals before backlog, work instead of requests as backlog, spare by demand or to all alike,
/// floors of a fiftieth and a twentieth, a decision in force a second later, one decision under way at a time.
fn is_unexplained(column: &Column, row: &Row) -> bool {
    let is_long = match column.trace {
        "four_agent_A" => column.load == 0.85,
        _ => row.lag > 0.0,
    };
    row.pace == (5, 2) && is_long
}

/// Why the simulator's ratios are not those that were published: there a rule began to move at once, from fading means that began
/// at zero, and a run ended with its trace. And the equal split happened to be slow at load 0.85 (18.1 s; 16.4 s with a deviation of
/// 1.1 s over 100 draws of the work): so seconds are compared where they were published, and ratios elsewhere.
#[test]
fn the_published_ratios_are_those_of_fading_means_from_zero_and_of_runs_that_end_with_their_trace()
{
    let mut found = Vec::new();
    for (c, column, trace) in columns(|c| c.trace == "four_agent_A") {
        let requests: Vec<Requests> = (1..=SEEDS)
            .map(|seed| Requests::draw(&trace, column, seed))
            .collect();
        let seconds =
            |row| mean(|seed| apart::mean(&requests[seed as usize - 1], row, Reading::Published));
        let equal = seconds(None);
        for row in &ROWS {
            let Some(published) = row.published[c] else {
                continue;
            };
            let ratio = seconds(Some(row)) / column.equal.unwrap_or(equal);
            let what = describe(column, row);
            if is_unexplained(column, row) {
                println!("{what}: {ratio:.3} for {published:.3}, unexplained");
            } else {
                found.push((what, ratio, published));
            }
        }
    }
    assert_near(found);
}

/// Cells of the table that has both readings beside each other, with the published ratios and this simulator's.
const BOTH: [usize; 2] = [2, 4];

#[test]
fn the_readings_beside_each_other_in_the_design_are_those_that_are_measured_here() {
    let is_one = |column: &Column| column.trace == "four_agent_A" && column.equal.is_some();
    let columns = columns(is_one);
    let columns: Vec<_> = columns.iter().filter(|(_, c, _)| is_one(c)).collect();
    if columns.is_empty() {
        return;
    }
    let mut lines = Vec::new();
    for row in BOTH.map(|row| &ROWS[row]) {
        let mut line = |what: &str, of: &dyn Fn(usize, &Column, &Trace) -> f64| {
            let cells = columns
                .iter()
                .map(|(c, column, trace)| format!(" {:.2} |", of(*c, column, trace)));
            lines.push(format!("| {what} |{}", cells.collect::<String>()));
        };
        let apart = |reading| {
            move |_: usize, column: &Column, trace: &Trace| {
                mean(|seed| {
                    let requests = Requests::draw(trace, column, seed);
                    let mean = |row| apart::mean(&requests, row, reading);
                    mean(Some(row)) / mean(None)
                })
            }
        };
        line(&format!("{}: published", row.describe()), &|c, _, _| {
            row.published[c].unwrap()
        });
        line("the same by that reading", &apart(Reading::Published));
        line("as the operator, written apart", &apart(Reading::Operator));
        line("as the operator, by the simulator", &|_, column, trace| {
            let scenario = cell::scenario(trace, column, row);
            mean(|seed| {
                let (ruled, equal) = cell::pair(&scenario, row, seed);
                ruled / equal
            })
        });
    }
    let table = lines.join("\n");
    println!("{table}");
    let design = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let design = std::fs::read_to_string(design).unwrap();
    assert!(
        design.contains(&table),
        "docs/design.md, section 6, has another table than:\n{table}"
    );
}
