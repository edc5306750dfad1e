//! A time-sliced GPU: copies take turns, and the more copies of an agent are busy the more turns it has.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, Job, Runs, Settings, WATER};
use super::bench::{all, average, each, mean, shown, under};
use super::fractions::words;
use super::losses::{Loss, compare};
use super::overload::tail;
use super::pods::{COLD_START, starts};
use super::scenes::{A, AGENTS, EVEN, Pool, Traces, UNEVEN, always, on_pods};
use super::scenes::{one_gpu, scenario};
use agentpool::sharing::Node;
use agentpool::simulation::load::AgentLoad;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::paired_ratio;
use agentpool::simulation::{Outcome, Scenario};
use agentpool::units::{GpuResource, Mebibytes};
use anyhow::Result;
use std::collections::BTreeMap;

/// What is compared, the first with the others. The other rules of the page on whole GPUs count those, or their utilisation.
const RULES: [&str; 4] = [HOLD, WATER, BALANCED, "keda"];
/// Tokens of the GPU.
const SLICES: u32 = 10;
/// Memory of the GPU, in GiB.
const MEMORY: u64 = 80;
/// Memory of a copy in GiB, and as a model declares it.
const COPIES: [(u64, &str); 2] = [
    (4, ", memoryPerReplica: 4Gi"),
    (16, ", memoryPerReplica: 16Gi"),
];
/// Loads of the GPU, and how agents divide them.
const CASES: [(f64, [f64; 4]); 3] = [(0.7, EVEN), (0.7, UNEVEN), (1.3, EVEN)];

/// What the pool is told: High, Medium, Medium, Low, each with a tenth of the GPU as minimum share.
fn pool(model: &'static str) -> Pool {
    Pool {
        priorities: ["High", "Medium", "Medium", "Low"],
        min_shares: ["100m"; 4],
        sharing: "{type: TimeSlicing, timeSlicing: {slicesPerGpu: 10}}",
        replicas: Some(SLICES),
        model,
        ..Pool::default()
    }
}

/// Four agents with these loads, one copy each as it begins.
fn sliced(
    loads: Vec<(AgentLoad, f64)>,
    load: (f64, [f64; 4]),
    model: &'static str,
    seconds: f64,
) -> Result<Scenario> {
    let node = Node {
        name: "gpu".to_owned(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::shared(), SLICES)]),
        gpus: 1,
        slices_per_gpu: Some(SLICES),
        gpu_memory: Some(Mebibytes(MEMORY * 1024)),
        ..Node::default()
    };
    let nodes = (always(node, 1), COLD_START);
    on_pods(&pool(model), loads, load, nodes, seconds)
}

/// Most copies that served at once.
fn most(outcome: &Outcome) -> u32 {
    let copies = outcome.series.iter();
    let copies = copies.map(|point| point.agents.iter().map(|a| a.replicas).sum());
    copies.max().unwrap_or(0)
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    traces: &Traces,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Copies on a time-sliced GPU".to_owned(),
        ..Page::default()
    };
    let name = traces.called(A, "A");
    page.text(format!(
        "{name} on one time-sliced GPU of {SLICES} slices and {MEMORY} GiB, one request at a time in a copy, in one queue an agent in front of \
         its copies; cold start {COLD_START} s; coordinator High, nlp and vision Medium, reasoning Low, minimum shares of a tenth. Copies \
         that are busy take turns on the whole GPU and an idle one lends its turn; switching costs nothing here, which is kind to every \
         rule. Hold keeps one copy of each agent. Ratios of the mean, and of each agent's 95th percentile, to Hold; for scale the same load on \
         hard quarters of a GPU that never move. Memory is what the most copies that served at once hold: a scheduler does not count it, \
         so that KEDA may ask for more than there is. Such copies serve here all the same; on a GPU they would fail to start.",
    ));
    let mut table = Table::new([
        "<load",
        "a copy",
        "<rule",
        "mean",
        "mean to Hold",
        "coordinator (High) p95",
        "nlp (Medium)",
        "vision (Medium)",
        "reasoning (Low)",
        "pod starts/h",
        "copies",
        "memory",
    ]);
    for load in CASES {
        for (i, copy) in COPIES.into_iter().enumerate() {
            let words = format!("{name} {} {}", load.0, words(load.1));
            let seconds = traces.seconds(A);
            let made = sliced(traces.loads(A)?, load, copy.1, seconds)?;
            let runs = all(settings, &[Job::new(made, &RULES)?])?.remove(0);
            if i == 0 {
                let loads = traces.loads(A)?;
                let hard = scenario(&Pool::default(), loads, load, one_gpu(0.0), seconds)?;
                let hard = all(settings, &[Job::new(hard, &[HOLD])?])?.remove(0);
                row(&mut table, (&words, "hard quarters"), None, &hard[0], &runs);
            }
            // Under overload whom a rule lets wait is a choice, so that it is no loss.
            if load.0 < 1.0 {
                let place = format!("time slices, {words}, copies of {} GiB", copy.0);
                compare(losses, &place, &runs);
                aims.push(Aim::no_worse(&place, &runs));
            }
            for rule in RULES {
                row(
                    &mut table,
                    (&words, rule),
                    Some(copy.0),
                    under(&runs, rule),
                    &runs,
                );
            }
        }
    }
    page.table(table);
    Ok(page)
}

/// A rule on a load, beside the runs of Hold; with the memory of a copy where there are any.
fn row(
    table: &mut Table,
    (load, rule): (&str, &str),
    copy: Option<u64>,
    outcomes: &[Outcome],
    runs: &Runs,
) {
    let is_hold = rule == HOLD;
    let to_hold = |of: &dyn Fn(&Outcome) -> f64| {
        shown(paired_ratio(&each(outcomes, of), &each(&runs[0], of)))
    };
    let mut cells = vec![
        load.to_owned(),
        copy.map_or_else(|| "-".to_owned(), |copy| format!("{copy} GiB")),
        rule.to_owned(),
        format!("{} s", average(outcomes, mean)),
        if is_hold {
            "1".to_owned()
        } else {
            to_hold(&mean)
        },
    ];
    for agent in AGENTS {
        let of = |o: &Outcome| tail(o, agent);
        cells.push(if is_hold {
            format!("{} s", average(outcomes, of))
        } else {
            to_hold(&of)
        });
    }
    cells.extend(match copy {
        None => ["-", "-", "-"].map(str::to_owned),
        Some(copy) => {
            let copies = outcomes.iter().map(most).max().unwrap_or(0);
            [
                average(outcomes, starts),
                copies.to_string(),
                memory(u64::from(copies) * copy),
            ]
        }
    });
    table.row(cells);
}

/// Gibibytes, and whether the GPU has them.
fn memory(held: u64) -> String {
    let fits = if held > MEMORY { ", does not fit" } else { "" };
    format!("{held} GiB{fits}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::waves;
    use super::*;

    #[test]
    fn our_copies_fit_the_memory_and_an_agent_of_high_priority_gets_more_turns_under_overload() {
        let made = sliced(waves::turns(1e6, 900.0), (1.3, EVEN), COPIES[1].1, 900.0);
        let job = Job::new(made.unwrap(), &RULES).unwrap();
        let runs = all(&Settings { seeds: 2 }, &[job]).unwrap().remove(0);
        assert_eq!(most(&under(&runs, HOLD)[0]), 4);
        for rule in [WATER, BALANCED] {
            let copies = under(&runs, rule).iter().map(most).max().unwrap();
            assert!(
                u64::from(copies) * COPIES[1].0 <= MEMORY,
                "{rule}: {copies}"
            );
        }
        let high = |rule| tail(&under(&runs, rule)[0], AGENTS[0]);
        assert!(high(WATER) < high(HOLD), "{} {}", high(WATER), high(HOLD));
    }

    #[test]
    fn memory_that_is_not_there_is_said_so() {
        assert_eq!(memory(80), "80 GiB");
        assert_eq!(memory(96), "96 GiB, does not fit");
    }
}
