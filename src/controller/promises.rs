//! What workloads are still to get: replicas in their spec that have no pod on a node yet. The scheduler gives them what is free as soon as
//! it can, so it is free for nobody else.

use super::cache::{Caches, WorkloadRecord};
use super::claims::Claims;
use super::observe::View;
use crate::api::ValidPool;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Replicas by size, by resource.
pub type Promises = BTreeMap<GpuResource, BTreeMap<u32, u64>>;

/// What a replica of the workload asks for of a resource.
pub fn each(record: &WorkloadRecord, resource: &GpuResource) -> u32 {
    let of = |map: BTreeMap<GpuResource, u32>| map.get(resource).copied().unwrap_or(0);
    let containers = record.containers.iter().map(|c| of(c.gpus()));
    containers.fold(0, u32::saturating_add)
}

/// How many of a resource the workload's replicas ask for beyond those that its bound pods have.
pub fn outstanding(
    caches: &Caches,
    namespace: &str,
    record: &WorkloadRecord,
    resource: &GpuResource,
) -> u32 {
    let each = each(record, resource);
    if each == 0 {
        return 0;
    }
    let pods = caches.pods_of(namespace, record);
    let bound = pods
        .iter()
        .filter(|(_, pod)| pod.node.is_some() && !pod.deleting)
        .map(|(_, pod)| pod.requests.get(resource).copied().unwrap_or(0))
        .fold(0, u32::saturating_add);
    record.replicas.saturating_mul(each).saturating_sub(bound)
}

/// What is promised to the replicas of other pools that use some of the same nodes; `None` when there is no such pool.
pub fn of_neighbours(
    pool: &ValidPool,
    view: &View,
    caches: &Caches,
    claims: &Claims,
) -> Option<Promises> {
    let shares = |selector: &BTreeMap<String, String>| {
        let chosen = |labels: &BTreeMap<String, String>| {
            selector.iter().all(|(k, v)| labels.get(k) == Some(v))
        };
        view.nodes.iter().any(|(_, node)| chosen(&node.labels))
    };
    let mut found: Option<Promises> = None;
    for ((namespace, kind, name), nodes) in claims.of_others(pool) {
        if !shares(&nodes) {
            continue;
        }
        let promises = found.get_or_insert_default();
        let Some(record) = caches.workloads(kind).get(&namespace, &name) else {
            continue;
        };
        let asked = record.containers.iter().flat_map(|c| c.gpus().into_keys());
        for resource in asked {
            let units = outstanding(caches, &namespace, &record, &resource);
            if units > 0 {
                let size = each(&record, &resource);
                let sizes = promises.entry(resource).or_default();
                *sizes.entry(size).or_insert(0) += u64::from(units.div_ceil(size));
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixtures::{caches, deployment, object, pool, whole};
    use super::super::observe::view;
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn replicas_of_a_pool_on_the_same_nodes_count_until_they_are_bound_and_others_never() {
        let ours = pool("ours", "WholeGPU", &["a"]);
        let mut elsewhere = object("elsewhere", "WholeGPU", &["c"]);
        let label = ("zone".to_owned(), "b".to_owned());
        elsewhere.spec.devices[0].node_selector = [label].into();
        let claims = Claims::default();
        let neighbour = object("neighbour", "WholeGPU", &["b"]);
        let own = object("ours", "WholeGPU", &["a"]);
        let agents = ["a", "b", "c", "nobodys"].map(|name| (name, deployment(name, 3, json!([]))));
        let caches = caches(&[("gpu", whole(8))], &agents, &[("b", "gpu")]);
        let view = view(&ours, &caches, &claims);
        let readable = BTreeSet::new();
        let promised = |claims: &Claims| of_neighbours(&ours, &view, &caches, claims);
        claims.replace([&own, &elsewhere].into_iter(), &readable);
        assert_eq!(promised(&claims), None, "no other pool is on these nodes");
        claims.replace([&own, &elsewhere, &neighbour].into_iter(), &readable);
        let two_of_three = [(GpuResource::whole(), [(1, 2)].into())];
        assert_eq!(promised(&claims), Some(two_of_three.into()));
    }
}
