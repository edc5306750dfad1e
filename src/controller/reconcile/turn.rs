//! A pool's turn: what it takes of what is free it decides on while no other pool does, and with what is promised to others in sight.
//!
//! A turn lasts for one look and one decision. What the plan takes is reserved before it ends, so that nobody waits for the writes of
//! anybody else: a slow admission webhook of one team is no matter of the others.

use super::{Current, Round, State, changes, look};
use crate::api::ValidPool;
use crate::controller::apply::agent_of;
use crate::controller::backoff::Backoff;
use crate::controller::promises::Reserved;
use crate::controller::shared::Shared;
use crate::recording::Memory;
use crate::sharing::{Hold, HoldReason, Step};
use std::time::Duration;
use tokio::time::timeout;

/// Under this name a pool's own pause after a write without an answer is kept.
pub(super) const TURN: &str = "turn";

/// What came of it.
pub(super) enum Turn<'a> {
    /// The plan takes nothing that others could take.
    Unneeded,
    /// The plan was made with all promises in sight, and what it takes is reserved.
    Had(Reserved<'a>),
    /// Not now, and why.
    NotNow(HoldReason, &'static str),
    /// The pool was changed while it waited: the plan is no longer what its user wants.
    Changed,
}

/// Whether a step takes something that others could take.
pub(super) fn takes(step: &Step) -> bool {
    match step {
        Step::Scale { from, to, .. } => to > from,
        Step::Retarget { .. } => true,
        Step::Remember { .. } | Step::Forget { .. } => false,
    }
}

/// The steps that take something and are to be made now, but for those of agents that are `given_up`. Who has failed before comes when nobody else is to be served: a write that gets no
/// answer is the last of its tick, and what it takes is kept for it meanwhile.
pub(super) fn next<'s>(
    pool: &ValidPool,
    steps: &'s [Step],
    given_up: &[usize],
    backoff: &Backoff,
    now: Duration,
) -> Vec<&'s Step> {
    let times = |step: &Step| backoff.times(&pool.agents[agent_of(step)].name);
    let holds = |step: &Step| backoff.holds(&pool.agents[agent_of(step)].name, now);
    let kept = |step: &Step| !given_up.contains(&agent_of(step)) && !holds(step);
    let steps = steps.iter();
    let mut next: Vec<&Step> = steps.filter(|step| takes(step) && kept(step)).collect();
    if next.iter().any(|step| times(step) == 0) {
        next.retain(|step| times(step) == 0);
    }
    next.sort_by_key(|step| times(step));
    next
}

/// Waits for the pool's turn, and in it decides anew where others have taken or are promised something. `remembered` is what the pool
/// remembered before the plan was made.
pub(super) async fn take<'a>(
    shared: &'a Shared,
    pool: &ValidPool,
    current: Current<'_>,
    round: &mut Round,
    state: &mut State,
    given_up: &[usize],
    remembered: &Memory,
) -> Turn<'a> {
    if !round.plan.steps.iter().any(takes) {
        return Turn::Unneeded;
    }
    if state.turns.holds(TURN, shared.clock.now()) {
        return Turn::NotNow(
            HoldReason::WaitingForAnswer,
            "when the pause is over that follows a write without an answer: what such a write may have taken is nobody else's meanwhile",
        );
    }
    // Shorter than a tick, so that the pool goes on measuring.
    let Ok(turn) = timeout(pool.interval / 2, shared.claims.turn()).await else {
        return Turn::NotNow(
            HoldReason::WaitingForCapacity,
            "at the next tick: somebody else was taking what is free all the time",
        );
    };
    if !current.stands() {
        return Turn::Changed;
    }
    let now = shared.clock.now();
    let (promises, caches, claims) = (&shared.promises, &shared.caches, &shared.claims);
    let owed = promises.to_others(pool, &round.seen.view, caches, claims, now);
    if !owed.is_empty() || round.seen.changes != changes(shared) {
        state.memory = remembered.clone();
        let (read, now) = (round.seen.read, round.seen.now);
        let seen = look(shared, pool, state, read, now, &owed);
        *round = Round::decide(pool, seen, state);
    }
    let (steps, now) = (&round.plan.steps, round.seen.now);
    let steps = next(pool, steps, given_up, &state.backoff, now);
    let reserved = promises.reserve(pool, &round.seen.view, steps.into_iter());
    drop(turn);
    Turn::Had(reserved)
}

/// Says in the plan what the turn came to; gives what is reserved for it.
pub(super) fn explain<'a>(
    turn: Turn<'a>,
    pool: &ValidPool,
    round: &mut Round,
) -> Option<Reserved<'a>> {
    let plan = &mut round.plan;
    let (reason, when) = match turn {
        Turn::Had(reserved) => {
            round.seen.promised.explain(plan);
            return Some(reserved);
        }
        Turn::NotNow(reason, when) => (reason, when),
        Turn::Unneeded | Turn::Changed => return None,
    };
    let (taken, left) = std::mem::take(&mut plan.steps).into_iter().partition(takes);
    plan.steps = left;
    plan.unfinished = true;
    let taken: Vec<Step> = taken;
    for step in taken {
        let index = agent_of(&step);
        let change = match step {
            Step::Scale { from, to, .. } => format!("{from} -> {to} replicas"),
            Step::Retarget {
                resource, count, ..
            } => format!("to {count} {resource} a replica"),
            Step::Remember { .. } | Step::Forget { .. } => continue,
        };
        plan.holds[index] = Some(Hold {
            reason,
            message: format!("{change}, {when}"),
            resources: Vec::new(),
        });
        tracing::debug!(
            pool = pool.key(),
            agent = pool.agents[index].name,
            when,
            "not taken"
        );
    }
    None
}

#[cfg(test)]
mod tests;
