//! The marks on pods that a scale-in is to take first: their deletion cost. What somebody else has set there stays.

use super::cache::{DeletionCost, PodRecord, WorkloadRecord};
use super::write::{PODS_MANAGER, WriteError, Writer};
use crate::api::annotations::POD_DELETION_COST;
use crate::telemetry::WriteKind;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::json;
use std::sync::Arc;

/// The cost of a pod that a scale-in is to take first. Pods without the annotation cost 0; lower dies first.
const VICTIM_COST: &str = "-1000";

/// A pod, and whether it is to be marked or unmarked.
pub type Mark = (String, bool);

/// The marks to write for a scale-in that is to take `victims`; those of an earlier one are taken off.
pub fn marks(pods: &[(String, Arc<PodRecord>)], victims: &[String]) -> Vec<Mark> {
    let mark = |(name, pod): &(String, Arc<PodRecord>)| {
        let wanted = victims.contains(name);
        let differs = match pod.deletion_cost {
            DeletionCost::Unset => wanted,
            DeletionCost::Ours => !wanted,
            DeletionCost::Theirs => false,
        };
        (differs && !pod.deleting).then(|| (name.clone(), wanted))
    };
    pods.iter().filter_map(mark).collect()
}

/// The marks to take off when no scale-in is planned. While the last one has not taken its pods, their marks are needed.
pub fn called_off(workload: &WorkloadRecord, pods: &[(String, Arc<PodRecord>)]) -> Vec<Mark> {
    let live = pods.iter().filter(|(_, pod)| !pod.deleting).count();
    match u32::try_from(live).is_ok_and(|live| live <= workload.replicas) {
        true => marks(pods, &[]),
        false => Vec::new(),
    }
}

/// Writes marks. One that is refused keeps none of the others from being written.
///
/// # Errors
/// When a write was refused or got no answer.
pub async fn write(writer: &Writer, namespace: &str, marks: &[Mark]) -> Result<(), WriteError> {
    let api = Api::<Pod>::namespaced(writer.client().clone(), namespace);
    let mut refusal = None;
    for (name, wanted) in marks {
        let cost = wanted.then_some(VICTIM_COST);
        let body = json!({ "metadata": { "annotations": { POD_DELETION_COST: cost } } });
        let written = writer
            .merge(WriteKind::DeletionCost, PODS_MANAGER, &api, name, body)
            .await;
        match written {
            Err(error) if error.is_race() => {} // the pod is gone, and its mark with it
            Err(error) if error.is_refusal() => refusal = refusal.or(Some(error)),
            other => drop(other?),
        }
    }
    refusal.map_or(Ok(()), Err)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::cache::Record;
    use k8s_openapi::api::apps::v1::Deployment;

    fn pod(name: &str, cost: DeletionCost, deleting: bool) -> (String, Arc<PodRecord>) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] }
        }))
        .unwrap();
        let record = PodRecord {
            deletion_cost: cost,
            deleting,
            ..PodRecord::of(pod).unwrap()
        };
        (name.to_owned(), Arc::new(record))
    }

    fn workload(replicas: u32) -> WorkloadRecord {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } }
            }
        }))
        .unwrap();
        WorkloadRecord::of(deployment).unwrap()
    }

    #[test]
    fn victims_are_marked_and_others_unmarked_but_what_a_user_set_stays() {
        let pods = [
            pod("victim", DeletionCost::Unset, false),
            pod("victim-by-user", DeletionCost::Theirs, false),
            pod("victim-again", DeletionCost::Ours, false),
            pod("spared", DeletionCost::Ours, false),
            pod("other", DeletionCost::Unset, false),
            pod("other-by-user", DeletionCost::Theirs, false),
            pod("going", DeletionCost::Ours, true),
        ];
        let victims = ["victim", "victim-by-user", "victim-again"].map(str::to_owned);
        let expected = [("victim".to_owned(), true), ("spared".to_owned(), false)];
        assert_eq!(marks(&pods, &victims), expected);
    }

    #[test]
    fn a_mark_goes_when_the_scale_in_was_called_off_and_not_before_it_has_taken_its_pods() {
        let pods = [
            pod("a", DeletionCost::Unset, false),
            pod("b", DeletionCost::Ours, false),
        ];
        assert_eq!(called_off(&workload(1), &pods), []);
        assert_eq!(called_off(&workload(2), &pods), [("b".to_owned(), false)]);
    }
}
