//! What each agent aims at, once tolerance and windows have had their say.

use super::hysteresis::{self, Memory, Stabilized};
use super::market::Market;
use super::types::Quantum;
use crate::allocation::{Allotment, Reason};
use crate::units::MilliGpus;
use std::time::Duration;

/// One agent on its way to a quantum.
pub(super) struct Case {
    /// What it has.
    pub in_force: Option<Quantum>,
    /// Keeps what it has, whatever the others want.
    pub fixed: bool,
    /// Share wanted by the policy, within what the agent can have.
    pub target: u64,
    /// The part of it that its load asks for.
    pub demand: u64,
    /// The target as far as the windows let it go.
    pub aim: u64,
    /// The aim is so near to what is in force that no move is made for it.
    pub near: bool,
}

impl Case {
    /// The share in force, milli-GPUs.
    pub fn share(&self) -> u64 {
        self.in_force.as_ref().map_or(0, |quantum| quantum.share.0)
    }
}
/// The cases of all agents; records their targets in the windows.
pub(super) fn cases(
    market: &Market<'_>,
    capacity: MilliGpus,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Vec<Case> {
    let behavior = &market.shape.behavior;
    let mut cases: Vec<Case> = Vec::with_capacity(decision.len());
    let mut windows: Vec<Stabilized> = Vec::with_capacity(decision.len());
    for (i, allotment) in decision.iter().enumerate() {
        let observed = &market.ground.agents[i];
        let (floor, ceiling) = market.range(i, capacity.0);
        let target = allotment.target.0.clamp(floor.0.min(ceiling.0), ceiling.0);
        windows.push(memory.recommend(behavior, &market.shape.agents[i].name, now, target));
        cases.push(Case {
            in_force: market.in_force(i),
            fixed: observed.frozen || allotment.reason == Reason::SignalLost || !market.serves(i),
            target,
            demand: allotment.demand.0,
            aim: target,
            near: false,
        });
    }
    let short = cases.iter().any(|case| {
        !case.fixed
            && case.target
                > case
                    .share()
                    .saturating_add(hysteresis::tolerated(behavior, case.share()))
    });
    for (i, (case, window)) in cases.iter_mut().zip(windows).enumerate() {
        let share = case.share();
        let agent = &market.shape.agents[i];
        let settled = case.in_force.as_ref().is_some_and(|quantum| {
            (agent.min_replicas..=agent.max_replicas).contains(&quantum.replicas)
                && market.offers(i, quantum)
        });
        if !settled {
            continue; // What is in force is not permitted: no window keeps it.
        }
        case.aim = if case.target > share {
            case.target.min(window.rise_to.max(share))
        } else {
            let down_to = if short {
                window.yield_to
            } else {
                window.fall_to
            };
            case.target.max(down_to.min(share))
        };
        let band = hysteresis::band(behavior, share, market.step(i));
        case.near = case.aim.abs_diff(share) <= band;
    }
    cases
}
