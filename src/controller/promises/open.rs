//! Where pods could be bound now.

use super::due::Due;
use crate::controller::cache::{Caches, NodeRecord};
use crate::units::GpuResource;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is free on the nodes that take pods.
pub struct Open(Vec<(Arc<NodeRecord>, BTreeMap<GpuResource, u32>)>);

impl Open {
    /// Looks at all nodes.
    pub fn of(caches: &Caches) -> Self {
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
    pub fn takes(&self, due: &Due) -> bool {
        self.0.iter().any(|(node, free)| {
            let free = free.get(&due.resource).copied().unwrap_or(0);
            free >= due.size && due.may_come(node)
        })
    }
}
