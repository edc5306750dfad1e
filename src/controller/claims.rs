//! Which pool may act on which workload: of two pools that name one, the older keeps it.

use super::cache::Key;
use crate::api::{AgentPool, Mode, ValidAgent, ValidPool, WorkloadKind, annotations};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, MutexGuard};

/// Namespace, kind and name.
pub type Workload = (String, WorkloadKind, String);
/// Creation time, then UID: the smaller is the older.
type Seniority = (String, String);

/// A pool's hold on a workload that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    age: Seniority,
    /// `namespace/name` of the pool.
    pub pool: String,
    /// Name of the agent.
    pub agent: String,
    /// Most replicas that the agent may have.
    pub max: u32,
    /// Labels of the nodes that the pool uses.
    pub nodes: Arc<BTreeMap<String, String>>,
}

impl Claim {
    /// UID of the pool.
    pub fn uid(&self) -> &str {
        &self.age.1
    }

    /// Whether this pool is older than that of another claim.
    pub fn is_older(&self, other: &Self) -> bool {
        self.age < other.age
    }
}

/// Whether a pool says of itself that it may write: its mode is Auto, and it is not paused.
pub fn may_write(pool: &AgentPool) -> bool {
    let all = pool.metadata.annotations.as_ref();
    let paused = all.and_then(|all| all.get(annotations::PAUSED));
    pool.spec.mode == Mode::Auto && paused.is_none_or(|value| value != "true")
}

/// The claims of the oldest pools, by workload.
pub type Held = BTreeMap<Workload, Claim>;

/// The oldest pool of every workload that any pool names; and whose turn it is to take what is free.
#[derive(Debug, Default)]
pub struct Claims {
    holders: RwLock<Arc<Held>>,
    /// Most replicas of agents that no pool names any more, by workload.
    left: RwLock<BTreeMap<Workload, u32>>,
    /// Namespaces with a pool that cannot be read: it may name any workload there.
    unknown: RwLock<BTreeSet<String>>,
    /// UIDs of the pools that may write.
    writers: RwLock<BTreeSet<String>>,
    /// Whether the pools say that they may, by UID.
    declared: RwLock<BTreeMap<String, bool>>,
    changes: AtomicU64,
    turns: Mutex<()>,
}

impl Claims {
    /// Replaces all claims by those of the pools that exist; of some nothing but their name can be read.
    pub fn replace<'a>(
        &self,
        pools: impl Iterator<Item = &'a AgentPool>,
        unreadable: &BTreeSet<Key>,
    ) {
        let mut holders = Held::new();
        let mut declared = BTreeMap::new();
        for pool in pools {
            let meta = &pool.metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let created = meta
                .creation_timestamp
                .as_ref()
                .map(|t| t.0.to_string())
                .unwrap_or_default();
            let uid = meta.uid.clone().unwrap_or_default();
            let key = format!("{namespace}/{}", meta.name.clone().unwrap_or_default());
            let device = pool.spec.devices.first();
            let nodes = Arc::new(device.map(|d| d.node_selector.clone()).unwrap_or_default());
            declared.insert(uid.clone(), may_write(pool));
            for agent in &pool.spec.agents {
                let workload = (
                    namespace.clone(),
                    agent.workload_ref.kind,
                    agent.workload_ref.name.clone(),
                );
                let claim = Claim {
                    age: (created.clone(), uid.clone()),
                    pool: key.clone(),
                    agent: agent.name.clone(),
                    max: agent.replicas.max,
                    nodes: nodes.clone(),
                };
                if holders
                    .get(&workload)
                    .is_none_or(|held| claim.age < held.age)
                {
                    holders.insert(workload, claim);
                }
            }
        }
        self.leave(&holders);
        *self.holders.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(holders);
        *self.unknown.write().unwrap_or_else(PoisonError::into_inner) = unreadable
            .iter()
            .map(|(namespace, _)| namespace.clone())
            .collect();
        self.declare(declared);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Until the first tick of a pool it counts as it says of itself, and again when it is changed: what it is promised is nobody else's
    /// while it has not been looked at. Only its tick knows whether it can be served.
    fn declare(&self, now: BTreeMap<String, bool>) {
        let declared = self.declared.write();
        let mut declared = declared.unwrap_or_else(PoisonError::into_inner);
        let writers = self.writers.write();
        let mut writers = writers.unwrap_or_else(PoisonError::into_inner);
        writers.retain(|uid| now.contains_key(uid));
        for (uid, may_write) in &now {
            match may_write {
                _ if declared.get(uid) == Some(may_write) => {}
                true => _ = writers.insert(uid.clone()),
                false => _ = writers.remove(uid),
            }
        }
        *declared = now;
    }

    /// Remembers what is no longer held, before `holders` replace those there are.
    fn leave(&self, holders: &Held) {
        let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
        for (workload, claim) in self.held().iter() {
            left.insert(workload.clone(), claim.max);
        }
        left.retain(|workload, _| !holders.contains_key(workload));
    }

    /// Most replicas that a workload could have while a pool named it, where none does any more.
    pub fn left(&self, workload: &Workload) -> Option<u32> {
        let left = self.left.read().unwrap_or_else(PoisonError::into_inner);
        left.get(workload).copied()
    }

    /// Forgets those that are gone.
    pub fn keep_left(&self, exists: impl Fn(&Workload) -> bool) {
        let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
        left.retain(|workload, _| exists(workload));
    }

    /// A pool says whether it may write: it can be served, its mode is Auto, and it is not paused.
    pub fn note(&self, uid: &str, may_write: bool) {
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        if writers.contains(uid) == may_write {
            return;
        }
        drop(writers);
        let mut writers = self.writers.write().unwrap_or_else(PoisonError::into_inner);
        match may_write {
            true => writers.insert(uid.to_owned()),
            false => writers.remove(uid),
        };
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether the pool with this UID has said that it may write.
    pub fn writes(&self, uid: &str) -> bool {
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        writers.contains(uid)
    }

    /// All claims, as they are now.
    pub fn held(&self) -> Arc<Held> {
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders.clone()
    }

    /// Counts up with every change of a claim or of who may write.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The pool (`namespace/name`) that holds an agent's workload, when it is not `pool` itself.
    pub fn other_holder(&self, pool: &ValidPool, agent: &ValidAgent) -> Option<String> {
        let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
        self.held()
            .get(&workload)
            .filter(|claim| claim.uid() != pool.uid)
            .map(|claim| claim.pool.clone())
    }

    /// Waits until nobody else is between a last look at what is free and saying what it takes of it. Hold it for no longer than that.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }

    /// Whether the pool with this UID is the one that may act on a workload.
    pub fn holds(&self, uid: &str, namespace: &str, kind: WorkloadKind, name: &str) -> bool {
        let workload = (namespace.to_owned(), kind, name.to_owned());
        self.held()
            .get(&workload)
            .is_some_and(|claim| claim.uid() == uid)
    }

    /// Whether any pool names the workload, or may: one in its namespace cannot be read.
    pub fn is_claimed(&self, namespace: &str, kind: WorkloadKind, name: &str) -> bool {
        let unknown = self.unknown.read().unwrap_or_else(PoisonError::into_inner);
        if unknown.contains(namespace) {
            return true;
        }
        let workload = (namespace.to_owned(), kind, name.to_owned());
        self.held().contains_key(&workload)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::object;
    use super::*;

    #[test]
    fn who_may_write_is_known_before_the_first_tick_and_what_a_tick_says_stands_until_the_pool_is_changed()
     {
        let claims = Claims::default();
        let writes = |pool: &AgentPool| {
            claims.replace([pool].into_iter(), &BTreeSet::new());
            claims.writes("p")
        };
        let auto = object("p", "WholeGPU", &["a"]);
        assert!(writes(&auto), "it was not asked yet");
        claims.note("p", false);
        assert!(!writes(&auto), "it cannot be served");
        let mut paused = auto.clone();
        let key = annotations::PAUSED.to_owned();
        paused.metadata.annotations = Some([(key, "true".to_owned())].into());
        assert!(!writes(&paused));
        assert!(writes(&auto), "it goes on");
        let mut observing = auto.clone();
        observing.spec.mode = Mode::Observe;
        assert!(!writes(&observing));
    }

    #[test]
    fn while_a_pool_cannot_be_read_nothing_in_its_namespace_is_an_orphan() {
        let claims = Claims::default();
        let claimed = |ns| claims.is_claimed(ns, WorkloadKind::Deployment, "coder");
        claims.replace(std::iter::empty(), &BTreeSet::new());
        assert!(!claimed("team"));
        let unreadable = BTreeSet::from([("team".to_owned(), "pool".to_owned())]);
        claims.replace(std::iter::empty(), &unreadable);
        assert!(claimed("team") && !claimed("other"));
        claims.replace(std::iter::empty(), &BTreeSet::new());
        assert!(!claimed("team"));
    }
}
