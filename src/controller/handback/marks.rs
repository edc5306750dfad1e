//! The marks on pods that a scale-in was to take, when it never came.

use crate::api::annotations::POD_DELETION_COST;
use crate::controller::cache::WorkloadRecord;
use crate::controller::marks::{Mark, write};
use crate::controller::write::{PODS_MANAGER, WriteError, Writer};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, ObjectMeta};

/// Removes the deletion costs that we wrote from the pods of a workload. One that somebody else has set, or changed since, stays.
///
/// # Errors
/// When the pods cannot be listed, or a write was refused or got no answer.
pub(super) async fn take_off(
    writer: &Writer,
    namespace: &str,
    workload: &WorkloadRecord,
) -> Result<(), WriteError> {
    let Some(selector) = workload.pod_selector() else {
        return Ok(());
    };
    let api = Api::<Pod>::namespaced(writer.client().clone(), namespace);
    // From the API server: without a pool in the namespace its pods are no longer followed.
    let params = ListParams::default().labels_from(&selector);
    let pods = writer.read(api.list_metadata(&params)).await?;
    let ours = pods.items.into_iter().filter(|pod| is_ours(&pod.metadata));
    let marks: Vec<Mark> = ours
        .filter_map(|pod| Some((pod.metadata.name?, false)))
        .collect();
    write(writer, namespace, &marks).await
}

fn is_ours(meta: &ObjectMeta) -> bool {
    let marked = meta.annotations.iter().flatten();
    let managers = meta.managed_fields.iter().flatten();
    marked.into_iter().any(|(key, _)| key == POD_DELETION_COST)
        && managers
            .into_iter()
            .any(|entry| entry.manager.as_deref() == Some(PODS_MANAGER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_deletion_cost_that_we_manage_is_ours() {
        let meta = |key: &str, manager: &str| {
            let meta = json!({ "annotations": { key: "-1000" }, "managedFields": [{ "manager": manager }] });
            serde_json::from_value::<ObjectMeta>(meta).unwrap()
        };
        assert!(is_ours(&meta(POD_DELETION_COST, PODS_MANAGER)));
        assert!(!is_ours(&meta(POD_DELETION_COST, "kubectl")));
        assert!(!is_ours(&meta("team", PODS_MANAGER)));
    }
}
