//! Hard fractions of one GPU, every decision in force one lag later.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, PROPORTIONAL, WATER};
use super::bench::{Job, Runs, Settings, all, average, beside, each, mean, moves, p95, plot};
use super::bench::{ratio, shown, under, upper};
use super::bounds::Bounds;
use super::losses::{Loss, compare};
use super::scenes::{A, B, C, EVEN, Pool, Source, Traces, UNEVEN, one_gpu, scenario};
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// What is compared on fractions, the first with the others.
pub(super) const RULES: [&str; 4] = [HOLD, PROPORTIONAL, WATER, BALANCED];
/// The lag beside which bounds stand, which do not depend on it, in seconds.
const BOUNDED: f64 = 30.0;

/// One row.
struct Row {
    source: Source,
    name: &'static str,
    load: f64,
    split: [f64; 4],
    lag: f64,
    /// The most that the mean of Balanced may be, where an aim says more than "nowhere worse".
    aim: Option<f64>,
}

fn row(
    (source, name): (Source, &'static str),
    load: f64,
    split: [f64; 4],
    lag: f64,
    aim: impl Into<Option<f64>>,
) -> Row {
    Row {
        source,
        name,
        load,
        split,
        lag,
        aim: aim.into(),
    }
}

const fn named(source: Source, name: &'static str) -> (Source, &'static str) {
    (source, name)
}

/// Rows on which the policy was chosen, and those that only confirm.
fn rows() -> (Vec<Row>, Vec<Row>) {
    let (a, b, c) = (named(A, "A"), named(B, "B"), named(C, "C"));
    let mut chosen = vec![row(a, 0.7, EVEN, 0.0, 0.55)];
    for (lag, aims) in [
        (30.0, [0.80, 0.70, 0.25, 0.25].map(Some)),
        (100.0, [None, None, Some(0.30), None]),
    ] {
        chosen.push(row(a, 0.5, EVEN, lag, None));
        chosen.push(row(a, 0.7, EVEN, lag, aims[0]));
        chosen.push(row(a, 0.85, EVEN, lag, aims[1]));
        chosen.push(row(a, 0.7, UNEVEN, lag, aims[2]));
        chosen.push(row(a, 0.85, UNEVEN, lag, aims[3]));
        for load in [0.5, 0.7, 0.85] {
            chosen.push(row(c, load, EVEN, lag, None));
        }
        chosen.push(row(c, 0.7, UNEVEN, lag, None));
    }
    let mut confirmed = Vec::new();
    for lag in [30.0, 100.0] {
        let far = (lag < 60.0).then_some(0.03);
        confirmed.push(row(b, 0.5, EVEN, lag, far));
        confirmed.push(row(b, 0.7, EVEN, lag, far));
        confirmed.push(row(b, 0.85, EVEN, lag, None));
        confirmed.push(row(b, 0.7, UNEVEN, lag, None));
        for single in [
            "azure_code_2023",
            "azure_conv_2023",
            "servegen_mm_image",
            "servegen_deepseek_r1",
            "mooncake_conversation",
        ] {
            for load in [0.5, 0.7, 0.85] {
                confirmed.push(row(
                    (Source::Quarters(single), single),
                    load,
                    EVEN,
                    lag,
                    None,
                ));
            }
        }
    }
    (chosen, confirmed)
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    traces: &Traces,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Hard fractions of one GPU".to_owned(),
        ..Page::default()
    };
    page.text(
        "One GPU divided into hard fractions (as MIG would, were it fine enough), first come first served, exponential service, a decision \
         every second, in force one lag later, later ones under way meanwhile. Ratios of the mean time in the system, and of its 95th \
         percentile, to the equal split, which Hold keeps (so Hold is 1 everywhere). static-proportional is a split that never moves either, \
         in proportion to the mean loads of the run, for those who know them. WaterFilling has its default pace, slowed down to the lag; \
         Balanced learns its own. Loads are even, or .4/.1/.3/.2 of coordinator, nlp, vision, reasoning. \
         The margins by which evidence must win (5 and 2 %) were set after a run in which A at 0.85 missed its aim by 0.004, and \
         single traces were looked at while the policy was written: what confirms it is B. A quarter of an Azure trace is 525 s long: with \
         a lag of 100 s a ratio of 1 says that there was no time to learn. Mooncake's arrivals stand on a grid of 3 s, so that requests \
         come in batches that nobody sent.",
    );
    let (chosen, confirmed) = rows();
    let mut reach = reach();
    for (title, rows) in [
        ("On which Balanced was chosen", chosen),
        (
            "On which it was confirmed (singles: the quarters of one trace, side by side)",
            confirmed,
        ),
    ] {
        let rows: Vec<Row> = rows
            .into_iter()
            .filter(|row| is_there(traces, row))
            .collect();
        page.heading(title);
        page.table(table(
            settings,
            traces,
            &rows,
            (&mut reach, &mut *aims, &mut *losses),
        )?);
    }
    page.heading("What could be reached");
    page.text(format!(
        "Means as ratios to the equal split again, the policies with a lag of {BOUNDED} s. The best static split is found in hindsight, for \
         each run by itself, in steps of a hundredth of a GPU: no split on that grid that never moves has a lower mean. Processor sharing \
         lets all requests share the whole GPU at once; it is no bound, but what fair sharing per request comes to without any lag. \
         Preemptive cμ order per request on the whole GPU bounds the mean of every rule (exponential service, linear speed).",
    ));
    page.table(reach);
    page.heading(format!(
        "{}, load of 0.7 as .4/.1/.3/.2, lag 30 s",
        traces.called(A, "A")
    ));
    let row = row((A, "A"), 0.7, UNEVEN, 30.0, None);
    let runs = all(&Settings { seeds: 2 }, &[job(traces, &row)?])?;
    plot(&mut page, "fractions", &runs[0]);
    Ok(page)
}

fn job(traces: &Traces, row: &Row) -> Result<Job> {
    let made = scenario(
        &Pool::default(),
        traces.loads(row.source)?,
        (row.load, row.split),
        one_gpu(row.lag),
        traces.seconds(row.source),
    )?;
    Job::new(made, &RULES)
}

/// A trace of one service has no generator of its own.
fn is_there(traces: &Traces, row: &Row) -> bool {
    match row.source {
        Source::Four { .. } | Source::Turned { .. } => true,
        Source::Quarters(name) => traces.get(name).is_some(),
    }
}

/// What a table fills beside itself.
type Beside<'a> = (&'a mut Table, &'a mut Vec<Aim>, &'a mut Vec<Loss>);

fn table(
    settings: &Settings,
    traces: &Traces,
    rows: &[Row],
    (reach, aims, losses): Beside<'_>,
) -> Result<Table> {
    let mut table = Table::new([
        "<load",
        "lag",
        "equal mean",
        "p95",
        "static-proportional mean",
        "WaterFilling mean",
        "p95 ",
        "Balanced mean",
        "p95  ",
        "moves/h",
    ]);
    for row in rows {
        let job = job(traces, row)?;
        // One row at a time: the runs of all of them would fill the memory.
        let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
        let name = name(traces, row);
        judge(row, &name, &runs, aims);
        let place = format!("hard fractions, {name}, lag {} s", row.lag);
        compare(losses, &place, &runs);
        let first = [
            name.clone(),
            format!("{} s", row.lag),
            format!("{} s", average(&runs[0], mean)),
            format!("{} s", average(&runs[0], p95)),
            shown(ratio(&runs, PROPORTIONAL, mean)),
        ];
        let rest = [WATER, BALANCED].map(|rule| beside(&runs, rule));
        let moved = average(under(&runs, BALANCED), moves);
        table.row(
            first
                .into_iter()
                .chain(rest.into_iter().flatten())
                .chain([moved]),
        );
        if row.lag == BOUNDED {
            let bounds = Bounds::of(settings, &job.scenario, &each(&runs[0], mean))?;
            reach.row([
                name,
                format!("{} s", average(&runs[0], mean)),
                shown(ratio(&runs, PROPORTIONAL, mean)),
                shown(bounds.split),
                shown(ratio(&runs, WATER, mean)),
                shown(ratio(&runs, BALANCED, mean)),
                shown(bounds.sharing),
                shown(bounds.order),
            ]);
        }
    }
    Ok(table)
}

/// What could be reached, without rows.
fn reach() -> Table {
    Table::new([
        "<load",
        "equal mean",
        "static-proportional",
        "best static split",
        "WaterFilling",
        "Balanced",
        "processor sharing",
        "cμ order",
    ])
}

/// The aims of a row.
fn judge(row: &Row, name: &str, runs: &Runs, aims: &mut Vec<Aim>) {
    let mut aim = |what: &str, of: fn(&agentpool::simulation::Outcome) -> f64, most: f64| {
        let value = upper(ratio(runs, BALANCED, of));
        let what = format!("{name}, lag {} s: {what}", row.lag);
        let aim = Aim::new(what, value, most).equal(1.0);
        aims.push(aim.proportional(ratio(runs, PROPORTIONAL, of)));
    };
    match row.aim {
        Some(most) => aim("mean", mean, most),
        None => aim("mean nowhere above", mean, 1.02),
    }
    aim("p95 nowhere above", p95, 1.02);
}

fn name(traces: &Traces, row: &Row) -> String {
    let name = traces.called(row.source, row.name);
    format!("{name} {} {}", row.load, words(row.split))
}

/// How a load is divided, in words.
pub(super) fn words(split: [f64; 4]) -> &'static str {
    if split == EVEN { "even" } else { ".4/.1/.3/.2" }
}
