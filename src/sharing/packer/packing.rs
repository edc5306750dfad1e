//! Menus as numbers, what is left to be taken, and choices to start from.

use super::{Cost, Limits, Want};
use std::collections::BTreeSet;
use std::ops::Add;

/// A menu line, ready for arithmetic.
pub(super) struct Line {
    pub cost: Cost,
    pub resource: usize,
    pub amount: u64,
    pub share: u64,
}

/// The menus, and what is left of what there is.
pub(super) struct Packing<'a> {
    pub table: &'a [Vec<Line>],
    pub limits: &'a Limits<'a>,
    /// For every agent its lines, cheapest first.
    pub order: Vec<Vec<usize>>,
    pub left: Vec<u64>,
    pub budget: u64,
}

impl<'a> Packing<'a> {
    /// Nothing is taken yet. No menu is empty.
    pub fn of(table: &'a [Vec<Line>], limits: &'a Limits<'a>) -> Self {
        let cheapest_first = |lines: &Vec<Line>| {
            let mut order: Vec<usize> = (0..lines.len()).collect();
            order.sort_by_key(|at| (lines[*at].cost, *at));
            order
        };
        Self {
            table,
            limits,
            order: table.iter().map(cheapest_first).collect(),
            left: limits.totals.iter().map(|(_, total)| *total).collect(),
            budget: limits.budget,
        }
    }

    /// The cheapest line of agent `i`.
    pub fn cheapest(&self, i: usize) -> &'a Line {
        &self.table[i][self.order[i][0]]
    }

    /// What a choice costs.
    pub fn total(&self, choice: &[usize]) -> Cost {
        choice
            .iter()
            .zip(self.table)
            .map(|(at, lines)| lines[*at].cost)
            .fold(Cost::default(), Add::add)
    }

    /// Takes what a line needs, if it is there.
    pub fn take(&mut self, line: &Line) -> bool {
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

    /// Gives back what was taken.
    pub fn give_back(&mut self, line: &Line) {
        if line.amount > 0 {
            self.left[line.resource] += line.amount;
        }
        self.budget += line.share;
    }

    /// Suffix sums of the cheapest line of every agent.
    pub fn bounds(&self) -> Vec<Cost> {
        let mut bounds = vec![Cost::default(); self.table.len() + 1];
        for i in (0..self.table.len()).rev() {
            bounds[i] = bounds[i + 1] + self.cheapest(i).cost;
        }
        bounds
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
    pub fn greedy(&mut self, wants: &[Want]) -> Option<Vec<usize>> {
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
        let mut choice = vec![0; table.len()];
        let found = agents.into_iter().all(|i| {
            let line = (0..self.order[i].len()).find_map(|k| {
                let at = self.order[i][k];
                self.take(&table[i][at]).then_some(at)
            });
            choice[i] = line.unwrap_or(0);
            line.is_some()
        });
        self.left = left;
        self.budget = budget;
        found.then_some(choice)
    }
}
