//! How many copies of each agent share time-sliced GPUs.

use super::cases;
use super::copy_search::Search;
use super::decide::Decided;
use super::hysteresis::{self, Commitment, Memory};
use super::market::{Market, Unit};
use super::residents::Census;
use super::time_slicing::in_force;
use super::types::{Hold, HoldReason, Survey};
use crate::allocation::{Allotment, Reason};
use crate::units::MilliGpus;
use std::time::Duration;

/// One agent on its way to a number of copies.
pub(super) struct Case {
    pub copies: Option<u32>,
    pub fixed: bool,
    /// Gets as many copies as it has or more, see [`cases::rises`].
    pub rises: bool,
    pub share: u64,
    pub target: u64,
    /// Share it should have while all are busy, as far as the windows let it go; 0: the fewest copies will do.
    pub aim: u64,
    pub fewest: u32,
    pub most: u32,
}

/// Decides on the copies of every agent.
pub(super) fn decide(
    market: &Market<'_>,
    survey: &Survey,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Decided {
    let n = decision.len();
    let Some(unit) = market.units.first() else {
        return Decided::nothing(n);
    };
    let capacity = survey.capacity.0;
    let cases = cases(market, survey, decision, memory, now);
    let (census, unknown) = match Census::read(market.shape, market.ground, &unit.resource) {
        Ok(census) => (Some(census), None),
        Err(why) => (None, Some(why)),
    };
    let search = Search {
        market,
        unit,
        capacity,
        cases: &cases,
        census,
    };
    let question = search.question();
    let standing = memory
        .commitment()
        .and_then(|made| search.standing(made, &question));
    let (copies, met) = match standing {
        Some(copies) => (Some(copies), false),
        None => search.best(true),
    };
    if let Some(copies) = &copies {
        let quantum = |copies: &u32| Some(search.quantum(*copies, 1));
        memory.commit(Commitment {
            quanta: copies.iter().map(quantum).collect(),
            ..question
        });
    }
    let unbounded = if met {
        copies.clone()
    } else {
        search.best(false).0
    };
    let mut decided = Decided::nothing(n);
    for (i, case) in cases.iter().enumerate() {
        let agent = &market.shape.agents[i];
        let got = copies
            .as_ref()
            .map_or(case.copies, |copies| Some(copies[i]));
        let free = unbounded.as_ref().map_or(got, |copies| Some(copies[i]));
        let all: u64 = copies.iter().flatten().map(|n| u64::from(*n)).sum();
        let bound = !case.fixed && free > got;
        if bound {
            let why = unknown.clone().or_else(|| {
                let mut copies = copies.clone()?;
                copies[i] = free?.min(copies[i].saturating_add(1));
                search.census.as_ref()?.after(&copies).excess()
            });
            decided.memory_bound[i] = Some(format!(
                "{} copies are wanted for a share of {}, {} are given: {}",
                free.unwrap_or(0),
                MilliGpus(case.aim),
                got.unwrap_or(0),
                why.unwrap_or_else(|| "the copies of all agents together do not fit".to_owned()),
            ));
        } else {
            decided.memory_bound[i] = market.too_large(i);
        }
        if got.unwrap_or(0) < agent.min_replicas && (!case.fixed || !market.serves(i)) {
            let why = decided.memory_bound[i]
                .clone()
                .or_else(|| market.refusal(i));
            decided.unmet[i] = Some(why.unwrap_or_else(|| {
                format!(
                    "{} of at least {} copies; the pool may hold {} {}",
                    got.unwrap_or(0),
                    agent.min_replicas,
                    unit.total(),
                    unit.resource
                )
            }));
        }
        decided.holds[i] = hold(market, case, &decision[i], got, bound);
        decided.quanta[i] = got
            .filter(|copies| *copies > 0 || agent.min_replicas == 0)
            .filter(|_| !case.fixed || case.copies.is_some())
            .map(|copies| search.quantum(copies, all));
    }
    decided
}

fn cases(
    market: &Market<'_>,
    survey: &Survey,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Vec<Case> {
    let shape = market.shape;
    let demand = decision
        .iter()
        .map(|allotment| allotment.demand.0)
        .fold(0, u64::saturating_add);
    let overloaded = demand > survey.capacity.0;
    let copies = in_force(market);
    let tokens = market.units.first().map_or(0, Unit::total);
    let short = overloaded
        && decision
            .iter()
            .zip(&survey.agents)
            .any(|(allotment, extent)| {
                let share = extent.realized.0;
                allotment.target.0
                    > share.saturating_add(hysteresis::tolerated(&shape.behavior, share))
            });
    let mut cases: Vec<Case> = Vec::with_capacity(decision.len());
    for (i, allotment) in decision.iter().enumerate() {
        let agent = &shape.agents[i];
        // One copy uses at most one GPU: who needs more needs copies, overload or not.
        let needed = allotment.demand.0.min(allotment.target.0);
        let wanted = if overloaded {
            allotment.target.0
        } else if needed > 1000 {
            needed
        } else {
            0
        };
        let window = memory.recommend(&shape.behavior, &agent.name, now, wanted);
        let share = survey.agents[i].realized.0;
        let there = u64::from(copies[i].unwrap_or(0)) <= tokens;
        let rises = there && market.serves(i) && cases::rises(market, i, allotment, share);
        let lost = allotment.reason == Reason::SignalLost && !rises;
        let fixed = market.ground.agents[i].frozen || lost || !market.serves(i);
        // One more copy is a rise over what is in force, one less a fall; without overload nothing keeps a copy but the window.
        let aim = if wanted >= share {
            wanted.min(window.rise_to.max(share))
        } else {
            let down_to = if short {
                window.yield_to
            } else {
                window.fall_to
            };
            wanted.max(down_to.min(share))
        };
        cases.push(Case {
            copies: copies[i],
            fixed,
            rises,
            share,
            target: allotment.target.0,
            aim,
            fewest: match copies[i].filter(|_| rises) {
                Some(copies) => agent.min_replicas.max(copies),
                None => agent.min_replicas,
            },
            most: agent.max_replicas,
        });
    }
    cases
}

fn hold(
    market: &Market<'_>,
    case: &Case,
    allotment: &Allotment,
    got: Option<u32>,
    bound: bool,
) -> Option<Hold> {
    let behavior = &market.shape.behavior;
    let copies = case.copies?;
    if got != Some(copies)
        || case.target.abs_diff(case.share) <= hysteresis::tolerated(behavior, case.share)
    {
        return None;
    }
    let numbers = format!(
        "target {}, in force {} ({copies} copies)",
        MilliGpus(case.target),
        MilliGpus(case.share)
    );
    let (reason, message) = if case.fixed {
        let reason = if allotment.reason == Reason::SignalLost {
            HoldReason::SignalLost
        } else {
            HoldReason::Frozen
        };
        (reason, numbers)
    } else if bound {
        (HoldReason::MemoryBound, numbers)
    } else if case.aim == 0 {
        (
            HoldReason::WithinTolerance,
            format!(
                "{numbers}; the demands fit the GPUs, and a time-sliced GPU lends what is idle"
            ),
        )
    } else if case.aim == case.share && case.target != case.share {
        (
            HoldReason::Stabilizing,
            format!("{numbers}; not for the whole window"),
        )
    } else {
        (HoldReason::WithinTolerance, numbers)
    };
    Some(Hold {
        reason,
        message,
        resources: Vec::new(),
    })
}
