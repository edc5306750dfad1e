//! Pure: target shares and what is there -> quanta in force -> a plan of steps in safe order.
//!
//! One file a strategy offers menus of quanta; one packer fills from the menus under capacity, memory, node fit and bounds;
//! one planner orders the changes so that nothing is placed before what it needs is free. Plans are level-triggered: each
//! tick plans anew from what is observed, so a crash at any step is just another starting point.

#[cfg(test)]
mod adversarial;
mod cases;
mod copies;
mod copy_bound;
mod copy_search;
mod decide;
mod explain;
mod fit;
#[cfg(test)]
mod fixtures;
mod flow;
mod ground;
mod hysteresis;
mod ledger;
mod lost;
mod market;
mod mig;
#[cfg(test)]
mod model;
mod packer;
mod planner;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quiet;
mod residents;
mod resume;
mod room;
mod starts;
mod survey;
mod swap;
mod time_slicing;
mod types;
mod unfit;
mod victims;
mod whole_gpu;

pub use hysteresis::Memory;
pub use types::{
    AgentObserved, AgentShape, Behavior, Extent, Hold, HoldReason, InstanceFacts, Node, Observed,
    Plan, Pod, PodState, PoolShape, Quantum, Restore, Rollout, Step, Strategy, Survey, Unfit,
};

use crate::allocation::Allotment;
use crate::units::{GpuResource, Mebibytes, MilliGpus};
use ground::Ground;
use market::Market;
use std::time::Duration;

/// What is there to be shared, and the range of every agent.
pub fn survey(shape: &PoolShape, observed: &Observed) -> Survey {
    if shape.agents.len() != observed.agents.len() {
        return survey::nothing(observed.agents.len(), Vec::new());
    }
    let unfit = unfit::nodes(shape, observed);
    let observed = unfit::set_aside(shape, ground::reveal(shape, observed));
    let said = lost::notes(&observed);
    let (observed, _) = lost::set_aside(observed);
    let ground = Ground::new(shape, &observed);
    let mut survey = survey_of(&Market::open(shape, &ground));
    survey.notes.extend(said);
    Survey { unfit, ..survey }
}

fn survey_of(market: &Market<'_>) -> Survey {
    match market.shape.strategy {
        Strategy::TimeSlicing { .. } => time_slicing::survey(market),
        Strategy::WholeGpu | Strategy::Mig => survey::partitions(market),
    }
}

/// Share (the part of the GPU's multiprocessors) and usable memory of one MIG instance, assumed where the node's labels do not say.
pub fn instance(node: &Node, profile: &GpuResource) -> (MilliGpus, Mebibytes) {
    mig::instance(node, profile)
}

/// The steps that move the cluster from what is observed towards what is decided. `now` is monotonic, since any fixed start.
pub fn plan(
    shape: &PoolShape,
    observed: &Observed,
    decision: &[Allotment],
    memory: &Memory,
    now: Duration,
) -> (Plan, Memory) {
    let n = observed.agents.len();
    if shape.agents.len() != n || decision.len() != n {
        // Without a decision for each agent nothing is decided for any.
        let plan = Plan {
            quanta: vec![None; n],
            holds: vec![None; n],
            memory_bound: vec![None; n],
            unmet: vec![None; n],
            ..Plan::default()
        };
        return (plan, memory.clone());
    }
    let observed = unfit::set_aside(shape, ground::reveal(shape, observed));
    let (observed, lost) = lost::set_aside(observed);
    let ground = Ground::new(shape, &observed);
    let market = Market::open(shape, &ground);
    let surveyed = survey_of(&market);
    let mut memory = memory.clone();
    memory.retain(shape.agents.iter().map(|agent| agent.name.as_str()));
    let decided = match shape.strategy {
        Strategy::TimeSlicing { .. } => {
            copies::decide(&market, &surveyed, decision, &mut memory, now)
        }
        Strategy::WholeGpu | Strategy::Mig => {
            decide::decide(&market, surveyed.capacity, decision, &mut memory, now)
        }
    };
    let starts = starts::Starts::read(&market, &mut memory, now);
    let mut plan = planner::plan(&market, decided, starts);
    lost.give_up(&observed.agents, &mut plan);
    (plan, memory)
}
