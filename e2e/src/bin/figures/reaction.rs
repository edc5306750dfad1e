//! How soon the loop acts: from a step of the load to the write of a replica count, and from the scrape that decided to the answer of the
//! API server.
//!
//! All is real but the GPUs: requests over HTTP, engines that expose vLLM's metrics, the API server and the operator. Every pool has
//! two agents, which share four GPUs evenly while both have little to do. A step is the moment at which the rate of one of them
//! rises to more than it can serve; its write is the first one after it that takes a replica from the other or gives one to it, by the API
//! server's audit log. The operator learns from its pods how long a start takes and averages over four times that at least, whatever is
//! declared: the figures say what it learned.
#![forbid(unsafe_code)]

use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::audit::{Record, Records};
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::figures::buckets::Buckets;
use agentpool_e2e::figures::crowd::create_all;
use agentpool_e2e::figures::{Figure, publish, quantile};
use agentpool_e2e::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::time::Duration;

/// Agents of a pool, GPUs that they share, and the most that one of them may have.
const PAIR: usize = 2;
const GPUS: u32 = 4;
const MOST: u32 = 3;
/// How long after the last step a write may come, in seconds, where its rate does not last longer.
const TAIL: f64 = 30.0;

/// One way to set the windows, and the load for it. Times in seconds, rates in requests a second.
struct Case {
    name: &'static str,
    policy: Value,
    pools: usize,
    /// What one GPU serves.
    speed: f64,
    low: f64,
    high: f64,
    /// The low rate before the first step.
    warm: f64,
    /// How long the high rate lasts.
    burst: f64,
    /// From a step of a pool to its next one; the steps of all pools are spread over it.
    period: f64,
    /// Steps of every pool, of its agents in turn.
    steps: usize,
    /// The most that the 99th percentile may be.
    aim: Option<f64>,
}

/// The windows as short as the API allows, and steps so high that the first requests show them.
fn shortest() -> Case {
    Case {
        name: "shortest windows",
        policy: json!({
            "type": "WaterFilling", "interval": "1s", "demandWindow": "1s", "drain": "1s", "actuationLag": "0s",
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
        }),
        pools: 20,
        speed: 2.0,
        low: 0.5,
        high: 120.0,
        warm: 30.0,
        burst: 0.5,
        period: 20.37,
        steps: 11,
        aim: Some(1.2),
    }
}

/// The windows that a user gets who sets nothing; the rate rises from a quarter of what the agent's two GPUs serve to more than they do.
fn default(name: &'static str, policy: Value) -> Case {
    Case {
        name,
        policy,
        pools: 40,
        speed: 1.0,
        low: 0.5,
        high: 3.0,
        warm: 75.0,
        // Longer than any window: what is measured is when a step that stays is acted upon.
        burst: 180.0,
        period: 60.0,
        steps: 1,
        aim: None,
    }
}

impl Case {
    fn agent(&self, pool: usize, index: usize) -> AgentWorkload {
        let name = format!("p{pool}-{index}");
        let mut agent = AgentWorkload::new(name, self.speed).replicas(GPUS / PAIR as u32);
        agent.ready_delay = "0s".to_owned();
        agent
    }

    fn agents(&self) -> impl Iterator<Item = AgentWorkload> {
        (0..self.pools).flat_map(move |p| (0..PAIR).map(move |a| self.agent(p, a)))
    }

    fn pool(&self, pool: usize) -> Value {
        let agents: Vec<Value> = (0..PAIR)
            .map(|a| self.agent(pool, a).agent("Medium", "1", MOST))
            .collect();
        json!({
            "apiVersion": "agentpool.dev/v1alpha1",
            "kind": "AgentPool",
            "metadata": { "name": format!("pool-{pool}"), "namespace": AGENTS },
            "spec": {
                "mode": "Auto",
                "devices": [{ "name": "a100", "gpus": GPUS, "sharing": { "type": "WholeGPU" } }],
                "policy": self.policy,
                "agents": agents,
            }
        })
    }

    /// When the rate of a pool's agent rises, and which one's: spread evenly, so that steps meet the pools' looks at every phase.
    fn steps(&self, pool: usize) -> Vec<(f64, usize)> {
        let first = self.warm + self.period * pool as f64 / self.pools as f64;
        (0..self.steps)
            .map(|step| (first + self.period * step as f64, step % PAIR))
            .collect()
    }

    fn load(&self, pool: usize, index: usize) -> AgentLoad {
        let mut pieces = Vec::new();
        let mut at = 0.0;
        let steps = self.steps(pool);
        for (step, _) in steps.iter().filter(|(_, agent)| *agent == index) {
            pieces.push(Piece {
                seconds: step - at,
                rate: self.low,
            });
            pieces.push(Piece {
                seconds: self.burst,
                rate: self.high,
            });
            at = step + self.burst;
        }
        pieces.push(Piece::forever(self.low));
        AgentLoad {
            agent: self.agent(pool, index).name,
            arrivals: Arrivals::Steps {
                steps: pieces,
                spacing: Spacing::Even,
            },
            work: Work::Deterministic,
        }
    }

    fn loads(&self) -> Vec<AgentLoad> {
        (0..self.pools)
            .flat_map(|p| (0..PAIR).map(move |a| self.load(p, a)))
            .collect()
    }

    /// How long each step waited for its write, and how many waited in vain.
    fn waited(&self, writes: &Records, start: Timestamp) -> (Vec<f64>, u32) {
        let (mut took, mut unanswered) = (Vec::new(), 0);
        for pool in 0..self.pools {
            let names = [0, 1].map(|agent| self.agent(pool, agent).name);
            let moves: Vec<(f64, usize)> = writes
                .iter()
                .filter_map(|write| {
                    let agent = names.iter().position(|name| *name == write.name)?;
                    // A replica less of one is one more for the other.
                    let gains = if rises(write)? { agent } else { 1 - agent };
                    Some((write.time.duration_since(start).as_secs_f64(), gains))
                })
                .collect();
            let steps = self.steps(pool);
            for (i, (step, agent)) in steps.iter().enumerate() {
                let next = steps.get(i + 1).map_or(f64::INFINITY, |(at, _)| *at);
                let answer = moves
                    .iter()
                    .find(|(at, gains)| gains == agent && (*step..next).contains(at));
                match answer {
                    Some((at, _)) => took.push(at - step),
                    None => unanswered += 1,
                }
            }
        }
        (took, unanswered)
    }
}

/// Whether a write raises replicas (it says what they were, and what they are to be); `None` when it does not set any.
fn rises(record: &Record) -> Option<bool> {
    let operations = record.request.as_ref()?.as_array()?;
    let value = |op: &str| {
        let mut of_op = operations
            .iter()
            .filter(|o| o["op"] == op && o["path"] == "/spec/replicas");
        of_op.next()?["value"].as_u64()
    };
    let scales = record.path() == "deployments/scale" && record.succeeded();
    scales
        .then(|| Some(value("add")? > value("test")?))
        .flatten()
}

async fn histogram(stage: &Stage) -> Result<Buckets> {
    let instances = stage.runner.instances();
    let operator = instances.first().context("the operator does not run")?;
    let (_, page) = operator.http_get(8080, "/metrics").await?;
    Ok(Buckets::read(&page, "agentpool_scrape_to_write_seconds"))
}

/// Waits until every pool knows its load.
async fn all_fresh(stage: &Stage, pools: usize) -> Result<()> {
    let fresh = |pool: &&AgentPool| {
        let conditions = pool.status.iter().flat_map(|s| &s.conditions);
        conditions
            .into_iter()
            .any(|c| c.type_ == "SignalsFresh" && c.status == "True")
    };
    wait::until(LIMIT, "every pool knows its load", async || {
        let list = stage.pools().list(&ListParams::default()).await?;
        Ok((list.iter().filter(fresh).count() == pools).then_some(()))
    })
    .await
}

async fn measure(stage: &Stage, case: &Case) -> Result<Vec<Figure>> {
    println!(
        "{}: {} pools, {} steps each",
        case.name, case.pools, case.steps
    );
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), AGENTS);
    create_all(&deployments, case.agents().map(|agent| agent.object())).await?;
    for agent in case.agents() {
        stage.wait_ready(&agent.name, agent.replicas).await?;
    }
    create_all(&stage.pools(), (0..case.pools).map(|p| case.pool(p))).await?;
    let last = (0..case.pools)
        .flat_map(|p| case.steps(p))
        .map(|(at, _)| at);
    let length = Duration::from_secs_f64(last.fold(0.0, f64::max) + TAIL.max(case.burst));
    let before = histogram(stage).await?;
    let start = Timestamp::now();
    let driver = stage.drive(&case.loads(), length);
    all_fresh(stage, case.pools).await?;
    driver.finish(Duration::from_secs(60)).await;

    let (mut took, unanswered) = case.waited(&stage.operator_writes()?.since(start), start);
    let pools = stage.pools().list(&ListParams::default()).await?;
    let learned = pools
        .iter()
        .filter_map(|p| p.status.as_ref()?.actuation_lag_seconds);
    let learned = learned.max().unwrap_or(0);
    let decided = histogram(stage).await?.since(&before);
    let name = |what: &str| format!("{}: {what}", case.name);
    let of = |figures: &mut Vec<f64>, q| quantile(figures, q).context("no step was answered");
    let mut figures = vec![
        Figure::new(
            name("load steps that were answered"),
            took.len() as f64,
            "steps",
        ),
        Figure::new(
            name("load steps without a write"),
            f64::from(unanswered),
            "steps",
        )
        .at_most(0.0),
        Figure::new(
            name("longest start of a pod that a pool learned"),
            f64::from(learned),
            "s",
        ),
        Figure::new(name("load step to write, p50"), of(&mut took, 0.5)?, "s"),
    ];
    let slow = Figure::new(name("load step to write, p99"), of(&mut took, 0.99)?, "s");
    figures.push(match case.aim {
        Some(aim) => slow.at_most(aim),
        None => slow,
    });
    figures.push(Figure::new(
        name("load step to write, slowest"),
        of(&mut took, 1.0)?,
        "s",
    ));
    figures.push(Figure::new(
        name("writes that a scrape decided"),
        decided.count(),
        "writes",
    ));
    for (what, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value = decided.quantile(q).context("nothing was written")? * 1000.0;
        let figure = Figure::new(
            name(&format!("deciding scrape to answered write, {what}")),
            value,
            "ms",
        );
        figures.push(if q > 0.9 {
            figure.at_most(200.0)
        } else {
            figure
        });
    }
    let late = 1.0 - decided.at_most(0.2).context("no bucket of 200 ms")?;
    figures.push(
        Figure::new(
            name("writes later than 200 ms after their scrape"),
            late * 100.0,
            "%",
        )
        .at_most(1.0),
    );
    figures.push(Figure::new(
        name("requests sent later than due, p99"),
        driver.lateness().p99 * 1000.0,
        "ms",
    ));
    drop(driver);
    stage.clear().await?;
    Ok(figures)
}

/// Measures and publishes.
///
/// # Errors
/// What could not be started, or did not come to pass.
pub async fn run() -> Result<()> {
    let nodes = (0..3).map(|i| NodeSpec::whole(format!("gpu-{i}"), A100_80, 100));
    let stage = Stage::start(StageOptions::new("loop", nodes.collect())).await?;
    let mut figures = Vec::new();
    let quick = json!({ "type": "WaterFilling" });
    for case in [
        shortest(),
        default("default windows, WaterFilling", quick),
        default("nothing set", json!({})),
    ] {
        figures.extend(measure(&stage, &case).await?);
    }
    stage.finish().await?;
    publish("loop", figures)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_steps_are_seen_and_each_is_a_rise_of_one_agent() {
        let case = shortest();
        assert!(case.pools * case.steps >= 200);
        let (step, agent) = case.steps(3)[3];
        let count = |agent: usize, from: f64, to: f64| {
            let times = case.load(3, agent).requests(1).map(|request| request.at);
            times
                .take_while(|at| *at < to)
                .filter(|at| *at >= from)
                .count()
        };
        assert!(count(agent, step - 1.0, step) <= 1);
        assert!(count(agent, step, step + 0.5) >= 59);
        assert!(count(1 - agent, step, step + 1.0) <= 1);
    }

    #[test]
    fn a_step_is_answered_by_the_first_write_in_its_favour() {
        let case = shortest();
        let start = Timestamp::UNIX_EPOCH;
        let (step, agent) = case.steps(0)[0];
        let write = |seconds: f64, agent: usize, from: u32, to: u32| Record {
            time: start + jiff::SignedDuration::from_secs_f64(step + seconds),
            user: String::new(),
            pod: None,
            user_agent: String::new(),
            verb: "patch".to_owned(),
            group: "apps".to_owned(),
            resource: "deployments".to_owned(),
            subresource: "scale".to_owned(),
            namespace: AGENTS.to_owned(),
            name: case.agent(0, agent).name,
            uri: String::new(),
            code: 200,
            request: Some(json!([
                { "op": "test", "path": "/spec/replicas", "value": from },
                { "op": "add", "path": "/spec/replicas", "value": to },
            ])),
            response: None,
        };
        let writes = Records(vec![
            write(-0.1, agent, 1, 2),
            write(0.2, agent, 3, 2),
            write(0.5, 1 - agent, 2, 1),
            write(0.9, agent, 2, 3),
        ]);
        let (took, unanswered) = case.waited(&writes, start);
        assert_eq!(took.len(), 1);
        assert!((took[0] - 0.5).abs() < 1e-6, "{took:?}");
        assert_eq!(unanswered as usize, case.pools * case.steps - 1);
    }
}
