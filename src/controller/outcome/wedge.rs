//! A rollout that stands still until somebody helps.
//!
//! A StatefulSet with the pod management policy OrderedReady replaces no pod while another is not ready, even when that other can only
//! become ready by being replaced (kubernetes/kubernetes#67250). A Deployment that starts a pod before it stops another finds no GPU for it
//! where all are taken, and by its default strategy it does.

use crate::controller::cache::{PodRecord, REVISION_LABEL, UpdateStrategy, WorkloadRecord};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// A pod that is not ready for longer keeps the others waiting: what a Deployment takes as no progress
/// (`progressDeadlineSeconds`, <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>).
const MINUTES: i64 = 10;

/// A pod of a rollout for which there is no node for longer will hardly find one: a node that an autoscaler buys is there by then.
const HOMELESS_MINUTES: i64 = 5;

type Pods<'a> = &'a [(String, Arc<PodRecord>)];

/// Which pod keeps the rollout of `what` from going on, and what to do.
pub(super) fn wedge(
    what: &str,
    workload: &WorkloadRecord,
    pods: Pods<'_>,
    now: Timestamp,
) -> Option<String> {
    if !workload.rolling {
        return None;
    }
    match workload.strategy {
        UpdateStrategy::Rolling => homeless(what, workload, pods, now),
        UpdateStrategy::Ordered => unready(what, workload, pods, now),
        UpdateStrategy::Recreate | UpdateStrategy::OnDelete => None,
    }
}

/// A Deployment's pod for which there is no node.
fn homeless(
    what: &str,
    workload: &WorkloadRecord,
    pods: Pods<'_>,
    now: Timestamp,
) -> Option<String> {
    let waits = |pod: &PodRecord| {
        let since = pod.unschedulable_since.filter(|_| !pod.deleting);
        since.is_some_and(|since| now.duration_since(since).as_mins() >= HOMELESS_MINUTES)
    };
    let (name, _) = pods.iter().find(|(_, pod)| waits(pod))?;
    let before = format!(
        "{what}: no node takes pod {name} of its rollout for over {HOMELESS_MINUTES} minutes, and its replicas wait for the rollout"
    );
    Some(if workload.surges {
        format!(
            "{before}; the rollout starts a pod before it stops another: set spec.strategy.rollingUpdate to maxSurge: 0, maxUnavailable: 1"
        )
    } else {
        format!("{before}: free what it asks for; kubectl describe pod {name} says what that is")
    })
}

/// A StatefulSet's pod that is not ready.
fn unready(
    what: &str,
    workload: &WorkloadRecord,
    pods: Pods<'_>,
    now: Timestamp,
) -> Option<String> {
    let newest = workload.update_revision.as_ref()?;
    let waiting = pods.iter().filter(|(_, pod)| !pod.ready && !pod.deleting);
    let (name, pod, why) = waiting
        .filter_map(|(name, pod)| Some((name, pod, why(pod, now)?)))
        .next()?;
    let before = format!("{what}: pod {name}");
    let after = "no other pod is replaced before this one is ready";
    Some(if pod.labels.get(REVISION_LABEL) == Some(newest) {
        format!(
            "{before}, of the new revision, {why}, and {after}: correct the pod template, then delete pod {name}"
        )
    } else {
        format!("{before}, of an older revision, {why}, and {after}: delete pod {name}")
    })
}

/// Why a pod will hardly become ready by itself.
fn why(pod: &PodRecord, now: Timestamp) -> Option<String> {
    if let Some(reason) = &pod.cannot_start {
        return Some(format!("cannot start ({reason})"));
    }
    let since = pod.unready_since?;
    let minutes = now.duration_since(since).as_mins();
    (minutes >= MINUTES).then(|| format!("is not ready for over {MINUTES} minutes"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::cache::Record;
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    const NOW: &str = "2026-01-01T12:00:00Z";

    fn set(policy: &str, updated: u32) -> WorkloadRecord {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "chat", "generation": 3 },
            "spec": {
                "replicas": 3, "serviceName": "chat", "podManagementPolicy": policy,
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } }
            },
            "status": {
                "observedGeneration": 3, "replicas": 3, "updatedReplicas": updated,
                "currentRevision": "good", "updateRevision": "new"
            }
        }))
        .unwrap();
        WorkloadRecord::of(set).unwrap()
    }

    fn pod(revision: &str, ready: bool, since: &str, waiting: &str) -> (String, Arc<PodRecord>) {
        let state = match waiting {
            "" => json!({ "running": {} }),
            reason => json!({ "waiting": { "reason": reason } }),
        };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "chat-2", "labels": { "app": "chat", "controller-revision-hash": revision },
                "creationTimestamp": "2026-01-01T00:00:00Z"
            },
            "spec": { "nodeName": "n", "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": since }],
                "containerStatuses": [{ "name": "server", "image": "x", "imageID": "", "ready": ready, "restartCount": 0, "state": state }]
            }
        }))
        .unwrap();
        ("chat-2".to_owned(), Arc::new(PodRecord::of(pod).unwrap()))
    }

    fn said(workload: &WorkloadRecord, pod: (String, Arc<PodRecord>)) -> Option<String> {
        wedge("StatefulSet chat", workload, &[pod], NOW.parse().unwrap())
    }

    #[test]
    fn a_pod_of_a_broken_revision_that_no_correction_replaces_is_named_with_what_to_do() {
        let broken = pod("broken", false, "2026-01-01T11:59:00Z", "ImagePullBackOff");
        let said = said(&set("OrderedReady", 0), broken).unwrap();
        for word in ["StatefulSet chat", "older revision", "ImagePullBackOff"] {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
        assert!(said.ends_with("delete pod chat-2"), "{said}");
    }

    #[test]
    fn a_broken_new_revision_is_said_to_need_a_correction_first() {
        let broken = pod("new", false, "2026-01-01T11:59:00Z", "InvalidImageName");
        let said = said(&set("OrderedReady", 1), broken).unwrap();
        assert!(
            said.contains("correct the pod template, then delete pod chat-2"),
            "{said}"
        );
    }

    #[test]
    fn a_pod_that_loads_its_model_is_no_wedge_before_ten_minutes() {
        let workload = set("OrderedReady", 1);
        let loading = |since| said(&workload, pod("new", false, since, ""));
        assert_eq!(loading("2026-01-01T11:50:30Z"), None);
        let late = loading("2026-01-01T11:49:30Z").unwrap();
        assert!(late.contains("over 10 minutes"), "{late}");
    }

    /// What is said of a Deployment that has this strategy and so many updated pods, one of which has found no node since.
    fn homeless(strategy: serde_json::Value, updated: u32, since: &str) -> Option<String> {
        let containers =
            json!([{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }]);
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat", "generation": 3 },
            "spec": {
                "replicas": 4, "strategy": strategy, "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": containers } }
            },
            "status": { "observedGeneration": 3, "replicas": 5, "updatedReplicas": updated }
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "chat-new", "labels": { "app": "chat" } },
            "spec": { "containers": containers },
            "status": { "phase": "Pending", "conditions": [
                { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since }
            ] }
        }))
        .unwrap();
        let pods = [("chat-new".to_owned(), Arc::new(PodRecord::of(pod).unwrap()))];
        let workload = WorkloadRecord::of(deployment).unwrap();
        wedge("Deployment chat", &workload, &pods, NOW.parse().unwrap())
    }

    #[test]
    fn a_surge_pod_for_which_there_is_no_gpu_is_named_with_the_strategy_that_would_help() {
        let long = "2026-01-01T11:54:30Z";
        let by_default = [
            json!(null),
            json!({ "type": "RollingUpdate" }),
            json!({ "rollingUpdate": { "maxSurge": "25%" } }),
            json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } }),
        ];
        for strategy in by_default {
            let said = homeless(strategy, 1, long).unwrap();
            for word in [
                "Deployment chat",
                "pod chat-new",
                "maxSurge: 0, maxUnavailable: 1",
            ] {
                assert!(said.contains(word), "{word} is not in: {said}");
            }
        }
        for max_surge in [json!(0), json!("0%")] {
            let strategy =
                json!({ "rollingUpdate": { "maxSurge": max_surge, "maxUnavailable": 1 } });
            let said = homeless(strategy, 1, long).unwrap();
            assert!(said.contains("free what it asks for"), "{said}");
        }
        assert_eq!(
            homeless(json!(null), 1, "2026-01-01T11:55:30Z"),
            None,
            "it waits for minutes only"
        );
        assert_eq!(homeless(json!(null), 5, long), None, "nothing rolls");
    }

    #[test]
    fn where_pods_do_not_wait_for_each_other_or_nothing_rolls_there_is_no_wedge() {
        let broken = || pod("broken", false, "2026-01-01T00:00:00Z", "ImagePullBackOff");
        assert_eq!(said(&set("Parallel", 0), broken()), None);
        assert_eq!(said(&set("OrderedReady", 3), broken()), None);
        let ready = pod("good", true, "2026-01-01T00:00:00Z", "");
        assert_eq!(said(&set("OrderedReady", 0), ready), None);
    }
}
