//! Whether moving shares pays: candidates as fluid queues on the measured arrivals.

use super::super::demand::load;
use super::super::types::Agent;
use super::forecast::gain;
use super::memory::{Learned, Memory};
use super::{Horizon, LARGEST_LOAD, Pool, places, whole};

/// Candidates, from what is held without evidence to almost all of the assignment.
pub(super) const CANDIDATES: usize = 5;
/// The part of the assignment in each; what is missing to one is the equal split, but for the first, which holds. The last leaves a
/// twentieth of it, so that nobody is without a share.
pub(super) const PARTS: [f64; CANDIDATES] = [0.0, 0.25, 0.5, 0.75, 0.95];
/// Costs fade over this many horizons.
const COMPARED_OVER: f64 = 64.0;
/// What is held is left only for a candidate whose cost is lower by this part,
const LEAVES_HOLD: f64 = 0.05;
/// and any other candidate for one whose cost is lower by this part.
const CHANGES: f64 = 0.02;
/// Utilisation beyond which a queue's backlog says what its utilisation no longer can.
pub(super) const FULL: f64 = 0.95;

impl Memory {
    /// The part of the assignment that is followed.
    pub(super) fn follows(&self) -> f64 {
        PARTS.get(self.followed).copied().unwrap_or(0.0)
    }
}

/// Runs the candidates over the time that has passed, and follows the best.
pub(super) fn weigh(memory: &mut Memory, agents: &[Agent<'_>], horizon: Horizon, pool: Pool) {
    if horizon.elapsed > 0.0 {
        run(memory, agents, horizon, pool);
    }
    if pool.whole {
        whole::shift(memory, agents, horizon, pool);
    } else if pool.places {
        places::shift(memory, agents, horizon, pool);
    }
}

/// Lets the time that has passed pass for every candidate.
fn run(memory: &mut Memory, agents: &[Agent<'_>], horizon: Horizon, pool: Pool) {
    memory.enforce(horizon);
    let mut cost = [0.0; CANDIDATES];
    for (learned, agent) in memory.agents.iter_mut().zip(agents) {
        if let Some(load) = load(agent) {
            let arrivals = load.arrivals.min(LARGEST_LOAD) * horizon.elapsed;
            let weight = agent.priority.weight() as f64;
            for (candidate, part) in PARTS.into_iter().enumerate() {
                let held = learned.held.get_mut(candidate);
                let milli = match held.filter(|held| pool.in_pieces() && held.all >= 0.0) {
                    Some(held) => held.pass(horizon.elapsed),
                    None => share(learned, agent, part, pool),
                };
                let speed = speed(agent, milli);
                let backlog = learned.shadow[candidate] + arrivals - speed * horizon.elapsed;
                learned.shadow[candidate] = backlog.clamp(0.0, LARGEST_LOAD);
                // What single requests wait for each other, which a fluid does not.
                let used = if learned.forecast < FULL * speed {
                    learned.forecast / speed
                } else {
                    FULL
                };
                cost[candidate] += weight * (learned.shadow[candidate] + used / (1.0 - used));
            }
        }
    }
    let gain = gain(horizon.elapsed, COMPARED_OVER, horizon);
    let mut best = memory.followed;
    for (candidate, cost) in cost.into_iter().enumerate() {
        memory.cost[candidate] += gain * (cost - memory.cost[candidate]);
        if compared(candidate, pool) && memory.cost[candidate] < memory.cost[best] {
            best = candidate;
        }
    }
    let margin = if memory.followed == 0 {
        LEAVES_HOLD
    } else {
        CHANGES
    };
    if memory.cost[best] < memory.cost[memory.followed] * (1.0 - margin) {
        memory.followed = best;
    }
}

/// Whether a candidate may be followed: with whole replicas and parts only the first and the last, see `whole`.
pub(super) const fn compared(candidate: usize, pool: Pool) -> bool {
    !pool.in_pieces() || candidate == 0 || candidate == CANDIDATES - 1
}

/// Milli-GPUs that a part of a wish, a fraction of the pool, comes to: none of it is what is held without evidence.
fn between(learned: &Learned, wish: f64, part: f64, pool: Pool) -> f64 {
    if part > 0.0 {
        ((1.0 - part) / pool.agents + part * wish) * pool.free
    } else {
        learned.hold
    }
}

impl Learned {
    /// Milli-GPUs that a part of what it wishes for now comes to.
    pub(super) fn share(&self, part: f64, pool: Pool) -> f64 {
        between(self, self.wish, part, pool)
    }
}

/// Milli-GPUs that an agent has under a candidate, where any share can be had.
fn share(learned: &Learned, agent: &Agent<'_>, part: f64, pool: Pool) -> f64 {
    let milli = if learned.in_force < 0.0 {
        learned.hold
    } else {
        between(learned, learned.in_force, part, pool)
    };
    let floor = agent.floor.min(agent.ceiling).0 as f64;
    milli.clamp(floor, agent.ceiling.0 as f64)
}

/// Requests a second that an agent serves with so many milli-GPUs.
pub(super) fn speed(agent: &Agent<'_>, milli: f64) -> f64 {
    let gpus = milli / 1000.0;
    let part = agent.part_gpus();
    let speed = if agent.speed_exponent >= 1.0 {
        gpus
    } else if gpus < part {
        libm::pow(gpus, agent.speed_exponent)
    } else {
        gpus * libm::pow(part, agent.speed_exponent - 1.0)
    };
    (agent.base_throughput * speed).min(LARGEST_LOAD)
}
