//! Memory of the operator beside many pools and many pods, the time from its start to its first decision, and its size.
//!
//! Real: the API server and every object in it, the operator. Not real: agents' pods have no engines (every scrape is refused at once),
//! Deployments are paused so that their controller does not make pods of its own, pools observe and look every 30 s.
#![forbid(unsafe_code)]

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::figures::{Figure, process, publish};
use agentpool_e2e::operator::operator_binary;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, Stage, StageOptions};
use agentpool_e2e::wait;
use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Agents of a pool.
const AGENTS_OF_POOL: usize = 10;
/// Pods of nobody's pool, each with a GPU.
const FOREIGN: usize = 10_000;
/// Pools, in the order in which they are measured, and the aim in MiB.
const POOLS: [(usize, f64); 2] = [(100, 60.0), (1000, 150.0)];
/// GPUs of a node.
const NODE: usize = 1000;
/// Requests under way at once.
const AT_ONCE: usize = 32;
/// Nobody else uses the machine, so a wait that long has failed.
const LIMIT: Duration = Duration::from_secs(900);

fn name(pool: usize, agent: usize) -> String {
    format!("p{pool}-a{agent}")
}

fn deployment(name: &str) -> Value {
    let mut object = AgentWorkload::new(name, 10.0).object();
    object["spec"]["paused"] = json!(true);
    object
}

fn pod(app: &str, name: &str, node: usize) -> Value {
    let mut pod = AgentWorkload::new(app, 10.0).object()["spec"]["template"].take();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"]["bench.agentpool.dev/ready-delay"] = json!("0s");
    pod["spec"]["nodeName"] = json!(format!("gpu-{node}"));
    pod
}

fn pool(index: usize) -> Value {
    let agents: Vec<Value> = (0..AGENTS_OF_POOL)
        .map(|agent| AgentWorkload::new(name(index, agent), 10.0).agent("Medium", "0", 8))
        .collect();
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": { "name": format!("pool-{index}"), "namespace": AGENTS },
        "spec": {
            "mode": "Observe",
            "devices": [{ "name": "a100", "gpus": 16, "sharing": { "type": "WholeGPU" } }],
            "policy": { "interval": "30s" },
            "agents": agents,
        }
    })
}

async fn create<K>(stage: &Stage, objects: impl Iterator<Item = Value>) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(stage.client.clone(), AGENTS);
    let params = PostParams::default();
    stream::iter(objects)
        .map(|object| {
            let (api, params) = (&api, &params);
            async move {
                let object: K = serde_json::from_value(object)?;
                api.create(params, &object).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// The operator's process.
fn operator(stage: &Stage) -> Result<i32> {
    let instances = stage.runner.instances();
    let process = instances.first().and_then(|i| i.process());
    Ok(process.context("the operator does not run")?.id())
}

/// Waits until targets are published for all agents of so many pools.
async fn decided(stage: &Stage, pools: usize) -> Result<()> {
    wait::until(LIMIT, format!("{pools} pools are decided on"), async || {
        let answer = stage.runner.instances()[0].http_get(8080, "/metrics").await;
        // While it starts nobody answers.
        let Ok((_, text)) = answer else {
            return Ok(None);
        };
        let shares = text
            .lines()
            .filter(|l| l.starts_with("agentpool_target_share_gpus{"));
        Ok((shares.count() >= pools * AGENTS_OF_POOL).then_some(()))
    })
    .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut figures = Vec::new();
    let binary = operator_binary()?;
    let size = std::fs::metadata(&binary)?.len() as f64 / 1e6;
    figures.push(Figure::new("release binary", size, "MB").at_most(15.0));

    let nodes = (FOREIGN + POOLS[1].0 * AGENTS_OF_POOL).div_ceil(NODE);
    let specs = (0..nodes).map(|i| NodeSpec::whole(format!("gpu-{i}"), A100_80, NODE as u32));
    let stage = Stage::start(StageOptions::new("memory", specs.collect())).await?;
    figures.push(Figure::new(
        "memory without pools",
        process::resident_mebibytes(operator(&stage)?)?,
        "MiB",
    ));
    println!("creating {FOREIGN} foreign pods");
    create::<Pod>(
        &stage,
        (0..FOREIGN).map(|i| pod("foreign", &format!("foreign-{i}"), i / NODE)),
    )
    .await?;
    let mut there = 0;
    for (pools, aim) in POOLS {
        println!(
            "creating {} pools of {AGENTS_OF_POOL} agents",
            pools - there
        );
        let agents = || (there..pools).flat_map(|p| (0..AGENTS_OF_POOL).map(move |a| (p, a)));
        create::<Deployment>(&stage, agents().map(|(p, a)| deployment(&name(p, a)))).await?;
        create::<Pod>(
            &stage,
            agents().map(|(p, a)| {
                let app = name(p, a);
                pod(&app, &app, (FOREIGN + p * AGENTS_OF_POOL + a) / NODE)
            }),
        )
        .await?;
        create::<agentpool::api::AgentPool>(&stage, (there..pools).map(pool)).await?;
        there = pools;
        decided(&stage, pools).await?;
        let (running, restarted) = (process::resident_mebibytes(operator(&stage)?)?, {
            // A fresh start lists everything at once, and nothing is left of what came before.
            let start = Instant::now();
            stage.runner.instances()[0].kill().await;
            decided(&stage, pools).await?;
            let took = start.elapsed().as_secs_f64();
            let what = format!("from the start to the last first decision, {pools} pools");
            figures.push(Figure::new(what, took, "s"));
            process::resident_mebibytes(operator(&stage)?)?
        });
        let what = |when: &str| {
            format!(
                "memory, {pools} pools of {AGENTS_OF_POOL} agents, {FOREIGN} foreign pods, {when}"
            )
        };
        figures.push(Figure::new(what("after growing to it"), running, "MiB").at_most(aim));
        figures.push(Figure::new(what("after a start"), restarted, "MiB").at_most(aim));
    }
    drop(stage);
    publish("memory", figures)
}
