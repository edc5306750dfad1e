//! The fewest copies that bring every share near its aim, under tokens and memory.

use super::copies::Case;
use super::copy_bound::{Ask, least_shortfall};
use super::hysteresis::{self, Commitment};
use super::market::{Market, Unit};
use super::packer::{self, Cost, Limits, Want};
use super::residents::Census;
use super::time_slicing::share;
use super::types::{Node, Quantum};
use crate::units::MilliGpus;

/// Copies beyond the fewest that a vector of copies is searched up to.
const MOST_EXTRA: u64 = 32;
/// A target is met by a share that is this much below it, milli-GPUs.
const TOLERATED: u64 = 50;

/// The agents' cases, and what bounds their copies.
pub(super) struct Search<'a> {
    pub market: &'a Market<'a>,
    pub unit: &'a Unit,
    pub capacity: u64,
    pub cases: &'a [Case],
    /// Who is where; `None` when memory is not known: then no copies are added to what is there.
    pub census: Option<Census<'a>>,
}

impl Search<'_> {
    /// So many copies among `all`.
    pub fn quantum(&self, copies: u32, all: u64) -> Quantum {
        Quantum {
            replicas: copies,
            resource: self.unit.resource.clone(),
            count: 1,
            share: MilliGpus(share(self.capacity, u64::from(copies), all)),
        }
    }

    /// What is asked, without an answer.
    pub fn question(&self) -> Commitment {
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
    pub fn standing(&self, made: &Commitment, question: &Commitment) -> Option<Vec<u32>> {
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
                .map_or(!self.is_crowded(), |census| census.holds(copies))
    }

    /// Whether somebody holds memory there of which nobody knows how much: then not even the fewest copies are started beside it.
    fn is_crowded(&self) -> bool {
        let foreign = |node: &Node| {
            node.foreign
                .get(&self.unit.resource)
                .is_some_and(|n| *n > 0)
        };
        self.census.is_none() && self.market.ground.nodes.iter().any(foreign)
    }

    /// The copies that bring the shares nearest to their aims, and the fewest of those. Without `bounded` as if memory did
    /// not matter. Whether all aims are met goes with it.
    pub fn best(&self, bounded: bool) -> (Option<Vec<u32>>, bool) {
        if let Some(kept) = self.kept() {
            return (Some(kept), true);
        }
        let asks: Vec<Ask> = (0..self.cases.len())
            .map(|i| self.ask(i, bounded))
            .collect();
        let fewest: u64 = asks.iter().map(|ask| u64::from(ask.fewest)).sum();
        let tokens = self.unit.total();
        let most = tokens.min(fewest.saturating_add(MOST_EXTRA));
        let rounds = most.saturating_sub(fewest) + 1;
        let steps = packer::steps(self.cases.len()) / u32::try_from(rounds).unwrap_or(u32::MAX);
        // The most promising sums first, so that few are left to be packed.
        let mut sums: Vec<(u128, u64)> = (fewest.min(most)..=most)
            .map(|all| (least_shortfall(&asks, self.capacity, all), all))
            .collect();
        sums.sort_unstable();
        let mut best: Option<(Cost, u64, Vec<u32>)> = None;
        for (least, all) in sums {
            let least = Cost::of_shortfall(least);
            let hopeless = best.as_ref().is_some_and(|(cost, sum, _)| {
                cost.is_below(&least) || *sum < all && !least.is_below(cost)
            });
            if hopeless {
                continue;
            }
            let Some((cost, copies)) = self.pack(&asks, all, bounded, steps) else {
                continue;
            };
            // Of equal ones the fewest copies.
            let better = best.as_ref().is_none_or(|(least, sum, _)| {
                cost.is_below(least) || all < *sum && !least.is_below(&cost)
            });
            if better {
                best = Some((cost, all, copies));
            }
        }
        let met = best.as_ref().is_some_and(|(cost, ..)| cost.is_met());
        (best.map(|(.., copies)| copies), met)
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

    /// What agent `i` is to get.
    fn ask(&self, i: usize, bounded: bool) -> Ask {
        let case = &self.cases[i];
        let tolerated = hysteresis::tolerated(&self.market.shape.behavior, case.aim);
        let (fewest, most) = self.range(case, bounded);
        let now = case.copies.unwrap_or(0);
        let reach = u64::from(fewest).saturating_add(MOST_EXTRA);
        let reach = u32::try_from(reach).unwrap_or(u32::MAX);
        Ask {
            weight: self.market.shape.agents[i].priority.weight(),
            aim: case.aim.saturating_sub(tolerated.max(TOLERATED)),
            // Where not even the fewest fit, fewer are better than none; who runs keeps one, and who may only rise what it has.
            bottom: if case.fixed || !bounded {
                fewest
            } else if case.rises {
                fewest.min(now)
            } else {
                fewest.min(u32::from(now > 0))
            },
            fewest,
            most: reach.min(most),
        }
    }

    /// Fewest and most copies of an agent.
    fn range(&self, case: &Case, bounded: bool) -> (u32, u32) {
        let now = case.copies.unwrap_or(0);
        if case.fixed {
            return (now, now);
        }
        let tokens = u32::try_from(self.unit.total()).unwrap_or(u32::MAX);
        let low = case.fewest.min(case.most).min(tokens);
        if bounded && self.is_crowded() {
            return (low.min(now), case.most.min(now));
        }
        let high = if bounded && self.census.is_none() {
            case.most.min(now.max(low))
        } else {
            case.most
        };
        (low, high.max(low))
    }

    /// The best copies with `all` busy copies in sum.
    fn pack(&self, asks: &[Ask], all: u64, bounded: bool, steps: u32) -> Option<(Cost, Vec<u32>)> {
        let quantum = |copies: u32| self.quantum(copies, all);
        let wants: Vec<Want> = self
            .cases
            .iter()
            .zip(asks)
            .zip(&self.market.shape.agents)
            .map(|((case, ask), agent)| Want {
                priority: agent.priority,
                min_replicas: ask.fewest,
                target: ask.aim,
                hunger: ask.aim,
                in_force: case.copies.map(quantum),
                menu: lines(ask.bottom, ask.most).map(quantum).collect(),
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
