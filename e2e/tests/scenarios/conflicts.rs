//! Scenario 10: somebody else manages what the pool would have to write.

use crate::sharers;
use crate::whole_gpus::{load, pool};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The demand window of [`pool`], in seconds and hence in decisions.
const WINDOW: u32 = 5;

fn condition(pool: &AgentPool, kind: &str) -> Option<(String, String, String)> {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    conditions
        .filter(|c| c.type_ == kind)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .next()
}

fn conflicted(pool: &AgentPool, reason: &str, names: &str) -> bool {
    condition(pool, "Conflicted").is_some_and(|(status, why, message)| {
        status == "True" && why == reason && message.contains(names)
    })
}

fn workload_writes(stage: &Stage) -> usize {
    stage
        .operator_writes()
        .unwrap()
        .workload_writes()
        .succeeded()
        .namespace(AGENTS)
        .len()
}

/// Time enough for what would be written to be written: three windows of decisions on so many agents.
async fn three_windows(stage: &Stage, agents: u32) {
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.decides(3 * WINDOW * agents, LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_somebody_else_manages_is_refused_by_name_before_any_write() {
    let stage = Stage::start(StageOptions::new(
        "conflicts",
        vec![NodeSpec::whole("gpu", A100_80, 8)],
    ))
    .await
    .unwrap();
    let agents: Vec<AgentWorkload> = ["scaled", "owned", "claimed"]
        .iter()
        .map(|name| AgentWorkload::new(*name, 10.0))
        .collect();
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "chat-hpa", "namespace": AGENTS },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled" }, "minReplicas": 1, "maxReplicas": 3 }
    });
    stage.apply(&hpa).await.unwrap();
    let owner = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "chat", "uid": "00000000-0000-0000-0000-000000000001", "controller": true }
    ] } });
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), AGENTS);
    deployments
        .patch("owned", &PatchParams::default(), &Patch::Merge(owner))
        .await
        .unwrap();
    // Every agent is hungry: whatever could be written would be.
    let names = ["scaled", "owned", "claimed"];
    let driver = stage.drive(
        &names.map(|name| load(name, &[(600.0, 25.0)])),
        Duration::from_secs(600),
    );

    let named = |pool_name: &str, agent: usize| {
        let mut object = pool(8, &[agents[agent].agent("Medium", "0", 8)]);
        object["metadata"]["name"] = json!(pool_name);
        object
    };
    stage.apply(&named("by-hpa", 0)).await.unwrap();
    stage
        .wait_pool("by-hpa", "Conflicted names the HPA", LIMIT, |p| {
            conflicted(p, "Autoscaled", "HorizontalPodAutoscaler chat-hpa")
        })
        .await
        .unwrap();
    stage.apply(&named("by-owner", 1)).await.unwrap();
    stage
        .wait_pool("by-owner", "Conflicted names the owner", LIMIT, |p| {
            conflicted(p, "OwnedByController", "InferenceService chat")
        })
        .await
        .unwrap();
    // Before the third one takes the GPUs that are free: there is room for what is refused.
    three_windows(&stage, 2).await;
    assert_eq!(
        workload_writes(&stage),
        0,
        "something was written to a workload that somebody else manages"
    );

    stage.apply(&named("older", 2)).await.unwrap();
    stage
        .wait_pool("older", "the older pool is served", LIMIT, |p| {
            condition(p, "Conflicted").is_some_and(|c| c.0 == "False")
        })
        .await
        .unwrap();
    let grown = async || Ok((stage.replicas("claimed").await? > 1).then_some(()));
    wait::until(LIMIT, "it grows its workload", grown)
        .await
        .unwrap();
    // Paused it keeps what it has claimed: what is written to it from now on is the younger pool's.
    let pause = json!({ "metadata": { "annotations": { "agentpool.dev/paused": "true" } } });
    let (pools, pause) = (stage.pools(), Patch::Merge(pause));
    let patched = pools.patch("older", &PatchParams::default(), &pause).await;
    patched.unwrap();
    stage
        .wait_pool("older", "the older pool is paused", LIMIT, |p| {
            condition(p, "Paused").is_some_and(|c| c.0 == "True")
        })
        .await
        .unwrap();
    let before = workload_writes(&stage);
    assert!(before > 0, "the claimed workload is worth a write");
    // Objects are as old as their second of creation: the younger one must not be made in the same.
    let older = stage.pools().get("older").await.unwrap();
    let made = older.metadata.creation_timestamp.unwrap().0;
    let later = async || Ok((Timestamp::now().as_second() > made.as_second()).then_some(()));
    wait::until(
        LIMIT,
        "the second in which the older pool was made is over",
        later,
    )
    .await
    .unwrap();
    stage.apply(&named("younger", 2)).await.unwrap();
    let younger = |p: &AgentPool| conflicted(p, "ClaimedByPool", "agents/older");
    stage
        .wait_pool(
            "younger",
            "the younger pool names the older",
            LIMIT,
            younger,
        )
        .await
        .unwrap();
    // Pods that come wake the operator, which then decides more often than time passes.
    let all = stage.replicas("claimed").await.unwrap();
    stage.wait_ready("claimed", all).await.unwrap();
    three_windows(&stage, 4).await;
    assert_eq!(workload_writes(&stage) - before, 0, "by the younger pool");
    for name in ["scaled", "owned"] {
        let replicas = stage.replicas(name).await.unwrap();
        assert_eq!(replicas, 1, "{name} was grown, by whomever");
        let pods = format!("{name}-");
        let tried = stage.operator_writes().unwrap().workload_writes();
        let tried = tried
            .namespace(AGENTS)
            .filter(|record| record.name == name || record.name.starts_with(&pods));
        assert!(tried.is_empty(), "{tried}");
    }
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_reverts_by_the_same_manager_the_operator_stops_and_names_it() {
    let stage = Stage::start(StageOptions::new(
        "reverts",
        vec![NodeSpec::whole("gpu", A100_80, 8)],
    ))
    .await
    .unwrap();
    let chat = AgentWorkload::new("chat", 10.0);
    stage.deploy(&chat).await.unwrap();
    let driver = stage.drive(&[load("chat", &[(900.0, 35.0)])], Duration::from_secs(900));
    stage
        .apply(&pool(8, &[chat.agent("High", "1", 6)]))
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), AGENTS);
    let gitops = PatchParams {
        field_manager: Some("gitops".to_owned()),
        ..PatchParams::default()
    };
    let back = json!({ "spec": { "replicas": 1 } });
    // As each 30 s and then after 10 minutes of a pool with the default window of a minute: half a window, then ten of them, more than any
    // window that could be counted in.
    for (revert, windows) in [(1, 0.5), (2, 0.5), (3, 10.0)] {
        tokio::time::sleep(Duration::from_secs(WINDOW.into()).mul_f64(windows)).await;
        let grown = async || Ok((stage.replicas("chat").await? > 1).then_some(()));
        wait::until(
            LIMIT,
            format!("the operator grows chat before revert {revert}"),
            grown,
        )
        .await
        .unwrap();
        deployments
            .patch("chat", &gitops, &Patch::Merge(&back))
            .await
            .unwrap();
    }
    stage
        .wait_pool("team", "Conflicted names the manager", LIMIT, |p| {
            conflicted(p, "Reverted", "gitops")
        })
        .await
        .unwrap();
    let writes = workload_writes(&stage);
    // It is still hungry, and stays as the other manager wants it.
    let asks = |p: &AgentPool| {
        p.status
            .iter()
            .flat_map(|s| &s.agents)
            .any(|a| a.name == "chat" && a.reason == "Reverted")
    };
    stage
        .wait_pool(
            "team",
            "status says why chat keeps what it has",
            LIMIT,
            asks,
        )
        .await
        .unwrap();
    // Pods that go wake the operator, which then decides more often than time passes.
    stage.wait_gone("chat", 1).await.unwrap();
    three_windows(&stage, 1).await;
    assert_eq!(stage.replicas("chat").await.unwrap(), 1);
    assert_eq!(workload_writes(&stage), writes);
    let still = stage.pools().get("team").await.unwrap();
    assert!(conflicted(&still, "Reverted", "gitops") && asks(&still));

    // An edit of the pool is the way to start again.
    stage
        .apply(&pool(7, &[chat.agent("High", "1", 6)]))
        .await
        .unwrap();
    let grown = async || Ok((stage.replicas("chat").await? > 1).then_some(()));
    wait::until(LIMIT, "the operator acts again after an edit", grown)
        .await
        .unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_nobodys_revert() {
    let stage = sharers::stage(|o| o.with_proxies(), "lost-answers").await;
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    let (writes, lost) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let every_second = Matcher::new(move |request| {
        let scales = request.is_workload_write() && request.uri.contains("/scale");
        scales && writes.fetch_add(1, Ordering::SeqCst) % 2 == 1
    });
    let counted = Arc::clone(&lost);
    let rule = operator.proxy().unwrap().cut_after(every_second, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {}.boxed()
    });
    sharers::share(&stage).await;
    // A count is never taken back while the pool stands, so it is enough to look at the end.
    let mut driver = sharers::drive(&stage, sharers::EVEN);
    for (grows, load) in [("left", (45.0, 5.0)), ("right", (5.0, 45.0))].repeat(3) {
        driver.stop();
        driver = sharers::drive(&stage, load);
        let grown = async || Ok((stage.ready_pods(grows).await? > 4).then_some(()));
        wait::until(LIMIT, format!("{grows} grows"), grown)
            .await
            .unwrap();
    }
    driver.stop();
    let lost = lost.load(Ordering::SeqCst);
    assert!(lost >= 6, "only {lost} answers were lost");
    for name in ["left", "right"] {
        let notes = stage.look("Deployment", name).await.unwrap().notes;
        assert_eq!(notes.get("agentpool.dev/reverts"), None, "{name}");
    }
    let said = stage.pools().get("team").await.unwrap();
    let (status, reason, _) = condition(&said, "Conflicted").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NoConflict"));
    drop(rule);
    stage.finish().await.unwrap();
}
