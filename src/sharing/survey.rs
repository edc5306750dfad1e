//! What is there to be shared, and the range of every agent.

use super::market::Market;
use super::types::{Extent, Node, PoolShape, Strategy, Survey};
use crate::units::{GpuResource, MilliGpus};
use std::collections::BTreeMap;

/// Surveys partitions: whole GPUs and MIG instances.
pub(super) fn partitions(market: &Market<'_>) -> Survey {
    let (shape, ground) = (market.shape, market.ground);
    let (mut found, mut foreign) = (0u64, 0u64);
    let mut missing = Missing::default();
    for unit in &market.units {
        let gpus = |count: u64| count.saturating_mul(unit.share);
        for (spot, node) in unit.spots.iter().zip(ground.nodes) {
            if node.schedulable {
                let offered = held(&node.allocatable, &unit.resource);
                let others = held(&node.foreign, &unit.resource).min(offered);
                found = found.saturating_add(gpus(offered));
                foreign = foreign.saturating_add(gpus(others));
            } else {
                found = found.saturating_add(gpus(spot.pool));
            }
            missing.add(node, gpus(spot.missing));
        }
    }
    let capacity = missing.capacity(shape, MilliGpus(found), MilliGpus(foreign));
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
                part: match shape.strategy {
                    Strategy::Mig => MilliGpus(market.largest(i, capacity.0)),
                    Strategy::WholeGpu | Strategy::TimeSlicing { .. } => MilliGpus::ZERO,
                },
                swaps: shape.strategy == Strategy::Mig && market.has_sizes(i),
                realized: market.in_force(i).map_or(MilliGpus::ZERO, |q| q.share),
            }
        })
        .collect();
    Survey {
        capacity,
        found: (!shape.nodes_hidden).then_some(MilliGpus(found)),
        foreign: MilliGpus(foreign),
        missing: missing.0,
        unfit: BTreeMap::new(),
        agents,
        notes: market.notes.clone(),
    }
}

/// What pods of the pool hold and their nodes do not offer now, by node.
#[derive(Default)]
pub(super) struct Missing(pub BTreeMap<String, MilliGpus>);

impl Missing {
    /// So many milli-GPUs more on a node.
    pub fn add(&mut self, node: &Node, gpus: u64) {
        if gpus > 0 {
            *self.0.entry(node.name.clone()).or_default() += MilliGpus(gpus);
        }
    }

    /// What the pool may spend: at most what is declared, and what is found less what others hold; what its own pods hold
    /// counts whether their node offers it or not.
    pub fn capacity(&self, shape: &PoolShape, found: MilliGpus, foreign: MilliGpus) -> MilliGpus {
        let there = found.saturating_sub(foreign) + self.0.values().copied().sum();
        shape
            .declared_gpus
            .map_or(there, |declared| declared.min(there))
    }
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
        missing: BTreeMap::new(),
        unfit: BTreeMap::new(),
        agents: vec![Extent::default(); agents],
        notes,
    }
}
