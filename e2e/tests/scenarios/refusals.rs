//! What is recognised and said before or instead of a write: a quota, nodes that do not count, a paused Deployment, an autoscaler of another
//! kind.

use crate::whole_gpus::{load, pool};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::load::Driver;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

/// The Deployment `chat`, hungry for more GPUs than it has.
async fn hungry(name: &str) -> (Stage, AgentWorkload, Driver) {
    let node = NodeSpec::whole("gpu", A100_80, 8);
    let stage = Stage::start(StageOptions::new(name, vec![node]))
        .await
        .unwrap();
    let chat = AgentWorkload::new("chat", 10.0);
    stage.deploy(&chat).await.unwrap();
    let driver = stage.drive(&[load("chat", &[(900.0, 35.0)])], Duration::from_secs(900));
    (stage, chat, driver)
}

async fn share(stage: &Stage, chat: &AgentWorkload) {
    stage
        .apply(&pool(8, &[chat.agent("High", "1", 6)]))
        .await
        .unwrap();
}

/// Whether a condition is true for this reason, with these words.
pub fn says(pool: &AgentPool, kind: &str, reason: &str, words: &[&str]) -> bool {
    is(pool, (kind, "True"), reason, words)
}

fn is(pool: &AgentPool, (kind, status): (&str, &str), reason: &str, words: &[&str]) -> bool {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().any(|c| {
        let named = words.iter().all(|word| c.message.contains(word));
        c.type_ == kind && c.status == status && c.reason == reason && named
    })
}

/// Waits until the pool says why, and asserts that nothing was written to a workload.
async fn refused(stage: &Stage, kind: &str, reason: &str, words: &[&str]) {
    let what = format!("{kind} is {reason}");
    let said = stage
        .wait_pool("team", &what, LIMIT, |p| says(p, kind, reason, words))
        .await
        .unwrap();
    let conditions = &said.status.unwrap().conditions;
    let ready = conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", reason)
    );
    // Time for several decisions on a load that asks for more.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let writes = stage.operator_writes().unwrap().workload_writes();
    let writes = writes.namespace(AGENTS);
    assert!(writes.is_empty(), "{reason}, yet written: {writes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_a_quota_stops_are_said_with_the_quotas_own_words_until_there_is_room() {
    let (stage, chat, driver) = hungry("quota").await;
    let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), AGENTS);
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "two-gpus", "namespace": AGENTS },
        "spec": { "hard": { "requests.nvidia.com/gpu": "2" } }
    });
    stage.apply(&quota).await.unwrap();
    // It is in force once what is used has been counted.
    wait::until(LIMIT, "the quota counts", async || {
        let used = quotas.get("two-gpus").await?.status.and_then(|s| s.used);
        Ok(used.filter(|used| !used.is_empty()))
    })
    .await
    .unwrap();
    share(&stage, &chat).await;
    let words = ["chat", "exceeded quota: two-gpus"];
    stage
        .wait_pool("team", "Stalled has the quota's words", LIMIT, |p| {
            says(p, "Stalled", "PodsRefused", &words)
        })
        .await
        .unwrap();
    quotas
        .delete("two-gpus", &Default::default())
        .await
        .unwrap();
    stage
        .wait_pool("team", "it is over when the quota is gone", LIMIT, |p| {
            !says(p, "Stalled", "PodsRefused", &[])
        })
        .await
        .unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_count_are_said_and_so_is_a_statefulset_whose_pods_a_quota_stops() {
    let node = NodeSpec::whole("gpu", A100_80, 4);
    let stage = Stage::start(StageOptions::new("not-counted", vec![node]))
        .await
        .unwrap();
    let chat = AgentWorkload {
        kind: "StatefulSet",
        ..AgentWorkload::new("chat", 10.0)
    };
    stage.deploy(&chat).await.unwrap();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "one-gpu", "namespace": AGENTS },
        "spec": { "hard": { "requests.nvidia.com/gpu": "1" } }
    });
    stage.apply(&quota).await.unwrap();
    let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), AGENTS);
    wait::until(LIMIT, "the quota counts", async || {
        let used = quotas.get("one-gpu").await?.status.and_then(|s| s.used);
        Ok(used.filter(|used| !used.is_empty()))
    })
    .await
    .unwrap();
    // With the quota in force no pod comes to them.
    let slices = NodeSpec::whole("slices", A100_80, 7)
        .label(
            "nvidia.com/gpu.product",
            format!("{}-MIG-1g.10gb", A100_80.product),
        )
        .label("nvidia.com/mig.strategy", "single");
    stage.nodes.add(&slices).await.unwrap();
    let tainted = NodeSpec::whole("tainted", A100_80, 4).taint("example.com/team", "other");
    stage.nodes.add(&tainted).await.unwrap();
    let driver = stage.drive(&[load("chat", &[(900.0, 35.0)])], Duration::from_secs(900));
    share(&stage, &chat).await;

    let words = [
        "node slices",
        "mig.strategy is single",
        "node tainted",
        "example.com/team=other:NoSchedule",
        "agent chat",
    ];
    let single = ("CapacityAvailable", "False");
    stage
        .wait_pool("team", "both nodes are said", LIMIT, |p| {
            is(p, single, "MigSingle", &words)
        })
        .await
        .unwrap();
    let words = [
        "StatefulSet chat",
        "1 of 4 pods",
        "kubectl describe statefulset chat",
    ];
    // Its controller says it nowhere, and is given two minutes.
    let patience = LIMIT + Duration::from_secs(120);
    stage
        .wait_pool("team", "the quota's victim is said", patience, |p| {
            says(p, "Stalled", "PodsRefused", &words)
        })
        .await
        .unwrap();

    stage.nodes.remove("slices").await.unwrap();
    quotas.delete("one-gpu", &Default::default()).await.unwrap();
    stage
        .wait_pool("team", "both are over", LIMIT, |p| {
            !says(p, "Stalled", "PodsRefused", &[]) && !is(p, single, "MigSingle", &[])
        })
        .await
        .unwrap();
    stage.wait_ready("chat", 4).await.unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_refused_by_name_and_grows_once_it_goes_on() {
    let (stage, chat, driver) = hungry("paused-deployment").await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(stage.client.clone(), AGENTS);
    let pause = async |paused: bool| {
        let change = Patch::Merge(json!({ "spec": { "paused": paused } }));
        let how = PatchParams::default();
        deployments.patch("chat", &how, &change).await.unwrap();
    };
    pause(true).await;
    share(&stage, &chat).await;
    refused(&stage, "Stalled", "DeploymentPaused", &["Deployment chat"]).await;
    // The test would notice an operator that never acts.
    pause(false).await;
    let grown = async || Ok((stage.replicas("chat").await? > 1).then_some(()));
    wait::until(LIMIT, "it grows once it goes on", grown)
        .await
        .unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

/// A kind with KEDA's name and the one field that the operator reads: KEDA itself is not installed.
fn scaled_objects() -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "scaledobjects.keda.sh" },
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": { "kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject" },
            "versions": [{ "name": "v1alpha1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }]
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_with_a_stand_in_for_a_keda_scaled_object_is_refused_by_name_until_its_kind_is_gone()
 {
    let (stage, chat, driver) = hungry("keda-stand-in").await;
    let kinds: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let kind = serde_json::from_value(scaled_objects()).unwrap();
    kinds.create(&PostParams::default(), &kind).await.unwrap();
    let scaled = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": { "name": "chat-scaler", "namespace": AGENTS },
        "spec": { "scaleTargetRef": { "name": "chat" }, "triggers": [] }
    });
    wait::until(LIMIT, "the kind is served", async || {
        Ok(stage.apply(&scaled).await.ok())
    })
    .await
    .unwrap();
    // A running operator looks for KEDA every five minutes only.
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.kill().await;
    share(&stage, &chat).await;
    refused(
        &stage,
        "Conflicted",
        "Autoscaled",
        &["ScaledObject chat-scaler"],
    )
    .await;

    // KEDA is uninstalled: it is not waited for, and nobody goes blind.
    let gone = DeleteParams::default();
    stage.pools().delete("team", &gone).await.unwrap();
    kinds.delete("scaledobjects.keda.sh", &gone).await.unwrap();
    tokio::time::sleep(Duration::from_secs(150)).await;
    share(&stage, &chat).await;
    let grown = async || Ok((stage.replicas("chat").await? > 1).then_some(()));
    wait::until(LIMIT, "it grows without KEDA", grown)
        .await
        .unwrap();
    let (ready, said) = operator.http_get(8080, "/readyz").await.unwrap();
    assert_eq!(ready, 200, "{said}");
    driver.stop();
    stage.finish().await.unwrap();
}
