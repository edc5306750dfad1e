//! GPU memory of time-sliced GPUs, which nobody enforces: what is resident must fit, wherever pods land.
//!
//! Which GPU of a node a pod got cannot be seen through the API server, so the worst is assumed: of all copies on a node as
//! many of the largest as one GPU has slices share one GPU.

use super::ground::Ground;
use super::time_slicing::slices;
use super::types::{PodState, PoolShape};
use super::victims;
use crate::units::{GpuResource, Mebibytes};
use std::collections::BTreeMap;

/// One node with time-sliced GPUs.
struct Resident {
    name: String,
    schedulable: bool,
    slices: u64,
    memory: Mebibytes,
    free: u64,
    /// Memory of the copies on it, MiB; those on their way out included.
    copies: Vec<u64>,
}

/// What is resident on every node, and what is promised to copies without a node.
pub(super) struct Residents {
    nodes: Vec<Resident>,
    /// Memory of copies that may land anywhere, MiB.
    unplaced: Vec<u64>,
}

impl Residents {
    /// Reads the pool's copies. With `copies`, what will be resident once every agent has that many: surplus pods are
    /// taken to be gone, missing ones may land anywhere.
    ///
    /// # Errors
    /// What is not known, in words: then no copy can be said to fit.
    pub fn read(
        shape: &PoolShape,
        ground: &Ground<'_>,
        resource: &GpuResource,
        copies: Option<&[u32]>,
    ) -> Result<Self, String> {
        let spots = ground.spots(resource);
        let mut nodes = Vec::new();
        let mut index = BTreeMap::new();
        for (at, node) in ground.nodes.iter().enumerate() {
            let Some(tokens @ 1..) = node.allocatable.get(resource).copied() else {
                continue;
            };
            let foreign = node.foreign.get(resource).copied().unwrap_or(0);
            if foreign > 0 {
                return Err(format!(
                    "pods outside the pool hold {foreign} {resource} of node {}, and their GPU memory is not known",
                    node.name
                ));
            }
            let Some(memory) = node.gpu_memory.filter(|memory| memory.0 > 0) else {
                return Err(format!(
                    "node {} has no label nvidia.com/gpu.memory",
                    node.name
                ));
            };
            index.insert(at, nodes.len());
            nodes.push(Resident {
                name: node.name.clone(),
                schedulable: node.schedulable,
                slices: slices(shape, node, tokens),
                memory,
                free: spots[at].free,
                copies: Vec::new(),
            });
        }
        let mut unplaced = Vec::new();
        for (i, agent) in ground.agents.iter().enumerate() {
            let Some(need) = shape.agents[i].memory_per_replica else {
                return Err(format!(
                    "memoryPerReplica of agent {} is not declared",
                    shape.agents[i].name
                ));
            };
            let gone = copies.map_or_else(Vec::new, |copies| {
                victims::pick(ground, i, copies[i], &BTreeMap::new())
            });
            let mut bound = 0;
            for pod in &agent.pods {
                let leaves = pod.state == PodState::Terminating || gone.contains(&pod.name);
                let Some(at) = ground.node_of(pod).and_then(|at| index.get(&at)) else {
                    continue;
                };
                if leaves && copies.is_some() {
                    nodes[*at].free += u64::from(nodes[*at].schedulable);
                    continue;
                }
                nodes[*at].copies.push(need.0);
                bound += usize::from(!leaves);
            }
            let wanted = copies.map_or(agent.replicas, |copies| copies[i]) as usize;
            // No node takes more than its free slices, so there is no use in counting further.
            let missing = wanted.saturating_sub(bound).min(1 << 12);
            unplaced.extend(std::iter::repeat_n(need.0, missing));
        }
        Ok(Self { nodes, unplaced })
    }

    /// Why the copies might not fit: the first node where they could meet in the worst case and exceed one GPU.
    pub fn excess(&self) -> Option<String> {
        self.excess_with(0, 0)
    }

    /// As [`Self::excess`], with `count` more copies of `need` MiB that may land anywhere.
    pub fn excess_with(&self, need: u64, count: u64) -> Option<String> {
        let mut unplaced = self.unplaced.clone();
        unplaced.extend(std::iter::repeat_n(need, count.min(1 << 12) as usize));
        unplaced.sort_unstable_by(|a, b| b.cmp(a));
        self.nodes.iter().find_map(|node| {
            let landing = if node.schedulable { node.free } else { 0 };
            let landing = unplaced
                .iter()
                .take(usize::try_from(landing).unwrap_or(usize::MAX));
            let mut copies: Vec<u64> = node.copies.iter().chain(landing).copied().collect();
            copies.sort_unstable_by(|a, b| b.cmp(a));
            copies.truncate(usize::try_from(node.slices).unwrap_or(usize::MAX));
            let sum = copies.iter().copied().fold(0, u64::saturating_add);
            (sum > node.memory.0).then(|| {
                format!(
                    "{} copies that may share one GPU of node {} need {} of its {}",
                    copies.len(),
                    node.name,
                    Mebibytes(sum),
                    node.memory
                )
            })
        })
    }

    /// The most copies of `need` MiB, up to `count`, that can be added now wherever they land; they are counted as promised.
    pub fn add(&mut self, need: u64, count: u64) -> u64 {
        let fits = (1..=count.min(1 << 12))
            .take_while(|n| self.excess_with(need, *n).is_none())
            .last()
            .unwrap_or(0);
        self.unplaced
            .extend(std::iter::repeat_n(need, fits as usize));
        fits
    }
}
