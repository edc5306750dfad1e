//! Why a run can be believed: queueing theory, hand-computed schedules, symmetries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dispatch;
mod pods;
mod runs;
mod symmetry;
mod theory;

use super::load::{AgentLoad, Arrivals, Work};
use super::{Cluster, Fractions, Scenario, Service, Sharing};
use crate::api::{AgentPool, ValidPool};
use crate::units::MilliGpus;

/// A pool of agents with this throughput, one GPU, no minima.
pub(super) fn pool(names: &[&str], throughput: f64) -> ValidPool {
    let agents: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "- {{name: {name}, workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, priority: Medium, \
                 minShare: 0, replicas: {{min: 1, max: 8}}, model: {{requestsPerSecondPerGpu: \"{throughput}\"}}}}"
            )
        })
        .collect();
    let text = format!(
        "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: p, namespace: n}}\nspec:\n  mode: Auto\n  \
         devices: [{{name: d, sharing: {{type: WholeGPU}}}}]\n  policy: {{type: WaterFilling, interval: 1s, demandWindow: 5s, drain: 2s, actuationLag: 0s}}\n  agents:\n  {}\n",
        agents.join("\n  ")
    );
    let pool: AgentPool = serde_yaml::from_str(&text).unwrap();
    ValidPool::admit(&pool).unwrap()
}

/// One whole GPU in equal hard parts, Poisson arrivals, first come first served.
pub(super) fn scenario(names: &[&str], throughput: f64, rate: f64, seconds: f64) -> Scenario {
    let service = Service {
        throughput,
        max_running: 1,
        cold_start: 0.0,
        image_pull: 0.0,
        drain: 0.0,
    };
    let load = |name: &&str| AgentLoad {
        agent: (*name).to_owned(),
        arrivals: Arrivals::Poisson { rate },
        work: Work::Exponential,
    };
    Scenario {
        pool: pool(names, throughput),
        services: vec![service; names.len()],
        loads: names.iter().map(load).collect(),
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag: 0.0,
            sharing: Sharing::Partition,
        }),
        dispatch: None,
        seconds,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    }
}
