//! How a swap that was cut in its middle ends when no plan ends it: on what the agent had, or on what it was to have, whichever is free.
//! Another agent may have taken what it had already; and nothing may be started that finds no place. Some replicas are better than none: who
//! finds places for a part of them comes up with that part.

use crate::api::WorkloadKind;
use crate::controller::cache::{Caches, WorkloadRecord};
use crate::controller::claims::Workload;
use crate::controller::promises::{Promises, outstanding};
use crate::sharing::Restore;
use crate::units::GpuResource;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to be done with a workload that was left with too few replicas.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// So many more replicas of what its template asks for have a place: they may come up.
    Start(u32),
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

/// One of the two things that the workload may come up on.
struct Side {
    resource: GpuResource,
    /// The template asks for it.
    here: bool,
    /// Replicas that are missing there.
    missing: u32,
    /// Places for them.
    places: u32,
}

/// How many replicas the workload is to have once its swap has ended, as its template is now.
pub fn wanted(record: &WorkloadRecord, restore: &Restore) -> u32 {
    let mut asked = record.containers.iter().flat_map(|c| c.gpus().into_keys());
    let replicas = match asked.any(|resource| resource.as_str() == restore.to) {
        true => restore.to_replicas,
        false => restore.replicas,
    };
    replicas.max(1)
}

/// How the swap of `record` is to end. `places` says for how many replicas of so many of a resource each there is room.
pub fn ending(
    record: &WorkloadRecord,
    restore: &Restore,
    places: impl Fn(&GpuResource, u32) -> u32,
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
        // Somebody else has set another request since: it is theirs.
        return Ending::Start(wanted(record, restore).saturating_sub(record.replicas));
    };
    let now = record.containers[container].gpus();
    let count = now.values().copied().max().unwrap_or(1);
    let side = |(side, replicas): (&str, u32)| {
        let resource = GpuResource::parse(side).ok()?;
        let missing = replicas.max(1).saturating_sub(record.replicas);
        Some(Side {
            here: now.contains_key(&resource),
            places: places(&resource, count).min(missing),
            missing,
            resource,
        })
    };
    let mut sides: Vec<Side> = sides.into_iter().filter_map(side).collect();
    // Pods that run keep what they have.
    sides.retain(|side| side.here || record.replicas == 0);
    sides.sort_by_key(|side| !side.here);
    let mut all = sides.iter();
    let whole = all.find(|side| side.places >= side.missing);
    let part = || sides.iter().find(|side| side.places > 0);
    match whole.or_else(part) {
        Some(side) if side.here => Ending::Start(side.places),
        Some(side) => Ending::Retarget {
            container,
            remove: now,
            resource: side.resource.clone(),
            count,
        },
        None => Ending::Wait,
    }
}

/// Where room is looked for.
pub struct Room<'a> {
    /// What is held and asked for.
    pub caches: &'a Caches,
    /// What is about to be asked for.
    pub promises: &'a Promises,
    /// Labels of the nodes to look at; none: all.
    pub nodes: &'a BTreeMap<String, String>,
    /// The time.
    pub now: Duration,
}

impl Room<'_> {
    /// For how many replicas of `workload`, at `count` of `resource` each, there is room: on nodes where its pods may come, held by no pod
    /// and promised to no replica of anybody.
    pub fn places(
        &self,
        workload: &Workload,
        record: &WorkloadRecord,
        resource: &GpuResource,
        count: u32,
    ) -> u32 {
        let mut nodes = self.caches.nodes.all();
        nodes.retain(|(_, node)| node.bears(self.nodes) && record.may_come(node));
        // Before what is free: a pod that is bound in between counts twice, and not never.
        let promised = self.promised(workload, resource, |other| {
            nodes.iter().any(|(_, node)| other.may_come(node))
        });
        let of = |map: &BTreeMap<GpuResource, u32>| map.get(resource).copied().unwrap_or(0);
        let used = self.caches.usage.by_node(&self.caches.pods);
        let free = nodes.iter().map(|((_, name), node)| {
            let free = of(&node.allocatable).saturating_sub(used.get(name).map_or(0, of));
            free / count.max(1)
        });
        let free = free.fold(0, u32::saturating_add);
        free.saturating_sub(promised.div_ceil(count.max(1)))
    }

    /// What the workloads that may come will take, or are about to ask for. A write of one's own that got no answer is tried again: it keeps
    /// nothing from itself.
    fn promised(
        &self,
        own: &Workload,
        resource: &GpuResource,
        comes: impl Fn(&WorkloadRecord) -> bool,
    ) -> u32 {
        let mut promised: BTreeMap<Workload, u32> = BTreeMap::new();
        for due in self.promises.reserved(self.caches, self.now) {
            if due.workload != *own && due.resource == *resource && comes(&due.record) {
                promised.insert(due.workload, due.units);
            }
        }
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
            for ((namespace, name), other) in self.caches.workloads(kind).all() {
                if comes(&other) {
                    let units = awaited(self.caches, &namespace, &other, resource);
                    let promised = promised.entry((namespace, kind, name)).or_insert(0);
                    *promised = units.max(*promised);
                }
            }
        }
        promised.into_values().fold(0, u32::saturating_add)
    }
}

/// What replicas of a workload will take of a resource as soon as they can. What keeps a pod out that the scheduler has no node for, or that
/// is not created, keeps out the others too: they may wait for ever for something else.
fn awaited(
    caches: &Caches,
    namespace: &str,
    record: &WorkloadRecord,
    resource: &GpuResource,
) -> u32 {
    let units = outstanding(caches, namespace, record, resource);
    if units == 0 || record.failure.is_some() {
        return 0;
    }
    let pods = caches.pods_of(namespace, record);
    let kept_out = pods
        .iter()
        .any(|(_, pod)| pod.unschedulable_since.is_some() && pod.node.is_none() && !pod.deleting);
    if kept_out { 0 } else { units }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::fixtures::{caches, deployment, node, pod, whole};
    use super::*;
    use crate::controller::cache::{PodRecord, Record};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::{Value, json};

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

    /// How the swap from so many large to so many small instances ends.
    fn end(record: &WorkloadRecord, replicas: u32, free: &[(&str, u32)]) -> Ending {
        let restore = Restore {
            replicas,
            from: LARGE.to_owned(),
            to: SMALL.to_owned(),
            to_replicas: replicas,
        };
        let free = |resource: &GpuResource, _| {
            let mut free = free.iter().filter(|(name, _)| *name == resource.as_str());
            free.next().map_or(0, |(_, n)| *n)
        };
        ending(record, &restore, free)
    }

    #[test]
    fn it_comes_up_on_what_its_template_asks_for_when_that_is_free() {
        let both = [(SMALL, 1), (LARGE, 1)];
        assert_eq!(end(&stopped(LARGE), 1, &both), Ending::Start(1));
        assert_eq!(end(&stopped(SMALL), 1, &both), Ending::Start(1));
    }

    #[test]
    fn where_another_agent_took_what_it_had_it_gets_what_it_was_to_have() {
        let Ending::Retarget {
            remove, resource, ..
        } = end(&stopped(LARGE), 1, &[(SMALL, 1)])
        else {
            panic!("not retargeted");
        };
        assert_eq!(resource.as_str(), SMALL);
        assert_eq!(remove.keys().next().unwrap().as_str(), LARGE);
    }

    #[test]
    fn with_places_for_a_part_of_its_replicas_that_part_comes_up_and_the_rest_later() {
        let two_of_three = end(&stopped(LARGE), 3, &[(LARGE, 2), (SMALL, 1)]);
        assert_eq!(two_of_three, Ending::Start(2));
        let all = end(&stopped(LARGE), 3, &[(LARGE, 2), (SMALL, 3)]);
        assert!(matches!(all, Ending::Retarget { .. }), "all on the other");
        let up = WorkloadRecord {
            replicas: 2,
            ..stopped(LARGE)
        };
        assert_eq!(end(&up, 3, &[(SMALL, 3)]), Ending::Wait, "two run");
        assert_eq!(end(&up, 3, &[(LARGE, 9)]), Ending::Start(1));
    }

    #[test]
    fn nothing_is_started_that_would_find_no_place() {
        assert_eq!(end(&stopped(LARGE), 1, &[]), Ending::Wait);
    }

    #[test]
    fn a_request_that_somebody_has_set_since_is_left_alone() {
        assert_eq!(end(&stopped("nvidia.com/gpu"), 2, &[]), Ending::Start(2));
    }

    fn named(name: &str) -> Workload {
        ("n".to_owned(), WorkloadKind::Deployment, name.to_owned())
    }

    /// Places for replicas of one GPU on two nodes with two each, of which one has more labels and taints; another workload wants two.
    fn room(labels: Value, taints: Value, other: &WorkloadRecord, chosen: Value) -> u32 {
        let special = node(labels, json!({ "nvidia.com/gpu": "2" }), taints);
        let stopped = deployment("stopped", 0, json!([]));
        let agents = [("stopped", stopped.clone()), ("other", other.clone())];
        let caches = caches(&[("plain", whole(2)), ("special", special)], &agents, &[]);
        let chosen = serde_json::from_value(chosen).unwrap();
        let room = Room {
            caches: &caches,
            promises: &Promises::default(),
            nodes: &chosen,
            now: Duration::ZERO,
        };
        room.places(&named("stopped"), &stopped, &GpuResource::whole(), 1)
    }

    #[test]
    fn room_is_where_its_pods_may_come_and_where_the_pool_has_its_nodes() {
        let nobody = deployment("other", 0, json!([]));
        let (zone, taint) = (
            json!({ "zone": "b" }),
            json!([{ "key": "team", "value": "x", "effect": "NoSchedule" }]),
        );
        assert_eq!(room(zone.clone(), json!([]), &nobody, json!({})), 4);
        assert_eq!(room(zone.clone(), taint, &nobody, json!({})), 2);
        assert_eq!(room(zone.clone(), json!([]), &nobody, zone.clone()), 2);
        let wants_two = deployment("other", 2, json!([]));
        assert_eq!(room(zone.clone(), json!([]), &wants_two, json!({})), 2);
        let elsewhere = WorkloadRecord {
            node_selector: [("zone".to_owned(), "c".to_owned())].into(),
            ..wants_two
        };
        assert_eq!(room(zone, json!([]), &elsewhere, json!({})), 4);
    }

    #[test]
    fn a_workload_whose_pods_no_node_takes_keeps_nobody_else_down() {
        let stopped = deployment("stopped", 0, json!([]));
        let agents = [("other", deployment("other", 2, json!([])))];
        let caches = caches(&[("gpu", whole(2))], &agents, &[]);
        let room = Room {
            caches: &caches,
            promises: &Promises::default(),
            nodes: &BTreeMap::new(),
            now: Duration::ZERO,
        };
        let room = || room.places(&named("stopped"), &stopped, &GpuResource::whole(), 1);
        assert_eq!(room(), 0, "its pods are about to come");
        let key = ("n".to_owned(), "other-0".to_owned());
        let waits = PodRecord {
            node: None,
            unschedulable_since: Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH),
            ..pod("other", "gpu")
        };
        caches.pods.put(key.clone(), 1, waits);
        assert_eq!(room(), 2);
        caches.pods.remove(&key);
        let refused = WorkloadRecord {
            failure: Some("exceeded quota".to_owned()),
            ..deployment("other", 2, json!([]))
        };
        let key = ("n".to_owned(), "other".to_owned());
        caches.deployments.put(key, 2, refused);
        assert_eq!(room(), 2);
    }

    #[test]
    fn what_others_have_reserved_is_no_room_and_what_was_reserved_for_oneself_is() {
        let stopped = deployment("stopped", 0, json!([]));
        let other = deployment("other", 0, json!([]));
        let agents = [("stopped", stopped.clone()), ("other", other.clone())];
        let caches = caches(&[("gpu", whole(2))], &agents, &[]);
        let promises = Promises::default();
        let room = Room {
            caches: &caches,
            promises: &promises,
            nodes: &BTreeMap::new(),
            now: Duration::ZERO,
        };
        let room = || room.places(&named("stopped"), &stopped, &GpuResource::whole(), 1);
        let reserved = promises.reserve_for(named("other"), &other, 1);
        assert_eq!(room(), 1);
        let key = ("n".to_owned(), "other".to_owned());
        caches.deployments.put(key, 2, other.scaled(1));
        assert_eq!(room(), 1, "not twice");
        reserved.end();
        assert_eq!(room(), 1, "it says so itself now");
        let _own = promises.reserve_for(named("stopped"), &stopped, 2);
        assert_eq!(room(), 1);
    }
}
