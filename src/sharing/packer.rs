//! The one packer: picks a quantum for every agent from its menu, so that together they fit and nothing that a hungry agent
//! could use is left over.

mod cost;
mod improve;
mod packing;
mod search;
#[cfg(test)]
mod tests;

pub(super) use cost::{Cost, cost, total};

use super::types::Quantum;
use crate::units::{GpuResource, Priority};
use packing::{Line, Packing};
use search::Search;

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

/// Steps of search after which the best found so far is taken; enough for every instance of 4 agents with 10 quanta.
const SEARCH_STEPS: u32 = 20_000;
/// Agents up to which the search is worth that many steps; more agents make more combinations than any search can see.
const SEARCHED: usize = 8;
/// Steps of search for so many agents.
pub(super) fn steps(agents: usize) -> u32 {
    if agents <= SEARCHED {
        SEARCH_STEPS
    } else {
        SEARCH_STEPS / 20
    }
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
    let mut packing = Packing::of(&table, limits);
    let start = packing.greedy(wants);
    let mut search = Search::from(&packing, start);
    search.descend(&mut packing, 0, Cost::default());
    let (mut best, mut choice) = search.best?;
    if search.steps == 0 {
        packing.improve(&mut choice, &mut best);
    }
    Some(choice)
}
