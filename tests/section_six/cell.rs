//! A cell of the table as a scenario, measured with this code.

use crate::table::{Column, ROWS, Row};
use agentpool::allocation::{Pace, Policy};
use agentpool::api::{AgentPool, ValidPool};
use agentpool::simulation::control::Operator;
use agentpool::simulation::load::trace::{Recording, Trace};
use agentpool::simulation::load::{AgentLoad, Arrivals, Replay, Work};
use agentpool::simulation::{Cluster, Fractions, Outcome, Scenario, Service, Sharing, run};
use agentpool::units::MilliGpus;
use std::time::Duration;

/// The agents in the order of a column's split, with the paper's priority and minimum.
const AGENTS: [(&str, &str, &str); 4] = [
    ("coordinator", "High", "100m"),
    ("nlp", "Medium", "300m"),
    ("vision", "Medium", "250m"),
    ("reasoning", "High", "350m"),
];

/// The pool of a row: what the manifest declares is what is true.
fn pool(row: &Row, throughputs: &[f64; 4]) -> ValidPool {
    let agent = |(i, (name, priority, minimum)): (usize, &(&str, &str, &str))| {
        let (priority, minimum) = match (row.own, row.policy) {
            (true, _) => (*priority, *minimum),
            (false, Policy::Adaptive) => ("High", "250m"),
            (false, _) => ("High", "0"),
        };
        serde_json::json!({
            "name": name, "priority": priority, "minShare": minimum, "replicas": {"min": 1, "max": 1},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "model": {"requestsPerSecondPerGpu": format!("{:.9}", throughputs[i])},
        })
    };
    let agents: Vec<_> = AGENTS.iter().enumerate().map(agent).collect();
    let manifest = serde_json::json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "measured", "namespace": "agents"},
        "spec": {
            "mode": "Auto", "agents": agents,
            "devices": [{"name": "gpu", "gpus": 1, "sharing": {"type": "WholeGPU"}}],
            "policy": {"type": "WaterFilling", "interval": "1s"},
        },
    });
    let pool: AgentPool = serde_json::from_value(manifest).unwrap();
    let mut pool = ValidPool::admit(&pool).unwrap();
    pool.pace = Pace {
        window: Duration::from_secs(row.pace.0),
        drain: Duration::from_secs(row.pace.1),
    };
    pool
}

/// A cell's scenario: each agent is as fast as makes its own load that of the column.
pub fn scenario(trace: &Trace, column: &Column, row: &Row) -> Scenario {
    let recorded = |i: usize| match &trace.agents[AGENTS[i].0] {
        Recording::Requests(rows) => rows,
        Recording::Rates(_) => panic!("{}: rates and no requests", column.trace),
    };
    let throughputs: [f64; 4] = std::array::from_fn(|i| {
        recorded(i).len() as f64 / column.seconds / (column.load * column.split[i])
    });
    let pool = pool(row, &throughputs);
    let position = |name: &str| AGENTS.iter().position(|agent| agent.0 == name).unwrap();
    let order: Vec<usize> = pool.agents.iter().map(|a| position(&a.name)).collect();
    let service = |i: &usize| Service {
        throughput: throughputs[*i],
        max_running: 1,
        cold_start: 0.0,
        image_pull: 0.0,
        drain: 0.0,
    };
    let load = |i: &usize| AgentLoad {
        agent: AGENTS[*i].0.to_owned(),
        arrivals: Arrivals::Trace(Replay {
            file: column.trace.to_owned(),
            recorded: Recording::Requests(recorded(*i).clone()),
            ..Replay::default()
        }),
        work: Work::Exponential,
    };
    Scenario {
        services: order.iter().map(service).collect(),
        loads: order.iter().map(load).collect(),
        pool,
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag: row.lag,
            sharing: Sharing::Partition,
        }),
        dispatch: None,
        seconds: column.seconds,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    }
}

/// The same scenario where the agents have a part of the paper's minima.
pub fn with_minima(mut scenario: Scenario, part: f64) -> Scenario {
    for agent in &mut scenario.pool.agents {
        let (.., own) = AGENTS.iter().find(|own| own.0 == agent.name).unwrap();
        let own = MilliGpus::parse(own).unwrap();
        agent.min_share = MilliGpus((own.0 as f64 * part).round() as u64);
    }
    scenario
}

/// The same requests where whoever is busy takes turns on the whole GPU.
pub fn taking_turns(trace: &Trace, column: &Column) -> Scenario {
    let sharing = Sharing::TimeSlicing {
        switching_efficiency: 1.0,
    };
    Scenario {
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag: 0.0,
            sharing,
        }),
        ..scenario(trace, column, &ROWS[0])
    }
}

/// Mean time in the system of all requests under a policy, in seconds.
pub fn mean(scenario: &Scenario, policy: Policy, seed: u64) -> f64 {
    let mut operator = Operator::new(&scenario.pool, policy, 0.0).at_declared_pace();
    let outcome: Outcome = run(scenario, &mut operator, "rule", seed, &mut |_| {}).unwrap();
    let sum: f64 = outcome.agents.iter().map(|a| a.latency.sum()).sum();
    let count: u64 = outcome.agents.iter().map(|a| a.latency.count()).sum();
    sum / count as f64
}
