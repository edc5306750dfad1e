//! Small clusters for the tests of this folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::cache::{Awaited, Caches, NodeRecord, PodRecord, Record, WorkloadRecord};
use super::claims::Claims;
use super::config::{PodIdentity, RunConfig, Scope, ScrapeLimits};
use super::events::events;
use super::leadership::LeaderState;
use super::promises::Promises;
use super::shared::{Bells, Shared};
use super::write::Writer;
use crate::api::{AgentPool, ValidPool};
use crate::signals::Clock;
use crate::signals::scrape::{Limits, Scraper};
use crate::telemetry::{Health, Metrics};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Bound of one call to the API server.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Namespace of everything but nodes.
pub(super) const NAMESPACE: &str = "n";

/// A pool that declares four GPUs, with one agent a Deployment of that name.
pub(super) fn object(name: &str, sharing: &str, agents: &[&str]) -> AgentPool {
    let agent = |agent: &&str| {
        json!({
            "name": agent, "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": agent },
            "replicas": { "min": 1, "max": 8 },
            "model": { "requestsPerSecondPerGpu": "10", "memoryPerReplica": "1Gi" }
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool",
        "metadata": { "name": name, "namespace": NAMESPACE, "uid": name },
        "spec": {
            "mode": "Auto",
            "devices": [{ "name": "gpu", "gpus": 4, "sharing": { "type": sharing } }],
            "agents": agents.iter().map(agent).collect::<Vec<_>>()
        }
    }))
    .unwrap()
}

/// The same, read.
pub(super) fn pool(name: &str, sharing: &str, agents: &[&str]) -> ValidPool {
    ValidPool::admit(&object(name, sharing, agents)).unwrap()
}

/// A Ready node with labels, allocatable GPUs and taints.
pub(super) fn node(labels: Value, gpus: Value, taints: Value) -> NodeRecord {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "labels": labels },
        "spec": { "taints": taints },
        "status": { "allocatable": gpus, "conditions": [{ "type": "Ready", "status": "True" }] }
    }))
    .unwrap();
    NodeRecord::of(node).unwrap()
}

/// A Ready node with so many whole GPUs.
pub(super) fn whole(gpus: u32) -> NodeRecord {
    let labels = json!({ "nvidia.com/gpu.present": "true", "nvidia.com/mig.strategy": "single" });
    node(
        labels,
        json!({ "nvidia.com/gpu": gpus.to_string() }),
        json!([]),
    )
}

fn containers() -> Value {
    json!([{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }])
}

/// A Deployment whose pods ask for one whole GPU each.
pub(super) fn deployment(name: &str, replicas: u32, tolerations: Value) -> WorkloadRecord {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "spec": { "containers": containers(), "tolerations": tolerations } }
        }
    }))
    .unwrap();
    WorkloadRecord::of(deployment).unwrap()
}

/// A pod of a Deployment on a node.
pub(super) fn pod(app: &str, node: &str) -> PodRecord {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "namespace": NAMESPACE, "labels": { "app": app } },
        "spec": { "nodeName": node, "containers": containers() }
    }))
    .unwrap();
    PodRecord::of(pod).unwrap()
}

/// Caches with nodes by name, Deployments by name, and a pod `APP-INDEX` for each app and node.
pub(super) fn caches(
    nodes: &[(&str, NodeRecord)],
    deployments: &[(&str, WorkloadRecord)],
    pods: &[(&str, &str)],
) -> Caches {
    let caches = Caches::default();
    let key = |name: String| (NAMESPACE.to_owned(), name);
    for (name, node) in nodes {
        let key = (String::new(), (*name).to_owned());
        caches.nodes.put(key, 1, node.clone());
    }
    for (name, workload) in deployments {
        let workload = workload.clone();
        caches.deployments.put(key((*name).to_owned()), 1, workload);
    }
    for (i, (app, node)) in pods.iter().enumerate() {
        caches
            .pods
            .put(key(format!("{app}-{i}")), 1, pod(app, node));
    }
    caches
}

/// What pools share, of a replica that leads, knows all there is, and whose API server is at `url`; these are all the pools there are.
pub(super) fn shared(url: &str, caches: Caches, pools: &[&AgentPool]) -> Shared {
    caches.nodes.listed(None);
    caches.pods.listed(None);
    caches.deployments.listed(None);
    caches.stateful_sets.listed(None);
    caches.autoscalers.listed(None);
    caches.scaled_objects.listed(None);
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let (metrics, health, clock) = (Metrics::new(), Health::new(), Clock::start());
    let leader = watch::channel(LeaderState::Unopposed).1;
    let scrape = ScrapeLimits {
        concurrency: 4,
        timeout: Duration::from_millis(100),
        max_bytes: 1 << 16,
    };
    let reporter = Reporter {
        controller: "agentpool".into(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let claims = Claims::default();
    claims.replace(pools.iter().copied(), &BTreeSet::new());
    Shared {
        config: RunConfig {
            scope: Scope::Cluster,
            metric_sources: BTreeMap::new(),
            listen: ([127, 0, 0, 1], 0).into(),
            scrape,
            api_timeout: TIMEOUT,
            pod: PodIdentity::default(),
            record: None,
            election: None,
        },
        caches: Arc::new(caches),
        claims,
        promises: Promises::default(),
        writer: Writer::new(client, leader, health.clone(), metrics.clone(), TIMEOUT),
        scraper: Scraper::new(
            Limits::shared(scrape.concurrency, scrape.timeout, scrape.max_bytes),
            clock,
        ),
        sources: BTreeMap::new(),
        clock,
        events: events(recorder, metrics.clone(), TIMEOUT).0,
        metrics,
        recorder: None,
        health,
        stop: CancellationToken::new(),
        pools_listed: Awaited::new([]),
        bells: Bells::default(),
    }
}
