//! What a [`World`] tells about itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::{AgentStats, Phase, World};
use crate::engine::physics::Queue;

/// One engine, for people and tests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineState {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// `namespace/agent`.
    pub agent: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its address while it listens.
    pub address: Option<SocketAddr>,
    /// Its devices, `node/resource/index`.
    pub devices: Vec<String>,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Its speed at this moment, in whole GPUs; 0 when idle.
    pub rate: f64,
}

impl World {
    /// What happened so far, by `namespace/agent`.
    pub fn stats(&self) -> &BTreeMap<String, AgentStats> {
        &self.stats
    }

    /// What no real cluster would allow, and annotations that could not be read; the oldest first, bounded.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Who lives on which device.
    pub fn residents(&self) -> BTreeMap<String, Vec<String>> {
        self.placement.residents()
    }

    /// `(uid, state)` of every pod that takes part.
    pub fn states(&self) -> Vec<(String, EngineState)> {
        let taking_part = self
            .engines
            .iter()
            .filter(|(_, engine)| engine.profile().is_some());
        taking_part
            .map(|(uid, engine)| {
                let Queue { running, waiting } = engine
                    .process
                    .map_or_else(Queue::default, |process| self.physics.queue(process));
                let state = EngineState {
                    pod: engine.view.key(),
                    agent: engine.agent(),
                    phase: engine.phase,
                    address: engine.listening.then(|| engine.address()).flatten(),
                    devices: engine
                        .placed
                        .as_ref()
                        .map_or_else(Vec::new, |placed| placed.names.clone()),
                    running,
                    waiting,
                    rate: engine
                        .process
                        .map_or(0.0, |process| self.physics.rate(process)),
                };
                (uid.clone(), state)
            })
            .collect()
    }

    /// The uids and addresses of the serving pods of `namespace/agent`.
    pub fn serving(&self, agent: &str) -> Vec<(String, SocketAddr)> {
        let Some((namespace, name)) = agent.split_once('/') else {
            return Vec::new();
        };
        self.engines
            .iter()
            .filter(|(_, engine)| {
                engine.phase == Phase::Serving && engine.view.namespace == namespace
            })
            .filter(|(_, engine)| {
                engine
                    .profile()
                    .is_some_and(|profile| profile.agent == name)
            })
            .filter_map(|(uid, engine)| Some((uid.clone(), engine.address()?)))
            .collect()
    }

    /// `namespace/name` and `namespace/agent` of a pod.
    pub fn names(&self, uid: &str) -> Option<(String, String)> {
        let engine = self.engines.get(uid)?;
        Some((engine.view.key(), engine.agent()))
    }

    /// The queue of a pod's engine.
    pub fn queue(&self, uid: &str) -> Queue {
        let process = self.engines.get(uid).and_then(|engine| engine.process);
        process.map_or_else(Queue::default, |process| self.physics.queue(process))
    }
}
