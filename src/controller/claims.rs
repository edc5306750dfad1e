//! Which pool may act on which workload: of two pools that name one, the older keeps it.

use super::cache::Key;
use crate::api::{AgentPool, ValidAgent, ValidPool, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

type Workload = (String, WorkloadKind, String);
/// Creation time, then UID: the smaller is the older.
type Seniority = (String, String);

/// The oldest pool of every workload that any pool names.
#[derive(Debug, Default)]
pub struct Claims {
    holders: RwLock<BTreeMap<Workload, (Seniority, String)>>,
    /// Namespaces with a pool that cannot be read: it may name any workload there.
    unknown: RwLock<BTreeSet<String>>,
}

impl Claims {
    /// Replaces all claims by those of the pools that exist; of some nothing but their name can be read.
    pub fn replace<'a>(
        &self,
        pools: impl Iterator<Item = &'a AgentPool>,
        unreadable: &BTreeSet<Key>,
    ) {
        let mut holders: BTreeMap<Workload, (Seniority, String)> = BTreeMap::new();
        for pool in pools {
            let meta = &pool.metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let created = meta
                .creation_timestamp
                .as_ref()
                .map(|t| t.0.to_string())
                .unwrap_or_default();
            let claim = (
                (created, meta.uid.clone().unwrap_or_default()),
                format!("{namespace}/{}", meta.name.clone().unwrap_or_default()),
            );
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
        *self.unknown.write().unwrap_or_else(PoisonError::into_inner) = unreadable
            .iter()
            .map(|(namespace, _)| namespace.clone())
            .collect();
    }

    /// The pool (`namespace/name`) that holds an agent's workload, when it is not `pool` itself.
    pub fn other_holder(&self, pool: &ValidPool, agent: &ValidAgent) -> Option<String> {
        let workload = (pool.namespace.clone(), agent.kind, agent.workload.clone());
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders
            .get(&workload)
            .filter(|((_, uid), _)| *uid != pool.uid)
            .map(|(_, key)| key.clone())
    }

    /// Whether the pool with this UID is the one that may act on a workload.
    pub fn holds(&self, uid: &str, namespace: &str, kind: WorkloadKind, name: &str) -> bool {
        let workload = (namespace.to_owned(), kind, name.to_owned());
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders
            .get(&workload)
            .is_some_and(|((_, holder), _)| holder == uid)
    }

    /// Whether any pool names the workload, or may: one in its namespace cannot be read.
    pub fn is_claimed(&self, namespace: &str, kind: WorkloadKind, name: &str) -> bool {
        let unknown = self.unknown.read().unwrap_or_else(PoisonError::into_inner);
        if unknown.contains(namespace) {
            return true;
        }
        let workload = (namespace.to_owned(), kind, name.to_owned());
        self.holders
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
