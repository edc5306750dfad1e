//! Whether replicas fit on nodes: sums are not enough when a replica needs several GPUs of one node.

use super::ground::{Ground, Spot};
use super::types::{PodState, Rollout};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Whether `count` more replicas of `size` are sure to be scheduled now, wherever the scheduler puts them and everything
/// that is promised already.
///
/// Sound for every placement: a pod of `j` can spoil at most ⌈j/k⌉ places for pods of `k`, so each size still finds its
/// places after all others have been put in the worst way. Promises that no node can keep now are not in the way.
pub(super) fn sure(spots: &[Spot], promises: &BTreeMap<u32, u64>, size: u32, count: u64) -> bool {
    if count == 0 {
        return true;
    }
    let places = |size: u32| -> u64 {
        let each = u64::from(size.max(1));
        spots
            .iter()
            .filter(|spot| spot.schedulable)
            .map(|spot| spot.free / each)
            .fold(0, u64::saturating_add)
    };
    let mut all: BTreeMap<u32, u64> = promises
        .iter()
        .map(|(size, n)| (*size, places(*size).min(*n)))
        .collect();
    let own = all.entry(size).or_insert(0);
    *own = own.saturating_add(count);
    all.iter()
        .filter(|(_, wanted)| **wanted > 0)
        .all(|(&k, &wanted)| {
            let spoiled = all
                .iter()
                .filter(|(other, _)| **other != k)
                .map(|(other, n)| {
                    u64::from(*other)
                        .div_ceil(u64::from(k.max(1)))
                        .saturating_mul(*n)
                })
                .fold(0, u64::saturating_add);
            places(k).saturating_sub(spoiled) >= wanted
        })
}

/// What promises amount to, in units of the resource; `None` when that is beyond counting.
pub(super) fn units(promises: &BTreeMap<u32, u64>) -> Option<u64> {
    promises.iter().try_fold(0u64, |sum, (size, n)| {
        sum.checked_add(u64::from(*size).checked_mul(*n)?)
    })
}

/// The most replicas of `size`, up to `count`, that are [`sure`] to be scheduled now.
pub(super) fn most(spots: &[Spot], promises: &BTreeMap<u32, u64>, size: u32, count: u64) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = high - (high - low) / 2;
        if sure(spots, promises, size, middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// One agent's part in an arrangement on nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// GPUs of one replica.
    pub size: u64,
    /// Replicas it is to have.
    pub replicas: u64,
    /// Live pods of that size per node index, ascending.
    pub live: Vec<(usize, u64)>,
}

impl Part {
    /// The live pods of `agent` that ask for exactly `size` of `resource`, counted per node.
    pub fn of(
        ground: &Ground<'_>,
        agent: usize,
        resource: &GpuResource,
        size: u32,
        replicas: u64,
    ) -> Self {
        let agent = &ground.agents[agent];
        let mut live: BTreeMap<usize, u64> = BTreeMap::new();
        for pod in &agent.pods {
            // A StatefulSet gives up its highest ordinals, wherever they are: there is no choice.
            let goes = agent.rollout == Rollout::Ordered && ordinal(&pod.name) >= Some(replicas);
            if !goes
                && pod.state != PodState::Terminating
                && pod.requests.get(resource) == Some(&size)
                && let Some(at) = ground.node_of(pod)
            {
                *live.entry(at).or_insert(0) += 1;
            }
        }
        Self {
            size: u64::from(size),
            replicas,
            live: live.into_iter().collect(),
        }
    }
}

/// The ordinal that ends the name of a StatefulSet's pod.
pub(super) fn ordinal(name: &str) -> Option<u64> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// Arranges all parts on the nodes without moving a pod that stays; returns which pods must go: per part, per node, how many.
///
/// Parts with fewer replicas than live pods give some up, where it helps a larger replica to a place. `None` when no place
/// is found; a found arrangement always fits.
pub(super) fn arrange(spots: &[Spot], parts: &[Part]) -> Option<Vec<BTreeMap<usize, u64>>> {
    let mut free: Vec<i128> = spots.iter().map(|spot| i128::from(spot.pool)).collect();
    let mut live: Vec<BTreeMap<usize, u64>> = Vec::with_capacity(parts.len());
    let mut surplus: Vec<u64> = Vec::with_capacity(parts.len());
    let mut growth: Vec<(u64, usize, u64)> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let count: u64 = part.live.iter().map(|(_, n)| n).sum();
        for (at, n) in &part.live {
            free[*at] -= i128::from(part.size) * i128::from(*n);
        }
        live.push(part.live.iter().copied().collect());
        surplus.push(count.saturating_sub(part.replicas));
        let missing = part.replicas.saturating_sub(count);
        if missing > 0 && part.size > 0 {
            growth.push((part.size, i, missing));
        }
    }
    let mut gone = vec![BTreeMap::new(); parts.len()];
    // What is declared may be less than what runs: that node must be relieved first.
    for at in 0..free.len() {
        if free[at] < 0 {
            relieve(at, 0, parts, &mut free, &mut live, &mut surplus, &mut gone)?;
        }
    }
    growth.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (size, _, mut missing) in growth {
        let need = i128::from(size);
        // Tightest nodes first, so that large places stay whole for what else is large.
        let mut order: Vec<usize> = (0..free.len())
            .filter(|at| spots[*at].schedulable && free[*at] >= need)
            .collect();
        order.sort_by_key(|at| (free[*at], *at));
        for at in order {
            let n = u64::try_from(free[at] / need)
                .unwrap_or(u64::MAX)
                .min(missing);
            free[at] -= need * i128::from(n);
            missing -= n;
            if missing == 0 {
                break;
            }
        }
        while missing > 0 {
            let at = (0..free.len())
                .filter(|at| spots[*at].schedulable)
                .filter(|at| free[*at] + removable(*at, parts, &live, &surplus) >= need)
                .max_by_key(|at| (free[*at], std::cmp::Reverse(*at)))?;
            relieve(
                at,
                need,
                parts,
                &mut free,
                &mut live,
                &mut surplus,
                &mut gone,
            )?;
            free[at] -= need;
            missing -= 1;
        }
    }
    Some(gone)
}

/// What the parts with a surplus could give up on node `at`.
fn removable(at: usize, parts: &[Part], live: &[BTreeMap<usize, u64>], surplus: &[u64]) -> i128 {
    parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            let here = live[i].get(&at).copied().unwrap_or(0).min(surplus[i]);
            i128::from(part.size) * i128::from(here)
        })
        .sum()
}

/// Gives up pods on node `at` until `need` is free there: the smallest that suffices, else the largest.
fn relieve(
    at: usize,
    need: i128,
    parts: &[Part],
    free: &mut [i128],
    live: &mut [BTreeMap<usize, u64>],
    surplus: &mut [u64],
    gone: &mut [BTreeMap<usize, u64>],
) -> Option<()> {
    while free[at] < need {
        let short = need - free[at];
        let victim = (0..parts.len())
            .filter(|i| {
                surplus[*i] > 0 && parts[*i].size > 0 && live[*i].get(&at).copied().unwrap_or(0) > 0
            })
            .min_by_key(|i| {
                let size = i128::from(parts[*i].size);
                let enough = size >= short;
                (!enough, if enough { size } else { -size }, *i)
            })?;
        free[at] += i128::from(parts[victim].size);
        surplus[victim] -= 1;
        if let Some(n) = live[victim].get_mut(&at) {
            *n -= 1;
        }
        *gone[victim].entry(at).or_insert(0) += 1;
    }
    Some(())
}
