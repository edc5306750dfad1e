//! GPU memory of time-sliced GPUs, which nobody enforces: what is resident must fit, wherever pods land.
//!
//! Which GPU of a node a pod got cannot be seen through the API server, so the worst is assumed: of all copies on a node as
//! many of the largest as one GPU has slices share one GPU.

use super::ground::Ground;
use super::time_slicing::slices;
use super::types::{Pod, PodState, PoolShape};
use super::victims;
use crate::units::{GpuResource, Mebibytes};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Copies of one agent counted at most; no node has so many slices.
const COUNTED: usize = 1 << 12;

/// One node with time-sliced GPUs.
#[derive(Clone)]
struct Resident<'a> {
    name: &'a str,
    schedulable: bool,
    slices: u64,
    memory: Mebibytes,
    free: u64,
    /// Memory of the copies that stay on it, MiB.
    copies: Vec<u64>,
    /// Memory of the copies on their way out, MiB; when one is gone another may land in its place.
    leaving: Vec<u64>,
}

/// The copies of one agent.
struct Member {
    /// Memory of one, MiB.
    need: u64,
    /// Copies the spec wants.
    replicas: u32,
    /// Nodes of live copies, `None` without one, in the order in which they would be given up.
    live: Vec<Option<usize>>,
    /// Nodes of copies on their way out.
    leaving: Vec<usize>,
}

impl Member {
    /// Where the copies are that are given up when only so many are wanted.
    fn gone(&self, wanted: u32) -> &[Option<usize>] {
        &self.live[..self.live.len().saturating_sub(wanted as usize)]
    }

    /// Where the other copies are.
    fn kept(&self, wanted: u32) -> &[Option<usize>] {
        &self.live[self.live.len().saturating_sub(wanted as usize)..]
    }
}

/// Who is where, so that many numbers of copies can be tried.
pub(super) struct Census<'a> {
    nodes: Vec<Resident<'a>>,
    members: Vec<Member>,
    /// The members, those whose copies need most first.
    by_need: Vec<usize>,
}

/// What is resident on every node, and what is promised to copies without a node.
pub(super) struct Residents<'a> {
    nodes: Vec<Resident<'a>>,
    /// Memory of copies that may land anywhere, MiB.
    unplaced: Vec<u64>,
    /// Per agent: memory of one copy, and the nodes of those that stay.
    staying: Vec<(u64, Vec<usize>)>,
}

impl<'a> Census<'a> {
    /// Reads the pool's copies.
    ///
    /// # Errors
    /// What is not known, in words: then no copy can be said to fit.
    pub fn read(
        shape: &PoolShape,
        ground: &Ground<'a>,
        resource: &GpuResource,
    ) -> Result<Self, String> {
        let spots = ground.spots(resource);
        let mut nodes = Vec::new();
        let mut index = BTreeMap::new();
        for (at, node) in ground.nodes.iter().enumerate() {
            let spot = &spots[at];
            if spot.whole == 0 {
                continue;
            }
            let foreign = node.foreign.get(resource).copied().unwrap_or(0);
            if foreign > 0 {
                return Err(format!(
                    "pods outside the pool, or deleted ones that hang, hold {foreign} {resource} of node {}, and their GPU memory is not known",
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
                name: &node.name,
                schedulable: spot.schedulable,
                slices: slices(shape, node, spot, resource),
                memory,
                free: spot.free,
                copies: Vec::new(),
                leaving: Vec::new(),
            });
        }
        let mut members = Vec::with_capacity(ground.agents.len());
        for (i, agent) in ground.agents.iter().enumerate() {
            let Some(need) = shape.agents[i].memory_per_replica else {
                return Err(format!(
                    "memoryPerReplica of agent {} is not declared",
                    shape.agents[i].name
                ));
            };
            let at = |pod: &Pod| ground.node_of(pod).and_then(|at| index.get(&at)).copied();
            let leaving = |pod: &&Pod| pod.state == PodState::Terminating;
            members.push(Member {
                need: need.0,
                replicas: agent.replicas,
                live: victims::in_order(ground, i, &BTreeMap::new())
                    .into_iter()
                    .map(at)
                    .collect(),
                leaving: agent.pods.iter().filter(leaving).filter_map(at).collect(),
            });
        }
        let mut by_need: Vec<usize> = (0..members.len()).collect();
        by_need.sort_by_key(|i| Reverse(members[*i].need));
        Ok(Self {
            nodes,
            members,
            by_need,
        })
    }

    /// What is resident now, copies on their way out included.
    pub fn now(&self) -> Residents<'a> {
        let mut residents = Residents {
            nodes: self.nodes.clone(),
            unplaced: Vec::new(),
            staying: Vec::new(),
        };
        for (i, member) in self.members.iter().enumerate() {
            let placed: Vec<usize> = member.live.iter().flatten().copied().collect();
            for at in &placed {
                residents.nodes[*at].copies.push(member.need);
            }
            for at in &member.leaving {
                residents.nodes[*at].leaving.push(member.need);
            }
            // A pod that exists may land even when the spec wants fewer by now.
            let missing = (member.replicas as usize).max(member.live.len()) - placed.len();
            let missing = std::iter::repeat_n(member.need, missing.min(COUNTED));
            residents.unplaced.extend(missing);
            residents.staying.push((member.need, placed));
            residents.leave(i, member.replicas);
        }
        residents
    }

    /// Whether so many copies of every agent are sure to fit: whether [`Self::after`] is without [`Residents::excess`]. A search asks often,
    /// so this finds no words, and has all copies in order of need without sorting them.
    pub fn holds(&self, copies: &[u32]) -> bool {
        let mut free: Vec<u64> = self
            .nodes
            .iter()
            .map(|node| if node.schedulable { node.free } else { 0 })
            .collect();
        for (member, wanted) in self.members.iter().zip(copies) {
            for at in member.gone(*wanted).iter().flatten().chain(&member.leaving) {
                free[*at] += u64::from(self.nodes[*at].schedulable);
            }
        }
        // Slices taken and memory of the copies that may share one GPU, by node.
        let mut shared = vec![(0u64, 0u64); self.nodes.len()];
        let mut share = |at: usize, copies: u64, need: u64| {
            let (taken, sum) = &mut shared[at];
            let more = copies.min(self.nodes[at].slices - *taken);
            *taken += more;
            *sum = sum.saturating_add(need.saturating_mul(more));
        };
        for i in &self.by_need {
            let member = &self.members[*i];
            let kept = member.kept(copies[*i]).iter().flatten();
            for at in kept.clone() {
                share(*at, 1, member.need);
            }
            let missing = (copies[*i] as usize).saturating_sub(kept.count());
            let missing = missing.min(COUNTED) as u64;
            if missing > 0 {
                for (at, free) in free.iter_mut().enumerate() {
                    let landing = missing.min(*free);
                    *free -= landing;
                    share(at, landing, member.need);
                }
            }
        }
        shared
            .iter()
            .zip(&self.nodes)
            .all(|((_, sum), node)| *sum <= node.memory.0)
    }

    /// What will be resident once every agent has that many copies: those given up are gone, those missing may land anywhere.
    pub fn after(&self, copies: &[u32]) -> Residents<'a> {
        let mut nodes = self.nodes.clone();
        let mut unplaced = Vec::new();
        for (member, wanted) in self.members.iter().zip(copies) {
            let kept = member.kept(*wanted).iter().flatten();
            for at in member.gone(*wanted).iter().flatten().chain(&member.leaving) {
                nodes[*at].free += u64::from(nodes[*at].schedulable);
            }
            for at in kept.clone() {
                nodes[*at].copies.push(member.need);
            }
            let missing = (*wanted as usize).saturating_sub(kept.count());
            unplaced.extend(std::iter::repeat_n(member.need, missing.min(COUNTED)));
        }
        Residents {
            nodes,
            unplaced,
            staying: Vec::new(),
        }
    }
}

impl Residents<'_> {
    /// Counts the copies of agent `i` above `to` as on their way out, on every node where they could be.
    fn leave(&mut self, i: usize, to: u32) {
        let Some((need, staying)) = self.staying.get(i) else {
            return;
        };
        let surplus = staying.len().saturating_sub(to as usize);
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let here = staying.iter().filter(|n| **n == at).count().min(surplus);
            for _ in 0..here {
                if let Some(copy) = node.copies.iter().position(|memory| memory == need) {
                    let memory = node.copies.swap_remove(copy);
                    node.leaving.push(memory);
                }
            }
        }
    }

    /// Whether agent `i` may go down to `to` copies now: not when a copy that is about to be placed could land in the gap
    /// and exceed the memory there. Counts them as leaving when it may.
    pub fn may_leave(&mut self, i: usize, to: u32) -> bool {
        let nodes = self.nodes.clone();
        let fitted = self.excess().is_none();
        self.leave(i, to);
        let fits = !fitted || self.excess().is_none();
        if !fits {
            self.nodes = nodes;
        }
        fits
    }

    /// Why the copies might not fit: the first node where they could meet in the worst case and exceed one GPU.
    pub fn excess(&self) -> Option<String> {
        self.excess_with(0, 0)
    }

    /// As [`Self::excess`], with `count` more copies of `need` MiB that may land anywhere.
    pub fn excess_with(&self, need: u64, count: u64) -> Option<String> {
        let mut unplaced = self.unplaced.clone();
        unplaced.extend(std::iter::repeat_n(
            need,
            count.min(COUNTED as u64) as usize,
        ));
        unplaced.sort_unstable_by(|a, b| b.cmp(a));
        self.nodes.iter().find_map(|node| {
            let slots = node.leaving.len().saturating_add(if node.schedulable {
                usize::try_from(node.free).unwrap_or(usize::MAX)
            } else {
                0
            });
            let landing = unplaced.iter().filter(|_| node.schedulable).take(slots);
            let mut coming: Vec<u64> = node.leaving.iter().chain(landing).copied().collect();
            coming.sort_unstable_by(|a, b| b.cmp(a));
            coming.truncate(slots);
            let mut copies: Vec<u64> = node.copies.iter().chain(&coming).copied().collect();
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
        let fits = (1..=count.min(COUNTED as u64))
            .take_while(|n| self.excess_with(need, *n).is_none())
            .last()
            .unwrap_or(0);
        self.unplaced
            .extend(std::iter::repeat_n(need, fits as usize));
        fits
    }
}

#[cfg(test)]
mod tests;
