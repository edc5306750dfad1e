//! How many copies of each agent share time-sliced GPUs.

use super::decide::Decided;
use super::hysteresis::{self, Commitment, Memory};
use super::market::{Market, Unit};
use super::packer::{self, Cost, Limits, Want};
use super::residents::Census;
use super::time_slicing::{in_force, share};
use super::types::{Hold, HoldReason, Quantum, Survey};
use crate::allocation::{Allotment, Reason};
use crate::units::MilliGpus;
use std::time::Duration;

/// Copies beyond the fewest that a vector of copies is searched up to.
const MOST_EXTRA: u64 = 32;
/// A target is met by a share that is this much below it, milli-GPUs.
const TOLERATED: u64 = 50;

/// One agent on its way to a number of copies.
struct Case {
    copies: Option<u32>,
    fixed: bool,
    share: u64,
    target: u64,
    /// Share it should have while all are busy, as far as the windows let it go; 0: the fewest copies will do.
    aim: u64,
    fewest: u32,
    most: u32,
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
        let lost = allotment.reason == Reason::SignalLost;
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
            share,
            target: allotment.target.0,
            aim,
            fewest: agent.min_replicas,
            most: agent.max_replicas,
        });
    }
    cases
}

struct Search<'a> {
    market: &'a Market<'a>,
    unit: &'a Unit,
    capacity: u64,
    cases: &'a [Case],
    /// Who is where; `None` when memory is not known: then no copies are added to what is there.
    census: Option<Census<'a>>,
}

impl Search<'_> {
    fn quantum(&self, copies: u32, all: u64) -> Quantum {
        Quantum {
            replicas: copies,
            resource: self.unit.resource.clone(),
            count: 1,
            share: MilliGpus(share(self.capacity, u64::from(copies), all)),
        }
    }

    /// What is asked, without an answer.
    fn question(&self) -> Commitment {
        let names = self
            .market
            .shape
            .agents
            .iter()
            .map(|agent| agent.name.clone());
        Commitment {
            agents: names
                .zip(self.cases)
                .map(|(name, c)| (name, c.aim, c.fixed))
                .collect(),
            room: (
                self.capacity,
                vec![(self.unit.resource.clone(), self.unit.total())],
            ),
            quanta: Vec::new(),
        }
    }

    /// The copies that were decided on, while they are still to be reached and can be.
    fn standing(&self, made: &Commitment, question: &Commitment) -> Option<Vec<u32>> {
        if !made.asks_as(&self.market.shape.behavior, question) {
            return None;
        }
        let copies: Vec<u32> = made
            .quanta
            .iter()
            .map(|quantum| quantum.as_ref().map(|quantum| quantum.replicas))
            .collect::<Option<_>>()?;
        let permitted = copies.iter().zip(self.cases).all(|(copies, case)| {
            case.fixed && case.copies == Some(*copies)
                || !case.fixed && (case.fewest..=case.most).contains(copies)
        });
        let under_way = copies
            .iter()
            .zip(self.cases)
            .any(|(n, case)| case.copies != Some(*n));
        (permitted && under_way && self.holds(&copies)).then_some(copies)
    }

    /// Whether memory holds the copies, or none is added.
    fn holds(&self, copies: &[u32]) -> bool {
        let adds = |(copies, case): (&u32, &Case)| *copies > case.copies.unwrap_or(0);
        !copies.iter().zip(self.cases).any(adds)
            || self
                .census
                .as_ref()
                .is_none_or(|census| census.after(copies).excess().is_none())
    }

    /// The copies that bring the shares nearest to their aims, and the fewest of those. Without `bounded` as if memory did
    /// not matter. Whether all aims are met goes with it.
    fn best(&self, bounded: bool) -> (Option<Vec<u32>>, bool) {
        if let Some(kept) = self.kept() {
            return (Some(kept), true);
        }
        let ranges: Vec<(u32, u32)> = self
            .cases
            .iter()
            .map(|case| self.range(case, bounded))
            .collect();
        let fewest: u64 = ranges.iter().map(|(low, _)| u64::from(*low)).sum();
        let tokens = self.unit.total();
        let most = tokens.min(fewest.saturating_add(MOST_EXTRA));
        let rounds = most.saturating_sub(fewest) + 1;
        let steps = packer::steps(self.cases.len()) / u32::try_from(rounds).unwrap_or(u32::MAX);
        let mut best: Option<(Cost, Vec<u32>)> = None;
        for all in fewest.min(most)..=most {
            let Some((cost, copies)) = self.pack(&ranges, all, bounded, steps) else {
                continue;
            };
            let met = cost.is_met();
            if best.as_ref().is_none_or(|(least, _)| cost.is_below(least)) {
                best = Some((cost, copies));
            }
            if met {
                break;
            }
        }
        let met = best.as_ref().is_some_and(|(cost, _)| cost.is_met());
        (best.map(|(_, copies)| copies), met)
    }

    /// What is in force, when all of it is permitted and near enough to every aim.
    fn kept(&self) -> Option<Vec<u32>> {
        let behavior = &self.market.shape.behavior;
        let all: u64 = self
            .cases
            .iter()
            .filter_map(|c| c.copies)
            .map(u64::from)
            .sum();
        let near = |case: &Case| {
            let copies = case.copies?;
            let one_more = share(self.capacity, u64::from(copies) + 1, all + 1);
            let band = hysteresis::band(behavior, case.share, one_more.saturating_sub(case.share));
            let fewest = case.aim == 0 && copies == case.fewest;
            let near = case.aim > 0 && case.aim.abs_diff(case.share) <= band;
            ((case.fewest..=case.most).contains(&copies) && (near || fewest) || case.fixed)
                .then_some(copies)
        };
        let kept: Vec<u32> = self.cases.iter().map(near).collect::<Option<_>>()?;
        (all <= self.unit.total()).then_some(kept)
    }

    /// Fewest and most copies of an agent.
    fn range(&self, case: &Case, bounded: bool) -> (u32, u32) {
        let now = case.copies.unwrap_or(0);
        if case.fixed {
            return (now, now);
        }
        let tokens = u32::try_from(self.unit.total()).unwrap_or(u32::MAX);
        let low = case.fewest.min(case.most).min(tokens);
        let high = if bounded && self.census.is_none() {
            case.most.min(now.max(low))
        } else {
            case.most
        };
        (low, high.max(low))
    }

    /// The best copies with `all` busy copies in sum.
    fn pack(
        &self,
        ranges: &[(u32, u32)],
        all: u64,
        bounded: bool,
        steps: u32,
    ) -> Option<(Cost, Vec<u32>)> {
        let behavior = &self.market.shape.behavior;
        let wants: Vec<Want> = self
            .cases
            .iter()
            .zip(ranges)
            .enumerate()
            .map(|(i, (case, (low, high)))| {
                let agent = &self.market.shape.agents[i];
                let tolerated = hysteresis::tolerated(behavior, case.aim).max(TOLERATED);
                let aim = case.aim.saturating_sub(tolerated);
                let quantum = |copies: u32| self.quantum(copies, all);
                let reach = u64::from(*low)
                    .saturating_add(MOST_EXTRA)
                    .min(u64::from(*high));
                let reach = u32::try_from(reach).unwrap_or(u32::MAX);
                // Where not even the fewest fit, fewer are better than none; who runs keeps one.
                let bottom = if case.fixed || !bounded {
                    *low
                } else {
                    (*low).min(u32::from(case.copies.unwrap_or(0) > 0))
                };
                Want {
                    priority: agent.priority,
                    min_replicas: *low,
                    target: aim,
                    hunger: aim,
                    in_force: case.copies.map(quantum),
                    menu: lines(bottom, reach).map(quantum).collect(),
                }
            })
            .collect();
        let fits = |choice: &[usize]| {
            let copies: Vec<u32> = choice
                .iter()
                .zip(&wants)
                .map(|(at, want)| want.menu[*at].replicas)
                .collect();
            !bounded || self.holds(&copies)
        };
        let limits = Limits {
            budget: u64::MAX,
            totals: vec![(self.unit.resource.clone(), all)],
            fits: &fits,
            steps,
        };
        let choice = packer::pack(&wants, &limits)?;
        let quanta: Vec<Quantum> = choice
            .into_iter()
            .zip(&wants)
            .map(|(at, want)| want.menu[at].clone())
            .collect();
        let cost = packer::total(&wants, &quanta);
        Some((
            cost,
            quanta.iter().map(|quantum| quantum.replicas).collect(),
        ))
    }
}

/// Numbers of copies to choose from: the fewest, and up to the most those next to it.
fn lines(fewest: u32, most: u32) -> impl Iterator<Item = u32> {
    let near = most.saturating_sub(2 * MOST_EXTRA as u32);
    std::iter::once(fewest).chain(fewest.saturating_add(1).max(near)..=most)
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
    Some(Hold { reason, message })
}
