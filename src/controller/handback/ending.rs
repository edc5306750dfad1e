//! How a swap that was cut in its middle ends when no pool is left to end it: on what the agent had, or on what it was to have,
//! whichever is free. Another agent may have taken what it had already; and nothing may be started that finds no place.

use crate::controller::cache::{Caches, WorkloadRecord};
use crate::controller::promises::outstanding;
use crate::sharing::Restore;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// What is to be done with a workload that was left at zero replicas.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// What its template asks for is free: it may come up.
    Start,
    /// What the other side of the swap asks for is free: the template is to change first.
    Retarget {
        /// Index of the container.
        container: usize,
        /// What it asks for now, with the value expected.
        remove: BTreeMap<GpuResource, u32>,
        /// What it is to ask for.
        resource: GpuResource,
        /// How many of it.
        count: u32,
    },
    /// Neither is free now: pods that hold it are still on their way out, or it is promised to others.
    Wait,
}

/// How the swap of `record` is to end. `free` says how many of a resource nobody holds or is about to take.
pub fn ending(
    record: &WorkloadRecord,
    restore: &Restore,
    free: impl Fn(&GpuResource) -> u32,
) -> Ending {
    let sides = [
        (restore.from.as_str(), restore.replicas),
        (restore.to.as_str(), restore.to_replicas),
    ];
    let asks = |resource: &GpuResource| sides.iter().any(|(side, _)| *side == resource.as_str());
    let Some(container) = record
        .containers
        .iter()
        .position(|c| c.gpus().keys().any(asks))
    else {
        return Ending::Start; // Somebody else has set another request since: it is theirs.
    };
    let now = record.containers[container].gpus();
    let count = now.values().copied().max().unwrap_or(1);
    let fits = |resource: &GpuResource, replicas: u32| {
        free(resource) >= replicas.max(1).saturating_mul(count)
    };
    let places = sides
        .iter()
        .filter_map(|(side, replicas)| Some((GpuResource::parse(side).ok()?, *replicas)))
        .filter(|(resource, replicas)| fits(resource, *replicas))
        .map(|(resource, _)| resource);
    let places: Vec<GpuResource> = places.collect();
    if places.iter().any(|resource| now.contains_key(resource)) {
        return Ending::Start;
    }
    match places.into_iter().next() {
        Some(resource) => Ending::Retarget {
            container,
            remove: now,
            resource,
            count,
        },
        None => Ending::Wait,
    }
}

/// How many of `resource` are on schedulable nodes, held by no pod and promised to no replica, in the whole cluster.
pub fn free(caches: &Caches, resource: &GpuResource) -> u32 {
    let of = |map: &BTreeMap<GpuResource, u32>| map.get(resource).copied().unwrap_or(0);
    let used = caches.usage.by_node(&caches.pods);
    let nodes = caches.nodes.all();
    let open = nodes
        .iter()
        .filter(|(_, node)| node.schedulable)
        .map(|((_, name), node)| of(&node.allocatable).saturating_sub(used.get(name).map_or(0, of)))
        .fold(0, u32::saturating_add);
    let workloads = [&caches.deployments, &caches.stateful_sets];
    let promised = workloads
        .into_iter()
        .flat_map(|store| store.all())
        .map(|((namespace, _), record)| outstanding(caches, &namespace, &record, resource))
        .fold(0, u32::saturating_add);
    open.saturating_sub(promised)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::controller::cache::Record;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    const SMALL: &str = "nvidia.com/mig-2g.20gb";
    const LARGE: &str = "nvidia.com/mig-3g.40gb";

    fn stopped(asks: &str) -> WorkloadRecord {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "low", "annotations": { "agentpool.dev/restore": "{}" } },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": "low" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": { asks: "1" } } }] } }
            }
        }))
        .unwrap();
        WorkloadRecord::of(deployment).unwrap()
    }

    fn end(asks: &str, free: &[&str]) -> Ending {
        let restore = Restore {
            replicas: 1,
            from: LARGE.to_owned(),
            to: SMALL.to_owned(),
            to_replicas: 1,
        };
        let free = |resource: &GpuResource| u32::from(free.contains(&resource.as_str()));
        ending(&stopped(asks), &restore, free)
    }

    #[test]
    fn it_comes_up_on_what_its_template_asks_for_when_that_is_free() {
        assert_eq!(end(LARGE, &[SMALL, LARGE]), Ending::Start);
        assert_eq!(end(SMALL, &[SMALL, LARGE]), Ending::Start);
    }

    #[test]
    fn where_another_agent_took_what_it_had_it_gets_what_it_was_to_have() {
        let Ending::Retarget {
            remove, resource, ..
        } = end(LARGE, &[SMALL])
        else {
            panic!("not retargeted");
        };
        assert_eq!(resource.as_str(), SMALL);
        assert_eq!(remove.keys().next().unwrap().as_str(), LARGE);
    }

    #[test]
    fn nothing_is_started_that_would_find_no_place() {
        assert_eq!(end(LARGE, &[]), Ending::Wait);
    }

    #[test]
    fn a_request_that_somebody_has_set_since_is_left_alone() {
        assert_eq!(end("nvidia.com/gpu", &[]), Ending::Start);
    }
}
