//! The bench itself, shown on a real control plane: what its tools promise to the scenarios.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod controlplane;
mod demo;
mod engine;
mod operator;
mod prometheus;
mod proxy;
mod up;
mod witness;

use std::time::{Duration, Instant};

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes};
use agentpool_e2e::controlplane::{ControlPlane, Options, skipped_in_a_foreign_cluster};
use agentpool_e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Where the tests' own objects are.
const NAMESPACE: &str = "bench-tests";

/// A control plane with one node of so many whole GPUs.
async fn with_gpus(name: &str, gpus: u32) -> (ControlPlane, Client) {
    let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
    let client = control_plane.client().await.unwrap();
    control_plane.create_namespace(NAMESPACE).await.unwrap();
    let node = NodeSpec::whole("gpu-0", A100_80, gpus);
    Nodes::new(client.clone()).add(&node).await.unwrap();
    (control_plane, client)
}

/// A pod that asks for one GPU.
fn pod(name: &str, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {"containers": [container()]},
    }))
    .unwrap()
}

/// A Deployment of such pods.
fn deployment(name: &str, replicas: u32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [container()]}}},
    }))
    .unwrap()
}

fn container() -> Value {
    json!({"name": "server", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}})
}

fn condition(pod: Option<&Pod>, kind: &str) -> Option<String> {
    let conditions = pod?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some(found.status.clone())
}

fn is_ready(pod: Option<&Pod>) -> bool {
    condition(pod, "Ready").as_deref() == Some("True")
}

/// Waits until `test` holds for a pod of the default namespace, and says how long that took.
async fn wait_for_pod(
    client: &Client,
    name: &str,
    what: &str,
    test: impl Fn(Option<&Pod>) -> bool,
) -> Duration {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let start = Instant::now();
    wait::until(LIMIT, format!("pod {name} {what}"), async || {
        let pod = pods.get_opt(name).await?;
        Ok(test(pod.as_ref()).then_some(()))
    })
    .await
    .unwrap();
    start.elapsed()
}

/// Waits until so many pods of a Deployment are ready.
async fn wait_for_ready(client: &Client, name: &str, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    wait::until(
        LIMIT,
        format!("{replicas} pods of {name} are ready"),
        async || {
            let status = deployments.get(name).await?.status.unwrap_or_default();
            Ok((status.ready_replicas == Some(replicas)).then_some(()))
        },
    )
    .await
    .unwrap();
}
