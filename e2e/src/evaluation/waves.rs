//! Square waves: the load that hurts whoever follows it.

use super::aims::Aim;
use super::bench::{Job, Settings, all, average, mean, p95, ratio, shown, upper};
use super::losses::{Loss, compare};
use super::scenes::{AGENTS, EVEN, Pool, one_gpu, scenario};
use agentpool::simulation::Outcome;
use agentpool::simulation::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// Mean requests a second of each agent.
const RATE: f64 = 3.0;
/// What the high rate is of the mean.
pub(super) const HIGH: f64 = 2.2;

/// Periods, in seconds.
pub(super) const PERIODS: [f64; 11] = [
    10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0,
];

/// Every agent in turn is high for a quarter of the period; the others share the rest evenly.
pub(super) fn turns(period: f64, seconds: f64) -> Vec<(AgentLoad, f64)> {
    let low = RATE * (4.0 - HIGH) / 3.0;
    let steps = |agent: usize| -> Vec<Piece> {
        let quarters = (seconds / period * 4.0).ceil() as usize;
        let rate = |quarter: usize| {
            if quarter % 4 == agent {
                RATE * HIGH
            } else {
                low
            }
        };
        (0..quarters)
            .map(|quarter| Piece {
                seconds: period / 4.0,
                rate: rate(quarter),
            })
            .collect()
    };
    let load = |(agent, name): (usize, &&str)| {
        let load = AgentLoad {
            agent: (*name).to_owned(),
            arrivals: Arrivals::Steps {
                steps: steps(agent),
                spacing: Spacing::Poisson,
            },
            work: Work::Exponential,
        };
        (load, RATE)
    };
    AGENTS.iter().enumerate().map(load).collect()
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Square waves".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "Each of four agents in turn gets {HIGH} times its mean for a quarter of the period. Mean load 0.7 of one GPU in hard fractions, lag \
         30 s, at least 40 periods. Whoever follows such a wave a lag late gives to the agent whose turn is over.",
    ));
    let mut jobs = Vec::new();
    for period in PERIODS {
        let seconds = f64::max(3600.0, 40.0 * period);
        let made = scenario(
            &Pool::default(),
            turns(period, seconds),
            (0.7, EVEN),
            one_gpu(30.0),
            seconds,
        )?;
        jobs.push(Job::new(made, &["hold", "water-filling", "balanced"])?);
    }
    let runs = all(settings, &jobs)?;
    let mut table = Table::new([
        "period",
        "equal mean",
        "WaterFilling mean",
        "Balanced mean",
        "p95",
        "Balanced moves/h",
    ]);
    for (period, runs) in PERIODS.iter().zip(&runs) {
        let balanced = ratio(runs, 2, mean);
        let what = format!("square wave of {period} s: mean");
        aims.push(Aim::new(what, upper(balanced), 1.1).held());
        let place = format!("hard fractions, square wave of {period} s");
        let (means, tails) = (ratio(runs, 1, mean), ratio(runs, 1, p95));
        compare(losses, place.as_str(), "WaterFilling", means, tails);
        compare(losses, place, "Balanced", balanced, ratio(runs, 2, p95));
        table.row([
            format!("{period} s"),
            format!("{} s", average(&runs[0], mean)),
            shown(ratio(runs, 1, mean)),
            shown(balanced),
            shown(ratio(runs, 2, p95)),
            average(&runs[2], |o: &Outcome| {
                o.moves as f64 / (o.seconds / 3600.0)
            }),
        ]);
    }
    page.table(table);
    Ok(page)
}
