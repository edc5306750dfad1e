//! What a simulated request costs: requests a second on one core, four agents on fractions of one GPU, first come first served,
//! Poisson arrivals, exponential work, a decision a second. And how long a run of 14 days takes, four agents with the hours of a measured
//! day: on fractions of a GPU with a decision a second, and as pods on 16 whole GPUs with one every 15 s. Beside it the most memory that
//! this process had until the end of a run of one day and until the end of that of 14: the load is generated (a recorded trace is held in
//! memory, 16 bytes a request), and latencies are counted in buckets, so that 14 days should need no more than a day but for longer queues.
#![forbid(unsafe_code)]

use agentpool::allocation::{Policy, Spare};
use agentpool::api::{AgentPool, ValidPool};
use agentpool::sharing::Node;
use agentpool::simulation::control::Operator;
use agentpool::simulation::load::{AgentLoad, Arrivals, BuiltIn, Work};
use agentpool::simulation::{
    self, Cluster, Fractions, NodeGroup, Nodes, Scenario, Service, Sharing,
};
use agentpool::units::{GpuResource, MilliGpus};
use agentpool_e2e::figures::{Figure, process, publish, quantile};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::time::Instant;

const AGENTS: [&str; 4] = ["coordinator", "nlp", "reasoning", "vision"];
/// Requests a second of each agent, 0.7 of what a quarter of a GPU serves.
const RATE: f64 = 175.0;
const THROUGHPUT: f64 = 1000.0;
const SECONDS: f64 = 15_000.0;
const SEEDS: u64 = 3;
/// A day and fourteen, in seconds.
const DAY: f64 = 86_400.0;
const FORTNIGHT: f64 = 14.0 * DAY;
/// The most memory after fourteen days, as a multiple of that after one.
const FLAT: f64 = 1.1;
/// Requests a second of each agent over fourteen days: 14.5 million in all.
const SLOW_RATE: f64 = 3.0;
/// GPUs of the pods, and the part of them that is busy on average.
const GPUS: u32 = 16;
const BUSY: f64 = 0.375;

/// Measures and publishes.
///
/// # Errors
/// The scenario is refused, or the report cannot be written.
pub fn run() -> Result<()> {
    let poisson = |name: &&str| AgentLoad {
        agent: (*name).to_owned(),
        arrivals: Arrivals::Poisson { rate: RATE },
        work: Work::Exponential,
    };
    let scenario = scenario(
        (THROUGHPUT, "1s"),
        AGENTS.iter().map(poisson).collect(),
        one_gpu(),
        SECONDS,
    )?;
    // First of all: what was needed once counts as needed ever after.
    let mut figures = fortnights_measured()?;
    let policies = [
        ("StaticEqual", Policy::StaticEqual),
        ("WaterFilling", Policy::WaterFilling),
        ("Adaptive", Policy::Adaptive),
        ("Balanced", Policy::Balanced(Spare::Lend)),
    ];
    for (name, policy) in policies {
        let mut each = Vec::new();
        for seed in 1..=SEEDS {
            let (seconds, requests) = timed(&scenario, policy, seed)?;
            each.push(1e9 * seconds / requests as f64);
        }
        let median = quantile(&mut each, 0.5).context("no seed")?;
        // Five million requests a second.
        let best = Figure::new(
            format!("{name}, best of {SEEDS} seeds"),
            each[0],
            "ns a request",
        );
        figures.push(best.at_most(200.0));
        let what = format!("{name}, median of {SEEDS} seeds");
        figures.push(Figure::new(what, median, "ns a request"));
    }
    publish("simulate", figures)
}

/// Time and memory of runs of fourteen days.
fn fortnights_measured() -> Result<Vec<Figure>> {
    let id = i32::try_from(std::process::id())?;
    let mut figures = Vec::new();
    for (what, mut scenario, policy) in fortnights()? {
        scenario.seconds = DAY;
        timed(&scenario, policy, 1)?;
        let after_a_day = process::peak_mebibytes(id)?;
        scenario.seconds = FORTNIGHT;
        let (seconds, _) = timed(&scenario, policy, 1)?;
        let after = process::peak_mebibytes(id)?;
        figures.push(Figure::new(format!("14 days, {what}"), seconds, "s").at_most(60.0));
        let memory = |length: &str| format!("most memory until the end of {length}, {what}");
        figures.push(Figure::new(memory("1 day"), after_a_day, "MiB"));
        figures.push(Figure::new(memory("14 days"), after, "MiB").at_most(FLAT * after_a_day));
    }
    Ok(figures)
}

/// How long a run takes, in seconds, and its requests.
fn timed(scenario: &Scenario, policy: Policy, seed: u64) -> Result<(f64, u64)> {
    let mut operator = Operator::new(&scenario.pool, policy, scenario.metric_age);
    let start = Instant::now();
    let outcome = simulation::run(scenario, &mut operator, "bench", seed, &mut |_| {})?;
    let requests = outcome.agents.iter().map(|a| a.arrived).sum();
    Ok((start.elapsed().as_secs_f64(), requests))
}

fn fortnights() -> Result<[(&'static str, Scenario, Policy); 2]> {
    let loads = || {
        let mut loads = BuiltIn::C.loads(Some([SLOW_RATE; 4])).to_vec();
        loads.sort_by(|a, b| a.agent.cmp(&b.agent));
        loads
    };
    // A GPU that serves all agents in turn is busy for 0.7 of the time.
    let fractions = scenario((4.0 * SLOW_RATE / 0.7, "1s"), loads(), one_gpu(), FORTNIGHT)?;
    let node = Node {
        name: "gpu".to_owned(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::whole(), 1)]),
        gpus: 1,
        ..Node::default()
    };
    let nodes = Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node,
            count: GPUS,
            elastic: None,
        }],
        switching_efficiency: 1.0,
    });
    let throughput = 4.0 * SLOW_RATE / (BUSY * f64::from(GPUS));
    let mut pods = scenario((throughput, "15s"), loads(), nodes, FORTNIGHT)?;
    for service in &mut pods.services {
        service.cold_start = 60.0;
    }
    let lend = Policy::Balanced(Spare::Lend);
    Ok([
        ("fractions of a GPU", fractions, Policy::WaterFilling),
        ("pods on whole GPUs", pods, lend),
    ])
}

fn one_gpu() -> Cluster {
    Cluster::Fractions(Fractions {
        gpus: MilliGpus::ONE,
        lag: 0.0,
        sharing: Sharing::Partition,
    })
}

fn scenario(
    (throughput, interval): (f64, &str),
    loads: Vec<AgentLoad>,
    cluster: Cluster,
    seconds: f64,
) -> Result<Scenario> {
    let agents: String = AGENTS
        .iter()
        .map(|name| {
            format!(
                "  - {{name: {name}, workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, priority: Medium, \
                 minShare: 250m, replicas: {{min: 1, max: 8}}, model: {{requestsPerSecondPerGpu: \"{throughput:.6}\"}}}}\n"
            )
        })
        .collect();
    let manifest = format!(
        "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: bench, namespace: agents}}\nspec:\n  mode: Auto\n  \
         devices: [{{name: gpu, sharing: {{type: WholeGPU}}}}]\n  policy: {{type: WaterFilling, interval: {interval}}}\n  agents:\n{agents}"
    );
    let pool: AgentPool = serde_yaml::from_str(&manifest)?;
    let pool = ValidPool::admit(&pool)?;
    let service = |throughput: f64| Service {
        throughput,
        max_running: 1,
        cold_start: 0.0,
        image_pull: 0.0,
        drain: 0.0,
    };
    Ok(Scenario {
        services: pool
            .agents
            .iter()
            .map(|a| service(a.base_throughput))
            .collect(),
        pool,
        loads,
        cluster,
        seconds,
        warmup: 0.0,
        metric_age: 0.0,
        dispatch: None,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    })
}
