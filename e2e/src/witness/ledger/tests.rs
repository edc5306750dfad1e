#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn node(ledger: &mut Ledger, resource: &str, amount: u32) {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "gpu-0", "labels": {
            "nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.memory": "15360", "nvidia.com/gpu.replicas": "4"}},
        "status": {"allocatable": {resource: amount.to_string(), "cpu": "64"}},
    }))
    .unwrap();
    ledger.node("gpu-0".to_owned(), NodeFacts::of(&node), at(0));
}

fn pod(name: &str, resource: &str, more: serde_json::Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "agents", "uid": name, "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "coder-abc", "uid": "r", "controller": true}]},
        "spec": {"nodeName": "gpu-0", "containers": [{"name": "server", "resources": {"limits": {resource: "1"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    merge(&mut pod, more);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn see(ledger: &mut Ledger, pod: &Pod, second: i64) {
    ledger.pod(PodKey::of(pod), PodFacts::of(pod), at(second));
}

fn unschedulable() -> serde_json::Value {
    json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}})
}

#[test]
fn one_pod_more_than_the_node_has_is_a_violation_with_the_numbers() {
    let mut ledger = Ledger::default();
    node(&mut ledger, "nvidia.com/gpu", 1);
    see(&mut ledger, &pod("a", "nvidia.com/gpu", json!({})), 1);
    assert_eq!(ledger.violations, []);
    see(&mut ledger, &pod("b", "nvidia.com/gpu", json!({})), 2);
    assert_eq!(ledger.violations.len(), 1);
    assert!(
        ledger.violations[0]
            .what
            .contains("has 1 nvidia.com/gpu, its pods ask for 2"),
        "{:?}",
        ledger.violations
    );
}

#[test]
fn a_terminating_pod_holds_its_gpu_until_its_object_is_gone() {
    let mut ledger = Ledger::default();
    node(&mut ledger, "nvidia.com/gpu", 1);
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-11-20T11:00:00Z"}});
    let old = pod("a", "nvidia.com/gpu", leaving);
    see(&mut ledger, &old, 1);
    ledger.pod_gone(&PodKey::of(&old), at(2));
    see(&mut ledger, &pod("b", "nvidia.com/gpu", json!({})), 3);
    assert_eq!(ledger.violations, []);
    see(&mut ledger, &old, 4);
    assert_eq!(ledger.violations.len(), 1);
}

#[test]
fn a_finished_pod_and_a_node_that_loses_its_gpu_are_no_violation() {
    let mut ledger = Ledger::default();
    node(&mut ledger, "nvidia.com/gpu", 1);
    see(
        &mut ledger,
        &pod(
            "done",
            "nvidia.com/gpu",
            json!({"status": {"phase": "Succeeded"}}),
        ),
        1,
    );
    see(&mut ledger, &pod("a", "nvidia.com/gpu", json!({})), 2);
    node(&mut ledger, "nvidia.com/gpu", 0);
    see(
        &mut ledger,
        &pod(
            "a",
            "nvidia.com/gpu",
            json!({"metadata": {"annotations": {"note": "a later event"}}}),
        ),
        3,
    );
    assert_eq!(ledger.violations, []);
}

#[test]
fn copies_that_may_meet_on_one_gpu_must_fit_its_memory() {
    let mut ledger = Ledger::new(WitnessRules::default().memory_mib("coder", 8000));
    node(&mut ledger, "nvidia.com/gpu.shared", 8);
    see(
        &mut ledger,
        &pod("a", "nvidia.com/gpu.shared", json!({})),
        1,
    );
    assert_eq!(ledger.violations, []);
    see(
        &mut ledger,
        &pod("b", "nvidia.com/gpu.shared", json!({})),
        2,
    );
    assert!(
        ledger.violations[0].what.contains("15360 MiB")
            && ledger.violations[0].what.contains("16000 MiB"),
        "{:?}",
        ledger.violations
    );
}

#[test]
fn a_gpu_never_holds_more_copies_than_it_has_slices() {
    let mut ledger = Ledger::new(WitnessRules::default().memory_mib("coder", 3800));
    node(&mut ledger, "nvidia.com/gpu.shared", 8);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        see(
            &mut ledger,
            &pod(name, "nvidia.com/gpu.shared", json!({})),
            1,
        );
    }
    assert_eq!(ledger.violations, [], "four copies of 3800 MiB fit");
}

#[test]
fn an_unschedulable_pod_is_a_violation_at_once_unless_told_otherwise() {
    let mut strict = Ledger::default();
    see(&mut strict, &pod("a", "nvidia.com/gpu", unschedulable()), 1);
    see(&mut strict, &pod("a", "nvidia.com/gpu", unschedulable()), 2);
    assert_eq!(
        strict.violations.len(),
        1,
        "told once: {:?}",
        strict.violations
    );

    let mut patient =
        Ledger::new(WitnessRules::default().unschedulable_grace(Duration::from_secs(10)));
    see(
        &mut patient,
        &pod("a", "nvidia.com/gpu", unschedulable()),
        1,
    );
    patient.tick(at(10));
    assert_eq!(patient.violations, []);
    patient.tick(at(11));
    assert_eq!(patient.violations.len(), 1);

    let mut elsewhere = Ledger::new(WitnessRules::default().namespace("other"));
    see(
        &mut elsewhere,
        &pod("a", "nvidia.com/gpu", unschedulable()),
        1,
    );
    assert_eq!(elsewhere.violations, []);
}

#[test]
fn a_pod_that_found_a_node_in_time_starts_its_grace_anew() {
    let mut ledger =
        Ledger::new(WitnessRules::default().unschedulable_grace(Duration::from_secs(10)));
    see(&mut ledger, &pod("a", "nvidia.com/gpu", unschedulable()), 1);
    see(&mut ledger, &pod("a", "nvidia.com/gpu", json!({})), 5);
    ledger.tick(at(20));
    assert_eq!(ledger.violations, []);
}

#[test]
fn pods_are_counted_by_their_deployment() {
    let mut ledger = Ledger::default();
    node(&mut ledger, "nvidia.com/gpu", 8);
    let (a, b) = (
        pod("a", "nvidia.com/gpu", json!({})),
        pod("b", "nvidia.com/gpu", json!({})),
    );
    see(&mut ledger, &a, 1);
    see(&mut ledger, &b, 2);
    see(
        &mut ledger,
        &pod(
            "b",
            "nvidia.com/gpu",
            json!({"metadata": {"deletionTimestamp": "2026-11-20T11:00:00Z"}}),
        ),
        3,
    );
    ledger.pod_gone(&PodKey::of(&b), at(4));
    let restarted = json!({"status": {"containerStatuses": [{"name": "server", "image": "", "imageID": "", "ready": true, "restartCount": 2}]}});
    see(&mut ledger, &pod("a", "nvidia.com/gpu", restarted), 5);
    let counts = ledger.counts("agents", "coder");
    assert_eq!(
        (counts.created, counts.gone, counts.restarts, counts.present),
        (2, 1, 2, 1)
    );
    assert_eq!(
        (counts.max_present, counts.max_terminating, counts.min_ready),
        (2, 1, Some(1))
    );
}

#[test]
fn a_pod_that_came_back_under_the_same_name_is_a_new_pod() {
    let mut ledger = Ledger::default();
    see(&mut ledger, &pod("a", "nvidia.com/gpu", json!({})), 1);
    see(
        &mut ledger,
        &pod(
            "a",
            "nvidia.com/gpu",
            json!({"metadata": {"uid": "another"}}),
        ),
        2,
    );
    assert_eq!(ledger.counts("agents", "coder").created, 2);
    assert_eq!(ledger.counts("agents", "coder").gone, 1);
}

#[test]
fn more_than_is_declared_is_a_violation_although_the_nodes_have_it_and_pods_on_their_way_out_count()
{
    let mut ledger = Ledger::new(WitnessRules::default().declared("nvidia.com/gpu", 1));
    node(&mut ledger, "nvidia.com/gpu", 8);
    let a = pod("a", "nvidia.com/gpu", json!({}));
    see(&mut ledger, &a, 1);
    assert_eq!(ledger.violations, []);
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    see(&mut ledger, &pod("a", "nvidia.com/gpu", going), 2);
    see(&mut ledger, &pod("b", "nvidia.com/gpu", json!({})), 3);
    assert_eq!(ledger.violations.len(), 1);
    assert!(
        ledger.violations[0]
            .what
            .contains("1 nvidia.com/gpu are declared")
    );
    ledger.pod_gone(&PodKey::of(&a), at(4));
    ledger.pod_gone(&PodKey::of(&pod("b", "nvidia.com/gpu", json!({}))), at(4));
    see(&mut ledger, &pod("c", "nvidia.com/gpu", json!({})), 5);
    assert_eq!(ledger.violations.len(), 1);
}
