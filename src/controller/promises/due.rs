//! Which replicas have no node yet, workload by workload, and whether they are the operator's doing.

use crate::api::WorkloadKind;
use crate::controller::cache::{Caches, NodeRecord, WorkloadRecord};
use crate::controller::claims::{Claim, Claims, Workload};
use crate::controller::cut::begun;
use crate::controller::write::{GPU_MANAGER, REPLICAS_MANAGER};
use crate::sharing::Restore;
use crate::units::GpuResource;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a workload is still to get of one resource.
#[derive(Debug, Clone)]
pub struct Due {
    /// The workload.
    pub workload: Workload,
    /// As it is.
    pub record: Arc<WorkloadRecord>,
    /// Who holds it; `None`: no pool names it.
    pub claim: Option<Claim>,
    /// What its replicas ask for.
    pub resource: GpuResource,
    /// How many of it one replica asks for; at least 1.
    pub size: u32,
    /// How many its pods have.
    pub bound: u32,
    /// How many are still to come; at least 1.
    pub units: u32,
    /// Of those, how many pods ask for that the scheduler has found no node for.
    pub unschedulable: u32,
    /// Its controller creates the next pod when one that is there has become ready, or is gone.
    pub waits: bool,
    /// A swap has stopped the workload: it is to come up on what it had or on what it was to have.
    pub cut: bool,
    /// The operator has asked for them, and who it asked for may still write; or a swap was cut. What somebody else asks for counts
    /// only as far as it did before.
    pub ours: bool,
}

impl Due {
    /// Whether its pods may come to a node, and are to.
    pub fn may_come(&self, node: &NodeRecord) -> bool {
        let claim = self.claim.as_ref();
        claim.is_none_or(|claim| node.bears(&claim.nodes)) && self.record.may_come(node)
    }

    /// Who is to get it, for people.
    pub fn name(&self) -> String {
        match &self.claim {
            Some(claim) => format!("{}/{}", claim.pool, claim.agent),
            None => {
                let (namespace, kind, name) = &self.workload;
                format!("{kind:?} {namespace}/{name}, which no pool names any more")
            }
        }
    }
}

/// What every workload of the cluster is still to get. One pass over the workloads; the pods of each are found by their labels. What no pool
/// names counts where a pool has named it, or where it was there `before` that could be known: whoever may write workloads may give them
/// our marks.
pub fn all(caches: &Caches, claims: &Claims, before: &BTreeSet<Workload>) -> Vec<Due> {
    let held = claims.held();
    let mut found = Vec::new();
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        for ((namespace, name), record) in caches.workloads(kind).all() {
            let workload = (namespace, kind, name);
            let claim = held.get(&workload);
            let most = match claim {
                Some(claim) => Some(claim.max),
                None if before.contains(&workload) => Some(u32::MAX),
                None => claims.left(&workload),
            };
            let Some(most) = most else {
                continue;
            };
            let may_write = claim.is_none_or(|claim| claims.writes(claim.uid()));
            found.extend(of(caches, &workload, record, (claim, most), may_write));
        }
    }
    found
}

/// The workloads that bear our marks and no pool names.
pub fn unclaimed(caches: &Caches, claims: &Claims) -> BTreeSet<Workload> {
    let held = claims.held();
    let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet].into_iter();
    let all = kinds.flat_map(|kind| {
        let all = caches.workloads(kind).all().into_iter();
        let all = all.filter(|(_, record)| is_written(record));
        all.map(move |((namespace, name), _)| (namespace, kind, name))
    });
    all.filter(|workload| !held.contains_key(workload))
        .collect()
}

/// What one workload, which may have so many replicas, is still to get, if its pods can be created at all.
fn of(
    caches: &Caches,
    workload: &Workload,
    record: Arc<WorkloadRecord>,
    (claim, most): (Option<&Claim>, u32),
    may_write: bool,
) -> Vec<Due> {
    let restore = stopped(&record);
    if record.failure.is_some() || (record.replicas == 0 && restore.is_none()) {
        return Vec::new();
    }
    let beyond = match record.replicas > most {
        true => most.saturating_add(lost(caches, &workload.0, &record)),
        false => most,
    };
    let wanted = match &restore {
        None => sizes(&record)
            .into_iter()
            .map(|(resource, size)| (resource, (size, record.replicas.min(beyond))))
            .collect(),
        Some(restore) => {
            // It comes up on the one side or on the other, whichever is free first.
            let size = sizes(&record).into_values().max().unwrap_or(1);
            let sides = [
                (&restore.from, restore.replicas),
                (&restore.to, restore.to_replicas),
            ];
            let side = |(side, replicas): (&String, u32)| {
                let resource = GpuResource::parse(side).ok()?;
                Some((resource, (size, replicas.clamp(1, most.max(1)))))
            };
            sides
                .into_iter()
                .filter_map(side)
                .collect::<BTreeMap<_, _>>()
        }
    };
    // A note alone says nothing: whoever may write the workload may write that.
    let ours = is_written(&record) && (may_write || restore.is_some());
    let wanted = wanted.into_iter();
    wanted
        .filter_map(|(resource, (size, replicas))| {
            let pods = held(caches, workload, &record, &resource, restore.is_some());
            let units = replicas.saturating_mul(size).saturating_sub(pods.bound);
            (units > 0).then(|| Due {
                workload: workload.clone(),
                record: record.clone(),
                claim: claim.cloned(),
                resource,
                size,
                bound: pods.bound,
                units,
                unschedulable: pods.unschedulable,
                waits: record.update_revision.is_some() && pods.blocks,
                cut: restore.is_some(),
                ours,
            })
        })
        .collect()
}

/// The swap that has stopped the workload altogether, while it has not ended.
pub(super) fn stopped(record: &WorkloadRecord) -> Option<Restore> {
    begun(record).filter(|_| record.replicas == 0)
}

/// What a replica of the workload asks for, resource by resource.
pub(super) fn sizes(record: &WorkloadRecord) -> BTreeMap<GpuResource, u32> {
    let mut sizes = BTreeMap::new();
    for container in &record.containers {
        crate::controller::cache::add(&mut sizes, &container.gpus());
    }
    sizes.retain(|_, size| *size > 0);
    sizes
}

/// Whether replicas or GPU request are as the operator has written them. Who has scaled a workload to zero, or up from there, through its
/// scale subresource does not own its replicas, and nobody else does (seen on Kubernetes 1.36): then our notes on it say it.
pub(super) fn is_written(record: &WorkloadRecord) -> bool {
    let mut owners = record.owners.iter();
    let ours = owners.any(|owner| {
        owner.replicas && owner.manager == REPLICAS_MANAGER
            || !owner.gpus.is_empty() && owner.manager == GPU_MANAGER
    });
    ours || record.marked && !record.owners.iter().any(|owner| owner.replicas)
}

/// How many of its pods are not ready on nodes that do not offer what is held there: each is replaced beside what the agent may have, and
/// given up when the new one is ready.
fn lost(caches: &Caches, namespace: &str, record: &WorkloadRecord) -> u32 {
    let usage = caches.usage.by_node(&caches.pods);
    let offers = |name: &String| {
        let node = caches.nodes.get("", name);
        let mut held = usage.get(name).into_iter().flatten();
        node.is_some_and(|node| {
            let of = |resource| node.allocatable.get(resource).copied().unwrap_or(0);
            node.ready && held.all(|(resource, units)| *units <= of(resource))
        })
    };
    let pods = caches.pods_of(namespace, record).into_iter();
    let lost = pods.filter(|(_, pod)| {
        let away = pod.node.as_ref().is_some_and(|name| !offers(name));
        away && !pod.ready && !pod.deleting
    });
    u32::try_from(lost.count()).unwrap_or(u32::MAX)
}

/// What a workload's pods have and ask for of a resource.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// Held by pods with a node.
    pub bound: u32,
    /// Asked for by pods that the scheduler has found no node for.
    unschedulable: u32,
    /// The last to come has a node, and one is not ready or on its way out: who creates one after the other waits for that.
    blocks: bool,
}

/// Counts them. `leaving`: pods on their way out count as well, because what they hold is what the workload is to come back to; one that hangs
/// gives nothing back.
pub(super) fn held(
    caches: &Caches,
    (namespace, ..): &Workload,
    record: &WorkloadRecord,
    resource: &GpuResource,
    leaving: bool,
) -> Pods {
    let mut pods = Pods::default();
    let (mut homeless, mut unready) = (false, false);
    let now = Timestamp::now();
    for (_, pod) in caches.pods_of(namespace, record) {
        homeless |= pod.node.is_none();
        unready |= !pod.ready || pod.deleting;
        let asked = pod.requests.get(resource).copied().unwrap_or(0);
        let counts = !pod.deleting || leaving && !pod.hangs(now);
        let sum = match &pod.node {
            Some(_) if counts => &mut pods.bound,
            None if !pod.deleting && pod.unschedulable_since.is_some() => &mut pods.unschedulable,
            _ => continue,
        };
        *sum = sum.saturating_add(asked);
    }
    pods.blocks = unready && !homeless;
    pods
}
