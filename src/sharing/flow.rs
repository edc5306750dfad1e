//! Where resources go when pods that are to leave have left: which swaps will find their places, and which block each other.

use super::ground::{Ground, covers};
use super::types::{PodState, Quantum};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// What is free of each resource once everything has happened that is under way.
#[derive(Clone)]
pub(super) struct Flow {
    resources: Vec<GpuResource>,
    /// Per resource, in units of it.
    free: Vec<u64>,
    agents: Vec<Holder>,
}

/// What one agent holds.
#[derive(Clone)]
struct Holder {
    /// It changes nothing, or its swap is under way and counted already.
    settled: bool,
    /// `spec.replicas`.
    replicas: u32,
    /// Live pods with what the template asks for that have a node, as far as the spec wants them.
    placed: u32,
    /// What its template asks for, by index of the resource.
    template: Vec<(usize, u32)>,
}

impl Flow {
    /// Starts from what is free and promised to nobody now; adds pods that are on their way out, takes off what swaps under
    /// way are to end with.
    pub fn new(ground: &Ground<'_>, free: impl IntoIterator<Item = (GpuResource, u64)>) -> Self {
        let (resources, free) = free.into_iter().unzip();
        let mut flow = Self {
            resources,
            free,
            agents: Vec::with_capacity(ground.agents.len()),
        };
        for agent in ground.agents {
            let mut placed = 0;
            for pod in &agent.pods {
                if ground.node_of(pod).is_none() {
                    continue;
                }
                let current = covers(&pod.requests, &agent.template);
                let stays = agent.frozen || (current && placed < agent.replicas);
                if pod.state != PodState::Terminating && stays && agent.restore.is_none() {
                    placed += u32::from(current);
                } else {
                    flow.add(&pod.requests);
                }
            }
            let template = agent.template.iter().filter(|(_, count)| **count > 0);
            let template = template.map(|(r, count)| (flow.index(r), *count)).collect();
            flow.agents.push(Holder {
                settled: agent.frozen || agent.restore.is_some(),
                replicas: agent.replicas,
                placed: placed.min(agent.replicas),
                template,
            });
        }
        for restore in ground
            .agents
            .iter()
            .filter_map(|agent| agent.restore.as_ref())
        {
            if let Ok(to) = GpuResource::parse(&restore.to) {
                let at = flow.index(&to);
                flow.free[at] = flow.free[at].saturating_sub(u64::from(restore.to_replicas));
            }
        }
        flow
    }

    fn index(&mut self, resource: &GpuResource) -> usize {
        self.known(resource).unwrap_or_else(|| {
            self.resources.push(resource.clone());
            self.free.push(0);
            self.resources.len() - 1
        })
    }

    fn known(&self, resource: &GpuResource) -> Option<usize> {
        self.resources.iter().position(|r| r == resource)
    }

    fn add(&mut self, requests: &BTreeMap<GpuResource, u32>) {
        for (resource, count) in requests {
            let at = self.index(resource);
            self.free[at] = self.free[at].saturating_add(u64::from(*count));
        }
    }

    /// Adds what agent `i` holds for `replicas` of its template.
    pub fn give(&mut self, i: usize, replicas: u32) {
        let template = &self.agents[i].template;
        give(&mut self.free, template, replicas);
    }

    /// Lets every agent shrink that is to, and every swap happen that finds all its places, each freeing what it had, until
    /// none does; returns whose swaps are left. `stopped` gives up what it has at once.
    pub fn blocked(&self, quanta: &[(usize, &Quantum)], stopped: Option<usize>) -> Vec<usize> {
        let mut swaps: Vec<(usize, u32, &Quantum)> = Vec::new();
        for (i, quantum) in quanta {
            let agent = &self.agents[*i];
            let replicas = agent.replicas.min(quantum.replicas);
            let stays = match agent.template[..] {
                [(at, count)] => count == quantum.count && self.resources[at] == quantum.resource,
                _ => false,
            };
            if !agent.settled && replicas > 0 && !stays {
                swaps.push((*i, agent.placed.min(quantum.replicas), quantum));
            }
        }
        if swaps.is_empty() {
            return Vec::new();
        }
        let mut free = self.free.clone();
        for (i, quantum) in quanta {
            let agent = &self.agents[*i];
            if !agent.settled {
                let surplus = agent.placed.saturating_sub(quantum.replicas);
                give(&mut free, &agent.template, surplus);
            }
        }
        if let Some((i, kept, _)) = swaps.iter().find(|(i, ..)| stopped == Some(*i)) {
            give(&mut free, &self.agents[*i].template, *kept);
        }
        loop {
            let before = swaps.len();
            swaps.retain(|(i, kept, quantum)| {
                let agent = &self.agents[*i];
                let replicas = agent.replicas.min(quantum.replicas);
                let needed = u64::from(replicas) * u64::from(quantum.count);
                let Some(at) = self
                    .known(&quantum.resource)
                    .filter(|at| free[*at] >= needed)
                else {
                    return true;
                };
                free[at] -= needed;
                if stopped != Some(*i) {
                    give(&mut free, &agent.template, *kept);
                }
                false
            });
            if swaps.len() == before {
                return swaps.into_iter().map(|(i, ..)| i).collect();
            }
        }
    }
}

fn give(free: &mut [u64], template: &[(usize, u32)], replicas: u32) {
    for (at, count) in template {
        free[*at] = free[*at].saturating_add(u64::from(*count) * u64::from(replicas));
    }
}
