//! The table of docs/design.md, section 6, measured again with this code: real arrivals of four agents on one GPU in hard parts,
//! exponential work, a decision a second that is in force after a lag; mean time in the system as a ratio to equal parts.

use super::control::Operator;
use super::load::trace::{Recording, Trace};
use super::load::{AgentLoad, Arrivals, Replay, Scaling, Work};
use super::{Cluster, Fractions, Outcome, RunError, Scenario, Service, Sharing, run};
use crate::allocation::{Pace, Policy};
use crate::api::{AgentPool, Invalid, ValidPool};
use crate::units::MilliGpus;
use std::time::Duration;

/// A column: which load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Folder of the trace.
    pub trace: &'static str,
    /// Its length, in seconds.
    pub seconds: f64,
    /// GPUs that all agents need on average.
    pub load: f64,
    /// Their parts of it: coordinator, nlp, vision, reasoning.
    pub split: [f64; 4],
}

/// A row: who is in control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The rule.
    pub policy: Policy,
    /// From a decision until it is in force, in seconds.
    pub lag: f64,
    /// Averaging window and drain time, in seconds.
    pub pace: (u64, u64),
    /// The paper's own minima and priorities; else no minima (Adaptive: a quarter each) and equal priorities.
    pub own: bool,
    /// Requests are shared among, not parts: busy agents take turns on the whole GPU.
    pub turns: bool,
    /// Ratios of the design's table, by column, of three seeds; `None` where it has none, 0 where it says less than 0.005.
    pub published: [Option<f64>; 6],
    /// Ratios of an independent program, by column, of twenty seeds, in which a rule holds until half its window was seen, as the
    /// operator does.
    pub independent: Option<[f64; 6]>,
}

const EVEN: [f64; 4] = [0.25; 4];

/// The columns.
pub const COLUMNS: [Column; 6] = [
    column("four_agent_A", 2100.0, 0.5, EVEN),
    column("four_agent_A", 2100.0, 0.7, EVEN),
    column("four_agent_A", 2100.0, 0.85, EVEN),
    column("four_agent_A", 2100.0, 0.7, [0.4, 0.1, 0.3, 0.2]),
    column("four_agent_B", 10_800.0, 0.7, EVEN),
    column("four_agent_B", 10_800.0, 0.85, EVEN),
];

const fn column(trace: &'static str, seconds: f64, load: f64, split: [f64; 4]) -> Column {
    Column {
        trace,
        seconds,
        load,
        split,
    }
}

/// The rows.
pub const ROWS: [Row; 8] = [
    water(
        0.0,
        (5, 2),
        [0.23, 0.54, 0.80, 0.15, 0.0, 0.08],
        Some([0.229, 0.473, 0.588, 0.119, 0.004, 0.075]),
    ),
    water(
        30.0,
        (5, 2),
        [0.97, 1.03, 1.13, 0.25, 0.01, 0.20],
        Some([1.047, 0.979, 0.863, 0.212, 0.016, 0.233]),
    ),
    water(
        30.0,
        (120, 60),
        [0.92, 0.78, 0.65, 0.19, 0.01, 0.01],
        Some([1.124, 0.935, 0.796, 0.184, 0.008, 0.019]),
    ),
    water(
        100.0,
        (5, 2),
        [2.83, 1.70, 1.16, 0.36, 0.02, 0.24],
        Some([2.988, 1.719, 1.034, 0.291, 0.029, 0.267]),
    ),
    water(
        100.0,
        (600, 300),
        [1.46, 1.16, 0.94, 0.26, 0.03, 0.04],
        Some([1.059, 0.973, 0.948, 0.192, 0.035, 0.054]),
    ),
    paper(
        true,
        [Some(8.1), Some(9.2), Some(4.9), None, Some(1.9), Some(1.9)],
    ),
    paper(
        false,
        [
            Some(0.67),
            Some(0.94),
            Some(1.25),
            None,
            Some(1.15),
            Some(1.09),
        ],
    ),
    Row {
        policy: Policy::StaticEqual,
        turns: true,
        ..water(0.0, (5, 2), [0.10, 0.20, 0.31, 0.07, 0.0, 0.0], None)
    },
];

const fn water(
    lag: f64,
    pace: (u64, u64),
    published: [f64; 6],
    independent: Option<[f64; 6]>,
) -> Row {
    let [a, b, c, d, e, f] = published;
    Row {
        policy: Policy::WaterFilling,
        lag,
        pace,
        own: false,
        turns: false,
        published: [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)],
        independent,
    }
}

const fn paper(own: bool, published: [Option<f64>; 6]) -> Row {
    Row {
        policy: Policy::Adaptive,
        lag: 0.0,
        pace: (1, 1),
        own,
        turns: false,
        published,
        independent: None,
    }
}

impl Row {
    /// What it is, in words.
    pub fn describe(&self) -> String {
        let pace = format!("window {} s, drain {} s", self.pace.0, self.pace.1);
        if self.turns {
            "sharing per request, work-conserving".to_owned()
        } else if self.own {
            "the paper's rule, no lag, its own R and P".to_owned()
        } else if self.policy == Policy::Adaptive {
            "the paper's rule, no lag, R = 0.25, P = 1".to_owned()
        } else if self.lag > 0.0 {
            format!("lag {} s, {pace}", self.lag)
        } else {
            format!("no lag, {pace}")
        }
    }
}

/// The agents in the order of a column's split, with the paper's priority and minimum.
const AGENTS: [(&str, &str, &str); 4] = [
    ("coordinator", "High", "100m"),
    ("nlp", "Medium", "300m"),
    ("vision", "Medium", "250m"),
    ("reasoning", "High", "350m"),
];

/// The pool of a row: what the manifest declares is what is true.
fn pool(row: &Row, throughputs: &[f64; 4]) -> Result<ValidPool, Invalid> {
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
    let pool: AgentPool = serde_json::from_value(manifest)
        .map_err(|error| wrong("the built-in pool", &error.to_string(), "an AgentPool"))?;
    let mut pool = ValidPool::admit(&pool)?;
    pool.pace = Pace {
        window: Duration::from_secs(row.pace.0),
        drain: Duration::from_secs(row.pace.1),
    };
    Ok(pool)
}

fn wrong(field: &str, value: &str, expected: &str) -> Invalid {
    Invalid {
        field: field.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

/// A cell's scenario: each agent is as fast as makes its own load that of the column.
///
/// # Errors
/// The trace has not the four agents, or no requests of one.
pub fn scenario(trace: &Trace, column: &Column, row: &Row) -> Result<Scenario, Invalid> {
    let mut throughputs = [0.0; 4];
    let mut recordings = Vec::new();
    for (i, (name, ..)) in AGENTS.iter().enumerate() {
        let recording = trace.agents.get(*name);
        let Some(Recording::Requests(rows)) = recording else {
            return Err(wrong(
                column.trace,
                &format!("without requests of {name}"),
                "a trace of requests of all four agents",
            ));
        };
        throughputs[i] = rows.len() as f64 / column.seconds / (column.load * column.split[i]);
        recordings.push(Recording::Requests(rows.clone()));
    }
    let pool = pool(row, &throughputs)?;
    let position = |name: &str| AGENTS.iter().position(|agent| agent.0 == name).unwrap_or(0);
    let order: Vec<usize> = pool
        .agents
        .iter()
        .map(|agent| position(&agent.name))
        .collect();
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
            scaling: Scaling::AsRecorded,
            recorded: recordings[*i].clone(),
            ..Replay::default()
        }),
        work: Work::Exponential,
    };
    Ok(Scenario {
        services: order.iter().map(service).collect(),
        loads: order.iter().map(load).collect(),
        pool,
        cluster: Cluster::Fractions(Fractions {
            gpus: MilliGpus::ONE,
            lag: row.lag,
            sharing: if row.turns {
                Sharing::TimeSlicing {
                    switching_efficiency: 1.0,
                }
            } else {
                Sharing::Partition
            },
        }),
        dispatch: None,
        seconds: column.seconds,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    })
}

/// Mean time in the system of all requests under the row's rule and under equal parts, in seconds, on the same requests.
///
/// # Errors
/// As [`run`].
pub fn pair(scenario: &Scenario, row: &Row, seed: u64) -> Result<(f64, f64), RunError> {
    let mean = |outcome: &Outcome| {
        let sum: f64 = outcome.agents.iter().map(|a| a.latency.sum()).sum();
        let count: u64 = outcome.agents.iter().map(|a| a.latency.count()).sum();
        sum / count as f64
    };
    let operator = |policy| Operator::new(&scenario.pool, policy, 0.0).at_declared_pace();
    let ruled = run(
        scenario,
        &mut operator(row.policy),
        "rule",
        seed,
        &mut |_| {},
    )?;
    let mut equal = scenario.clone();
    if let Cluster::Fractions(fractions) = &mut equal.cluster {
        fractions.sharing = Sharing::Partition;
    }
    let equal = run(
        &equal,
        &mut operator(Policy::StaticEqual),
        "equal",
        seed,
        &mut |_| {},
    )?;
    Ok((mean(&ruled), mean(&equal)))
}
