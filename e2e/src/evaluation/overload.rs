//! More load than there is GPU: who waits.

use super::aims::Aim;
use super::bench::{Job, Settings, all, average, each, shown, upper};
use super::scenes::{A, AGENTS, EVEN, Pool, Traces, one_gpu, scenario};
use agentpool::simulation::Outcome;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::paired_ratio;
use anyhow::Result;

/// High, Medium, Medium, Low, each with a tenth of the GPU as minimum share.
fn pool() -> Pool {
    Pool {
        priorities: ["High", "Medium", "Medium", "Low"],
        min_shares: ["100m"; 4],
        ..Pool::default()
    }
}

/// The longest time that any agent may have requests and finish none, in seconds. A minimum share of a tenth serves a request of mean
/// work within seconds; what is declared here is far above what chance does.
const STARVED: f64 = 300.0;

fn tail(outcome: &Outcome, agent: &str) -> f64 {
    let found = outcome.agents.iter().find(|a| a.name == agent);
    found.and_then(|a| a.latency.quantile(0.95)).unwrap_or(0.0)
}

fn starved(outcome: &Outcome) -> f64 {
    outcome.agents.iter().map(|a| a.starved).fold(0.0, f64::max)
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, aims: &mut Vec<Aim>) -> Result<Page> {
    let mut page = Page {
        title: "Overload and priority".to_owned(),
        ..Page::default()
    };
    page.text(
        "Trace A, evenly loaded, on one GPU in hard fractions, lag 30 s; coordinator High, nlp and vision Medium, reasoning Low, minimum \
         shares of a tenth. Requests that never finish count with their age. Ratios of the 95th percentile to the equal split; the \
         longest time that any agent had requests and finished none.",
    );
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
        jobs.push(Job::new(made, &["hold", "water-filling", "balanced"])?);
    }
    let runs = all(settings, &jobs)?;
    let mut table = Table::new([
        "load",
        "<rule",
        "coordinator (High) p95",
        "nlp (Medium)",
        "vision (Medium)",
        "reasoning (Low)",
        "longest without an answer",
    ]);
    for (load, runs) in loads.iter().zip(&runs) {
        for (rule, name) in [(0, "equal split"), (1, "WaterFilling"), (2, "Balanced")] {
            let mut cells = vec![format!("{load}"), name.to_owned()];
            for agent in AGENTS {
                let of = |o: &Outcome| tail(o, agent);
                cells.push(if rule == 0 {
                    format!("{} s", average(&runs[0], of))
                } else {
                    shown(paired_ratio(&each(&runs[rule], of), &each(&runs[0], of)))
                });
            }
            let longest = each(&runs[rule], starved).into_iter().fold(0.0, f64::max);
            cells.push(format!("{longest:.0} s"));
            table.row(cells);
        }
        let high = |o: &Outcome| tail(o, AGENTS[0]);
        let ratio = paired_ratio(&each(&runs[2], high), &each(&runs[0], high));
        let what = format!("overload {load}: p95 of the High agent");
        aims.push(Aim::new(what, upper(ratio), 1.0).held());
        let longest = each(&runs[2], starved).into_iter().fold(0.0, f64::max);
        let what = format!("overload {load}: longest starvation, s");
        aims.push(Aim::new(what, longest, STARVED).held());
    }
    page.table(table);
    Ok(page)
}
