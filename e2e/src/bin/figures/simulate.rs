//! What a simulated request costs: requests a second on one core, four agents on fractions of one GPU, first come first served,
//! Poisson arrivals, exponential work, a decision a second.
#![forbid(unsafe_code)]

use agentpool::allocation::Policy;
use agentpool::api::{AgentPool, ValidPool};
use agentpool::simulation::control::Operator;
use agentpool::simulation::load::{AgentLoad, Arrivals, Work};
use agentpool::simulation::{self, Cluster, Fractions, Scenario, Service, Sharing};
use agentpool::units::MilliGpus;
use agentpool_e2e::figures::{Figure, publish};
use anyhow::Result;
use std::time::Instant;

const AGENTS: [&str; 4] = ["coordinator", "nlp", "reasoning", "vision"];
/// Requests a second of each agent, 0.7 of what a quarter of a GPU serves.
const RATE: f64 = 175.0;
const THROUGHPUT: f64 = 1000.0;
const SECONDS: f64 = 15_000.0;

/// Measures and publishes.
///
/// # Errors
/// The scenario is refused, or the report cannot be written.
pub fn run() -> Result<()> {
    let scenario = scenario()?;
    let mut figures = Vec::new();
    for policy in [Policy::StaticEqual, Policy::WaterFilling, Policy::Adaptive] {
        let mut best = f64::MAX;
        for seed in 1..=3 {
            let mut operator = Operator::new(&scenario.pool, policy, scenario.metric_age);
            let start = Instant::now();
            let outcome = simulation::run(&scenario, &mut operator, "bench", seed, &mut |_| {})?;
            let requests = outcome.agents.iter().map(|a| a.arrived).sum::<u64>();
            best = best.min(start.elapsed().as_nanos() as f64 / requests as f64);
        }
        // Five million requests a second.
        figures.push(Figure::new(format!("{policy:?}"), best, "ns a request").at_most(200.0));
    }
    publish("simulate", figures)
}

fn scenario() -> Result<Scenario> {
    let agents: String = AGENTS
        .iter()
        .map(|name| {
            format!(
                "  - {{name: {name}, workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, priority: Medium, \
                 minShare: 0, replicas: {{min: 1, max: 8}}, model: {{requestsPerSecondPerGpu: {THROUGHPUT}}}}}\n"
            )
        })
        .collect();
    let manifest = format!(
        "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: bench, namespace: agents}}\nspec:\n  mode: Auto\n  \
         devices: [{{name: gpu, sharing: {{type: WholeGPU}}}}]\n  policy: {{type: WaterFilling, interval: 1s}}\n  agents:\n{agents}"
    );
    let pool: AgentPool = serde_yaml::from_str(&manifest)?;
    let service = Service {
        throughput: THROUGHPUT,
        max_running: 1,
        cold_start: 0.0,
        image_pull: 0.0,
        drain: 0.0,
    };
    let load = |name: &&str| AgentLoad {
        agent: (*name).to_owned(),
        arrivals: Arrivals::Poisson { rate: RATE },
        work: Work::Exponential,
    };
    Ok(Scenario {
        pool: ValidPool::admit(&pool)?,
        services: vec![service; AGENTS.len()],
        loads: AGENTS.iter().map(load).collect(),
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag: 0.0,
            sharing: Sharing::Partition,
        }),
        seconds: SECONDS,
        warmup: 0.0,
        metric_age: 0.0,
        dispatch: None,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    })
}
