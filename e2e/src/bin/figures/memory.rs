//! Memory of the operator beside many pools and many pods, the time from its start to its first decision, and its size.
//!
//! Real: the API server and every object in it, the operator. Not real: one server of this program answers for the pods of all agents
//! with a page of vLLM's metrics (the foreign pods answer nobody); Deployments are paused, so that their controller makes no pods
//! of its own; pools observe and look every 30 s. What the operator remembers of the load grows on for four hours: this sees minutes.
#![forbid(unsafe_code)]

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::figures::crowd::create_all;
use agentpool_e2e::figures::{Figure, process, publish};
use agentpool_e2e::operator::operator_binary;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, Stage, StageOptions};
use agentpool_e2e::wait;
use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
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
    // Ready at once, and nothing for an engine stand-in to play.
    pod["metadata"]["annotations"] = json!({});
    pod["spec"]["nodeName"] = json!(format!("gpu-{node}"));
    pod
}

fn pool(index: usize, port: u16) -> Value {
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
            "metrics": { "port": port },
            "agents": agents,
        }
    })
}

/// Answers on all addresses of this machine, those of the pods among them, for engines that finish a request a second; returns the port.
async fn engines() -> Result<u16> {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    let start = Instant::now();
    let page = move || async move {
        let finished = start.elapsed().as_secs();
        format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name=\"m\"}} 1.0\n\
             # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{model_name=\"m\"}} 0.0\n\
             # TYPE vllm:request_success_total counter\nvllm:request_success_total{{model_name=\"m\",finished_reason=\"stop\"}} {finished}.0\n"
        )
    };
    let router = axum::Router::new().route("/metrics", axum::routing::get(page));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(port)
}

/// The operator's process.
fn operator(stage: &Stage) -> Result<i32> {
    let instances = stage.runner.instances();
    let process = instances.first().and_then(|i| i.process());
    Ok(process.context("the operator does not run")?.id())
}

/// A page of the operator's metrics; `None` while it starts and nobody answers.
async fn metrics(stage: &Stage) -> Option<String> {
    let instances = stage.runner.instances();
    let answer = instances.first()?.http_get(8080, "/metrics").await;
    answer.ok().map(|(_, text)| text)
}

/// Waits until targets are published for all agents of so many pools.
async fn decided(stage: &Stage, pools: usize) -> Result<()> {
    wait::until(LIMIT, format!("{pools} pools are decided on"), async || {
        let Some(text) = metrics(stage).await else {
            return Ok(None);
        };
        let shares = text
            .lines()
            .filter(|l| l.starts_with("agentpool_target_share_gpus{"));
        Ok((shares.count() >= pools * AGENTS_OF_POOL).then_some(()))
    })
    .await
}

/// Waits until every agent was read so often since the operator's start, on average.
async fn read(stage: &Stage, pools: usize, times: usize) -> Result<()> {
    let enough = pools * AGENTS_OF_POOL * times;
    wait::until(LIMIT, format!("{enough} pages are read"), async || {
        let text = metrics(stage).await.unwrap_or_default();
        let read = text.lines().find_map(|line| {
            line.strip_prefix("agentpool_scrapes_total{outcome=\"Succeeded\"} ")?
                .parse::<usize>()
                .ok()
        });
        Ok((read.unwrap_or(0) >= enough).then_some(()))
    })
    .await
}

/// Measures and publishes.
///
/// # Errors
/// What could not be started, or did not come to pass.
pub async fn run() -> Result<()> {
    let mut figures = Vec::new();
    let binary = operator_binary()?;
    let size = std::fs::metadata(&binary)?.len() as f64 / 1e6;
    figures.push(Figure::new("release binary", size, "MB").at_most(15.0));

    let port = engines().await?;
    let nodes = (FOREIGN + POOLS[1].0 * AGENTS_OF_POOL).div_ceil(NODE);
    let specs = (0..nodes).map(|i| NodeSpec::whole(format!("gpu-{i}"), A100_80, NODE as u32));
    let stage = Stage::start(StageOptions::new("memory", specs.collect())).await?;
    figures.push(Figure::new(
        "memory without pools",
        process::resident_mebibytes(operator(&stage)?)?,
        "MiB",
    ));
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), AGENTS);
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), AGENTS);
    println!("creating {FOREIGN} foreign pods");
    create_all(
        &pods,
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
        create_all(&deployments, agents().map(|(p, a)| deployment(&name(p, a)))).await?;
        create_all(
            &pods,
            agents().map(|(p, a)| {
                let app = name(p, a);
                pod(&app, &app, (FOREIGN + p * AGENTS_OF_POOL + a) / NODE)
            }),
        )
        .await?;
        create_all(&stage.pools(), (there..pools).map(|p| pool(p, port))).await?;
        there = pools;
        decided(&stage, pools).await?;
        read(&stage, pools, 2).await?;
        let (running, restarted) = (process::resident_mebibytes(operator(&stage)?)?, {
            // A fresh start lists everything at once, and nothing is left of what came before.
            let start = Instant::now();
            stage.runner.instances()[0].kill().await;
            decided(&stage, pools).await?;
            let took = start.elapsed().as_secs_f64();
            let what = format!("from the start to the last first decision, {pools} pools");
            figures.push(Figure::new(what, took, "s"));
            read(&stage, pools, 2).await?;
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
