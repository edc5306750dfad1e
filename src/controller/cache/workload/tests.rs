//! What is read of a workload: who owns its fields, and whether it rolls.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

fn entry(manager: &str, subresource: &str, fields: &Value) -> Value {
    let mut entry = json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields });
    if !subresource.is_empty() {
        entry["subresource"] = json!(subresource);
    }
    entry
}

/// Resources of containers, as `managedFields` have them.
fn containers(of: &[(&str, Value)]) -> Value {
    let all: BTreeMap<String, Value> = of
        .iter()
        .map(|(name, resources)| {
            let key = format!("k:{{\"name\":\"{name}\"}}");
            (
                key,
                json!({ ".": {}, "f:name": {}, "f:resources": resources }),
            )
        })
        .collect();
    json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": all } } } })
}

fn read(entries: &[Value]) -> Vec<FieldOwner> {
    let entries = serde_json::from_value(json!(entries)).unwrap();
    owners(Some(&entries))
}

#[test]
fn owners_of_replicas_are_found_also_where_they_came_through_scale() {
    let replicas = json!({ "f:spec": { "f:replicas": {} } });
    let read = read(&[
        entry("kubectl", "", &replicas),
        entry("agentpool/replicas", "scale", &replicas),
        entry("kube-controller-manager", "status", &replicas),
        entry("helm", "", &json!({ "f:metadata": { "f:labels": {} } })),
        entry("argo", "", &json!({ "f:spec": { "f:paused": {} } })),
    ]);
    let found: Vec<(&str, bool)> = read
        .iter()
        .map(|owner| (owner.manager.as_str(), owner.replicas))
        .collect();
    assert_eq!(found, [("kubectl", true), ("agentpool/replicas", true)]);
}

#[test]
fn owners_of_gpus_are_found_by_container_once_for_limits_and_requests() {
    let both = json!({
        "f:limits": { "f:nvidia.com/gpu": {}, "f:memory": {} },
        "f:requests": { "f:nvidia.com/gpu": {}, "f:cpu": {} }
    });
    let mig = json!({ "f:limits": { "f:nvidia.com/mig-1g.10gb": {} } });
    let cpu = json!({ "f:requests": { "f:cpu": {} } });
    let fields = containers(&[("server", both), ("draft", mig), ("proxy", cpu)]);
    let read = read(&[entry("gitops", "", &fields)]);
    let gpus = |container: &str, resource: &str| (container.to_owned(), resource.to_owned());
    let expected = FieldOwner {
        manager: "gitops".to_owned(),
        replicas: false,
        gpus: vec![
            gpus("draft", "nvidia.com/mig-1g.10gb"),
            gpus("server", "nvidia.com/gpu"),
        ],
    };
    assert_eq!(read, [expected]);
}

#[test]
fn without_managed_fields_nobody_owns_anything() {
    assert_eq!(owners(None), []);
    let empty = json!({ "manager": "kubectl", "operation": "Apply" });
    assert_eq!(read(&[empty]), []);
}

fn object(generation: i64, status: &Value) -> Value {
    json!({
        "metadata": { "name": "chat", "generation": generation },
        "spec": {
            "replicas": 2, "serviceName": "chat", "selector": { "matchLabels": { "app": "chat" } },
            "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } }
        },
        "status": status
    })
}

#[test]
fn a_deployment_rolls_while_its_change_is_unseen_or_pods_of_an_older_template_are_there() {
    let rolls = |status: Value| {
        let deployment: Deployment = serde_json::from_value(object(3, &status)).unwrap();
        deployment.record().unwrap().rolling
    };
    assert!(!rolls(
        json!({ "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2 })
    ));
    assert!(rolls(
        json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2 })
    ));
    assert!(rolls(
        json!({ "observedGeneration": 3, "replicas": 3, "updatedReplicas": 1 })
    ));
    assert!(rolls(Value::Null), "its controller has never seen it");
    // Pods that are only being added are of the newest template.
    assert!(!rolls(
        json!({ "observedGeneration": 3, "replicas": 1, "updatedReplicas": 1 })
    ));
    assert!(
        !rolls(json!({ "observedGeneration": 3 })),
        "at zero replicas nothing rolls"
    );
}

#[test]
fn a_stateful_set_rolls_while_its_pods_are_between_two_revisions() {
    let rolls = |observed: i64, current: &str, updated: u32| {
        let status = json!({
            "observedGeneration": observed, "replicas": 2, "updatedReplicas": updated,
            "currentRevision": current, "updateRevision": "new"
        });
        let set: StatefulSet = serde_json::from_value(object(3, &status)).unwrap();
        set.record().unwrap().rolling
    };
    assert!(rolls(3, "old", 0));
    assert!(rolls(3, "old", 1));
    assert!(rolls(2, "new", 2), "unseen");
    assert!(!rolls(3, "new", 2));
    assert!(
        !rolls(3, "new", 0),
        "scaled, or a pod was lost: of one revision"
    );
}

#[test]
fn notes_are_ours_by_their_field_manager_and_not_by_their_name() {
    let marked = |entries: &[Value]| {
        let entries = serde_json::from_value(json!(entries)).unwrap();
        is_marked(Some(&entries))
    };
    let notes = |key: &str| json!({ "f:metadata": { "f:annotations": { key: {} } } });
    let restore = notes("f:agentpool.dev/restore");
    assert!(marked(&[entry("agentpool/gpu", "", &restore)]));
    assert!(!marked(&[entry("kubectl", "", &restore)]));
    assert!(!marked(&[entry("agentpool/gpu", "", &notes("f:team"))]));
    assert!(!marked(&[entry(
        "agentpool/gpu",
        "",
        &json!({ "f:spec": {} })
    )]));
}

#[test]
fn replicas_that_we_have_set_are_ours_and_nobody_elses() {
    let owner = |manager: &str, gpus: &[&str]| FieldOwner {
        manager: manager.to_owned(),
        replicas: true,
        gpus: gpus
            .iter()
            .map(|g| ("c".to_owned(), (*g).to_owned()))
            .collect(),
    };
    let before = crate::controller::fixtures::deployment("a", 1, json!([]));
    let before = WorkloadRecord {
        owners: vec![owner("kubectl", &["nvidia.com/gpu"]), owner("argo", &[])],
        ..before
    };
    let after = before.scaled(3).scaled(4);
    let owners = after
        .owners
        .iter()
        .map(|o| (o.manager.as_str(), o.replicas));
    let expected = [("kubectl", false), (REPLICAS_MANAGER, true)];
    assert_eq!(
        (after.replicas, owners.collect::<Vec<_>>()),
        (4, expected.to_vec())
    );
}
