//! More load than there is GPU: who waits.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, Job, Settings, WATER};
use super::bench::{all, average, ratio, shown, under, upper};
use super::scenes::{A, AGENTS, EVEN, Pool, Traces, one_gpu, scenario};
use agentpool::simulation::Outcome;
use agentpool::simulation::report::{Page, Table};
use anyhow::Result;

/// High, Medium, Medium, Low, each with a tenth of the GPU as minimum share.
fn pool() -> Pool {
    Pool {
        priorities: ["High", "Medium", "Medium", "Low"],
        min_shares: ["100m"; 4],
        ..Pool::default()
    }
}

/// The longest time that any agent may have requests and finish none, in seconds: a constant of this evaluation. A minimum share of a
/// tenth serves a request of mean work within seconds; this is far above what chance does.
const STARVED: f64 = 300.0;

/// The 95th percentile of an agent, in seconds.
pub(super) fn tail(outcome: &Outcome, agent: &str) -> f64 {
    let found = outcome.agents.iter().find(|a| a.name == agent);
    found.and_then(|a| a.latency.quantile(0.95)).unwrap_or(0.0)
}

/// The longest time in any run that any agent had requests and finished none, in seconds; infinite where nothing was run.
fn longest(outcomes: &[Outcome]) -> f64 {
    let starved = |o: &Outcome| o.agents.iter().map(|a| a.starved).fold(0.0, f64::max);
    let longest = outcomes.iter().map(starved).max_by(f64::total_cmp);
    longest.unwrap_or(f64::INFINITY)
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, aims: &mut Vec<Aim>) -> Result<Page> {
    let mut page = Page {
        title: "Overload and priority".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "{}, evenly loaded, on one GPU in hard fractions, lag 30 s; coordinator High, nlp and vision Medium, reasoning Low, minimum \
         shares of a tenth. Requests that never finish count with their age. Ratios of the 95th percentile to the equal split; the \
         longest time that any agent had requests and finished none, of which no more than {STARVED} s are asked.",
        traces.called(A, "A")
    ));
    let loads = [1.0, 1.25, 1.5, 2.0];
    let mut jobs = Vec::new();
    for load in loads {
        let made = scenario(
            &pool(),
            traces.loads(A)?,
            (load, EVEN),
            one_gpu(30.0),
            traces.seconds(A),
        )?;
        jobs.push(Job::new(made, &[HOLD, WATER, BALANCED])?);
    }
    let runs = all(settings, &jobs)?;
    let mut table = Table::new([
        "<load",
        "<rule",
        "coordinator (High) p95",
        "nlp (Medium)",
        "vision (Medium)",
        "reasoning (Low)",
        "longest without an answer",
    ]);
    for (load, runs) in loads.iter().zip(&runs) {
        for (rule, name) in [
            (HOLD, "equal split"),
            (WATER, "WaterFilling"),
            (BALANCED, "Balanced"),
        ] {
            let mut cells = vec![format!("{load}"), name.to_owned()];
            for agent in AGENTS {
                let of = |o: &Outcome| tail(o, agent);
                cells.push(if rule == HOLD {
                    format!("{} s", average(&runs[0], of))
                } else {
                    shown(ratio(runs, rule, of))
                });
            }
            cells.push(format!("{:.0} s", longest(under(runs, rule))));
            table.row(cells);
        }
        let high = upper(ratio(runs, BALANCED, |o| tail(o, AGENTS[0])));
        let what = format!("overload {load}: p95 of the High agent");
        aims.push(Aim::new(what, high, 1.0).equal(1.0));
        let what = format!("overload {load}: longest starvation, s");
        let aim = Aim::new(what, longest(under(runs, BALANCED)), STARVED);
        aims.push(aim.bound_here().equal(longest(&runs[0])));
    }
    page.table(table);
    Ok(page)
}
