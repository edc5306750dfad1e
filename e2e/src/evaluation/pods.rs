//! Pods on whole GPUs: what users would otherwise run.

use super::aims::Aim;
use super::bench::{Job, Settings, all, average, mean, p95, ratio, shown, upper};
use super::scenes::{A, B, EVEN, Pool, Traces, UNEVEN, scenario};
use agentpool::sharing::Node;
use agentpool::simulation::load::AgentLoad;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::{Cluster, NodeGroup, Nodes, Outcome, Scenario};
use agentpool::units::{GpuResource, Mebibytes};
use anyhow::Result;
use std::collections::BTreeMap;

/// GPUs of the node.
pub(super) const GPUS: u32 = 8;
/// From a pod's start until it serves, in seconds.
pub(super) const COLD_START: f64 = 30.0;

/// One node of whole GPUs.
pub(super) fn node(gpus: u32) -> Node {
    Node {
        name: "gpu".to_owned(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::whole(), gpus)]),
        gpus,
        gpu_memory: Some(Mebibytes(81_920)),
        ..Node::default()
    }
}

/// Four agents with these loads on the node, two replicas each as it begins.
pub(super) fn on_pods(
    loads: Vec<(AgentLoad, f64)>,
    load: (f64, [f64; 4]),
    seconds: f64,
) -> Result<Scenario> {
    let pool = Pool {
        gpus: GPUS,
        min_shares: ["1"; 4],
        ..Pool::default()
    };
    let cluster = Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node: node(GPUS),
            count: 1,
            elastic: None,
        }],
        switching_efficiency: 1.0,
    });
    let mut made = scenario(&pool, loads, load, cluster, seconds)?;
    made.services
        .iter_mut()
        .for_each(|service| service.cold_start = COLD_START);
    Ok(made)
}

/// Pods that were started, an hour.
pub(super) fn starts(outcome: &Outcome) -> f64 {
    let all: u64 = outcome.agents.iter().map(|a| a.restarts).sum();
    all as f64 / (outcome.seconds / 3600.0)
}

/// The page.
pub(super) fn page(settings: &Settings, traces: &Traces, aims: &mut Vec<Aim>) -> Result<Page> {
    let mut page = Page {
        title: "Pods on whole GPUs".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "Four agents on {GPUS} whole GPUs, cold start {COLD_START} s, one request at a time in a replica. Every rule with its own interval and defaults \
         (docs/simulate.md cites them). Ratios to Hold, which keeps two replicas each. The autoscalers do not know of each other: a pod \
         that finds no GPU waits until another gives one up. Where we lose: on the \
         bursts of the first table WaterFilling moves replicas and is slower than Hold in the mean; Balanced is to hold there. What Balanced \
         pays for that is time on drift: it starts with Hold, and until there is evidence the first overload stays where it is.",
    ));
    let rules = [
        "hold",
        "water-filling",
        "balanced",
        "static-proportional",
        "hpa",
        "keda",
        "knative",
        "wva",
        "dynamo",
    ];
    for (source, name, load, split) in [
        (A, "A, even load of 0.7", 0.7, EVEN),
        (A, "A, load of 0.7 as .4/.1/.3/.2", 0.7, UNEVEN),
        (B, "B, even load of 0.5", 0.5, EVEN),
        (B, "B, even load of 0.7", 0.7, EVEN),
    ] {
        let made = on_pods(traces.loads(source)?, (load, split), traces.seconds(source))?;
        let job = Job::new(made, &rules)?;
        let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
        page.heading(name);
        let mut table = Table::new([
            "rule",
            "mean",
            "p95",
            "mean to Hold",
            "p95 to Hold",
            "pod starts/h",
            "requests cut",
        ]);
        for (i, rule) in job.rules.iter().enumerate() {
            if rule.to_string() == "balanced" {
                let to_hold = upper(ratio(&runs, i, mean));
                aims.push(Aim::new(
                    format!("pods, {name}: mean nowhere above"),
                    to_hold,
                    1.02,
                ));
            }
            let cut = |o: &Outcome| o.agents.iter().map(|a| a.cut).sum::<u64>() as f64;
            table.row([
                rule.to_string(),
                format!("{} s", average(&runs[i], mean)),
                format!("{} s", average(&runs[i], p95)),
                if i == 0 {
                    "1".to_owned()
                } else {
                    shown(ratio(&runs, i, mean))
                },
                if i == 0 {
                    "1".to_owned()
                } else {
                    shown(ratio(&runs, i, p95))
                },
                average(&runs[i], starts),
                average(&runs[i], cut),
            ]);
        }
        page.table(table);
    }
    Ok(page)
}
