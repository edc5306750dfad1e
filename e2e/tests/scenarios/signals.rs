//! Scenario 4: metrics that stop, stand still or lie.

use crate::whole_gpus::pool;
use agentpool::api::{AgentPool, AgentStatus};
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::engine::faults::Fault;
use agentpool_e2e::load::{AgentLoad, Arrivals, Work};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Over what the pool averages; recovery is to take no longer.
const WINDOW: Duration = Duration::from_secs(16);
/// Requests/s on one GPU.
const SPEED: f64 = 2.0;

/// What is done to an agent's metrics, and what status has to say of it.
fn faults() -> Vec<(&'static str, Fault, &'static str)> {
    vec![
        ("stops", Fault::Refuse, "connection refused"),
        ("freezes", Fault::Freeze, "the exporter is frozen"),
        ("nan", Fault::Nan, "is NaN"),
        // Each value is finite; their sum over the reasons of finishing is not.
        ("huge", Fault::Huge, "is infinite"),
        ("garbage", Fault::Garbage, "not Prometheus text"),
        // "the answer is larger than is read", or, on a slow machine, "no complete answer within ...".
        ("bloated", Fault::Oversized, "answer"),
        ("slow", Fault::Slow { seconds: 30.0 }, "answer"),
    ]
}

/// Evenly spaced requests for so many GPUs: an agent at its most replicas never has a reason of its own to shrink.
fn steady(agent: &str, gpus: f64) -> AgentLoad {
    AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Constant { rate: gpus * SPEED },
        work: Work::Deterministic,
    }
}

fn status<'a>(pool: &'a AgentPool, name: &str) -> Option<&'a AgentStatus> {
    pool.status
        .iter()
        .flat_map(|s| &s.agents)
        .find(|a| a.name == name)
}

fn signals_fresh(pool: &AgentPool) -> Option<(&str, &str, &str)> {
    pool.status
        .iter()
        .flat_map(|s| &s.conditions)
        .find(|c| c.type_ == "SignalsFresh")
        .map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

async fn set_unready(stage: &Stage, pod: &str, unready: bool) {
    let value = if unready { json!("true") } else { Value::Null };
    let patch = json!({ "metadata": { "annotations": { "bench.agentpool.dev/unready": value } } });
    Api::<Pod>::namespaced(stage.client.clone(), AGENTS)
        .patch(pod, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_shrinks_because_its_metrics_stop_freeze_or_lie_and_status_names_signal_and_problem()
 {
    let stage = Stage::start(StageOptions::new(
        "signals",
        ["gpu-a", "gpu-b", "gpu-c"]
            .map(|name| NodeSpec::whole(name, A100_80, 8))
            .to_vec(),
    ))
    .await
    .unwrap();
    let faults = faults();
    // Each has all that it may have, and load for more; `hungry` would take every GPU that one of them gives up.
    let mut agents: Vec<AgentWorkload> = faults
        .iter()
        .map(|(name, ..)| AgentWorkload::new(*name, SPEED).replicas(2))
        .collect();
    agents.push(AgentWorkload::new("resets", SPEED).replicas(2));
    agents.push(AgentWorkload::new("unready", SPEED).replicas(3));
    let sick = agents.clone();
    agents.push(AgentWorkload::new("hungry", SPEED).replicas(2));
    for agent in &agents {
        stage.apply(&agent.object()).await.unwrap();
    }
    for agent in &agents {
        stage.wait_ready(&agent.name, agent.replicas).await.unwrap();
    }
    let length = Duration::from_secs(1200);
    let loads: Vec<AgentLoad> = sick
        .iter()
        .map(|agent| steady(&agent.name, f64::from(agent.replicas) + 0.4))
        .collect();
    let driver = stage.drive(&loads, length);
    let hunger = stage.drive(&[steady("hungry", 4.0)], length);
    let items: Vec<Value> = agents
        .iter()
        .map(|agent| match agent.name.as_str() {
            "hungry" => agent.agent("Low", "1", 24),
            _ => agent.agent("High", "1", agent.replicas),
        })
        .collect();
    let mut object = pool(21, &items);
    object["spec"]["policy"]["demandWindow"] = json!(format!("{}s", WINDOW.as_secs()));
    stage.apply(&object).await.unwrap();
    let all_fresh = |p: &AgentPool| {
        signals_fresh(p).is_some_and(|(status, ..)| status == "True")
            && sick
                .iter()
                .all(|a| status(p, &a.name).is_some_and(|s| s.signals == "Fresh"))
    };
    stage
        .wait_pool("team", "every signal is fresh", LIMIT, all_fresh)
        .await
        .unwrap();

    // One of three pods is unready, and nothing listens there.
    let start = Timestamp::now();
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), AGENTS);
    let pods = pods
        .list(&ListParams::default().labels("app=unready"))
        .await
        .unwrap();
    let pod = pods.items[0].metadata.name.clone().unwrap();
    let target = format!("{AGENTS}/{pod}");
    set_unready(&stage, &pod, true).await;
    stage.fleet.set_fault(&target, Fault::Refuse);
    let partial = |p: &AgentPool| {
        signals_fresh(p).is_some_and(|(status, reason, message)| {
            status == "False"
                && reason == "SomePodsLost"
                && message.contains(&format!("unready: Partial, pod {pod}: connection refused"))
        })
    };
    stage
        .wait_pool(
            "team",
            "status names the pod that is unready",
            LIMIT,
            partial,
        )
        .await
        .unwrap();

    // Everything else at once.
    for (name, fault, _) in &faults {
        stage
            .fleet
            .set_fault(&format!("{AGENTS}/{name}"), fault.clone());
    }
    stage.fleet.reset_counters(&format!("{AGENTS}/resets"));
    let named = |p: &AgentPool| {
        let lost = signals_fresh(p).is_some_and(|(status, reason, message)| {
            status == "False" && reason == "SignalsLost" && message.contains("stops: Stale, pod ")
        });
        lost && faults.iter().all(|(name, _, problem)| {
            status(p, name).is_some_and(|a| a.signals == "Stale" && a.message.contains(problem))
        })
    };
    let held = stage
        .wait_pool(
            "team",
            "status names every problem",
            LIMIT + Duration::from_secs(60),
            named,
        )
        .await
        .unwrap();
    assert!(
        status(&held, "resets").is_some_and(|a| a.signals == "Fresh"),
        "a reset is no lost signal"
    );
    stage.fleet.reset_counters(&format!("{AGENTS}/resets"));

    // All that time the GPUs were wanted elsewhere, and nobody gave one up; nor while the signals come back.
    for (name, ..) in &faults {
        assert!(stage.fleet.clear_fault(&format!("{AGENTS}/{name}")));
    }
    assert!(stage.fleet.clear_fault(&target));
    set_unready(&stage, &pod, false).await;
    let cleared = Instant::now();
    let back = stage
        .wait_pool("team", "every signal is fresh again", LIMIT, all_fresh)
        .await
        .unwrap();
    let took = cleared.elapsed();
    // The pool averages over four times the lag that it learned, when that is longer than what it was told.
    let lag = back
        .status
        .as_ref()
        .and_then(|s| s.actuation_lag_seconds)
        .unwrap_or(0);
    let window = WINDOW.max(Duration::from_secs(4 * (u64::from(lag) + 1)));
    assert!(
        took <= window,
        "recovered after {took:?}, window {window:?}"
    );
    let writes: Vec<String> = stage
        .operator_writes()
        .unwrap()
        .since(start)
        .filter(|r| r.resource == "deployments" && sick.iter().any(|a| a.name == r.name))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    for agent in &sick {
        assert_eq!(
            stage.replicas(&agent.name).await.unwrap(),
            agent.replicas,
            "{} shrank",
            agent.name
        );
    }

    // A true zero, measured, does shrink them, and `hungry` takes what they give.
    driver.stop();
    let grown = async || Ok((stage.replicas("hungry").await? >= 4).then_some(()));
    agentpool_e2e::wait::until(LIMIT, "hungry grows when the others are idle", grown)
        .await
        .unwrap();
    hunger.stop();
    stage.finish().await.unwrap();
}
