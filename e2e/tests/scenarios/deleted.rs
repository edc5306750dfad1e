//! Scenario 12: a pool is deleted while it moves GPUs. The uninstall is in `uninstalled.rs`, the middle of a swap in `crash.rs`.

use crate::sharers;
use crate::whole_gpus::pool;
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage};
use agentpool_e2e::wait;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Agents of the pool by which time is told when the other one is gone. There are more of them than of the other, so that it would change
/// little if that one were still decided on.
const BYSTANDERS: u32 = 4;
/// Decisions on all agents of both pools over three demand windows of 5 s: time enough for a move.
const DECISIONS: u32 = 3 * 5 * (BYSTANDERS + 2);

/// What of ours is on an object: field managers and annotations.
pub fn marks(object: &impl ResourceExt) -> Vec<String> {
    let managers = object.managed_fields().iter();
    let managers = managers.filter_map(|entry| entry.manager.clone());
    managers
        .chain(object.annotations().keys().cloned())
        .filter(|mark| mark.starts_with("agentpool") || mark == COST)
        .map(|mark| format!("{}: {mark}", object.name_any()))
        .collect()
}

/// What of ours is on the agents' pods.
pub async fn pod_marks(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(stage.client.clone(), AGENTS);
    let pods = pods.list(&ListParams::default()).await?;
    Ok(pods.items.iter().flat_map(marks).collect())
}

/// The agents' Deployments.
pub async fn deployments(stage: &Stage) -> anyhow::Result<Vec<Deployment>> {
    let api = Api::<Deployment>::namespaced(stage.client.clone(), AGENTS);
    Ok(api.list(&ListParams::default()).await?.items)
}

/// Their pod templates.
pub async fn templates(stage: &Stage) -> Vec<PodTemplateSpec> {
    let items = deployments(stage).await.unwrap().into_iter();
    items.map(|d| d.spec.unwrap().template).collect()
}

/// A pool that observes workloads which do not exist: it is decided on every second, and writes nothing.
async fn watch_the_clock(stage: &Stage) {
    let agents: Vec<_> = (0..BYSTANDERS)
        .map(|i| AgentWorkload::new(format!("nobody-{i}"), 10.0).agent("Medium", "1", 2))
        .collect();
    let mut object = pool(8, &agents);
    object["metadata"]["name"] = json!("bystander");
    object["spec"]["mode"] = json!("Observe");
    stage.apply(&object).await.unwrap();
}

/// Pods created, pods gone and container restarts of both workloads.
pub fn counts(stage: &Stage) -> [(u32, u32, u32); 2] {
    ["left", "right"].map(|name| {
        let counts = stage.witness.counts(AGENTS, name);
        (counts.created, counts.gone, counts.restarts)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pool_leaves_its_pods_running_and_nothing_of_ours_on_them() {
    let stage = sharers::stage(|o| o.with_proxies(), "deleted").await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;
    stage.witness.catch_up().await.unwrap();
    let (before, templates_before) = (counts(&stage), templates(&stage).await);

    // The pool wants to move a GPU, has marked the pod that is to go, and comes no further.
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    let scales = Matcher::workload_writes().path("/scale");
    let refused = operator.proxy().unwrap().answer(scales, 503);
    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    wait::until(LIMIT, "a pod is marked to go", async || {
        Ok((!pod_marks(&stage).await?.is_empty()).then_some(()))
    })
    .await
    .unwrap();

    let begun = Timestamp::now();
    let pools = stage.pools();
    pools
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    wait::until(LIMIT, "the pool is gone", async || {
        Ok(pools.get_opt("team").await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    let mut left = Vec::new();
    let clean = wait::until(LIMIT, "nothing of ours is left", async || {
        left = deployments(&stage).await?.iter().flat_map(marks).collect();
        left.extend(pod_marks(&stage).await?);
        Ok(left.is_empty().then_some(()))
    })
    .await;
    assert!(clean.is_ok(), "{left:?}\n{}", operator.log_text());

    // The load still asks for a move, which would be carried out now, and nobody makes it any more.
    drop(refused);
    watch_the_clock(&stage).await;
    operator.decides(DECISIONS, LIMIT).await.unwrap();
    let again = pod_marks(&stage).await.unwrap();
    assert!(again.is_empty(), "marked to go: {again:?}");
    stage.witness.catch_up().await.unwrap();
    assert_eq!(counts(&stage), before, "pods came or went");
    assert_eq!(templates(&stage).await, templates_before);
    assert_eq!(sharers::replicas(&stage).await, (4, 4));
    let scaled = sharers::workload_writes(&stage, begun).filter(|r| r.subresource == "scale");
    assert!(scaled.is_empty(), "{scaled:?}");
    shifted.stop();
    stage.finish().await.unwrap();
}
