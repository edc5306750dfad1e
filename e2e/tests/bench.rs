//! The bench itself, shown on a real control plane: what its tools promise to the scenarios.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes};
use agentpool_e2e::controlplane::{Component, ControlPlane, Options};
use agentpool_e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

/// A pod that asks for one GPU, with the delays given.
fn pod(name: &str, annotations: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {"containers": [{"name": "server", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
    }))
    .unwrap()
}

fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.clone())
}

/// Waits until `test` holds for a pod, and says how long that took.
async fn wait_for_pod(
    client: &Client,
    name: &str,
    what: &str,
    test: impl Fn(Option<&Pod>) -> bool,
) -> Duration {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let start = Instant::now();
    wait::until(LIMIT, format!("pod {name} {what}"), async || {
        let pod = pods.get_opt(name).await?;
        Ok(test(pod.as_ref()).then_some(()))
    })
    .await
    .unwrap();
    start.elapsed()
}

async fn with_gpus(name: &str, gpus: u32) -> (ControlPlane, Client) {
    let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
    let client = control_plane.client().await.unwrap();
    Nodes::new(client.clone())
        .add(&NodeSpec::whole("gpu-0", A100_80, gpus))
        .await
        .unwrap();
    (control_plane, client)
}

#[tokio::test]
async fn a_pod_loads_drains_and_goes_when_its_annotations_say() {
    let (control_plane, client) = with_gpus("delays", 2).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());

    pods.create(&PostParams::default(), &pod("plain", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "plain", "is Ready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;

    let delays =
        json!({"bench.agentpool.dev/ready-delay": "3s", "bench.agentpool.dev/drain-delay": "3s"});
    pods.create(&PostParams::default(), &pod("slow", &delays))
        .await
        .unwrap();
    wait_for_pod(&client, "slow", "has its address", |pod| {
        pod.unwrap().status.as_ref().unwrap().pod_ip.is_some()
    })
    .await;
    let running = pods.get("slow").await.unwrap();
    assert_eq!(
        running.status.as_ref().unwrap().phase.as_deref(),
        Some("Running")
    );
    assert_eq!(
        condition(&running, "Ready").as_deref(),
        Some("False"),
        "it loads its model"
    );
    let address = running.status.unwrap().pod_ip.unwrap().parse().unwrap();
    assert!(
        control_plane.network().unwrap().is_pod_address(address),
        "{address}"
    );

    // A write in the middle of the load must not lengthen it.
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let patch =
        Patch::Merge(json!({"metadata": {"annotations": {"note": "written while loading"}}}));
    pods.patch("slow", &PatchParams::default(), &patch)
        .await
        .unwrap();
    wait_for_pod(&client, "slow", "is Ready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;
    let loaded = start.elapsed();
    assert!(
        (Duration::from_millis(2500)..Duration::from_millis(4200)).contains(&loaded),
        "loaded for {loaded:?}, not 3 s"
    );

    let start = Instant::now();
    pods.delete("slow", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let draining = pods.get("slow").await.unwrap();
    assert!(draining.metadata.deletion_timestamp.is_some());
    pods.patch("slow", &PatchParams::default(), &patch)
        .await
        .unwrap();
    wait_for_pod(&client, "slow", "is gone", |pod| pod.is_none()).await;
    let drained = start.elapsed();
    assert!(
        (Duration::from_millis(2900)..Duration::from_millis(4200)).contains(&drained),
        "drained for {drained:?}, not 3 s"
    );

    // The grace period cuts a longer drain.
    let delays = json!({"bench.agentpool.dev/drain-delay": "10m"});
    pods.create(&PostParams::default(), &pod("endless", &delays))
        .await
        .unwrap();
    wait_for_pod(&client, "endless", "is Ready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;
    pods.delete("endless", &DeleteParams::default().grace_period(2))
        .await
        .unwrap();
    let drained = wait_for_pod(&client, "endless", "is gone", |pod| pod.is_none()).await;
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(5)).contains(&drained),
        "drained for {drained:?}, not 2 s"
    );

    // Readiness can be taken and given back.
    let unready = |value: serde_json::Value| {
        Patch::Merge(json!({"metadata": {"annotations": {"bench.agentpool.dev/unready": value}}}))
    };
    pods.patch("plain", &PatchParams::default(), &unready(json!("true")))
        .await
        .unwrap();
    wait_for_pod(&client, "plain", "is unready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("False")
    })
    .await;
    pods.patch("plain", &PatchParams::default(), &unready(json!(null)))
        .await
        .unwrap();
    wait_for_pod(&client, "plain", "is Ready again", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;
    control_plane.finish();
}

#[tokio::test]
async fn a_node_that_loses_its_gpus_takes_no_more_pods_and_a_drained_one_has_none() {
    let (control_plane, client) = with_gpus("nodes", 1).await;
    let nodes = Nodes::new(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("first", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "first", "is Ready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;
    nodes.drain("gpu-0", LIMIT).await.unwrap();
    nodes.cordon("gpu-0", false).await.unwrap();

    nodes
        .set_resource("gpu-0", "nvidia.com/gpu", 0)
        .await
        .unwrap();
    pods.create(&PostParams::default(), &pod("second", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "second", "is unschedulable", |pod| {
        condition(pod.unwrap(), "PodScheduled").as_deref() == Some("False")
    })
    .await;
    nodes
        .set_resource("gpu-0", "nvidia.com/gpu", 1)
        .await
        .unwrap();
    wait_for_pod(&client, "second", "is Ready", |pod| {
        condition(pod.unwrap(), "Ready").as_deref() == Some("True")
    })
    .await;
    control_plane.finish();
}

#[tokio::test]
async fn restarts_of_etcd_and_of_the_api_server_lose_nothing() {
    let (control_plane, client) = with_gpus("restarts", 1).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    for component in [Component::ApiServer, Component::Etcd] {
        control_plane.kill(component).await.unwrap();
        assert!(
            control_plane
                .process(component)
                .unwrap()
                .exit_status()
                .is_some()
        );
        control_plane.restart(component).await.unwrap();
        maps.get("kept")
            .await
            .unwrap_or_else(|error| panic!("after the restart of {}: {error}", component.name()));
    }
    // The controllers and KWOK have come back too: a Deployment still runs.
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "after"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "after"}}, "template": {
            "metadata": {"labels": {"app": "after"}}, "spec": pod("after", &json!({})).spec}},
    }))
    .unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
    wait::until(LIMIT, "the Deployment is ready", async || {
        let status = deployments.get("after").await?.status.unwrap_or_default();
        Ok((status.ready_replicas == Some(1)).then_some(()))
    })
    .await
    .unwrap();
    control_plane.finish();
}

#[tokio::test]
async fn a_stopped_api_server_answers_nothing_until_it_is_resumed() {
    let control_plane = ControlPlane::start(Options::new("stopped")).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(control_plane.client().await.unwrap());
    control_plane.stop(Component::ApiServer).unwrap();
    let answer =
        tokio::time::timeout(Duration::from_secs(1), maps.list(&ListParams::default())).await;
    assert!(answer.is_err(), "a stopped server answered");
    control_plane.resume(Component::ApiServer).unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    control_plane.finish();
}

#[tokio::test]
async fn the_audit_log_tells_who_wrote_what_and_two_control_planes_do_not_mix() {
    let (one, two) = tokio::join!(
        ControlPlane::start(Options::new("audit")),
        ControlPlane::start(Options::new("audit"))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.folder(), two.folder());
    let deployments: Api<Deployment> = Api::default_namespaced(one.client().await.unwrap());
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "written"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "written"}}, "template": {
            "metadata": {"labels": {"app": "written"}}, "spec": pod("written", &json!({})).spec}},
    }))
    .unwrap();
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
    let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
    deployments
        .patch_scale("written", &PatchParams::apply("by-hand"), &scale)
        .await
        .unwrap();

    let written = one
        .audit()
        .unwrap()
        .records()
        .unwrap()
        .by_user("bench")
        .workload_writes()
        .succeeded();
    assert_eq!(written.len(), 2, "{written}");
    let scaled = written.path("deployments/scale");
    assert_eq!(
        scaled.0[0].request.as_ref().unwrap()["spec"]["replicas"],
        2,
        "{scaled}"
    );
    assert_eq!(scaled.0[0].field_manager(), Some("by-hand"));
    assert!(
        two.audit()
            .unwrap()
            .records()
            .unwrap()
            .by_user("bench")
            .workload_writes()
            .is_empty()
    );
    assert!(deployments.get("written").await.unwrap().name_any() == "written");
    one.finish();
    two.finish();
}
