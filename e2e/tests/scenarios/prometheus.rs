//! Scenario 13: a Prometheus server as source.

use crate::sharers;
use crate::whole_gpus::{load, pool};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::network::free_port;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::prometheus::{Prometheus, PrometheusOptions};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use jiff::Timestamp;
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long it is watched that nothing shrinks after the signals are lost: some ticks of the pool.
const HELD: Duration = Duration::from_secs(15);

fn condition<'a>(pool: &'a AgentPool, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    pool.status
        .iter()
        .flat_map(|s| &s.conditions)
        .find(|c| c.type_ == kind)
        .map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_prometheus_as_source_replicas_follow_load_hold_while_it_is_away_and_follow_again() {
    let address = format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST).unwrap());
    let stage = Stage::start(
        StageOptions::new(
            "prometheus-source",
            vec![NodeSpec::whole("gpu", A100_80, 8)],
        )
        .value(format!("metricSources.prom=http://{address}")),
    )
    .await
    .unwrap();
    let agents = [
        AgentWorkload::new("chat", 5.0),
        AgentWorkload::new("code", 5.0),
    ];
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    let scraped = PrometheusOptions::new([AGENTS]).listen(&address);
    let mut prometheus = Prometheus::start(&stage.control_plane, &scraped)
        .await
        .unwrap();
    let items: Vec<_> = agents
        .iter()
        .map(|agent| agent.agent("Medium", "1", 8))
        .collect();
    let mut object = pool(8, &items);
    object["spec"]["metrics"] = json!({ "source": "Prometheus", "prometheus": { "name": "prom" } });

    // A source that nobody configured: refused with the field, the value, and what there is.
    let mut unknown = object.clone();
    unknown["metadata"]["name"] = json!("lost");
    unknown["spec"]["metrics"]["prometheus"]["name"] = json!("nowhere");
    stage.apply(&unknown).await.unwrap();
    let refused = |p: &AgentPool| {
        condition(p, "Stalled").is_some_and(|(status, reason, message)| {
            status == "True"
                && reason == "InvalidSpec"
                && message.contains("spec.metrics.prometheus.name")
                && message.contains("nowhere")
                && message.contains("[\"prom\"]")
        })
    };
    stage
        .wait_pool("lost", "Stalled names the known sources", LIMIT, refused)
        .await
        .unwrap();
    stage
        .pools()
        .delete("lost", &kube::api::DeleteParams::default())
        .await
        .unwrap();

    // Both want more than there is, chat most.
    let length = Duration::from_secs(1200);
    let chatting = stage.drive(&[load("chat", &[(1200.0, 28.0)])], length);
    let coding = stage.drive(&[load("code", &[(1200.0, 12.0)])], length);
    stage.apply(&object).await.unwrap();
    let settled = async || {
        let chat = stage.replicas("chat").await?;
        let all_ready = chat >= 4
            && stage.ready_pods("chat").await? == chat as usize
            && stage.ready_pods("code").await? == stage.replicas("code").await? as usize;
        let pool = stage.pools().get("team").await?;
        let fresh = condition(&pool, "SignalsFresh").is_some_and(|c| c.0 == "True");
        Ok((all_ready && fresh).then_some(()))
    };
    agentpool_e2e::wait::until(
        LIMIT,
        "chat has 4 replicas, all ready and measured",
        settled,
    )
    .await
    .unwrap();

    // Prometheus goes away, and then chat's load: nobody can know.
    prometheus.kill().await;
    chatting.stop();
    let killed = Timestamp::now();
    let before = stage.replicas("chat").await.unwrap();
    let unreachable = |p: &AgentPool| {
        condition(p, "SignalsFresh").is_some_and(|(status, reason, message)| {
            // A pod that had come a moment before is known by nobody then.
            status == "False"
                && ["SourceUnreachable", "SignalsLost"].contains(&reason)
                && message.contains("metric source \"prom\" cannot be read")
                && message.contains("connection refused")
        })
    };
    stage
        .wait_pool(
            "team",
            "SignalsFresh says that the source cannot be read, long before its values are too old",
            Duration::from_secs(30),
            unreachable,
        )
        .await
        .unwrap();
    let lost = |p: &AgentPool| {
        condition(p, "SignalsFresh").is_some_and(|(status, reason, message)| {
            status == "False"
                && reason == "SignalsLost"
                && message.contains("connection refused")
                && message.contains("chat: ")
        })
    };
    stage
        .wait_pool(
            "team",
            "SignalsFresh says that nobody answers",
            LIMIT + Duration::from_secs(90),
            lost,
        )
        .await
        .unwrap();
    // A hold shows in what does not happen for a while.
    tokio::time::sleep(HELD).await;
    let after = stage.replicas("chat").await.unwrap();
    assert!(
        after >= before,
        "chat shrank from {before} to {after} although its load was not known"
    );
    // What was known last may still give chat more, and take from code.
    let mut shrinks = sharers::scale_downs(&stage, killed);
    shrinks.retain(|write| write.contains("agents/chat"));
    assert!(shrinks.is_empty(), "{shrinks:#?}");

    // It comes back: what is known again is acted upon.
    prometheus.restart().await.unwrap();
    stage
        .wait_pool("team", "the signals are fresh again", LIMIT, |p| {
            condition(p, "SignalsFresh").is_some_and(|c| c.0 == "True")
        })
        .await
        .unwrap();
    let shrunk = async || Ok((stage.replicas("chat").await? < before).then_some(()));
    agentpool_e2e::wait::until(LIMIT, "chat, idle, gives GPUs up", shrunk)
        .await
        .unwrap();
    coding.stop();
    stage.finish().await.unwrap();
}
