//! Which pool may act on which workload: of two pools that name one, the older keeps it.

use crate::api::{AgentPool, ValidAgent, ValidPool, WorkloadKind};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, MutexGuard};

/// Namespace, kind and name.
pub type Workload = (String, WorkloadKind, String);
/// Creation time, then UID: the smaller is the older.
type Seniority = (String, String);

/// A pool that names a workload; the smallest is the oldest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    age: Seniority,
    /// `namespace/name`.
    key: String,
    /// Labels of the nodes that it uses.
    nodes: Arc<BTreeMap<String, String>>,
}

/// The oldest pool of every workload that any pool names; and whose turn it is to take what is free.
#[derive(Debug, Default)]
pub struct Claims {
    holders: RwLock<BTreeMap<Workload, Holder>>,
    turns: Mutex<()>,
}

impl Claims {
    /// Replaces all claims by those of the pools that exist.
    pub fn replace<'a>(&self, pools: impl Iterator<Item = &'a AgentPool>) {
        let mut holders: BTreeMap<Workload, Holder> = BTreeMap::new();
        for pool in pools {
            let meta = &pool.metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let created = meta
                .creation_timestamp
                .as_ref()
                .map(|t| t.0.to_string())
                .unwrap_or_default();
            let device = pool.spec.devices.first();
            let claim = Holder {
                age: (created, meta.uid.clone().unwrap_or_default()),
                key: format!("{namespace}/{}", meta.name.clone().unwrap_or_default()),
                nodes: Arc::new(device.map(|d| d.node_selector.clone()).unwrap_or_default()),
            };
            for agent in &pool.spec.agents {
                let workload = (
                    namespace.clone(),
                    agent.workload_ref.kind,
                    agent.workload_ref.name.clone(),
                );
                holders
                    .entry(workload)
                    .and_modify(|held| *held = held.clone().min(claim.clone()))
                    .or_insert_with(|| claim.clone());
            }
        }
        *self.holders.write().unwrap_or_else(PoisonError::into_inner) = holders;
    }

    /// The pool (`namespace/name`) that holds an agent's workload, when it is not `pool` itself.
    pub fn other_holder(&self, pool: &ValidPool, agent: &ValidAgent) -> Option<String> {
        let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders
            .get(&workload)
            .filter(|holder| holder.age.1 != pool.uid)
            .map(|holder| holder.key.clone())
    }

    /// The workloads of other pools: namespace, kind and name, with the labels of the nodes that their pool uses.
    pub fn of_others(&self, pool: &ValidPool) -> Vec<(Workload, Arc<BTreeMap<String, String>>)> {
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        let others = holders.iter().filter(|(_, h)| h.age.1 != pool.uid);
        others
            .map(|(workload, holder)| (workload.clone(), holder.nodes.clone()))
            .collect()
    }

    /// Waits until no other pool is between its last look at the cluster and its writes.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }

    /// Whether any pool names the workload.
    pub fn is_claimed(&self, namespace: &str, kind: WorkloadKind, name: &str) -> bool {
        let workload = (namespace.to_owned(), kind, name.to_owned());
        self.holders
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&workload)
    }
}
