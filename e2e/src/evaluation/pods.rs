//! Pods on whole GPUs: what users would otherwise run.

use super::aims::Aim;
use super::bench::{BALANCED, HOLD, Job, PROPORTIONAL, Runs, Settings, WATER};
use super::bench::{all, average, mean, p95, plot, ratio, shown, upper};
use super::fractions::words;
use super::losses::{Loss, compare};
use super::scenes::{A, B, EVEN, Pool, Source, Traces, UNEVEN, always, on_pods};
use agentpool::sharing::Node;
use agentpool::simulation::load::AgentLoad;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::{AgentOutcome, Dispatch, Outcome, Scenario};
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
    HOLD,
    PROPORTIONAL,
    WATER,
    BALANCED,
    "hpa",
    "keda",
    "knative",
    "wva",
    "dynamo",
];

/// A source of load, what it is called, its load and how agents divide it.
type Case = (Source, &'static str, f64, [f64; 4]);

const CASES: [Case; 4] = [
    (A, "A", 0.7, EVEN),
    (A, "A", 0.7, UNEVEN),
    (B, "B", 0.7, EVEN),
    (B, "B", 0.5, EVEN),
];
/// So many of them are repeated with batches and without a gateway.
const REPEATED: usize = 3;
/// Seeds without a gateway, at most.
const FEW: u64 = 5;

/// Four agents with these loads on the node, two replicas each as it begins, behind a gateway that holds what waits.
pub(super) fn on_gpus(
    loads: Vec<(AgentLoad, f64)>,
    load: (f64, [f64; 4]),
    seconds: f64,
) -> Result<Scenario> {
    starting(COLD_START, loads, load, seconds)
}

/// The same with pods that need so long until they serve.
pub(super) fn starting(
    cold_start: f64,
    loads: Vec<(AgentLoad, f64)>,
    load: (f64, [f64; 4]),
    seconds: f64,
) -> Result<Scenario> {
    let pool = Pool {
        gpus: GPUS,
        min_shares: ["1"; 4],
        ..Pool::default()
    };
    let nodes = (always(node(GPUS), 1), cold_start);
    on_pods(&pool, loads, load, nodes, seconds)
}

/// A case in words.
fn called(traces: &Traces, (source, name, load, split): Case) -> String {
    let name = traces.called(source, name);
    if split == EVEN {
        format!("{name}, even load of {load}")
    } else {
        format!("{name}, load of {load} as {}", words(split))
    }
}

/// Every rule on a case.
fn job(traces: &Traces, case: Case, at_once: u32, dispatch: Dispatch) -> Result<Job> {
    let (source, _, load, split) = case;
    let mut made = on_gpus(traces.loads(source)?, (load, split), traces.seconds(source))?;
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

/// Of the GPU-seconds that pods held, those in which they worked.
fn busy(outcome: &Outcome) -> f64 {
    let sum = |of: fn(&AgentOutcome) -> f64| outcome.agents.iter().map(of).sum::<f64>();
    sum(|a| a.busy) / sum(|a| a.granted)
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
         them). Ratios to Hold, which keeps two replicas each; static-proportional never moves either, but for the start of a run. The autoscalers do not know of each other: a pod that finds no GPU waits \
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
         they ask for 5.6 requests a replica (Knative), 5.4 (WVA), 8 and 4.8 (Dynamo), which is what they are made for. Requests that run at once share a GPU's throughput, which stays what it is: that a real batch \
         serves more the fuller it is, and so tells its load by its size, is not modelled.",
    );
    for (at_once, cases) in AT_ONCE.into_iter().zip([CASES.len(), REPEATED]) {
        for case in CASES.into_iter().take(cases) {
            let job = job(traces, case, at_once, Dispatch::OneQueue)?;
            let runs = all(settings, std::slice::from_ref(&job))?.remove(0);
            let place = format!("{}, {}", called(traces, case), engine(at_once));
            page.heading(place.as_str());
            page.table(table(&job, &runs));
            compare(losses, &format!("pods, {place}"), &runs);
            let what = format!("pods, {place}: mean nowhere above");
            let aim = Aim::new(what, upper(ratio(&runs, BALANCED, mean)), 1.02);
            let aim = aim.later().equal(1.0);
            aims.push(aim.proportional(ratio(&runs, PROPORTIONAL, mean)));
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
            engine(at_once),
            few.seeds
        ));
        page.table(overview(traces, &runs));
    }
    Ok(page)
}

fn engine(at_once: u32) -> &'static str {
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
        "busy of what pods hold",
    ]);
    for (i, rule) in job.rules.iter().enumerate() {
        let cut = |o: &Outcome| o.agents.iter().map(|a| a.cut).sum::<u64>() as f64;
        let to_hold = |of: fn(&Outcome) -> f64| match i {
            0 => "1".to_owned(),
            _ => shown(ratio(runs, &rule.to_string(), of)),
        };
        table.row([
            rule.to_string(),
            format!("{} s", average(&runs[i], mean)),
            format!("{} s", average(&runs[i], p95)),
            to_hold(mean),
            to_hold(p95),
            average(&runs[i], starts),
            average(&runs[i], cut),
            average(&runs[i], busy),
        ]);
    }
    table
}

/// Means of the repeated cases beside each other.
fn overview(traces: &Traces, runs: &[Runs]) -> Table {
    let cases = CASES.into_iter().take(REPEATED);
    let cases = cases.map(|case| called(traces, case));
    let mut table = Table::new(std::iter::once("<rule".to_owned()).chain(cases));
    for (i, rule) in RULES.into_iter().enumerate() {
        let cell = |runs: &Runs| match i {
            0 => format!("{} s", average(&runs[0], mean)),
            _ => shown(ratio(runs, rule, mean)),
        };
        table.row(std::iter::once(rule.to_owned()).chain(runs.iter().map(cell)));
    }
    table
}
