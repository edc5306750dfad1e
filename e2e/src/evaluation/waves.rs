//! Square waves: the load that hurts whoever follows it.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, Job, Runs, Settings, WATER};
use super::bench::{all, average, beside, mean, moves, ratio, under, upper};
use super::losses::{Loss, compare};
use super::scenes::{AGENTS, EVEN, Pool, one_gpu, scenario};
use agentpool::simulation::Scenario;
use agentpool::simulation::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// Mean requests a second of each agent.
const RATE: f64 = 3.0;
/// What the high rate is of the mean.
pub(super) const HIGH: f64 = 2.2;
/// The same where two agents are high at once.
pub(super) const PAIRED: f64 = 1.8;

/// Periods, in seconds.
pub(super) const PERIODS: [f64; 15] = [
    10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 450.0, 600.0, 900.0, 1200.0, 1800.0,
    3600.0,
];
/// Lags that were not thought of when the aim was set, in seconds.
const OTHER_LAGS: [f64; 2] = [0.0, 100.0];
/// Seeds of those, at most.
pub(super) const FEW: u64 = 5;
/// What is asked of Balanced's mean, to the equal split's.
const MOST: f64 = 1.1;

/// Every agent in turn is high for a quarter of the period; the others share the rest evenly.
pub(super) fn turns(period: f64, seconds: f64) -> Vec<(AgentLoad, f64)> {
    let low = RATE * (4.0 - HIGH) / 3.0;
    quarters(period, seconds, |agent, quarter| match quarter == agent {
        true => RATE * HIGH,
        false => low,
    })
}

/// Two agents are high for the first half of the period, the other two for the second.
pub(super) fn pairs(period: f64, seconds: f64) -> Vec<(AgentLoad, f64)> {
    let low = RATE * (2.0 - PAIRED);
    quarters(period, seconds, |agent, quarter| {
        match quarter / 2 == agent / 2 {
            true => RATE * PAIRED,
            false => low,
        }
    })
}

/// Every agent's rate in each quarter of the period, in turn.
fn quarters(
    period: f64,
    seconds: f64,
    rate: impl Fn(usize, usize) -> f64,
) -> Vec<(AgentLoad, f64)> {
    let steps = |agent: usize| -> Vec<Piece> {
        let quarters = (seconds / period * 4.0).ceil() as usize;
        (0..quarters)
            .map(|quarter| Piece {
                seconds: period / 4.0,
                rate: rate(agent, quarter % 4),
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

/// Runs every period under the policies and Hold, and judges the means; `made` makes the scenario of a period, `row` writes one.
pub(super) fn each_period(
    settings: &Settings,
    (place, periods): (&str, &[f64]),
    made: impl Fn(f64) -> Result<Scenario>,
    losses: &mut Vec<Loss>,
    mut row: impl FnMut(f64, &Runs, Aim),
) -> Result<()> {
    for &period in periods {
        let job = Job::new(made(period)?, &[HOLD, WATER, BALANCED])?;
        let runs = all(settings, &[job])?.remove(0);
        let place = format!("{place}, square wave of {period} s");
        compare(losses, &place, &runs);
        let means = upper(ratio(&runs, BALANCED, mean));
        let aim = Aim::new(format!("{place}: mean"), means, MOST).equal(1.0);
        row(period, &runs, aim);
    }
    Ok(())
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
        "Each of four agents in turn gets {HIGH} times its mean for a quarter of the period. Mean load 0.7 of one GPU in hard fractions, \
         at least 40 periods. Whoever follows such a wave a lag late gives to the agent whose turn is over.",
    ));
    page.heading("A lag of 30 s");
    page.table(table(settings, 30.0, aims, losses)?);
    let few = Settings {
        seeds: settings.seeds.min(FEW),
    };
    for lag in OTHER_LAGS {
        page.heading(format!("A lag of {lag} s, {} seeds", few.seeds));
        let mut later = Vec::new();
        page.table(table(&few, lag, &mut later, losses)?);
        aims.extend(later.into_iter().map(Aim::later));
    }
    Ok(page)
}

fn table(
    settings: &Settings,
    lag: f64,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Table> {
    let mut table = Table::new([
        "<period",
        "equal mean",
        "WaterFilling mean",
        "p95",
        "Balanced mean",
        "p95 ",
        "Balanced moves/h",
    ]);
    let made = |period: f64| {
        let seconds = f64::max(3600.0, 40.0 * period);
        scenario(
            &Pool::default(),
            turns(period, seconds),
            (0.7, EVEN),
            one_gpu(lag),
            seconds,
        )
    };
    let place = format!("hard fractions, lag {lag} s");
    let waves = (place.as_str(), &PERIODS[..]);
    each_period(settings, waves, made, losses, |period, runs, aim| {
        aims.push(aim);
        let first = [
            format!("{period} s"),
            format!("{} s", average(&runs[0], mean)),
        ];
        let rest = [WATER, BALANCED].map(|rule| beside(runs, rule));
        let moved = average(under(runs, BALANCED), moves);
        table.row(
            first
                .into_iter()
                .chain(rest.into_iter().flatten())
                .chain([moved]),
        );
    })?;
    Ok(table)
}
