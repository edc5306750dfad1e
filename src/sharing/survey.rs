//! What is there to be shared, and the range of every agent.

use super::market::Market;
use super::types::{Extent, PoolShape, Strategy, Survey};
use crate::units::{GpuResource, MilliGpus};
use std::collections::BTreeMap;

/// Surveys partitions: whole GPUs and MIG instances.
pub(super) fn partitions(market: &Market<'_>) -> Survey {
    let (shape, ground) = (market.shape, market.ground);
    let mut found = 0u64;
    for unit in &market.units {
        for (spot, node) in unit.spots.iter().zip(ground.nodes) {
            let count = if spot.schedulable {
                held(&node.allocatable, &unit.resource)
            } else {
                spot.pool
            };
            found = found.saturating_add(count.saturating_mul(unit.share));
        }
    }
    let foreign = ground
        .nodes
        .iter()
        .filter(|node| node.schedulable)
        .fold(0u64, |sum, node| {
            let of = |unit: &super::market::Unit| {
                held(&node.foreign, &unit.resource)
                    .min(held(&node.allocatable, &unit.resource))
                    .saturating_mul(unit.share)
            };
            sum.saturating_add(market.units.iter().map(of).fold(0, u64::saturating_add))
        });
    let capacity = capacity(shape, MilliGpus(found), MilliGpus(foreign));
    let agents = (0..shape.agents.len())
        .map(|i| {
            let (floor, ceiling) = market.range(i, capacity.0);
            Extent {
                floor: floor.min(ceiling),
                ceiling,
                quantum: match shape.strategy {
                    Strategy::WholeGpu if market.serves(i) => MilliGpus(market.step(i)),
                    _ => MilliGpus::ZERO,
                },
                realized: market.in_force(i).map_or(MilliGpus::ZERO, |q| q.share),
            }
        })
        .collect();
    Survey {
        capacity,
        found: (!shape.nodes_hidden).then_some(MilliGpus(found)),
        foreign: MilliGpus(foreign),
        agents,
        notes: market.notes.clone(),
    }
}

/// What the pool may spend: at most what is declared, and what is found less what others hold.
pub(super) fn capacity(shape: &PoolShape, found: MilliGpus, foreign: MilliGpus) -> MilliGpus {
    let there = found.saturating_sub(foreign);
    shape
        .declared_gpus
        .map_or(there, |declared| declared.min(there))
}

fn held(map: &BTreeMap<GpuResource, u32>, resource: &GpuResource) -> u64 {
    map.get(resource).copied().map_or(0, u64::from)
}

/// A survey of nothing, for a pool that can have nothing.
pub(super) fn nothing(agents: usize, notes: Vec<String>) -> Survey {
    Survey {
        capacity: MilliGpus::ZERO,
        found: None,
        foreign: MilliGpus::ZERO,
        agents: vec![Extent::default(); agents],
        notes,
    }
}
