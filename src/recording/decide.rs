use super::format::{Inputs, Memory, Output};
use crate::allocation::{self, Agent, Allotment, Snapshot};
use crate::api::ValidPool;
use crate::sharing::{self, Survey};

/// Every agent's target share; `memory` becomes what the policy remembers after it. `survey` is that of `inputs.observed`; loads and raises are one an agent of the pool, or nothing
/// is decided.
pub fn allot(
    pool: &ValidPool,
    survey: &Survey,
    inputs: &Inputs,
    memory: &mut allocation::Memory,
) -> Vec<Allotment> {
    let facts = pool.agents.iter().zip(&pool.shape.agents);
    let seen = survey.agents.iter().zip(&inputs.loads).zip(&inputs.raised);
    let agents: Vec<Agent<'_>> = facts
        .zip(seen)
        .map(|((agent, shape), ((extent, load), raised))| Agent {
            name: &agent.name,
            priority: shape.priority,
            min_share: agent.min_share,
            base_throughput: agent.base_throughput,
            speed_exponent: agent.speed_exponent,
            part: extent.part,
            swaps: extent.swaps,
            load: *load,
            floor: extent.floor,
            ceiling: extent.ceiling,
            quantum: extent.quantum,
            realized: if *raised {
                extent.realized.max(agent.min_share)
            } else {
                extent.realized
            },
        })
        .collect();
    let snapshot = Snapshot {
        capacity: survey.capacity,
        now: inputs.now,
        interval: pool.interval,
        lag: inputs.lag,
        drain: inputs.drain,
        agents: &agents,
    };
    let mut decision = vec![Allotment::default(); agents.len()];
    allocation::allocate(pool.policy, &snapshot, memory, &mut decision);
    decision
}

/// A decision, computed as the operator computes it, and what the pool remembers after it.
pub fn decide(pool: &ValidPool, inputs: &Inputs, memory: &Memory) -> (Output, Memory) {
    let survey = sharing::survey(&pool.shape, &inputs.observed);
    let mut after = memory.clone();
    let allotments = allot(pool, &survey, inputs, &mut after.allocation);
    let plan;
    (plan, after.sharing) = sharing::plan(
        &pool.shape,
        &inputs.observed,
        &allotments,
        &memory.sharing,
        inputs.now,
    );
    (Output { allotments, plan }, after)
}
