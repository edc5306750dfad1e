//! What the controllers of Deployments and StatefulSets do next, as far as it matters for GPUs.

use super::pod::{Pod, PodId};
use crate::sharing::{PodState, Restore, Rollout};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// A workload as the cluster has it.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// Replicas that are asked for.
    pub replicas: u32,
    /// GPU resources of its template.
    pub template: BTreeMap<GpuResource, u32>,
    /// How a change of the template rolls out.
    pub rollout: Rollout,
    /// A swap that was begun.
    pub restore: Option<Restore>,
    /// Templates that it had; the last one that was set is `revision`.
    pub revisions: Vec<BTreeMap<GpuResource, u32>>,
    /// The one in force.
    pub revision: usize,
    /// Pods with a low deletion cost.
    pub victims: Vec<String>,
}

/// One thing that a controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Make a pod, of a StatefulSet with this ordinal.
    Create(Option<u32>),
    /// Delete this pod.
    Delete(PodId),
}

impl Workload {
    /// Sets a template; one that it had before gets its old ReplicaSet, or revision, back.
    pub fn retarget(&mut self, template: BTreeMap<GpuResource, u32>) {
        let known = self.revisions.iter().position(|t| *t == template);
        self.revision = known.unwrap_or(self.revisions.len());
        if known.is_none() {
            self.revisions.push(template.clone());
        }
        self.template = template;
    }

    /// What its controller does next, given its pods in order of creation; `None` when it has nothing to do.
    pub fn next(&self, pods: &[(PodId, &Pod)]) -> Option<Action> {
        match self.rollout {
            Rollout::Ordered => self.stateful(pods),
            Rollout::Rolling | Rollout::Recreate => self.deployment(pods),
        }
    }

    fn deployment(&self, pods: &[(PodId, &Pod)]) -> Option<Action> {
        let wanted = self.replicas as usize;
        let live = || pods.iter().filter(|(_, p)| p.is_live()).copied();
        let (new, old): (Vec<_>, Vec<_>) = live().partition(|(_, p)| p.revision == self.revision);
        if new.len() > wanted {
            return self.first_to_go(&new).map(Action::Delete);
        }
        if self.rollout == Rollout::Recreate {
            if let Some((id, _)) = old.first() {
                return Some(Action::Delete(*id));
            }
            let any_old = pods.iter().any(|(_, p)| p.revision != self.revision);
            return (!any_old && new.len() < wanted).then_some(Action::Create(None));
        }
        // The defaults of apps/v1: maxSurge 25 % rounded up, maxUnavailable 25 % rounded down.
        let surge = if old.is_empty() {
            0
        } else {
            wanted.div_ceil(4)
        };
        if new.len() < wanted && live().count() < wanted + surge {
            return Some(Action::Create(None));
        }
        let ready = |p: &Pod| p.state == PodState::Ready;
        let able = live().filter(|(_, p)| ready(p)).count();
        let spare = able > wanted - wanted / 4;
        let too_many = live().count() > wanted + surge || wanted == 0;
        let goes = old.iter().find(|(_, p)| !ready(p) || spare || too_many);
        goes.map(|(id, _)| Action::Delete(*id))
    }

    /// The order of the ReplicaSet controller: unbound first, then not ready, then the cheapest to delete, then the youngest.
    fn first_to_go(&self, pods: &[(PodId, &Pod)]) -> Option<PodId> {
        let class = |id: &PodId, p: &Pod| {
            (
                p.node.is_some(),
                p.state == PodState::Ready,
                !self.victims.contains(&p.name),
                std::cmp::Reverse(*id),
            )
        };
        let first = pods.iter().min_by_key(|(id, p)| class(id, p));
        first.map(|(id, _)| *id)
    }

    /// One thing at a time: whatever is on its way is waited for.
    fn stateful(&self, pods: &[(PodId, &Pod)]) -> Option<Action> {
        let mut by_ordinal: BTreeMap<u32, (PodId, &Pod)> = BTreeMap::new();
        for (id, pod) in pods {
            by_ordinal.insert(pod.ordinal, (*id, pod));
        }
        let on_its_way = |p: &Pod| p.state != PodState::Ready;
        if let Some((_, (id, _))) = by_ordinal.range(self.replicas..).next_back() {
            let leaving = pods.iter().any(|(_, p)| !p.is_live());
            return (!leaving).then_some(Action::Delete(*id));
        }
        for ordinal in 0..self.replicas {
            match by_ordinal.get(&ordinal) {
                None => return Some(Action::Create(Some(ordinal))),
                Some((_, p)) if on_its_way(p) => return None,
                Some(_) => {}
            }
        }
        let outdated = by_ordinal
            .values()
            .rev()
            .find(|(_, p)| p.revision != self.revision);
        outdated.map(|(id, _)| Action::Delete(*id))
    }
}
