//! Square waves on pods: each move costs a restart.

use super::aims::Aim;
use super::bench::{Job, Settings, all, average, each, mean, p95, ratio, shown, upper};
use super::losses::{Loss, compare};
use super::pods::{COLD_START, GPUS, on_pods, starts};
use super::scenes::EVEN;
use super::waves::{HIGH, PERIODS, turns};
use agentpool::simulation::Scenario;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::interval;
use anyhow::Result;

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
    let mut jobs = Vec::new();
    for period in PERIODS {
        let seconds = f64::max(3600.0, 10.0 * period);
        let made = on_pods(turns(period, seconds), (0.7, EVEN), seconds)?;
        jobs.push(Job::new(made, &["hold", "water-filling", "balanced"])?);
    }
    let rate = jobs.first().map_or(0.0, |job| declared(&job.scenario));
    let mut page = Page {
        title: "Square waves on pods".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "The same waves on {GPUS} whole GPUs, cold start {COLD_START} s: each agent in turn gets {HIGH} times its mean for a quarter of the period, \
         at least 10 periods. Nothing in the API bounds pod starts as such; what is declared is the stabilization window of scaleDown. One start an \
         agent and window is {rate} an hour.",
    ));
    let runs = all(settings, &jobs)?;
    let mut table = Table::new([
        "period",
        "hold mean",
        "WaterFilling mean",
        "starts/h",
        "Balanced mean",
        "p95",
        "starts/h ",
    ]);
    for (period, runs) in PERIODS.iter().zip(&runs) {
        let balanced = ratio(runs, 2, mean);
        let what = format!("square wave of {period} s on pods: mean");
        aims.push(Aim::new(what, upper(balanced), 1.1).held());
        let what = format!("square wave of {period} s on pods: pod starts an hour");
        let started = upper(interval(&each(&runs[2], starts)));
        aims.push(Aim::new(what, started, rate).held());
        let place = format!("pods, square wave of {period} s");
        let (means, tails) = (ratio(runs, 1, mean), ratio(runs, 1, p95));
        compare(losses, place.as_str(), "WaterFilling", means, tails);
        compare(losses, place, "Balanced", balanced, ratio(runs, 2, p95));
        table.row([
            format!("{period} s"),
            format!("{} s", average(&runs[0], mean)),
            shown(ratio(runs, 1, mean)),
            average(&runs[1], starts),
            shown(balanced),
            shown(ratio(runs, 2, p95)),
            average(&runs[2], starts),
        ]);
    }
    page.table(table);
    Ok(page)
}
