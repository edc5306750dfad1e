//! What the operator costs when there is nothing to do: 100 pools of 4 agents under a steady load that is as noisy as independent arrivals are.
//!
//! All is real but the GPUs: 400 agents, an engine for each of their pods (a pool has two GPUs an agent, and hands out what nobody asks
//! for: about 800 pods in all), requests over HTTP, the API server and the operator. Writes are counted in
//! the API server's audit log, the operator's time is the kernel's account of its process.
#![forbid(unsafe_code)]

use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::figures::crowd::create_all;
use agentpool_e2e::figures::{Figure, process, publish};
use agentpool_e2e::load::{AgentLoad, Arrivals, Work};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, Stage, StageOptions};
use agentpool_e2e::wait;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const POOLS: usize = 100;
const AGENTS_OF_POOL: usize = 4;
/// GPUs of a pool.
const GPUS: u32 = 8;
/// Requests a second that one GPU serves, and that arrive at each agent, which has one at first.
const SPEED: f64 = 2.0;
const RATE: f64 = 1.0;
/// Two demand windows, so that every average is one of this load alone.
const WARM: Duration = Duration::from_secs(120);
const MINUTES: u32 = 5;
/// For what takes a moment; generous, because machines are slow and shared.
const LIMIT: Duration = Duration::from_secs(300);

fn agent(pool: usize, index: usize) -> AgentWorkload {
    AgentWorkload::new(format!("p{pool}-a{index}"), SPEED)
}

fn pool(index: usize) -> Value {
    let agents: Vec<Value> = (0..AGENTS_OF_POOL)
        .map(|a| agent(index, a).agent("Medium", "1", 4))
        .collect();
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": { "name": format!("pool-{index}"), "namespace": AGENTS },
        "spec": {
            "mode": "Auto",
            "devices": [{ "name": "a100", "gpus": GPUS, "sharing": { "type": "WholeGPU" } }],
            "policy": { "interval": "5s" },
            "agents": agents,
        }
    })
}

fn agents() -> impl Iterator<Item = AgentWorkload> {
    (0..POOLS).flat_map(|p| (0..AGENTS_OF_POOL).map(move |a| agent(p, a)))
}

fn is_settled(pool: &AgentPool) -> bool {
    let conditions = || pool.status.iter().flat_map(|s| &s.conditions);
    let holds = |kind: &str| conditions().any(|c| c.type_ == kind && c.status == "True");
    holds("Ready") && holds("SignalsFresh")
}

/// Measures and publishes.
///
/// # Errors
/// What could not be started, or did not come to pass.
pub async fn run() -> Result<()> {
    let nodes = (0..GPUS).map(|i| NodeSpec::whole(format!("gpu-{i}"), A100_80, POOLS as u32));
    let stage = Stage::start(StageOptions::new("settled", nodes.collect())).await?;
    println!("creating {POOLS} pools of {AGENTS_OF_POOL} agents");
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), AGENTS);
    create_all(&deployments, agents().map(|a| a.object())).await?;
    wait::until(LIMIT, "every agent is ready", async || {
        let list = deployments.list(&ListParams::default()).await?;
        let ready = |d: &&Deployment| {
            d.status
                .as_ref()
                .is_some_and(|s| s.ready_replicas == Some(1))
        };
        Ok((list.iter().filter(ready).count() == POOLS * AGENTS_OF_POOL).then_some(()))
    })
    .await?;
    let loads: Vec<AgentLoad> = agents()
        .map(|agent| AgentLoad {
            agent: agent.name,
            arrivals: Arrivals::Poisson { rate: RATE },
            work: Work::Exponential,
        })
        .collect();
    let driver = stage.drive(&loads, Duration::from_secs(3600));
    create_all(&stage.pools(), (0..POOLS).map(pool)).await?;
    wait::until(
        LIMIT,
        "every pool is ready and knows its load",
        async || {
            let list = stage.pools().list(&ListParams::default()).await?;
            Ok((list.iter().filter(|p| is_settled(p)).count() == POOLS).then_some(()))
        },
    )
    .await?;
    sleep_until(Instant::now() + WARM).await;

    println!("measuring for {MINUTES} minutes");
    let instances = stage.runner.instances();
    let operator = instances
        .first()
        .and_then(|i| i.process())
        .context("the operator does not run")?;
    let (start, began) = (Timestamp::now(), Instant::now());
    let before = process::cpu_time(operator.id())?;
    sleep_until(began + 60 * MINUTES * Duration::from_secs(1)).await;
    let cpu = process::cpu_time(operator.id())?.saturating_sub(before);
    let elapsed = began.elapsed();
    let writes = stage.operator_writes()?.since(start);
    let memory = process::resident_mebibytes(operator.id())?;

    let moved = writes.clone().workload_writes();
    print!("{moved}");
    let status = writes.path("agentpools/status");
    let mut by_pool: BTreeMap<&str, u32> = BTreeMap::new();
    for write in status.iter() {
        *by_pool.entry(&write.name).or_default() += 1;
    }
    let most = by_pool.values().max().copied().unwrap_or(0);
    let minutes = f64::from(MINUTES);
    let latencies = driver.records(0);
    let served: u64 = latencies.values().map(|r| r.counts().served).sum();
    let figures = vec![
        Figure::new("workload writes", moved.len() as f64, "writes").at_most(0.0),
        Figure::new(
            "status writes a minute, the busiest pool",
            f64::from(most) / minutes,
            "writes",
        )
        .at_most(2.0),
        Figure::new(
            "status writes a minute and pool, mean",
            status.len() as f64 / minutes / POOLS as f64,
            "writes",
        ),
        Figure::new(
            "time of the operator, of one core",
            100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64(),
            "%",
        )
        .at_most(5.0),
        Figure::new("memory of the operator", memory, "MiB"),
        Figure::new("requests served in all", served as f64, "requests"),
        Figure::new(
            "requests sent later than due, p99",
            driver.lateness().p99 * 1000.0,
            "ms",
        ),
    ];
    drop(driver);
    stage.finish().await?;
    publish("settled", figures)
}
