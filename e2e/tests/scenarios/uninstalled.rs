//! Scenario 12: the chart is uninstalled after the operator has moved GPUs. An uninstall in the middle of a swap is in `tests/chart.rs`.

use crate::deleted::{counts, deployments, marks, pod_marks, templates};
use crate::sharers;
use agentpool_e2e::operator::{OperatorRunner, RunnerOptions, operator_binary};
use agentpool_e2e::stage::{AGENTS, LIMIT, SYSTEM, Stage};
use agentpool_e2e::wait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::BTreeSet;

/// Names and identities of the agents' pods.
async fn pods(stage: &Stage) -> BTreeSet<(String, Option<String>)> {
    let pods = Api::<Pod>::namespaced(stage.client.clone(), AGENTS);
    let pods = pods.list(&ListParams::default()).await.unwrap();
    pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect()
}

async fn all_marks(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let mut found: Vec<String> = deployments(stage).await?.iter().flat_map(marks).collect();
    found.extend(pod_marks(stage).await?);
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_after_gpus_were_moved_restarts_no_pod_and_leaves_nothing_of_ours() {
    // The bench's nodes end a job's pod after its delay, whatever its process does: time enough for it.
    let delay = r"podAnnotations.bench\.agentpool\.dev/ready-delay=15s";
    let stage = sharers::stage(|o| o.value(delay), "uninstalled").await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;
    even.stop();
    let shifted = sharers::drive(&stage, (70.0, 5.0));
    // Left has use for seven GPUs, right for less than one: nothing is left to be moved.
    stage.wait_ready("left", 7).await.unwrap();
    stage.wait_gone("right", 1).await.unwrap();
    let managers = all_marks(&stage).await.unwrap();
    for name in ["left", "right"] {
        let mark = format!("{name}: agentpool/replicas");
        assert!(managers.contains(&mark), "not moved by us: {managers:?}");
    }
    stage.witness.catch_up().await.unwrap();
    let before = (
        pods(&stage).await,
        counts(&stage),
        templates(&stage).await,
        sharers::replicas(&stage).await,
    );

    let begun = Timestamp::now();
    let hook = RunnerOptions::new(
        SYSTEM,
        "app.kubernetes.io/name=agentpool-hand-back",
        operator_binary().unwrap(),
    );
    let hook = OperatorRunner::start(&stage.control_plane, hook)
        .await
        .unwrap();
    stage.uninstall().await.unwrap();
    let mut left = Vec::new();
    let clean = wait::until(LIMIT, "nothing of ours is left", async || {
        left = all_marks(&stage).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await;
    let said: Vec<String> = hook.all_instances().iter().map(|i| i.log_text()).collect();
    assert!(clean.is_ok(), "{left:?}\n{}", said.join("\n"));

    stage.witness.catch_up().await.unwrap();
    let after = (
        pods(&stage).await,
        counts(&stage),
        templates(&stage).await,
        sharers::replicas(&stage).await,
    );
    assert_eq!(
        before, after,
        "pods came or went, or a workload was changed"
    );
    let scaled = sharers::workload_writes(&stage, begun).filter(|r| r.subresource == "scale");
    assert!(scaled.is_empty(), "{scaled}");
    shifted.stop();
    stage.finish().await.unwrap();
}
