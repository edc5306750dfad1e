//! What workloads are still to get: replicas in their spec that have no pod on a node yet. The scheduler gives them what is free as soon as
//! it can, so it is free for nobody else.
//!
//! Only what the operator has asked for itself is promised, only for as long as it can be believed, and never more than an agent may
//! have: what somebody writes into a workload of their own holds nobody off.

mod due;
mod open;
mod patience;
mod promised;

pub use due::Due;
pub use promised::{Owed, Promised};

use super::cache::{Caches, WorkloadRecord};
use super::claims::{Claim, Claims, Held, Workload};
use super::observe::View;
use crate::api::ValidPool;
use crate::sharing::Step;
use crate::units::GpuResource;
use open::Open;
use patience::Patience;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A write without an answer may have been carried out: so long it is taken as if it were. The watches tell within moments.
const UNSURE: Duration = Duration::from_secs(10);

/// How many of a resource the workload's replicas ask for beyond those that its bound pods have.
pub fn outstanding(
    caches: &Caches,
    namespace: &str,
    record: &WorkloadRecord,
    resource: &GpuResource,
) -> u32 {
    let Some(each) = due::sizes(record).get(resource).copied() else {
        return 0;
    };
    let place = (namespace.to_owned(), record.kind, String::new());
    let bound = due::held(caches, &place, record, resource, false).bound;
    record.replicas.saturating_mul(each).saturating_sub(bound)
}

/// What is promised in the whole cluster.
#[derive(Debug, Default)]
pub struct Promises {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What is due, and the state of the caches and the minute that it was counted from.
    counted: Option<([u64; 5], Arc<Vec<Due>>)>,
    patience: BTreeMap<(Workload, GpuResource), Patience>,
    /// Workloads with our marks that no pool named at the first look: what a pool left before is known to nobody.
    before: Option<BTreeSet<Workload>>,
    /// What pools have said in their turn that they take, until their writes are answered.
    reserved: BTreeMap<Workload, Reserve>,
}

/// What a workload is to ask for once a step is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reserve {
    sizes: BTreeMap<GpuResource, u32>,
    replicas: u32,
    /// When it ends; `None`: with the tick that takes it.
    until: Option<Duration>,
    /// That tick was called off, perhaps in the middle of a write.
    abandoned: bool,
}

/// What a pool takes in its turn; others leave it alone until its end. Where that is never said, the task was ended in the middle of a
/// write that may be carried out: then for a while.
#[derive(Debug)]
pub struct Reserved<'a> {
    promises: &'a Promises,
    workloads: Vec<Workload>,
}

impl Reserved<'_> {
    /// A write for this workload got no answer.
    pub fn unsure(&self, workload: &Workload, now: Duration) {
        if let Some(reserve) = self.promises.lock().reserved.get_mut(workload) {
            reserve.until = Some(now + UNSURE);
        }
    }

    /// All writes were answered, but for those that are unsure, and no other follows.
    pub fn end(mut self) {
        let mut known = self.promises.lock();
        for workload in std::mem::take(&mut self.workloads) {
            let reserve = known.reserved.get(&workload);
            if reserve.is_some_and(|reserve| reserve.until.is_none()) {
                known.reserved.remove(&workload);
            }
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.workloads.is_empty() {
            return;
        }
        let mut known = self.promises.lock();
        for workload in &self.workloads {
            if let Some(reserve) = known.reserved.get_mut(workload) {
                reserve.abandoned = true;
            }
        }
    }
}

impl Promises {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises what these steps of a pool take. Once they are written, the workloads themselves say it.
    pub fn reserve<'s>(
        &self,
        pool: &ValidPool,
        view: &View,
        steps: impl Iterator<Item = &'s Step>,
    ) -> Reserved<'_> {
        let mut known = self.lock();
        let mut workloads = Vec::new();
        for step in steps {
            let (index, replicas, retarget) = match step {
                Step::Scale { agent, to, .. } => (*agent, Some(*to), None),
                Step::Retarget {
                    agent,
                    resource,
                    count,
                    ..
                } => (*agent, None, Some((resource.clone(), *count))),
                Step::Remember { .. } | Step::Forget { .. } => continue,
            };
            let Some(record) = view.agents.get(index).and_then(|a| a.workload.as_ref()) else {
                continue;
            };
            let agent = &pool.agents[index];
            let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
            let reserve = Reserve {
                sizes: retarget.map_or_else(|| due::sizes(record), |sole| [sole].into()),
                replicas: replicas.unwrap_or(record.replicas),
                until: None,
                abandoned: false,
            };
            known.reserved.insert(workload.clone(), reserve);
            workloads.push(workload);
        }
        Reserved {
            promises: self,
            workloads,
        }
    }

    /// Promises what a workload asks for with so many replicas, until that is written.
    pub fn reserve_for(
        &self,
        workload: Workload,
        record: &WorkloadRecord,
        replicas: u32,
    ) -> Reserved<'_> {
        let reserve = Reserve {
            sizes: due::sizes(record),
            replicas,
            until: None,
            abandoned: false,
        };
        self.lock().reserved.insert(workload.clone(), reserve);
        Reserved {
            promises: self,
            workloads: vec![workload],
        }
    }

    /// What is about to be written, whoever writes it.
    pub fn reserved(&self, caches: &Caches, now: Duration) -> Vec<Due> {
        self.lock().reservations(caches, &Held::new(), now)
    }

    /// What is promised to others than a pool, and to its own agents by writes of which nobody knows whether they were carried out: its plan
    /// knows nothing of those.
    pub fn to_others(
        &self,
        pool: &ValidPool,
        view: &View,
        caches: &Caches,
        claims: &Claims,
        now: Duration,
    ) -> Owed {
        if view.nodes.is_empty() {
            return Owed::default();
        }
        let mut known = self.lock();
        let dues = known.dues(caches, claims, now);
        let held = claims.held();
        let reserved = known.reservations(caches, &held, now);
        let open = Open::of(caches);
        let stopped = stopped(pool, view, &held);
        let theirs = |due: &&Due| {
            let claim = due.claim.as_ref();
            // Of pools that have agents to bring up again on the same resource the oldest goes first, or each would wait for the others.
            let first = |ours: &Claim| claim.is_none_or(|theirs| ours.is_older(theirs));
            if due.cut && stopped.get(&due.resource).is_some_and(|ours| first(ours)) {
                return false;
            }
            claim.is_none_or(|claim| claim.uid() != pool.uid)
        };
        let key = |due: &Due| (due.workload.clone(), due.resource.clone());
        let mut written = BTreeMap::new();
        for due in dues.iter().filter(theirs) {
            let patience = match due.ours {
                true => Some(known.patience.entry(key(due)).or_default()),
                false => known.patience.get_mut(&key(due)),
            };
            if let Some(patience) = patience {
                written.insert(key(due), patience.of(due, open.takes(due), now));
            }
        }
        let mut owed = Vec::new();
        for due in reserved {
            if theirs(&&due) {
                let units = written.remove(&key(&due)).unwrap_or(0).max(due.units);
                owed.push((due, units));
            } else if known.is_unsure(&due.workload) {
                // Once the write is seen the plan counts what the workload asks for itself.
                let (namespace, ..) = &due.workload;
                let seen = outstanding(caches, namespace, &due.record, &due.resource);
                let units = due.units.saturating_sub(seen);
                owed.push((due, units));
            }
        }
        for due in dues.iter() {
            match written.get(&key(due)) {
                Some(units) if *units > 0 => owed.push((due.clone(), *units)),
                _ => {}
            }
        }
        Owed(owed)
    }
}

impl Known {
    /// What is due, counted anew when something has changed, and now and then: that a pod hangs no change tells.
    fn dues(&mut self, caches: &Caches, claims: &Claims, now: Duration) -> Arc<Vec<Due>> {
        let at = [
            caches.pods.changes(),
            caches.deployments.changes(),
            caches.stateful_sets.changes(),
            claims.changes(),
            now.as_secs() / 60,
        ];
        if let Some((_, dues)) = self.counted.as_ref().filter(|(then, _)| *then == at) {
            return dues.clone();
        }
        let first = || due::unclaimed(caches, claims);
        let before = self.before.get_or_insert_with(first);
        let record =
            |(namespace, kind, name): &Workload| caches.workloads(*kind).get(namespace, name);
        before.retain(|workload| record(workload).is_some_and(|record| due::is_written(&record)));
        claims.keep_left(|workload| record(workload).is_some());
        let dues = Arc::new(due::all(caches, claims, before));
        let is_due: BTreeSet<(&Workload, &GpuResource)> =
            dues.iter().map(|d| (&d.workload, &d.resource)).collect();
        self.patience.retain(|(workload, resource), patience| {
            let (namespace, kind, name) = workload;
            let Some(record) = caches.workloads(*kind).get(namespace, name) else {
                return false;
            };
            if !is_due.contains(&(workload, resource)) {
                patience.rest(due::held(caches, workload, &record, resource, false).bound);
            }
            true
        });
        self.counted = Some((at, dues.clone()));
        dues
    }

    /// Whether a write for this workload got no answer a moment ago.
    fn is_unsure(&self, workload: &Workload) -> bool {
        let reserve = self.reserved.get(workload);
        reserve.is_some_and(|reserve| reserve.until.is_some())
    }

    /// What pools are about to write.
    fn reservations(&mut self, caches: &Caches, held: &Held, now: Duration) -> Vec<Due> {
        for reserve in self.reserved.values_mut() {
            if std::mem::take(&mut reserve.abandoned) {
                reserve.until.get_or_insert(now + UNSURE);
            }
        }
        self.reserved
            .retain(|_, reserve| reserve.until.is_none_or(|until| now < until));
        let mut dues = Vec::new();
        for (workload, reserve) in &self.reserved {
            let (namespace, kind, name) = workload;
            let Some(record) = caches.workloads(*kind).get(namespace, name) else {
                continue;
            };
            for (resource, size) in &reserve.sizes {
                let bound = due::held(caches, workload, &record, resource, false).bound;
                let units = reserve.replicas.saturating_mul(*size).saturating_sub(bound);
                if units > 0 {
                    dues.push(Due {
                        workload: workload.clone(),
                        record: record.clone(),
                        claim: held.get(workload).cloned(),
                        resource: resource.clone(),
                        size: *size,
                        bound,
                        units,
                        unschedulable: 0,
                        waits: false,
                        cut: false,
                        ours: true,
                    });
                }
            }
        }
        dues
    }
}

/// What agents of the pool's own that a swap has stopped may come up on, with its claim on them.
fn stopped<'a>(pool: &ValidPool, view: &View, held: &'a Held) -> BTreeMap<GpuResource, &'a Claim> {
    let mut stopped = BTreeMap::new();
    for (agent, view) in pool.agents.iter().zip(&view.agents) {
        let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
        let claim = held.get(&workload).filter(|claim| claim.uid() == pool.uid);
        let restore = view.workload.as_deref().and_then(due::stopped);
        if let (Some(claim), Some(restore)) = (claim, restore) {
            let sides = [restore.from, restore.to].into_iter();
            let sides = sides.filter_map(|side| GpuResource::parse(&side).ok());
            stopped.extend(sides.map(|side| (side, claim)));
        }
    }
    stopped
}

#[cfg(test)]
mod tests;
