//! The parts of a [`World`](super::World).

use std::net::SocketAddr;

use serde::Serialize;

use crate::engine::metrics::EngineCounters;
use crate::engine::physics::{Finished, ProcessId, RequestId};
use crate::engine::placement::Placed;
use crate::engine::profile::EngineProfile;
use crate::engine::stats::Latencies;
use crate::engine::view::PodView;

/// A request as its client states it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Its work as a multiple of the agent's mean; drawn by the engine when absent.
    pub factor: Option<f64>,
    /// Tokens of its prompt.
    pub prompt_tokens: u64,
    /// Tokens that it wants.
    pub generation_tokens: u64,
}

/// What the outside has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Listen for this pod.
    Open(String, SocketAddr),
    /// Stop listening for this pod; let open connections finish what they are at.
    Close(String),
    /// The engine of this pod is dead: drop its connections.
    Kill(String),
    /// A request was served.
    Served(Finished),
    /// A request was cut off by the death of its engine.
    Cut(RequestId),
}

/// Where an engine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Holds its GPUs or waits for them; nobody can connect.
    Loading,
    /// Listens and accepts requests.
    Serving,
    /// Listens, refuses requests.
    Unready,
    /// Finishes what it has.
    Draining,
    /// Has exited.
    Dead,
    /// No real node would have started it: its model does not fit, or its device is taken.
    Rejected,
}

/// What happened to the requests of one agent at its engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentStats {
    /// Time from arrival at the engine to the answer.
    pub latencies: Latencies,
    /// Answered.
    pub served: u64,
    /// Cut off by the death of an engine.
    pub cut: u64,
    /// Refused by an engine that was draining or not ready. (A refused connection is seen by the client alone.)
    pub refused: u64,
    /// Given up by the client.
    pub aborted: u64,
}

/// One engine.
pub(super) struct Engine {
    pub(super) view: PodView,
    pub(super) phase: Phase,
    pub(super) placed: Option<Placed>,
    pub(super) process: Option<ProcessId>,
    pub(super) counters: Option<EngineCounters>,
    pub(super) listening: bool,
    /// When it is killed while draining.
    pub(super) deadline: Option<f64>,
}

impl Engine {
    pub(super) fn new(view: PodView) -> Self {
        Self {
            view,
            phase: Phase::Loading,
            placed: None,
            process: None,
            counters: None,
            listening: false,
            deadline: None,
        }
    }

    pub(super) fn profile(&self) -> Option<&EngineProfile> {
        self.view.profile.as_ref()?.as_ref().ok()
    }

    pub(super) fn agent(&self) -> String {
        let agent = self.profile().map_or("", |profile| profile.agent.as_str());
        format!("{}/{agent}", self.view.namespace)
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.view.ip?, self.view.port))
    }
}
