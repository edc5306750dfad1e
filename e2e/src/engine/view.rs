//! Kubernetes objects, reduced to what the stand-in needs of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::placement::NodeView;
use super::profile::EngineProfile;

/// The port of an engine whose pod names none.
pub const DEFAULT_PORT: u16 = 8000;

/// A pod, as far as the stand-in cares.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// The object's uid: a recreated pod of the same name is another pod.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// When it was bound, as text that sorts by time; only for the order of the first list.
    pub bound_at: String,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Where its engine listens.
    pub port: u16,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// How often its containers were restarted.
    pub restarts: i32,
    /// The grace period in seconds, once its deletion has begun.
    pub deleting: Option<f64>,
    /// Whether it has run to an end (Succeeded, Failed): its engine is dead and its GPUs are free.
    pub ended: bool,
    /// The GPU resource that it asks for and how many of it.
    pub gpus: Option<(String, usize)>,
    /// The engine that it would run; `None` when it does not take part.
    pub profile: Option<Result<EngineProfile, String>>,
}

impl PodView {
    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let phase = status
            .and_then(|status| status.phase.as_deref())
            .unwrap_or("");
        let condition = |kind: &str| {
            status
                .and_then(|status| status.conditions.as_ref())
                .and_then(|all| all.iter().find(|condition| condition.type_ == kind))
        };
        let agent = meta
            .labels
            .as_ref()
            .and_then(|labels| labels.get("app"))
            .unwrap_or(&name);
        let none = BTreeMap::new();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()),
            bound_at: condition("PodScheduled")
                .and_then(|scheduled| scheduled.last_transition_time.as_ref())
                .map(|time| time.0.to_string())
                .unwrap_or_default(),
            ip: status
                .and_then(|status| status.pod_ip.as_ref())
                .and_then(|ip| ip.parse().ok()),
            port: port(pod).unwrap_or(DEFAULT_PORT),
            ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
            restarts: status
                .and_then(|status| status.container_statuses.as_ref())
                .map_or(0, |all| {
                    all.iter().map(|container| container.restart_count).sum()
                }),
            deleting: meta
                .deletion_timestamp
                .as_ref()
                .map(|_| meta.deletion_grace_period_seconds.unwrap_or(30).max(0) as f64),
            ended: matches!(phase, "Succeeded" | "Failed"),
            gpus: gpus(pod),
            profile: EngineProfile::parse(meta.annotations.as_ref().unwrap_or(&none), agent),
            name,
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The annotation `port`, else the first container port of the pod.
fn port(pod: &Pod) -> Option<u16> {
    let annotated = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(&format!("{}port", super::profile::PREFIX)))
        .and_then(|text| text.parse().ok());
    annotated.or_else(|| {
        let containers = &pod.spec.as_ref()?.containers;
        let ports = containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten());
        ports
            .map(|port| port.container_port)
            .find_map(|port| u16::try_from(port).ok())
    })
}

/// The first GPU resource among the limits of the pod's containers.
fn gpus(pod: &Pod) -> Option<(String, usize)> {
    let containers = &pod.spec.as_ref()?.containers;
    containers
        .iter()
        .filter_map(|container| container.resources.as_ref()?.limits.as_ref())
        .flatten()
        .filter(|(resource, _)| is_gpu(resource))
        .find_map(|(resource, quantity)| match quantity.0.parse() {
            Ok(0) | Err(_) => None,
            Ok(count) => Some((resource.clone(), count)),
        })
}

fn is_gpu(resource: &str) -> bool {
    resource.starts_with("nvidia.com/gpu") || resource.starts_with("nvidia.com/mig-")
}

impl NodeView {
    /// Reads a node.
    pub fn of(node: &Node) -> Self {
        let capacity = node
            .status
            .as_ref()
            .and_then(|status| status.capacity.clone());
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            capacity: capacity
                .unwrap_or_default()
                .into_iter()
                .filter(|(resource, _)| is_gpu(resource))
                .filter_map(|(resource, quantity)| Some((resource, quantity.0.parse().ok()?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_running_pod_is_read_with_its_address_gpus_and_engine() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "nlp-1", "namespace": "agents", "labels": {"app": "nlp"},
                "annotations": {"bench.agentpool.dev/engine": "vllm", "bench.agentpool.dev/requests-per-second-per-gpu": "30"}},
            "spec": {"nodeName": "n", "containers": [
                {"name": "sidecar"},
                {"name": "server", "ports": [{"containerPort": 9000}],
                 "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "2"}}}]},
            "status": {"phase": "Running", "podIP": "127.100.0.2",
                "conditions": [{"type": "Ready", "status": "True"},
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
                "containerStatuses": [{"name": "server", "image": "i", "imageID": "", "ready": true, "restartCount": 3}]}
        }))
        .unwrap();
        let view = PodView::of(&pod);
        assert_eq!(view.key(), "agents/nlp-1");
        assert_eq!(view.ip, Some("127.100.0.2".parse().unwrap()));
        assert_eq!(
            (view.port, view.ready, view.restarts, view.ended),
            (9000, true, 3, false)
        );
        assert_eq!(view.gpus, Some(("nvidia.com/gpu".into(), 2)));
        assert_eq!(view.bound_at, "2026-01-02T03:04:05Z");
        assert_eq!(view.profile.unwrap().unwrap().agent, "nlp");
        assert_eq!(view.deleting, None);
    }

    #[test]
    fn a_pod_under_deletion_has_its_grace_period() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "deletionTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 7}
        }))
        .unwrap();
        let view = PodView::of(&pod);
        assert_eq!(
            (view.deleting, view.port, view.ready),
            (Some(7.0), DEFAULT_PORT, false)
        );
        assert_eq!(view.profile, None);
    }

    #[test]
    fn only_gpus_of_a_node_are_read() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"a": "b"}},
            "status": {"capacity": {"cpu": "8", "memory": "32Gi", "nvidia.com/mig-1g.10gb": "2"}}
        }))
        .unwrap();
        let view = NodeView::of(&node);
        assert_eq!(
            view.capacity,
            [("nvidia.com/mig-1g.10gb".to_owned(), 2)].into()
        );
    }
}
