//! The one packer: picks a quantum for every agent from its menu, so that together they fit and nothing that a hungry agent
//! could use is left over.

use super::types::Quantum;
use crate::units::{GpuResource, Priority};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::{Add, Sub};

/// What one agent asks of the packer.
#[derive(Debug, Clone)]
pub(super) struct Want {
    /// Importance.
    pub priority: Priority,
    /// Fewest replicas; quanta below it cost most of all.
    pub min_replicas: u32,
    /// Share it should have, milli-GPUs.
    pub target: u64,
    /// The part of the target that its load asks for, milli-GPUs.
    pub hunger: u64,
    /// What it has: changing it costs a move.
    pub in_force: Option<Quantum>,
    /// What it could have, ascending by share within a resource.
    pub menu: Vec<Quantum>,
}

/// What the chosen quanta must fit into.
pub(super) struct Limits<'a> {
    /// Milli-GPUs that may be spent in all.
    pub budget: u64,
    /// Per resource: how many of it there are.
    pub totals: Vec<(GpuResource, u64)>,
    /// Whatever totals cannot say (nodes, memory); asked with the index of the chosen quantum of each agent.
    pub fits: &'a dyn Fn(&[usize]) -> bool,
    /// Steps of search after which the best found so far is taken; see [`steps`].
    pub steps: u32,
}

/// What a choice costs, most important first; compared lexicographically. Additive over agents, so that the sum of the
/// cheapest is a lower bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Agents without any replica that should have one, by priority (16 bits each, High on top).
    absent: u64,
    /// Squared replicas below the minimum, by priority (40 bits each, High on top).
    missing: u128,
    /// Weighted squared shortfall of what the load asks for, in squared milli-GPUs.
    pub hunger: u128,
    /// Weighted squared shortfall of the target, in squared milli-GPUs.
    pub shortfall: u128,
    /// Shares spent, in started twentieths of a GPU: a little more share in one piece is better than two pieces.
    used: u64,
    /// Price of the changes: 0 unchanged, 1 another number of replicas, 3 another resource.
    moves: u64,
    /// Replicas run.
    replicas: u64,
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            absent: self.absent + other.absent,
            missing: self.missing + other.missing,
            hunger: self.hunger + other.hunger,
            shortfall: self.shortfall + other.shortfall,
            moves: self.moves + other.moves,
            used: self.used + other.used,
            replicas: self.replicas + other.replicas,
        }
    }
}

impl Sub for Cost {
    type Output = Self;
    /// Takes a summand away again.
    fn sub(self, other: Self) -> Self {
        Self {
            absent: self.absent - other.absent,
            missing: self.missing - other.missing,
            hunger: self.hunger - other.hunger,
            shortfall: self.shortfall - other.shortfall,
            moves: self.moves - other.moves,
            used: self.used - other.used,
            replicas: self.replicas - other.replicas,
        }
    }
}

impl Cost {
    /// Everyone runs and has its target.
    pub fn is_met(&self) -> bool {
        (self.absent, self.missing, self.hunger, self.shortfall) == (0, 0, 0, 0)
    }

    /// Whether more agents run or the shortfall is less, whatever else it costs.
    pub fn is_below(&self, other: &Self) -> bool {
        let worth = |c: &Self| (c.absent, c.missing, c.hunger, c.shortfall);
        worth(self) < worth(other)
    }

    /// Whether a move is worth it that disturbs agents which have nearly what they should: an agent more runs, or the
    /// shortfall falls by more than an eighth.
    pub fn is_clearly_below(&self, other: &Self) -> bool {
        let clearly = |a: u128, b: u128| a * 8 < b * 7;
        let runs = (self.absent, self.missing);
        match runs.cmp(&(other.absent, other.missing)) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if self.hunger == other.hunger => {
                clearly(self.shortfall, other.shortfall)
            }
            Ordering::Equal => clearly(self.hunger, other.hunger),
        }
    }
}

/// Shares are counted up to this many milli-GPUs, so that no sum of costs overflows; 65 million GPUs.
const MOST_SHARE: u64 = 1 << 36;

/// What it costs to give `want` this quantum.
pub(super) fn cost(want: &Want, quantum: &Quantum) -> Cost {
    let level = match want.priority {
        Priority::High => 2,
        Priority::Medium => 1,
        Priority::Low => 0,
    };
    let below = u64::from(want.min_replicas.saturating_sub(quantum.replicas)).min(1 << 16);
    let weighted = |wanted: u64| {
        let shortfall = u128::from(wanted.saturating_sub(quantum.share.0).min(MOST_SHARE));
        shortfall * shortfall * u128::from(want.priority.weight())
    };
    let moves = match &want.in_force {
        Some(now) if now.resource != quantum.resource || now.count != quantum.count => 3,
        Some(now) if now.replicas == quantum.replicas => 0,
        _ => 1,
    };
    Cost {
        absent: u64::from(quantum.replicas == 0 && want.min_replicas > 0) << (16 * level),
        missing: u128::from(below * below) << (40 * level),
        hunger: weighted(want.hunger.min(want.target)),
        shortfall: weighted(want.target),
        moves,
        used: quantum.share.0.min(MOST_SHARE).div_ceil(50),
        replicas: u64::from(quantum.replicas),
    }
}

/// What it costs to give each of `wants` its quantum.
pub(super) fn total(wants: &[Want], quanta: &[Quantum]) -> Cost {
    wants
        .iter()
        .zip(quanta)
        .map(|(want, quantum)| cost(want, quantum))
        .fold(Cost::default(), Add::add)
}

/// Steps of search after which the best found so far is taken; enough for every instance of 4 agents with 10 quanta.
const SEARCH_STEPS: u32 = 20_000;
/// Agents up to which the search is worth that many steps; more agents make more combinations than any search can see.
const SEARCHED: usize = 8;
/// Trials of changing two agents at once, in one round of local improvement.
const TRIALS: u32 = 2_000;

/// Steps of search for so many agents.
pub(super) fn steps(agents: usize) -> u32 {
    if agents <= SEARCHED {
        SEARCH_STEPS
    } else {
        SEARCH_STEPS / 20
    }
}

/// A menu line, ready for arithmetic.
struct Line {
    cost: Cost,
    resource: usize,
    amount: u64,
    share: u64,
}

/// Picks one line of every menu; `None` when no combination fits. Deterministic; ties go to the earlier line of the earlier
/// agent.
///
/// Exact while the search ends within a fixed number of steps, else the best of a greedy fill, its local improvement, and
/// the part searched. Either way no single agent's change would make it better.
pub(super) fn pack(wants: &[Want], limits: &Limits<'_>) -> Option<Vec<usize>> {
    let table: Vec<Vec<Line>> = wants
        .iter()
        .map(|want| {
            want.menu
                .iter()
                .map(|quantum| Line {
                    cost: cost(want, quantum),
                    resource: limits
                        .totals
                        .iter()
                        .position(|(resource, _)| *resource == quantum.resource)
                        .unwrap_or(usize::MAX),
                    amount: u64::from(quantum.replicas) * u64::from(quantum.count),
                    share: quantum.share.0,
                })
                .collect()
        })
        .collect();
    if table.iter().any(Vec::is_empty) {
        return None;
    }
    let mut packing = Packing {
        table: &table,
        limits,
        left: limits.totals.iter().map(|(_, total)| *total).collect(),
        budget: limits.budget,
    };
    let start = packing.greedy(wants);
    let mut search = Search {
        bounds: packing.bounds(),
        order: packing.orders(),
        best: start.map(|choice| (packing.total(&choice), choice)),
        chosen: vec![0; table.len()],
        steps: limits.steps,
    };
    search.descend(&mut packing, 0, Cost::default());
    let (mut best, mut choice) = search.best?;
    if search.steps == 0 {
        packing.improve(&mut choice, &mut best);
    }
    Some(choice)
}

struct Packing<'a> {
    table: &'a [Vec<Line>],
    limits: &'a Limits<'a>,
    left: Vec<u64>,
    budget: u64,
}

impl Packing<'_> {
    fn total(&self, choice: &[usize]) -> Cost {
        choice
            .iter()
            .zip(self.table)
            .map(|(at, lines)| lines[*at].cost)
            .fold(Cost::default(), Add::add)
    }

    fn take(&mut self, line: &Line) -> bool {
        if line.amount > 0 {
            match self.left.get_mut(line.resource) {
                Some(left) if *left >= line.amount && self.budget >= line.share => {
                    *left -= line.amount;
                }
                _ => return false,
            }
        } else if self.budget < line.share {
            return false;
        }
        self.budget -= line.share;
        true
    }

    fn give_back(&mut self, line: &Line) {
        if line.amount > 0 {
            self.left[line.resource] += line.amount;
        }
        self.budget += line.share;
    }

    /// Suffix sums of the cheapest line of every agent.
    fn bounds(&self) -> Vec<Cost> {
        let mut bounds = vec![Cost::default(); self.table.len() + 1];
        for i in (0..self.table.len()).rev() {
            let least = self.table[i].iter().map(|line| line.cost).min();
            bounds[i] = bounds[i + 1] + least.unwrap_or_default();
        }
        bounds
    }

    /// For every agent its lines, cheapest first.
    fn orders(&self) -> Vec<Vec<usize>> {
        self.table
            .iter()
            .map(|lines| {
                let mut order: Vec<usize> = (0..lines.len()).collect();
                order.sort_by_key(|at| (lines[*at].cost, *at));
                order
            })
            .collect()
    }

    /// Whether the choice fits as a whole.
    fn feasible(&mut self, choice: &[usize]) -> bool {
        let table = self.table;
        let (left, budget) = (self.left.clone(), self.budget);
        let sums = choice
            .iter()
            .zip(table)
            .all(|(at, lines)| self.take(&lines[*at]));
        self.left = left;
        self.budget = budget;
        sums && (self.limits.fits)(choice)
    }

    /// Starts from the largest lines within the targets, or else from the smallest of all, and improves from there.
    fn greedy(&mut self, wants: &[Want]) -> Option<Vec<usize>> {
        let within: Vec<usize> = wants
            .iter()
            .map(|want| {
                let eligible = want.menu.iter().enumerate().filter(|(_, quantum)| {
                    quantum.replicas >= want.min_replicas && quantum.share.0 <= want.target
                });
                let largest = eligible.max_by_key(|(at, q)| (q.share, std::cmp::Reverse(*at)));
                let smallest = want
                    .menu
                    .iter()
                    .enumerate()
                    .min_by_key(|(at, q)| (q.replicas < want.min_replicas, q.share, *at));
                largest.or(smallest).map_or(0, |(at, _)| at)
            })
            .collect();
        let smallest: Vec<usize> = wants
            .iter()
            .map(|want| {
                let least = want
                    .menu
                    .iter()
                    .enumerate()
                    .min_by_key(|(at, q)| (q.share, *at));
                least.map_or(0, |(at, _)| at)
            })
            .collect();
        let mut choice = [Some(within), Some(smallest), self.in_turn()]
            .into_iter()
            .flatten()
            .find(|choice| self.feasible(choice))?;
        let mut cost = self.total(&choice);
        self.improve(&mut choice, &mut cost);
        Some(choice)
    }

    /// Every agent takes the cheapest line that is left to it, those with the least choice first.
    fn in_turn(&mut self) -> Option<Vec<usize>> {
        let table = self.table;
        let (left, budget) = (self.left.clone(), self.budget);
        let mut agents: Vec<usize> = (0..table.len()).collect();
        agents.sort_by_key(|i| {
            let resources: BTreeSet<usize> = table[*i].iter().map(|line| line.resource).collect();
            (resources.len(), *i)
        });
        let orders = self.orders();
        let mut choice = vec![0; table.len()];
        let found = agents.into_iter().all(|i| {
            let line = orders[i].iter().find(|at| self.take(&table[i][**at]));
            choice[i] = line.copied().unwrap_or(0);
            line.is_some()
        });
        self.left = left;
        self.budget = budget;
        found.then_some(choice)
    }

    /// Changes one agent at a time, then one that gives with one that takes, while the cost falls.
    fn improve(&mut self, choice: &mut Vec<usize>, cost: &mut Cost) {
        let mut trials = TRIALS;
        loop {
            let mut best: Option<(Cost, Vec<usize>)> = None;
            for i in 0..choice.len() {
                self.try_lines(i, choice, *cost, *cost, &mut best, &mut trials);
            }
            if best.is_none() {
                'pairs: for i in 0..choice.len() {
                    let kept = choice[i];
                    for at in 0..self.table[i].len() {
                        if at == kept {
                            continue;
                        }
                        choice[i] = at;
                        for j in 0..choice.len() {
                            if j != i {
                                let now = *cost - self.table[i][kept].cost + self.table[i][at].cost;
                                self.try_lines(j, choice, now, *cost, &mut best, &mut trials);
                            }
                        }
                        if trials == 0 {
                            choice[i] = kept;
                            break 'pairs;
                        }
                    }
                    choice[i] = kept;
                }
            }
            match best {
                Some((lower, better)) => {
                    *cost = lower;
                    *choice = better;
                }
                None => return,
            }
        }
    }

    /// Tries every other line of agent `i` in a choice that costs `now`; keeps the cheapest that fits and is cheaper than `below`.
    fn try_lines(
        &mut self,
        i: usize,
        choice: &mut [usize],
        now: Cost,
        below: Cost,
        best: &mut Option<(Cost, Vec<usize>)>,
        trials: &mut u32,
    ) {
        let kept = choice[i];
        let others = now - self.table[i][kept].cost;
        for at in 0..self.table[i].len() {
            if at == kept {
                continue;
            }
            choice[i] = at;
            *trials = trials.saturating_sub(1);
            let cost = others + self.table[i][at].cost;
            let bar = best.as_ref().map_or(below, |(cost, _)| *cost);
            if cost < bar && self.feasible(choice) {
                *best = Some((cost, choice.to_vec()));
            }
        }
        choice[i] = kept;
    }
}

struct Search {
    bounds: Vec<Cost>,
    order: Vec<Vec<usize>>,
    best: Option<(Cost, Vec<usize>)>,
    chosen: Vec<usize>,
    steps: u32,
}

impl Search {
    fn descend(&mut self, packing: &mut Packing<'_>, i: usize, so_far: Cost) {
        if i == packing.table.len() {
            if (packing.limits.fits)(&self.chosen) {
                self.best = Some((so_far, self.chosen.clone()));
            }
            return;
        }
        for k in 0..self.order[i].len() {
            if self.steps == 0 {
                return;
            }
            let at = self.order[i][k];
            let table = packing.table;
            let line = &table[i][at];
            let cost = so_far + line.cost;
            let hopeless = self
                .best
                .as_ref()
                .is_some_and(|(best, _)| cost + self.bounds[i + 1] >= *best);
            if hopeless {
                return; // lines are in order of cost
            }
            self.steps -= 1;
            if packing.take(line) {
                self.chosen[i] = at;
                self.descend(packing, i + 1, cost);
                packing.give_back(line);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::units::MilliGpus;
    use proptest::prelude::*;

    fn resource(n: usize) -> GpuResource {
        let profiles = ["1g.10gb", "2g.20gb", "3g.40gb"];
        GpuResource::parse(&format!("nvidia.com/mig-{}", profiles[n])).unwrap()
    }

    fn quanta(most: usize) -> impl Strategy<Value = Quantum> {
        (0..4u32, 0..3usize, 1..3u32, 0..most as u64).prop_map(|(replicas, n, count, share)| {
            Quantum {
                replicas,
                resource: resource(n),
                count,
                share: MilliGpus(share * 97),
            }
        })
    }

    fn wants() -> impl Strategy<Value = Want> {
        let priority = prop_oneof![
            Just(Priority::High),
            Just(Priority::Medium),
            Just(Priority::Low)
        ];
        (
            priority,
            0..3u32,
            0..2000u64,
            0..2000u64,
            prop::option::of(quanta(20)),
            prop::collection::vec(quanta(20), 1..=10),
        )
            .prop_map(
                |(priority, min_replicas, target, hunger, in_force, menu)| Want {
                    priority,
                    min_replicas,
                    target,
                    hunger,
                    in_force,
                    menu,
                },
            )
    }

    /// Every combination, one by one.
    fn brute(wants: &[Want], limits: &Limits<'_>) -> Option<Cost> {
        let mut choice = vec![0; wants.len()];
        let mut best: Option<Cost> = None;
        loop {
            let chosen: Vec<Quantum> = choice
                .iter()
                .zip(wants)
                .map(|(at, want): (&usize, &Want)| want.menu[*at].clone())
                .collect();
            let spent: u64 = chosen.iter().map(|q| q.share.0).sum();
            let sums = limits.totals.iter().all(|(resource, total)| {
                let used = chosen.iter().filter(|q| q.resource == *resource);
                used.map(|q| u64::from(q.replicas * q.count)).sum::<u64>() <= *total
            });
            if spent <= limits.budget && sums && (limits.fits)(&choice) {
                let cost = total(wants, &chosen);
                best = Some(best.map_or(cost, |best| best.min(cost)));
            }
            let Some(i) = (0..wants.len()).find(|i| choice[*i] + 1 < wants[*i].menu.len()) else {
                return best;
            };
            choice[i] += 1;
            choice[..i].fill(0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn the_packer_is_as_good_as_trying_every_combination(
            wants in prop::collection::vec(wants(), 1..=4),
            totals in prop::collection::vec(0..8u64, 3),
            budget in 0..5000u64,
            odd in any::<bool>(),
        ) {
            // A constraint that sums cannot say, as nodes and memory are.
            let fits = |choice: &[usize]| !odd || choice.iter().sum::<usize>() % 3 != 1;
            let limits = Limits {
                budget,
                totals: totals.iter().enumerate().map(|(n, t)| (resource(n), *t)).collect(),
                fits: &fits,
                steps: SEARCH_STEPS,
            };
            let packed = pack(&wants, &limits).map(|choice| {
                let chosen: Vec<Quantum> = choice
                    .iter()
                    .zip(&wants)
                    .map(|(at, want)| want.menu[*at].clone())
                    .collect();
                total(&wants, &chosen)
            });
            prop_assert_eq!(packed, brute(&wants, &limits));
        }

        #[test]
        fn whole_gpus_of_many_agents_are_left_to_nobody_who_wants_one(
            targets in prop::collection::vec((0..3usize, 0..6000u64), 5..=64),
            gpus in 0..200u64,
        ) {
            let wants: Vec<Want> = targets
                .iter()
                .map(|(priority, target)| Want {
                    priority: [Priority::High, Priority::Medium, Priority::Low][*priority],
                    min_replicas: 0,
                    target: *target,
                    hunger: *target,
                    in_force: None,
                    menu: (0..=target.div_ceil(1000) as u32).map(whole).collect(),
                })
                .collect();
            let limits = Limits {
                budget: u64::MAX,
                totals: vec![(GpuResource::whole(), gpus)],
                fits: &|_| true,
                steps: SEARCH_STEPS,
            };
            let choice = pack(&wants, &limits).unwrap();
            let used: usize = choice.iter().sum();
            prop_assert!(used as u64 <= gpus);
            if (used as u64) < gpus {
                for (at, want) in choice.iter().zip(&wants) {
                    prop_assert!(at + 1 == want.menu.len(), "a GPU is idle and an agent is short");
                }
            }
        }
    }

    fn whole(replicas: u32) -> Quantum {
        Quantum {
            replicas,
            resource: GpuResource::whole(),
            count: 1,
            share: MilliGpus::whole(u64::from(replicas)),
        }
    }

    fn two(low: Priority) -> Vec<Want> {
        [Priority::High, low]
            .map(|priority| Want {
                priority,
                min_replicas: 2,
                target: 2000,
                hunger: 2000,
                in_force: Some(whole(2)),
                menu: (0..=2).map(whole).collect(),
            })
            .to_vec()
    }

    fn packed(wants: &[Want], gpus: u64) -> Vec<usize> {
        let limits = Limits {
            budget: u64::MAX,
            totals: vec![(GpuResource::whole(), gpus)],
            fits: &|_| true,
            steps: SEARCH_STEPS,
        };
        pack(wants, &limits).unwrap()
    }

    #[test]
    fn when_minima_do_not_fit_the_least_important_loses_its_extra_replicas_first() {
        let wants = two(Priority::Low);
        assert_eq!(packed(&wants, 4), [2, 2]);
        assert_eq!(packed(&wants, 3), [2, 1]);
        assert_eq!(
            packed(&wants, 2),
            [1, 1],
            "extra replicas go before anyone's last"
        );
        assert_eq!(packed(&wants, 1), [1, 0]);
        assert_eq!(packed(&wants, 0), [0, 0]);
    }

    #[test]
    fn what_is_in_force_breaks_ties() {
        let mut wants = two(Priority::High);
        for want in &mut wants {
            want.min_replicas = 0;
        }
        wants[0].in_force = Some(whole(1));
        wants[1].in_force = Some(whole(2));
        assert_eq!(packed(&wants, 3), [1, 2]);
        wants[0].in_force = Some(whole(2));
        wants[1].in_force = Some(whole(1));
        assert_eq!(packed(&wants, 3), [2, 1]);
    }

    #[test]
    fn enormous_shares_do_not_overflow() {
        let mut wants = vec![two(Priority::High)[0].clone(); 64];
        for want in &mut wants {
            want.target = u64::MAX;
            want.hunger = u64::MAX;
            want.min_replicas = u32::MAX;
            want.menu = vec![
                Quantum {
                    replicas: u32::MAX,
                    resource: GpuResource::whole(),
                    count: u32::MAX,
                    share: MilliGpus(u64::MAX),
                },
                whole(0),
            ];
        }
        assert_eq!(packed(&wants, u64::MAX)[1..], [1; 63]);
    }

    #[test]
    fn sixty_four_agents_are_packed_in_few_steps() {
        let wants: Vec<Want> = (0..64u64)
            .map(|i| Want {
                priority: [Priority::High, Priority::Medium, Priority::Low][i as usize % 3],
                min_replicas: 1,
                target: 500 + 137 * (i % 29),
                hunger: 400 + 111 * (i % 31),
                in_force: Some(whole(1 + (i % 3) as u32)),
                menu: (1..=5).map(whole).collect(),
            })
            .collect();
        let choice = packed(&wants, 150);
        assert_eq!(choice.iter().map(|at| at + 1).sum::<usize>(), 150);
    }
}
