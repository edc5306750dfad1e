//! What workloads are still to get: replicas in their spec that have no pod on a node yet. The scheduler gives them what is free as soon as
//! it can, so it is free for nobody else.
//!
//! Only what the operator has asked for itself is promised, only for as long as it can be believed, and never more than an agent may
//! have: what somebody writes into a workload of their own holds nobody off.

mod due;
mod patience;

use super::cache::{Caches, NodeRecord, WorkloadRecord};
use super::claims::{Claim, Claims, Held, Workload};
use super::observe::{AgentView, View};
use crate::api::ValidPool;
use crate::sharing::{HoldReason, Plan, Step};
use crate::units::GpuResource;
use due::Due;
use patience::Patience;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Replicas by size, by resource.
pub type Sizes = BTreeMap<GpuResource, BTreeMap<u32, u64>>;

/// A write without an answer may have been carried out: so long it is taken as if it were. The watches tell within moments.
const UNSURE: Duration = Duration::from_secs(10);

/// So many of those to whom something is promised are named.
const MOST_NAMED: usize = 3;

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

/// What is promised to others than a pool, and to whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// How much.
    pub sizes: Sizes,
    /// To whom how many units are promised, by resource.
    to: BTreeMap<GpuResource, Vec<(u32, String)>>,
}

impl Promised {
    /// Nothing is promised to anybody.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    fn add(&mut self, due: &Due, units: u32) {
        let sizes = self.sizes.entry(due.resource.clone()).or_default();
        *sizes.entry(due.size).or_insert(0) += u64::from(units.div_ceil(due.size.max(1)));
        let to = self.to.entry(due.resource.clone()).or_default();
        to.push((units, due.name()));
    }

    /// Says in the holds of a plan that was made with these promises who is to get what its agents wait for.
    pub fn explain(&self, plan: &mut Plan) {
        for hold in plan.holds.iter_mut().flatten() {
            let waits = [
                HoldReason::WaitingForCapacity,
                HoldReason::SwapNeedsDowntime,
            ];
            if !waits.contains(&hold.reason) {
                continue;
            }
            let words: Vec<&str> = hold.message.split([' ', ',', ';', ':']).collect();
            let resources = self.to.keys();
            let resources = resources.filter(|resource| words.contains(&resource.as_str()));
            let named: Vec<String> = resources.filter_map(|r| self.named(r)).collect();
            if !named.is_empty() {
                let named = named.join(", ");
                hold.message = format!("{}; promised to others: {named}", hold.message);
            }
        }
    }

    fn named(&self, resource: &GpuResource) -> Option<String> {
        let mut to: Vec<&(u32, String)> = self.to.get(resource)?.iter().collect();
        to.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let more = to.len().saturating_sub(MOST_NAMED);
        let said = to.iter().take(MOST_NAMED);
        let mut said: Vec<String> = said
            .map(|(units, name)| format!("{units} {resource} to {name}"))
            .collect();
        said.extend((more > 0).then(|| format!("and to {more} more")));
        Some(said.join(", "))
    }
}

/// What is promised in the whole cluster.
#[derive(Debug, Default)]
pub struct Promises {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What is due, and the state of the caches that it was counted from.
    counted: Option<([u64; 4], Arc<Vec<Due>>)>,
    patience: BTreeMap<(Workload, GpuResource), Patience>,
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
}

/// What a pool takes in its turn; others leave it alone for as long as this lives.
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
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut known = self.promises.lock();
        for workload in &self.workloads {
            if known
                .reserved
                .get(workload)
                .is_some_and(|r| r.until.is_none())
            {
                known.reserved.remove(workload);
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
            };
            known.reserved.insert(workload.clone(), reserve);
            workloads.push(workload);
        }
        Reserved {
            promises: self,
            workloads,
        }
    }

    /// What is promised to others on the nodes that a pool uses.
    pub fn to_others(
        &self,
        pool: &ValidPool,
        view: &View,
        caches: &Caches,
        claims: &Claims,
        now: Duration,
    ) -> Promised {
        let mut promised = Promised::default();
        if view.nodes.is_empty() {
            return promised;
        }
        let mut known = self.lock();
        let dues = known.dues(caches, claims);
        let reserved = known.reservations(caches, claims, now);
        let open = Open::of(caches);
        let held = claims.held();
        let stopped = stopped(pool, view, &held);
        let theirs = |due: &&Due| {
            let claim = due.claim.as_ref();
            // Of pools that have agents to bring up again the oldest goes first, or each would wait for the others.
            let first = |ours: &Claim| claim.is_none_or(|theirs| ours.is_older(theirs));
            if due.cut && stopped.is_some_and(first) {
                return false;
            }
            let all = BTreeMap::new();
            let selector = claim.map_or(&all, |claim| &*claim.nodes);
            claim.is_none_or(|claim| claim.uid() != pool.uid)
                && view.nodes.iter().any(|(_, node)| node.bears(selector))
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
        for due in reserved.iter().filter(theirs) {
            let units = written.remove(&key(due)).unwrap_or(0).max(due.units);
            promised.add(due, units);
        }
        for due in dues.iter() {
            match written.get(&key(due)) {
                Some(units) if *units > 0 => promised.add(due, *units),
                _ => {}
            }
        }
        promised
    }
}

impl Known {
    /// What is due, counted anew only when something has changed.
    fn dues(&mut self, caches: &Caches, claims: &Claims) -> Arc<Vec<Due>> {
        let at = [
            caches.pods.changes(),
            caches.deployments.changes(),
            caches.stateful_sets.changes(),
            claims.changes(),
        ];
        if let Some((_, dues)) = self.counted.as_ref().filter(|(then, _)| *then == at) {
            return dues.clone();
        }
        let dues = Arc::new(due::all(caches, claims));
        let is_due: BTreeSet<(&Workload, &GpuResource)> =
            dues.iter().map(|d| (&d.workload, &d.resource)).collect();
        self.patience.retain(|(workload, resource), patience| {
            if !is_due.contains(&(workload, resource)) {
                patience.rest();
            }
            let (namespace, kind, name) = workload;
            caches.workloads(*kind).get(namespace, name).is_some()
        });
        self.counted = Some((at, dues.clone()));
        dues
    }

    /// What pools are about to write.
    fn reservations(&mut self, caches: &Caches, claims: &Claims, now: Duration) -> Vec<Due> {
        self.reserved
            .retain(|_, reserve| reserve.until.is_none_or(|until| now < until));
        let held = claims.held();
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
                        claim: held.get(workload).cloned(),
                        resource: resource.clone(),
                        size: *size,
                        bound,
                        units,
                        unschedulable: 0,
                        cut: false,
                        ours: true,
                    });
                }
            }
        }
        dues
    }
}

/// The pool's claim on an agent of its own that a swap has stopped.
fn stopped<'a>(pool: &ValidPool, view: &View, held: &'a Held) -> Option<&'a Claim> {
    let agents = pool.agents.iter().zip(&view.agents);
    let is_stopped = |view: &AgentView| view.workload.as_deref().and_then(due::stopped).is_some();
    let mut stopped = agents.filter(|(_, view)| is_stopped(view));
    stopped.find_map(|(agent, _)| {
        let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
        held.get(&workload).filter(|claim| claim.uid() == pool.uid)
    })
}

/// What is free on the nodes that take pods.
struct Open(Vec<(Arc<NodeRecord>, BTreeMap<GpuResource, u32>)>);

impl Open {
    fn of(caches: &Caches) -> Self {
        let used = caches.usage.by_node(&caches.pods);
        let free = |(name, node): (String, Arc<NodeRecord>)| {
            let of = |resource: &GpuResource| {
                let used = used.get(&name).and_then(|used| used.get(resource));
                used.copied().unwrap_or(0)
            };
            let left = node.allocatable.iter();
            let left = left
                .map(|(resource, n)| (resource.clone(), n.saturating_sub(of(resource))))
                .collect();
            (node, left)
        };
        let nodes = caches.nodes.all().into_iter();
        let nodes = nodes.filter(|(_, node)| node.schedulable);
        Self(nodes.map(|((_, name), node)| free((name, node))).collect())
    }

    /// Whether a replica of what is due could be bound now.
    fn takes(&self, due: &Due) -> bool {
        let all = BTreeMap::new();
        let selector = due.claim.as_ref().map_or(&all, |claim| &*claim.nodes);
        self.0.iter().any(|(node, free)| {
            let free = free.get(&due.resource).copied().unwrap_or(0);
            node.bears(selector) && free >= due.size
        })
    }
}

#[cfg(test)]
mod tests;
