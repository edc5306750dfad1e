//! The JSON patches of GPU requests. Their `test` operations make sure that the container and the values are those that were decided upon.

use super::cache::{ContainerRecord, WorkloadRecord};
use super::write::GPU_MANAGER;
use crate::api::annotations;
use crate::units::GpuResource;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Escapes a key for a JSON pointer (RFC 6901).
pub fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The one JSON patch that replaces a GPU request, limits and requests together. A request that somebody else had set is remembered in
/// an annotation.
pub fn retarget(
    pool: &str,
    workload: &WorkloadRecord,
    index: usize,
    remove: &BTreeMap<GpuResource, u32>,
    resource: &GpuResource,
    count: u32,
) -> Vec<Value> {
    let container = &workload.containers[index];
    let base = format!("/spec/template/spec/containers/{index}");
    let mut operations =
        vec![json!({"op": "test", "path": format!("{base}/name"), "value": container.name})];
    for (list, values) in [
        ("limits", &container.limits),
        ("requests", &container.requests),
    ] {
        operations.extend(removals(&base, list, values, remove.keys()));
        // Requests of extended resources follow limits: they are written only where the user wrote some.
        if list == "limits" || !values.is_empty() {
            let path = format!("{base}/resources/{list}/{}", pointer(resource.as_str()));
            operations.push(json!({"op": "add", "path": path, "value": count.to_string()}));
        }
    }
    let taken: BTreeMap<&str, u32> = remove
        .iter()
        .filter(|(r, _)| !is_ours(workload, container, r))
        .map(|(r, n)| (r.as_str(), *n))
        .collect();
    if !workload.has_annotations {
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let annotation = |key: &str| format!("/metadata/annotations/{}", pointer(key));
    operations.push(json!({"op": "add", "path": annotation(annotations::POOL), "value": pool}));
    if !taken.is_empty() && !workload.notes.contains_key(annotations::PREVIOUS) {
        operations.push(json!({"op": "add", "path": annotation(annotations::PREVIOUS), "value": json!(taken).to_string()}));
    }
    operations
}

/// The one JSON patch that takes our GPU keys out of a container to which another manager has given one of its own: with both no node
/// takes a pod. `None` where only one of the two has a key there.
pub fn give_way(workload: &WorkloadRecord, index: usize) -> Option<Vec<Value>> {
    let container = workload.containers.get(index)?;
    let (ours, others): (Vec<GpuResource>, Vec<GpuResource>) = container
        .gpus()
        .into_keys()
        .partition(|resource| is_ours(workload, container, resource));
    if ours.is_empty() || others.is_empty() {
        return None;
    }
    let base = format!("/spec/template/spec/containers/{index}");
    let mut operations =
        vec![json!({"op": "test", "path": format!("{base}/name"), "value": container.name})];
    for (list, values) in [
        ("limits", &container.limits),
        ("requests", &container.requests),
    ] {
        operations.extend(removals(&base, list, values, ours.iter()));
    }
    Some(operations)
}

/// Removes those of `keys` that a resource list has, each with its value as a test.
fn removals<'a>(
    base: &str,
    list: &str,
    values: &BTreeMap<GpuResource, u32>,
    keys: impl Iterator<Item = &'a GpuResource>,
) -> Vec<Value> {
    keys.filter_map(|key| values.get_key_value(key))
        .flat_map(|(key, value)| {
            let path = format!("{base}/resources/{list}/{}", pointer(key.as_str()));
            [
                json!({"op": "test", "path": path, "value": value.to_string()}),
                json!({"op": "remove", "path": path}),
            ]
        })
        .collect()
}

/// Whether a GPU key of a container is ours.
fn is_ours(workload: &WorkloadRecord, container: &ContainerRecord, resource: &GpuResource) -> bool {
    let owns = |(name, key): &(String, String)| *name == container.name && key == resource.as_str();
    workload
        .owners
        .iter()
        .any(|owner| owner.manager == GPU_MANAGER && owner.gpus.iter().any(owns))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::cache::Record;
    use k8s_openapi::api::apps::v1::Deployment;

    const SMALL: &str = "nvidia.com/mig-1g.10gb";
    const LARGE: &str = "nvidia.com/mig-3g.40gb";

    /// A Deployment whose second container has these resources; we own `ours` in it.
    fn workload(resources: &Value, ours: &[&str]) -> WorkloadRecord {
        let owned: BTreeMap<String, Value> = ours
            .iter()
            .map(|key| (format!("f:{key}"), json!({})))
            .collect();
        let fields = json!({ "k:{\"name\":\"server\"}": { "f:resources": { "f:limits": owned } } });
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat", "managedFields": [{
                "manager": GPU_MANAGER, "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": fields } } } }
            }] },
            "spec": {
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "proxy" }, { "name": "server", "resources": resources }] } }
            }
        }))
        .unwrap();
        WorkloadRecord::of(deployment).unwrap()
    }

    fn gpus(names: &[&str]) -> BTreeMap<GpuResource, u32> {
        let gpu = |name: &&str| (GpuResource::parse(name).unwrap(), 1);
        names.iter().map(gpu).collect()
    }

    /// From the small instance to the large one.
    fn patch(workload: &WorkloadRecord) -> Vec<Value> {
        let to = GpuResource::parse(LARGE).unwrap();
        retarget("a/pool", workload, 1, &gpus(&[SMALL]), &to, 1)
    }

    /// The operations in short: `test`, `remove` and `add` with the last two parts of the path.
    fn short(operations: &[Value]) -> Vec<String> {
        let word = |operation: &Value| {
            let path = operation["path"].as_str().unwrap();
            let parts: Vec<&str> = path.rsplit('/').take(2).collect();
            let value = operation["value"].as_str().unwrap_or_default();
            let op = operation["op"].as_str().unwrap();
            format!("{op} {}/{} {value}", parts[1], parts[0])
                .trim_end()
                .to_owned()
        };
        operations.iter().map(word).collect()
    }

    #[test]
    fn limits_alone_are_replaced_and_no_requests_are_added() {
        let alone = workload(&json!({ "limits": { SMALL: "1" } }), &[SMALL]);
        let operations = patch(&alone);
        assert_eq!(
            short(&operations),
            [
                "test 1/name server",
                "test limits/nvidia.com~1mig-1g.10gb 1",
                "remove limits/nvidia.com~1mig-1g.10gb",
                "add limits/nvidia.com~1mig-3g.40gb 1",
                "add metadata/annotations",
                "add annotations/agentpool.dev~1pool a/pool",
            ]
        );
        assert_eq!(
            operations[0]["path"],
            "/spec/template/spec/containers/1/name"
        );
    }

    #[test]
    fn limits_and_requests_are_replaced_together() {
        let both = workload(
            &json!({ "limits": { SMALL: "1" }, "requests": { SMALL: "1" } }),
            &[SMALL],
        );
        assert_eq!(
            short(&patch(&both))[1..7],
            [
                "test limits/nvidia.com~1mig-1g.10gb 1",
                "remove limits/nvidia.com~1mig-1g.10gb",
                "add limits/nvidia.com~1mig-3g.40gb 1",
                "test requests/nvidia.com~1mig-1g.10gb 1",
                "remove requests/nvidia.com~1mig-1g.10gb",
                "add requests/nvidia.com~1mig-3g.40gb 1",
            ]
        );
    }

    #[test]
    fn what_somebody_else_had_set_is_remembered_once() {
        let previous = |workload: &WorkloadRecord| {
            let key = pointer(annotations::PREVIOUS);
            let ends = |operation: &Value| operation["path"].as_str().unwrap().ends_with(&key);
            patch(workload)
                .into_iter()
                .find(ends)
                .map(|o| o["value"].clone())
        };
        let theirs = workload(&json!({ "limits": { SMALL: "1" } }), &[]);
        assert_eq!(
            previous(&theirs),
            Some(json!("{\"nvidia.com/mig-1g.10gb\":1}"))
        );
        let mut again = theirs;
        let note = (annotations::PREVIOUS.to_owned(), "{}".to_owned());
        again.notes.extend([note]);
        again.has_annotations = true;
        assert_eq!(previous(&again), None);
        let ours = workload(&json!({ "limits": { SMALL: "1" } }), &[SMALL]);
        assert_eq!(previous(&ours), None);
    }

    #[test]
    fn beside_another_managers_key_ours_goes_from_limits_and_requests_and_theirs_stays() {
        let list = json!({ SMALL: "1", LARGE: "1" });
        let both = workload(&json!({ "limits": list, "requests": list }), &[LARGE]);
        assert_eq!(
            short(&give_way(&both, 1).unwrap()),
            [
                "test 1/name server",
                "test limits/nvidia.com~1mig-3g.40gb 1",
                "remove limits/nvidia.com~1mig-3g.40gb",
                "test requests/nvidia.com~1mig-3g.40gb 1",
                "remove requests/nvidia.com~1mig-3g.40gb",
            ]
        );
    }

    #[test]
    fn a_key_that_stands_alone_stays_whoever_set_it() {
        let alone = json!({ "limits": { LARGE: "1" } });
        assert_eq!(give_way(&workload(&alone, &[LARGE]), 1), None);
        assert_eq!(give_way(&workload(&alone, &[]), 1), None);
        let both = json!({ "limits": { LARGE: "1", SMALL: "1" } });
        assert_eq!(give_way(&workload(&both, &[]), 1), None);
    }
}
