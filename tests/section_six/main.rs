//! The table of docs/design.md, section 6, on the real traces: a part of it here, all of it with `AGENTPOOL_EVALUATION=1`, as
//! `make evaluation` sets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apart;
mod cell;
mod table;

use agentpool::allocation::Policy;
use agentpool::cli::traces;
use agentpool::simulation::load::trace::Trace;
use apart::{Difference, Requests};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use table::{COLUMNS, Column, PER_REQUEST, ROWS, Row};

/// Draws of the work in the simulator, as many as were published.
const SEEDS: u64 = 3;
/// The same where one draw differs much from another: in the queues that are written apart, and for a quick pace under long queues.
const DRAWS: u64 = 10;

/// The traces are large, and most columns take minutes in a debug build.
fn is_full() -> bool {
    std::env::var_os("AGENTPOOL_EVALUATION").is_some()
}

/// The column that a debug build simulates: it takes seconds.
fn is_short(column: &Column) -> bool {
    column.load == 0.7 && column.equal.is_some()
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
    format!("{}: {}", column.words(), row.describe())
}

/// Within a tenth, and half of the last digit that was written.
fn is_near(is: f64, expected: f64) -> bool {
    (is - expected).abs() <= 0.1 * expected + 0.005
}

fn assert_near(found: Vec<(String, f64, f64)>) {
    let mut wrong = Vec::new();
    for (what, is, expected) in found {
        let line = format!("{what}: {is:.3} for {expected:.3}");
        println!("{line}");
        if !is_near(is, expected) {
            wrong.push(line);
        }
    }
    assert!(
        wrong.is_empty(),
        "off by more than 10 %:\n{}",
        wrong.join("\n")
    );
}

/// Mean of some draws or seeds.
fn mean(of: impl IntoIterator<Item = f64>) -> f64 {
    let all: Vec<f64> = of.into_iter().collect();
    all.iter().sum::<f64>() / all.len() as f64
}

/// The requests of a column in the queues that are written apart.
struct Apart(Vec<Requests>);

impl Apart {
    fn draw(column: &Column, trace: &Trace) -> Self {
        let draw = |seed| Requests::draw(trace, column, seed);
        Self((1..=DRAWS).map(draw).collect())
    }

    /// Mean time in the system, in seconds.
    fn seconds(&self, row: Option<&Row>, reading: &[Difference]) -> f64 {
        let requests = self.0.iter();
        mean(requests.map(|requests| apart::mean(requests, row, reading)))
    }

    /// The same to the equal split: as it was published, where it was, so that no slow or quick draw of it counts.
    fn ratio(&self, column: &Column, row: &Row, reading: &[Difference]) -> f64 {
        let equal = column.equal;
        self.seconds(Some(row), reading) / equal.unwrap_or_else(|| self.seconds(None, reading))
    }
}

/// A column by the simulator: mean times in the system under each row's rule and under equal parts, in seconds.
struct Simulated {
    rows: Vec<f64>,
    equal: f64,
}

/// Of the columns that are simulated, that at a place of [`COLUMNS`].
fn simulated(at: usize) -> &'static Simulated {
    static SIMULATED: [OnceLock<Simulated>; COLUMNS.len()] =
        [const { OnceLock::new() }; COLUMNS.len()];
    SIMULATED[at].get_or_init(|| {
        let column = &COLUMNS[at];
        let trace = columns(is_short).into_iter().find(|(c, ..)| *c == at);
        let trace = trace.expect("a column that is simulated").2;
        let seconds = |row: &Row, policy| {
            let scenario = cell::scenario(&trace, column, row);
            mean((1..=SEEDS).map(|seed| cell::mean(&scenario, policy, seed)))
        };
        Simulated {
            rows: ROWS.iter().map(|row| seconds(row, row.policy)).collect(),
            equal: seconds(&ROWS[0], Policy::StaticEqual),
        }
    })
}

#[test]
fn the_simulator_finds_the_ratios_of_queues_that_were_written_apart() {
    let mut found = Vec::new();
    for (at, column, trace) in columns(is_short) {
        let (ours, apart) = (simulated(at), Apart::draw(column, &trace));
        let equal = apart.seconds(None, &[]);
        for (row, seconds) in ROWS.iter().zip(&ours.rows) {
            let apart = apart.seconds(Some(row), &[]) / equal;
            found.push((describe(column, row), seconds / ours.equal, apart));
        }
    }
    assert_near(found);
}

/// All three differences at once: no cell has a reading of its own.
#[test]
fn one_reading_gives_all_the_ratios_that_were_published() {
    let mut found = Vec::new();
    for (c, column, trace) in columns(|c| c.trace == "four_agent_A") {
        let apart = Apart::draw(column, &trace);
        for row in &ROWS {
            if let Some(published) = row.published[c] {
                let ratio = apart.ratio(column, row, &Difference::ALL);
                found.push((describe(column, row), ratio, published));
            }
        }
    }
    assert_near(found);
}

/// The operator's own code with the minima of that reading, where nothing else is missing.
#[test]
fn the_simulator_itself_finds_the_ratios_of_a_quick_pace_under_long_queues_with_such_minima() {
    let mut found = Vec::new();
    let is_long = |c: &Column| c.trace == "four_agent_A" && c.load == 0.85;
    for (at, column, trace) in columns(is_long) {
        for row in ROWS
            .iter()
            .filter(|row| row.pace == (5, 2) && row.lag > 0.0)
        {
            let Some(published) = row.published[at].filter(|_| is_long(column)) else {
                continue;
            };
            let scenario = cell::with_minima(cell::scenario(&trace, column, row), apart::MINIMA);
            let seconds = (1..=DRAWS).map(|seed| cell::mean(&scenario, row.policy, seed));
            let ratio = column.equal.map(|equal| mean(seconds) / equal);
            found.push((describe(column, row), ratio.unwrap(), published));
        }
    }
    assert_near(found);
}

/// A cell of the design's table: the published ratio, the simulator's, and where that is off by more than a tenth, the fewest
/// differences that bring the queues written apart to the published one, and what they come to. `None`: none do.
fn cell(
    (column, row): (&Column, &Row),
    published: f64,
    simulated: f64,
    apart: &Apart,
) -> Option<String> {
    let both = format!("{published:.2}, {simulated:.2}");
    if is_near(simulated, published) {
        return Some(both);
    }
    let mut readings: Vec<Vec<Difference>> = (1..1 << Difference::ALL.len())
        .map(|bits: usize| {
            let all = Difference::ALL.into_iter().enumerate();
            let chosen = all.filter(|(i, _)| bits >> i & 1 == 1);
            chosen.map(|(_, difference)| difference).collect()
        })
        .collect();
    readings.sort_by_key(Vec::len);
    readings.into_iter().find_map(|reading| {
        let ratio = apart.ratio(column, row, &reading);
        let letters: String = reading.iter().map(|d| d.letter()).collect();
        is_near(ratio, published).then(|| format!("{both}; {letters} {ratio:.2}"))
    })
}

#[test]
fn every_published_ratio_is_within_a_tenth_or_explained_as_the_design_says() {
    let design = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let design = std::fs::read_to_string(design).unwrap();
    let mut wrong = Vec::new();
    for (at, column, trace) in columns(is_short) {
        let (ours, apart) = (simulated(at), Apart::draw(column, &trace));
        let mut line = format!("| {} |", column.words());
        for (row, seconds) in ROWS.iter().zip(&ours.rows) {
            let Some(published) = row.published[at] else {
                line += " - |";
                continue;
            };
            let ratio = seconds / column.equal.unwrap_or(ours.equal);
            let text = cell((column, row), published, ratio, &apart);
            line += &format!(" {} |", text.as_deref().unwrap_or("unexplained"));
            if text.is_none() {
                wrong.push(format!(
                    "{}: {ratio:.3} for {published:.3}",
                    describe(column, row)
                ));
            }
        }
        println!("{line}");
        if !design.contains(&line) {
            wrong.push(format!(
                "docs/design.md, section 6, has another line than\n{line}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last row of the table: whoever is busy takes turns on the whole GPU.
#[test]
fn sharing_per_request_is_agents_that_take_turns() {
    let mut found = Vec::new();
    for (at, column, trace) in columns(is_short) {
        let scenario = cell::taking_turns(&trace, column);
        let turns = (1..=SEEDS).map(|seed| cell::mean(&scenario, Policy::StaticEqual, seed));
        let equal = column.equal.unwrap_or_else(|| simulated(at).equal);
        let what = format!("{}: sharing per request", column.words());
        found.push((what, mean(turns) / equal, PER_REQUEST[at]));
    }
    assert_near(found);
}
