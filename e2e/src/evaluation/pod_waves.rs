//! Square waves on pods: each move costs a restart.

use super::aims::Aim;
use super::bench::{BALANCED, Runs, Settings, WATER};
use super::bench::{average, beside, each, mean, under, upper};
use super::losses::Loss;
use super::pods::{COLD_START, GPUS, on_gpus, starting, starts};
use super::scenes::EVEN;
use super::waves::{FEW, HIGH, PAIRED, PERIODS, each_period, pairs, turns};
use agentpool::simulation::Scenario;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::interval;
use anyhow::Result;

/// Pods that start more slowly than the API takes for granted, in seconds, and the waves they are shown: long enough that moving could pay.
const SLOW: [f64; 3] = [COLD_START, 60.0, 120.0];
const LONG: [f64; 5] = [300.0, 600.0, 1200.0, 2400.0, 3600.0];

/// Pod starts an hour that the pool declares: an agent gives up what it has once a stabilization window at most, and what one agent
/// gives up another starts.
fn declared(scenario: &Scenario) -> f64 {
    let window = scenario.pool.shape.behavior.scale_down_window;
    scenario.services.len() as f64 * 3600.0 / window.as_secs_f64()
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let made = |period: f64| {
        let seconds = f64::max(3600.0, 10.0 * period);
        on_gpus(turns(period, seconds), (0.7, EVEN), seconds)
    };
    let rate = declared(&made(3600.0)?);
    let mut page = Page {
        title: "Square waves on pods".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "The same waves on {GPUS} whole GPUs, cold start {COLD_START} s: each agent in turn gets {HIGH} times its mean for a quarter of the \
         period, at least 10 periods. Nothing in the API bounds pod starts as such. What is asked here is one start an agent and \
         stabilization window of scaleDown, {rate} an hour: a constant of this evaluation. \
         Balanced bounds itself by as much, counted from the beginning of a run: a start must have been allowed for before it is made.",
    ));
    let mut table = Table::new(COLUMNS);
    let waves = ("pods", &PERIODS[..]);
    each_period(settings, waves, made, losses, |period, runs, aim| {
        aims.push(aim.later());
        let what = format!("pods, square wave of {period} s: pod starts an hour");
        let started = upper(interval(&each(under(runs, BALANCED), starts)));
        let still = each(&runs[0], starts).into_iter().fold(0.0, f64::max);
        aims.push(Aim::new(what, started, rate).bound_here().equal(still));
        table.row(row(period, runs));
    })?;
    page.table(table);
    slow(settings, &mut page, aims, losses)?;
    Ok(page)
}

/// Waves of two agents at once, on pods that start more and more slowly.
fn slow(
    settings: &Settings,
    page: &mut Page,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<()> {
    let few = Settings {
        seeds: settings.seeds.min(FEW),
    };
    page.heading(format!("Two agents at once, {} seeds", few.seeds));
    page.text(format!(
        "Two agents get {PAIRED} times their mean for half of the period, the other two for the other half. The pool declares nothing of \
         how long its pods start.",
    ));
    for cold_start in SLOW {
        let made = |period: f64| {
            let seconds = f64::max(3600.0, 10.0 * period);
            starting(cold_start, pairs(period, seconds), (0.7, EVEN), seconds)
        };
        page.text(format!("Cold start {cold_start} s:"));
        let mut table = Table::new(COLUMNS);
        let place = format!("pods, cold start {cold_start} s, two at once");
        each_period(&few, (&place, &LONG), made, losses, |period, runs, aim| {
            aims.push(aim.later());
            table.row(row(period, runs));
        })?;
        page.table(table);
    }
    Ok(())
}

const COLUMNS: [&str; 8] = [
    "<period",
    "hold mean",
    "WaterFilling mean",
    "p95",
    "starts/h",
    "Balanced mean",
    "p95 ",
    "starts/h ",
];

fn row(period: f64, runs: &Runs) -> Vec<String> {
    let first = [
        format!("{period} s"),
        format!("{} s", average(&runs[0], mean)),
    ];
    let rest = [WATER, BALANCED].map(|rule| {
        let [mean, p95] = beside(runs, rule);
        [mean, p95, average(under(runs, rule), starts)]
    });
    first
        .into_iter()
        .chain(rest.into_iter().flatten())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_one_start_an_agent_and_window() {
        let made = on_gpus(turns(60.0, 60.0), (0.7, EVEN), 60.0).unwrap();
        assert_eq!(declared(&made), 48.0, "four agents, windows of 300 s");
    }
}
