//! Pure: target shares and what is there -> quanta in force -> a plan of steps in safe order.
//!
//! One file a strategy offers menus of quanta; one packer fills from the menus under capacity, memory, node fit and bounds;
//! one planner orders the changes so that nothing is placed before what it needs is free. Plans are level-triggered: each
//! tick plans anew from what is observed, so a crash at any step is just another starting point.

mod types;

pub use types::{
    AgentObserved, AgentShape, Behavior, Extent, Hold, HoldReason, InstanceFacts, Node, Observed,
    Plan, Pod, PodState, PoolShape, Quantum, Restore, Rollout, Step, Strategy, Survey,
};

use crate::allocation::Allotment;
use std::time::Duration;

/// What planning remembers between ticks: recent recommendations, for the stabilization windows. Bounded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {}

/// What is there to be shared, and the range of every agent.
pub fn survey(_shape: &PoolShape, observed: &Observed) -> Survey {
    Survey {
        capacity: Default::default(),
        found: None,
        foreign: Default::default(),
        agents: vec![Extent::default(); observed.agents.len()],
    }
}

/// The steps that move the cluster from what is observed towards what is decided. `now` is monotonic, since any fixed start.
pub fn plan(
    _shape: &PoolShape,
    observed: &Observed,
    _decision: &[Allotment],
    memory: &Memory,
    _now: Duration,
) -> (Plan, Memory) {
    let n = observed.agents.len();
    (
        Plan {
            quanta: vec![None; n],
            holds: vec![None; n],
            memory_bound: vec![None; n],
            unmet: vec![None; n],
            ..Plan::default()
        },
        memory.clone(),
    )
}
