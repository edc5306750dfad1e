//! What the paper leaves out: its four agents with real arrivals, at loads that can be served, under several minima and lags.

use super::failure::Failure;
use super::jobs::{Job, run_all};
use super::loads::found;
use crate::api::{AgentPool, ValidPool};
use crate::cli::traces;
use crate::simulation::control::Rule;
use crate::simulation::load::{AgentLoad, BuiltIn, Work, recorded_loads};
use crate::simulation::paper::AGENTS;
use crate::simulation::report::{Page, Table, ratio_cell};
use crate::simulation::statistics::paired_ratio;
use crate::simulation::{Cluster, Fractions, Outcome, Scenario, Service, Sharing};
use crate::units::MilliGpus;
use std::path::Path;

const TRACE: &str = "four_agent_A";
/// Length of the trace, in seconds.
const SECONDS: f64 = 2100.0;
const LOADS: [f64; 4] = [0.5, 0.7, 0.85, 1.0];
const LAGS: [f64; 2] = [0.0, 30.0];
const RULES: [&str; 3] = ["adaptive", "water-filling", "balanced"];
/// How the load is divided between coordinator, nlp, vision and reasoning.
const SPLITS: [(&str, [f64; 4]); 2] = [
    ("even", [0.25; 4]),
    ("uneven .4/.1/.3/.2", [0.4, 0.1, 0.3, 0.2]),
];
/// Whether minima and priorities are the paper's, or each minimum the agent's part of the load and all priorities equal.
const MINIMA: [(&str, bool); 2] = [("the paper's", true), ("that fit", false)];

/// Adds what the paper leaves out to its page. `seeds` draw the requests' work; the arrivals are those of the trace.
///
/// # Errors
/// A trace that is there and cannot be read, or a run that fails.
pub(super) fn add(page: &mut Page, trace: Option<&str>, seeds: u32) -> Result<(), Failure> {
    let (loads, said) = arrivals(trace)?;
    let seeds: Vec<u64> = (1..=u64::from(seeds)).collect();
    let cases = cases(&loads)?;
    let jobs: Vec<Job<'_>> = cases
        .iter()
        .flat_map(|case| {
            seeds.iter().map(|seed| Job {
                scenario: &case.scenario,
                name: "the paper's agents",
                rule: case.rule,
                seed: *seed,
            })
        })
        .collect();
    let mut means = Vec::new();
    run_all(&jobs, |_, outcome| means.push(mean(&outcome)))?;
    let means: Vec<&[f64]> = means.chunks(seeds.len()).collect();
    page.heading("The same four agents with real arrivals, at loads that can be served");
    page.text(format!(
        "{said}. Arrivals stay as they were recorded, and each agent's throughput is what makes its part of the load; requests are \
         served one after the other, their work is exponential ({} seeds). One GPU in hard parts, decided every second. The ratio of \
         the mean time in the system to that of static-equal, paired by seed, with 95 % confidence: below 1 is better.",
        seeds.len()
    ));
    page.table(table(&cases, &means));
    page.text(
        "Minima that fit are each agent's part of the load, with equal priorities. \
         water-filling and balanced are the operator's own policies.",
    );
    Ok(())
}

/// A rule in a scenario: static-equal first, then its challengers.
struct Case {
    split: usize,
    load: usize,
    /// Minima, lag and rule; `None`: static-equal, for which they make no difference.
    challenge: Option<(usize, usize, usize)>,
    scenario: Scenario,
    rule: Rule,
}

fn cases(loads: &[AgentLoad]) -> Result<Vec<Case>, Failure> {
    let rule = |name: &str| Rule::parse(name).map_err(|error| Failure::Run(error.to_string()));
    let mut cases = Vec::new();
    for (split, (_, parts)) in SPLITS.iter().enumerate() {
        for (load, total) in LOADS.iter().enumerate() {
            cases.push(Case {
                split,
                load,
                challenge: None,
                scenario: scenario(loads, parts, *total, true, 0.0)?,
                rule: rule("static-equal")?,
            });
            for (m, (_, papers)) in MINIMA.iter().enumerate() {
                for (l, lag) in LAGS.iter().enumerate() {
                    for (r, name) in RULES.iter().enumerate() {
                        cases.push(Case {
                            split,
                            load,
                            challenge: Some((m, l, r)),
                            scenario: scenario(loads, parts, *total, *papers, *lag)?,
                            rule: rule(name)?,
                        });
                    }
                }
            }
        }
    }
    Ok(cases)
}

fn table(cases: &[Case], means: &[&[f64]]) -> Table {
    let mut columns = vec![
        "<load between agents".to_owned(),
        "<minima".to_owned(),
        "<lag".to_owned(),
        "<rule".to_owned(),
    ];
    columns.extend(LOADS.map(|load| format!("load {load}")));
    let mut table = Table::new(columns);
    let found = |split, load, challenge| {
        let place = cases.iter().position(|case| {
            case.split == split && case.load == load && case.challenge == challenge
        });
        place.map_or(&[][..], |place| means[place])
    };
    for (split, (name, _)) in SPLITS.iter().enumerate() {
        let equal = (0..LOADS.len()).map(|load| {
            let of = found(split, load, None);
            format!("{:.2} s", of.iter().sum::<f64>() / of.len().max(1) as f64)
        });
        table.row(
            [name, "any", "any", "static-equal"]
                .map(str::to_owned)
                .into_iter()
                .chain(equal),
        );
        for (m, (minima, _)) in MINIMA.iter().enumerate() {
            for (l, lag) in LAGS.iter().enumerate() {
                for (r, rule) in RULES.iter().enumerate() {
                    let cells = (0..LOADS.len()).map(|load| {
                        let ours = found(split, load, Some((m, l, r)));
                        ratio_cell(paired_ratio(ours, found(split, load, None)))
                    });
                    let lag = format!("{lag} s");
                    let words = [name, minima, lag.as_str(), rule].map(str::to_owned);
                    table.row(words.into_iter().chain(cells));
                }
            }
        }
    }
    table
}

/// The arrivals in the order of [`AGENTS`], and where they are from.
fn arrivals(trace: Option<&str>) -> Result<(Vec<AgentLoad>, String), Failure> {
    let names = AGENTS.map(|agent| agent.name);
    let Some(path) = found(trace.unwrap_or(TRACE), Path::new("")) else {
        if let Some(trace) = trace {
            return Err(Failure::input(trace, "there is no such file or folder"));
        }
        let said = format!(
            "The trace {TRACE} is not at hand (docs/traces.md says where it is published): generated loads with its measured statistics \
             stand in"
        );
        return Ok((BuiltIn::A.loads(None).to_vec(), said));
    };
    let read = traces::read(&path).map_err(|error| Failure::Input(error.to_string()))?;
    // Where it was found by its name, the name says it: the folder differs from machine to machine.
    let shown = trace.map_or_else(|| TRACE.to_owned(), |_| path.display().to_string());
    let loads = recorded_loads(&read, &shown, &names, &[], Work::Exponential)
        .map_err(|error| Failure::Input(error.to_string()))?;
    Ok((loads, format!("Recorded arrivals of {shown}")))
}

/// The agents at this load, in one GPU.
fn scenario(
    loads: &[AgentLoad],
    parts: &[f64; 4],
    total: f64,
    papers: bool,
    lag: f64,
) -> Result<Scenario, Failure> {
    let throughput = |i: usize| loads[i].arrivals.mean_rate(SECONDS) / (total * parts[i]);
    let agents: Vec<serde_json::Value> = AGENTS
        .iter()
        .enumerate()
        .map(|(i, agent)| {
            let (minimum, priority) = if papers {
                (
                    agent.min_share.to_string(),
                    serde_json::json!(agent.priority),
                )
            } else {
                (
                    format!("{:.0}m", parts[i] * 1000.0),
                    serde_json::json!("Medium"),
                )
            };
            serde_json::json!({
                "name": agent.name,
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": agent.name},
                "priority": priority,
                "minShare": minimum,
                "replicas": {"max": 4},
                "model": {"requestsPerSecondPerGpu": format!("{:.3}", throughput(i)), "memoryPerReplica": "1Gi"},
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "paper"},
        "spec": {
            "mode": "Observe",
            "devices": [{"name": "gpu", "gpus": 1, "sharing": {"type": "MIG"}}],
            "policy": {
                "interval": "1s", "demandWindow": "5s", "drain": "2s", "actuationLag": format!("{lag}s"),
            },
            "agents": agents,
        },
    });
    let internal =
        |error: &dyn std::fmt::Display| Failure::Run(format!("the paper's pool: {error}"));
    let manifest: AgentPool = serde_json::from_value(manifest).map_err(|error| internal(&error))?;
    let mut pool = ValidPool::admit(&manifest).map_err(|error| internal(&error))?;
    // Speed is linear in the share, as in the paper.
    pool.agents
        .iter_mut()
        .for_each(|agent| agent.speed_exponent = 1.0);
    let mut services = Vec::new();
    let mut sorted = Vec::new();
    for agent in &pool.agents {
        let place = AGENTS
            .iter()
            .position(|a| a.name == agent.name)
            .unwrap_or(0);
        sorted.push(loads[place].clone());
        services.push(Service {
            throughput: throughput(place),
            max_running: 1,
            cold_start: 0.0,
            image_pull: 0.0,
            drain: 0.0,
        });
    }
    Ok(Scenario {
        pool,
        services,
        loads: sorted,
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag,
            sharing: Sharing::Partition,
        }),
        dispatch: None,
        seconds: SECONDS,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: crate::simulation::paper::PRICE,
        power: None,
    })
}

/// Mean time in the system over all agents' requests.
fn mean(run: &Outcome) -> f64 {
    let sum: f64 = run.agents.iter().map(|agent| agent.latency.sum()).sum();
    let count: u64 = run.agents.iter().map(|agent| agent.latency.count()).sum();
    sum / count as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_load_is_what_the_table_says_and_divided_as_it_says() {
        let loads = BuiltIn::A.loads(None);
        for papers in [true, false] {
            let scenario = scenario(&loads, &SPLITS[1].1, 0.85, papers, 30.0).unwrap();
            let parts: Vec<f64> = scenario
                .loads
                .iter()
                .zip(&scenario.services)
                .map(|(load, service)| load.arrivals.mean_rate(SECONDS) / service.throughput)
                .collect();
            // In the order of their names: coordinator, nlp, reasoning, vision.
            for (part, expected) in parts.iter().zip([0.4, 0.1, 0.2, 0.3]) {
                assert!((part - 0.85 * expected).abs() < 1e-9, "{part} {expected}");
            }
            let minima: Vec<u64> = scenario.pool.agents.iter().map(|a| a.min_share.0).collect();
            let expected = if papers {
                [100, 300, 350, 250]
            } else {
                [400, 100, 200, 300]
            };
            assert_eq!(minima, expected);
        }
    }
}
