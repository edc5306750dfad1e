//! Where resources go when pods that are to leave have left: which swaps will find their places, and which block each other.

use super::ground::{Ground, covers};
use super::types::{AgentObserved, PodState, Quantum};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Amounts per resource, in units of the resource.
pub(super) type Amounts = BTreeMap<GpuResource, u64>;

/// What is free of each resource once everything has happened that is under way.
#[derive(Clone)]
pub(super) struct Flow<'a> {
    ground: &'a Ground<'a>,
    free: Amounts,
}

impl<'a> Flow<'a> {
    /// Starts from what is free and promised to nobody now; adds pods that are on their way out, takes off what swaps under
    /// way are to end with.
    pub fn new(ground: &'a Ground<'a>, free: Amounts) -> Self {
        let mut flow = Self { ground, free };
        for agent in ground.agents {
            let mut staying = 0;
            for pod in &agent.pods {
                if ground.node_of(pod).is_none() {
                    continue;
                }
                let current = agent.frozen || covers(&pod.requests, &agent.template);
                let stays = current && (agent.frozen || staying < agent.replicas);
                if pod.state != PodState::Terminating && stays && agent.restore.is_none() {
                    staying += 1;
                } else {
                    flow.add(&pod.requests);
                }
            }
        }
        for agent in ground.agents {
            if let Some(restore) = &agent.restore
                && let Ok(to) = GpuResource::parse(&restore.to)
            {
                let there = flow.free.entry(to).or_insert(0);
                *there = there.saturating_sub(u64::from(restore.to_replicas));
            }
        }
        flow
    }

    fn add(&mut self, requests: &BTreeMap<GpuResource, u32>) {
        for (resource, count) in requests {
            *self.free.entry(resource.clone()).or_insert(0) += u64::from(*count);
        }
    }

    /// Adds what agent `i` holds for `replicas` of its template.
    pub fn give(&mut self, i: usize, replicas: u32) {
        for (resource, count) in &self.ground.agents[i].template {
            let held = u64::from(*count) * u64::from(replicas);
            *self.free.entry(resource.clone()).or_insert(0) += held;
        }
    }

    /// Lets every agent shrink that is to, and every swap happen that finds all its places, each freeing what it had, until
    /// none does; returns whose swaps are left. `stopped` gives up what it has at once.
    pub fn blocked(&self, quanta: &[(usize, &Quantum)], stopped: Option<usize>) -> Vec<usize> {
        let mut flow = self.clone();
        let mut swaps: Vec<(usize, u32, &Quantum)> = Vec::new();
        for (i, quantum) in quanta {
            let agent = &self.ground.agents[*i];
            if agent.frozen || agent.restore.is_some() {
                continue;
            }
            let placed = placed(self.ground, agent);
            let kept = placed.min(quantum.replicas);
            flow.give(*i, placed - kept);
            let wanted = BTreeMap::from([(quantum.resource.clone(), quantum.count)]);
            if agent.replicas.min(quantum.replicas) > 0 && !covers(&agent.template, &wanted) {
                if stopped == Some(*i) {
                    flow.give(*i, kept);
                }
                swaps.push((*i, kept, quantum));
            }
        }
        loop {
            let before = swaps.len();
            swaps.retain(|(i, kept, quantum)| {
                let replicas = self.ground.agents[*i].replicas.min(quantum.replicas);
                let needed = u64::from(replicas) * u64::from(quantum.count);
                let there = flow.free.get(&quantum.resource).copied().unwrap_or(0);
                if there < needed {
                    return true;
                }
                flow.free.insert(quantum.resource.clone(), there - needed);
                if stopped != Some(*i) {
                    flow.give(*i, *kept);
                }
                false
            });
            if swaps.len() == before {
                return swaps.into_iter().map(|(i, ..)| i).collect();
            }
        }
    }
}

/// Live pods with what the template asks for that have a node, as far as the spec wants them.
fn placed(ground: &Ground<'_>, agent: &AgentObserved) -> u32 {
    let placed = agent.pods.iter().filter(|pod| {
        pod.state != PodState::Terminating
            && ground.node_of(pod).is_some()
            && covers(&pod.requests, &agent.template)
    });
    u32::try_from(placed.count())
        .unwrap_or(u32::MAX)
        .min(agent.replicas)
}
