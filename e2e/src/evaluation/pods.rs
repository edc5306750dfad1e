//! Pods on whole GPUs: what users would otherwise run.

use super::aims::Aim;
use super::bench::{Job, Runs, Settings, all, average, mean, p95, plot, ratio, shown, upper};
use super::losses::{Loss, compare};
use super::scenes::{A, B, EVEN, Pool, Source, Traces, UNEVEN, scenario};
use agentpool::sharing::Node;
use agentpool::simulation::load::AgentLoad;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::{Cluster, Dispatch, NodeGroup, Nodes, Outcome, Scenario};
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

/// Requests that run at once in a replica: first come first served, and a batch.
const AT_ONCE: [u32; 2] = [1, 8];

/// What is compared, the first with all others.
const RULES: [&str; 9] = [
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

/// A source of load, what it is called, its load and how agents divide it.
type Case = (Source, &'static str, f64, [f64; 4]);

const CASES: [Case; 4] = [
    (A, "A, even load of 0.7", 0.7, EVEN),
    (A, "A, load of 0.7 as .4/.1/.3/.2", 0.7, UNEVEN),
    (B, "B, even load of 0.7", 0.7, EVEN),
    (B, "B, even load of 0.5", 0.5, EVEN),
];
/// So many of them are repeated with batches and without a gateway.
const REPEATED: usize = 3;
/// Seeds without a gateway, at most.
const FEW: u64 = 5;

/// Four agents with these loads on the node, two replicas each as it begins, behind a gateway that holds what waits.
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
    made.dispatch = Some(Dispatch::OneQueue);
    made.services
        .iter_mut()
        .for_each(|service| service.cold_start = COLD_START);
    Ok(made)
}

/// Every rule on a case.
fn job(traces: &Traces, case: Case, at_once: u32, dispatch: Dispatch) -> Result<Job> {
    let (source, _, load, split) = case;
    let mut made = on_pods(traces.loads(source)?, (load, split), traces.seconds(source))?;
    made.dispatch = Some(dispatch);
    for service in &mut made.services {
        service.max_running = at_once;
    }
    Job::new(made, &RULES)
}

/// Pods that were started, an hour.
pub(super) fn starts(outcome: &Outcome) -> f64 {
    let all: u64 = outcome.agents.iter().map(|a| a.restarts).sum();
    all as f64 / (outcome.seconds / 3600.0)
}

/// The page.
pub(super) fn page(
    settings: &Settings,
    traces: &Traces,
    aims: &mut Vec<Aim>,
    losses: &mut Vec<Loss>,
) -> Result<Page> {
    let mut page = Page {
        title: "Pods on whole GPUs".to_owned(),
        ..Page::default()
    };
    page.text(format!(
        "Four agents on {GPUS} whole GPUs, cold start {COLD_START} s. Every rule with its own interval and defaults (docs/simulate.md cites \
         them). Ratios to Hold, which keeps two replicas each. The autoscalers do not know of each other: a pod that finds no GPU waits \
         until another gives one up.",
    ));
    page.text(
        "Under every rule requests wait in one queue an agent, in front of its pods, as in a gateway that holds them or in Knative's \
         activator: a new pod takes from what waits at once. The last tables show the same rules where engines queue by themselves \
         behind a Service, and a request stays in the pod that it was sent to.",
    );
    page.text(
        "Engines run one request at a time, or eight. KEDA, Knative, WVA and Dynamo go by requests a replica, and keep their documented \
         defaults: 5 that wait; 0.7 of those that run at once; 0.85 of 80 % of them; more than run at once for one more replica, 60 % for \
         one fewer. With one at a time such a target is met or missed by a single request, and these rules follow chance. With eight \
         they ask for 5.6 requests a replica (Knative), 5.4 (WVA), 8 and 4.8 (Dynamo); under Poisson arrivals GPUs are then busy for 0.83 to \
         0.89 of the time, which is what they are made for. Requests that run at once share a GPU's throughput, which stays what it is: that a real batch \
         serves more the fuller it is, and so tells its load by its size, is not modelled.",
    );
    for (at_once, cases) in AT_ONCE.into_iter().zip([CASES.len(), REPEATED]) {
        for case in CASES.into_iter().take(cases) {
            let job = job(traces, case, at_once, Dispatch::OneQueue)?;
            let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
            let place = format!("{}, {}", case.1, words(at_once));
            page.heading(place.as_str());
            page.table(table(&job, &runs));
            let to_hold = |rule| (ratio(&runs, rule, mean), ratio(&runs, rule, p95));
            for (rule, name) in [(1, "WaterFilling"), (2, "Balanced")] {
                let (mean, p95) = to_hold(rule);
                compare(losses, format!("pods, {place}"), name, mean, p95);
            }
            let what = format!("pods, {place}: mean nowhere above");
            aims.push(Aim::new(what, upper(to_hold(2).0), 1.02).held());
            if (at_once, case.3) == (1, UNEVEN) {
                plot(&mut page, "pods", &runs);
            }
        }
    }
    let few = Settings {
        seeds: settings.seeds.min(FEW),
    };
    for at_once in AT_ONCE {
        let jobs: Vec<Job> = CASES
            .into_iter()
            .take(REPEATED)
            .map(|case| job(traces, case, at_once, Dispatch::FewestRequests))
            .collect::<Result<_>>()?;
        let runs = all(&few, &jobs)?;
        page.heading(format!(
            "Engines that queue by themselves, {}: mean to Hold, {} seeds",
            words(at_once),
            few.seeds
        ));
        page.table(overview(&runs));
    }
    Ok(page)
}

fn words(at_once: u32) -> &'static str {
    if at_once == 1 {
        "one request at a time"
    } else {
        "eight at once"
    }
}

/// Everything about one case.
fn table(job: &Job, runs: &Runs) -> Table {
    let mut table = Table::new([
        "<rule",
        "mean",
        "p95",
        "mean to Hold",
        "p95 to Hold",
        "pod starts/h",
        "requests cut",
    ]);
    for (i, rule) in job.rules.iter().enumerate() {
        let cut = |o: &Outcome| o.agents.iter().map(|a| a.cut).sum::<u64>() as f64;
        let to_hold = |of: fn(&Outcome) -> f64| match i {
            0 => "1".to_owned(),
            _ => shown(ratio(runs, i, of)),
        };
        table.row([
            rule.to_string(),
            format!("{} s", average(&runs[i], mean)),
            format!("{} s", average(&runs[i], p95)),
            to_hold(mean),
            to_hold(p95),
            average(&runs[i], starts),
            average(&runs[i], cut),
        ]);
    }
    table
}

/// Means of the repeated cases beside each other.
fn overview(runs: &[Runs]) -> Table {
    let cases = CASES.into_iter().take(REPEATED).map(|case| case.1);
    let mut table = Table::new(std::iter::once("<rule").chain(cases));
    for (i, rule) in RULES.into_iter().enumerate() {
        let cell = |runs: &Runs| match i {
            0 => format!("{} s", average(&runs[0], mean)),
            _ => shown(ratio(runs, i, mean)),
        };
        table.row(std::iter::once(rule.to_owned()).chain(runs.iter().map(cell)));
    }
    table
}
