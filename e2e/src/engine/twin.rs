//! A fleet that never changes and has no cluster: the static twin, against which a controlled fleet is compared.

use std::net::{IpAddr, Ipv4Addr};

use super::fleet::{EngineFleet, EngineOptions};
use super::placement::NodeView;
use super::profile::EngineProfile;
use super::view::{DEFAULT_PORT, PodView};

/// One agent's pods in a twin.
#[derive(Clone, Debug)]
pub struct TwinAgent {
    /// What each pod runs; its `agent` names the agent.
    pub profile: EngineProfile,
    /// How many pods.
    pub replicas: usize,
    /// The GPU resource of each, and how many of it.
    pub gpus: (String, usize),
}

impl EngineFleet {
    /// Starts a twin: these pods, bound agent by agent to one node, Ready from the start. Requests reach it without
    /// sockets only ([`EngineFleet::request`], [`crate::load::Direct`]).
    ///
    /// # Errors
    /// When the pods do not fit on the node, with what does not fit; or when the control port cannot be opened.
    pub async fn twin(
        options: EngineOptions,
        namespace: &str,
        node: &NodeView,
        agents: &[TwinAgent],
    ) -> anyhow::Result<Self> {
        let fleet = Self::without_cluster(EngineOptions {
            listen: false,
            ..options
        })
        .await?;
        fleet.apply_node(node);
        for agent in agents {
            for replica in 0..agent.replicas {
                fleet.apply_pod(pod(namespace, &node.name, agent, replica));
            }
        }
        let violations = fleet.violations();
        anyhow::ensure!(
            violations.is_empty(),
            "the twin does not fit: {}",
            violations.join("; ")
        );
        Ok(fleet)
    }
}

fn pod(namespace: &str, node: &str, agent: &TwinAgent, replica: usize) -> PodView {
    let name = format!("{}-{replica}", agent.profile.agent);
    PodView {
        uid: format!("twin/{namespace}/{name}"),
        namespace: namespace.to_owned(),
        name,
        node: Some(node.to_owned()),
        bound_at: String::new(),
        // Never used: a twin does not listen.
        ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: DEFAULT_PORT,
        ready: true,
        restarts: 0,
        deleting: None,
        ended: false,
        gpus: Some(agent.gpus.clone()),
        profile: Some(Ok(agent.profile.clone())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::Demand;
    use crate::engine::profile::{Dialect, Service};

    fn agent(replicas: usize) -> TwinAgent {
        TwinAgent {
            profile: EngineProfile {
                dialect: Dialect::Vllm,
                agent: "a".into(),
                model: "a".into(),
                requests_per_second_per_gpu: 100.0,
                memory: 0,
                speed_exponent: 1.0,
                max_concurrency: 1,
                service: Service::Deterministic,
            },
            replicas,
            gpus: ("nvidia.com/gpu".into(), 1),
        }
    }

    fn node() -> NodeView {
        NodeView {
            name: "twin".into(),
            capacity: [("nvidia.com/gpu".to_owned(), 2)].into(),
            ..NodeView::default()
        }
    }

    #[tokio::test]
    async fn two_twins_serve_beside_each_other_without_sockets() {
        for _ in 0..2 {
            let fleet = EngineFleet::twin(EngineOptions::default(), "static", &node(), &[agent(2)])
                .await
                .unwrap();
            let pods = fleet.serving("static/a");
            assert_eq!(pods.len(), 2);
            assert!(fleet.request(&pods[0].0, Demand::default()).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_twin_that_does_not_fit_is_refused() {
        let error =
            EngineFleet::twin(EngineOptions::default(), "static", &node(), &[agent(3)]).await;
        let error = error.err().unwrap().to_string();
        assert!(error.contains("exclusive"), "{error}");
    }
}
