//! What each agent aims at, once tolerance and windows have had their say.
//!
//! An agent of unknown load keeps what it has, and nothing is taken from it. But it may have less than it is to have whatever its load:
//! fewer replicas than its fewest (nobody measures an agent without pods), or less than what `onStale` raises it to. Then it may rise.

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
    /// Gets what it has or more, see [`rises`].
    pub rises: bool,
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

    /// What the agent has at least, when it may only rise and has anything.
    pub fn keeps(&self) -> Option<&Quantum> {
        let now = self.in_force.as_ref().filter(|_| self.rises);
        now.filter(|now| now.replicas > 0)
    }

    /// Whether the agent may be given this. One that may only rise keeps its replicas, and its resource unless it is to have more share.
    pub fn may_have(&self, quantum: &Quantum) -> bool {
        let Some(now) = self.keeps() else {
            return true;
        };
        let less = quantum.replicas < now.replicas || quantum.share < now.share;
        !less && (quantum.resource == now.resource || self.target > now.share.0)
    }
}

/// Whether an agent of unknown load has less than it is to have whatever its load, and may be given more: not while a swap is under way, nor
/// where it runs on something that the pool does not offer it, because then nothing says what would be more.
pub(super) fn rises(market: &Market<'_>, i: usize, allotment: &Allotment, share: u64) -> bool {
    let (observed, agent) = (&market.ground.agents[i], &market.shape.agents[i]);
    let offered = || market.in_force(i).is_some_and(|now| market.offers(i, &now));
    let less = observed.replicas < agent.min_replicas || allotment.target.0 > share;
    allotment.reason == Reason::SignalLost
        && less
        && !observed.frozen
        && observed.restore.is_none()
        && observed.replicas <= agent.max_replicas
        && (observed.replicas == 0 || offered())
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
        let in_force = market.in_force(i);
        let share = in_force.as_ref().map_or(0, |quantum| quantum.share.0);
        let rises = market.serves(i) && rises(market, i, allotment, share);
        let lost = allotment.reason == Reason::SignalLost;
        cases.push(Case {
            in_force,
            fixed: observed.frozen || (lost && !rises) || !market.serves(i),
            rises,
            target,
            demand: allotment.demand.0,
            aim: if rises { target.max(share) } else { target },
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
