//! Scenarios 7 and 11: what is settled, observed or paused is left alone.

use crate::whole_gpus::{load, pool};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

const NAMES: [&str; 4] = ["coordinator", "nlp", "vision", "reasoning"];

async fn four_agents(name: &str) -> (Stage, Vec<AgentWorkload>) {
    let stage = Stage::start(StageOptions::new(
        name,
        vec![NodeSpec::whole("gpu", A100_80, 8)],
    ))
    .await
    .unwrap();
    let agents: Vec<AgentWorkload> = NAMES
        .iter()
        .map(|name| AgentWorkload::new(*name, 10.0))
        .collect();
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    (stage, agents)
}

fn is(pool: &AgentPool, kind: &str, status: &str) -> bool {
    pool.status
        .iter()
        .flat_map(|s| &s.conditions)
        .any(|c| c.type_ == kind && c.status == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_pool_under_poisson_load_writes_no_workload_and_status_at_most_twice_a_minute() {
    let (stage, agents) = four_agents("settled").await;
    let driver = stage.drive(
        &NAMES.map(|name| load(name, &[(900.0, 8.0)])),
        Duration::from_secs(900),
    );
    let items: Vec<_> = agents
        .iter()
        .map(|agent| agent.agent("Medium", "1", 8))
        .collect();
    let mut settled = pool(8, &items);
    // The defaults of the policy: what a user gets who sets nothing.
    settled["spec"]["policy"] = json!({});
    stage.apply(&settled).await.unwrap();
    stage
        .wait_pool("team", "the pool is Ready", LIMIT, |p| {
            is(p, "Ready", "True") && is(p, "SignalsFresh", "True")
        })
        .await
        .unwrap();
    // The averages fill up over a window of a minute; what is measured begins when they have.
    stage
        .wait_pool(
            "team",
            "the signals have been averaged for a minute",
            LIMIT,
            |p| is(p, "Ready", "True"),
        )
        .await
        .unwrap();
    let warm = tokio::time::Instant::now() + Duration::from_secs(60);
    tokio::time::sleep_until(warm).await;
    let start = Timestamp::now();
    let minutes = 2;
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    let writes = stage.operator_writes().unwrap().since(start);
    let workloads = writes.clone().workload_writes();
    assert_eq!(
        workloads.len(),
        0,
        "a settled pool moved: {:?}",
        workloads.iter().map(|r| r.path()).collect::<Vec<_>>()
    );
    // An event is a write too.
    let told = writes.filter(|r| ["agentpools/status", "events"].contains(&r.path().as_str()));
    assert!(
        told.len() as u64 <= 2 * minutes,
        "{} writes of status and events in {minutes} minutes: {told}",
        told.len()
    );
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_mode_and_the_paused_annotation_decide_and_write_nothing_but_status() {
    let (stage, agents) = four_agents("observe").await;
    let driver = stage.drive(
        &NAMES.map(|name| load(name, &[(900.0, if name == "nlp" { 40.0 } else { 1.0 })])),
        Duration::from_secs(900),
    );
    let items: Vec<_> = agents
        .iter()
        .map(|agent| agent.agent("Medium", "1", 8))
        .collect();
    let mut observing = pool(8, &items);
    observing["spec"]["mode"] = json!("Observe");
    stage.apply(&observing).await.unwrap();
    let would_grow = |p: &AgentPool| {
        p.status
            .iter()
            .flat_map(|s| &s.agents)
            .any(|a| a.name == "nlp" && a.desired_replicas.is_some_and(|n| n >= 4))
    };
    let said = stage
        .wait_pool(
            "team",
            "status says that nlp would get 4 replicas",
            LIMIT,
            would_grow,
        )
        .await
        .unwrap();
    assert!(is(&said, "Paused", "True"));
    let only_status = |when: &str| {
        let others: Vec<String> = stage
            .operator_writes()
            .unwrap()
            .succeeded()
            .filter(|r| {
                let allowed = ["leases", "events", "agentpools/status"];
                !allowed.iter().any(|path| r.path().contains(path))
            })
            .iter()
            .map(|r| r.path())
            .collect();
        assert!(others.is_empty(), "{when}: {others:?}");
    };
    only_status("Observe");
    assert_eq!(stage.replicas("nlp").await.unwrap(), 1);

    // Paused before it may act, so that there is no moment in which it could.
    let paused = json!({ "metadata": { "annotations": { "agentpool.dev/paused": "true" } }, "spec": { "mode": "Auto" } });
    stage
        .pools()
        .patch("team", &PatchParams::default(), &Patch::Merge(paused))
        .await
        .unwrap();
    let by_annotation = |p: &AgentPool| {
        p.status
            .iter()
            .any(|s| s.observed_generation == p.metadata.generation)
            && p.status
                .iter()
                .flat_map(|s| &s.conditions)
                .any(|c| c.type_ == "Paused" && c.reason == "PausedByAnnotation")
    };
    stage
        .wait_pool("team", "Paused names the annotation", LIMIT, by_annotation)
        .await
        .unwrap();
    stage
        .wait_pool(
            "team",
            "it still says that nlp would get 4 replicas",
            LIMIT,
            would_grow,
        )
        .await
        .unwrap();
    only_status("paused");
    assert_eq!(stage.replicas("nlp").await.unwrap(), 1);

    // Without the annotation the same pool acts: the test would notice an operator that never does.
    let resumed = json!({ "metadata": { "annotations": { "agentpool.dev/paused": null } } });
    stage
        .pools()
        .patch("team", &PatchParams::default(), &Patch::Merge(resumed))
        .await
        .unwrap();
    let grown = async || Ok((stage.replicas("nlp").await? >= 4).then_some(()));
    agentpool_e2e::wait::until(LIMIT, "nlp grows once it is resumed", grown)
        .await
        .unwrap();
    let writes = stage.operator_writes().unwrap().workload_writes();
    assert!(!writes.namespace(AGENTS).is_empty());
    driver.stop();
    stage.finish().await.unwrap();
}
