use super::{Filed, PATIENCE, Record, add, gpu_resources};
use crate::api::annotations::POD_DELETION_COST;
use crate::controller::write::PODS_MANAGER;
use crate::units::GpuResource;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// The label by which the pods of a StatefulSet tell their revision.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// Why a container waits that will hardly start before somebody changes something
/// (<https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/images/types.go>). A crash loop is none: it may end.
const CANNOT_START: [&str; 4] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
];

/// A pod that asks for GPUs and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRecord {
    /// Its UID.
    pub uid: std::sync::Arc<str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Node it is bound to.
    pub node: Option<String>,
    /// Its address.
    pub ip: Option<String>,
    /// GPU resources it asks for, all containers together.
    pub requests: BTreeMap<GpuResource, u32>,
    /// Its Ready condition.
    pub ready: bool,
    /// Has a deletion timestamp.
    pub deleting: bool,
    /// Its deletion timestamp: when it is to be gone, its grace period included.
    pub gone_by: Option<Timestamp>,
    /// Its controller.
    pub controller: Controller,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it became ready.
    pub ready_since: Option<Timestamp>,
    /// Since when it is not ready; `None` while it is.
    pub unready_since: Option<Timestamp>,
    /// Since when the scheduler says that no node can take it.
    pub unschedulable_since: Option<Timestamp>,
    /// Why a container of it cannot start, as the kubelet names it.
    pub cannot_start: Option<String>,
    /// Who has annotated its deletion cost.
    pub deletion_cost: DeletionCost,
}

/// Which controller a pod has, as far as that says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controller {
    /// None: whoever selects it adopts it.
    None,
    /// A ReplicaSet; those of Deployments are not watched, so it is not known of which one.
    ReplicaSet,
    /// The StatefulSet with this UID.
    StatefulSet(Box<str>),
    /// Anything else: a Job, or a resource of somebody's own.
    Other,
}

impl Controller {
    fn of(meta: &ObjectMeta) -> Self {
        let mut owners = meta.owner_references.iter().flatten();
        let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
            return Self::None;
        };
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => Self::ReplicaSet,
            ("apps/v1", "StatefulSet") => Self::StatefulSet(owner.uid.as_str().into()),
            _ => Self::Other,
        }
    }
}

/// Who has annotated a pod's deletion cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionCost {
    /// Nobody.
    Unset,
    /// We: a scale-in is to take the pod.
    Ours,
    /// Somebody else: it stays as it is.
    Theirs,
}

impl DeletionCost {
    fn of(meta: &ObjectMeta) -> Self {
        let annotated = |key: &str| meta.annotations.iter().any(|all| all.contains_key(key));
        let owns = |entry: &ManagedFieldsEntry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let ours = fields.and_then(|fields| fields.get("f:metadata")?.get("f:annotations"));
            entry.manager.as_deref() == Some(PODS_MANAGER)
                && ours.is_some_and(|all| all.get(format!("f:{POD_DELETION_COST}")).is_some())
        };
        match annotated(POD_DELETION_COST) {
            false => Self::Unset,
            true if meta.managed_fields.iter().flatten().any(owns) => Self::Ours,
            true => Self::Theirs,
        }
    }
}

fn of_container(container: &Container) -> BTreeMap<GpuResource, u32> {
    let resources = container.resources.as_ref();
    // Extended resources: requests equal limits, and either may stand alone in a limit.
    let mut gpus = gpu_resources(resources.and_then(|r| r.limits.as_ref()));
    gpus.extend(gpu_resources(resources.and_then(|r| r.requests.as_ref())));
    gpus
}

impl PodRecord {
    /// Whether it was to be gone long ago. A process that hangs in a driver, an unmount or a finalizer may keep it for ever, also where the
    /// node answers.
    pub fn hangs(&self, now: Timestamp) -> bool {
        let patience = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
        let long = |since: Timestamp| now.duration_since(since).as_secs() >= patience;
        self.deleting && self.gone_by.is_some_and(long)
    }
}

impl Filed for PodRecord {
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }
}

impl Record<Pod> for PodRecord {
    fn of(pod: Pod) -> Option<Self> {
        let spec = pod.spec?;
        let status = pod.status.unwrap_or_default();
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let mut requests = BTreeMap::new();
        for container in &spec.containers {
            add(&mut requests, &of_container(container));
        }
        // Init containers run before the others: the pod holds the larger of the two (KEP-753: sidecars add to both, rare with GPUs).
        for init in spec.init_containers.iter().flatten() {
            for (resource, count) in of_container(init) {
                let held = requests.entry(resource).or_insert(0);
                *held = (*held).max(count);
            }
        }
        if requests.is_empty() {
            return None;
        }
        let condition = |kind: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|c| c.type_ == kind)
        };
        let changed = condition("Ready");
        let ready = changed.filter(|c| c.status == "True");
        let since = changed.and_then(|c| c.last_transition_time.as_ref());
        let unschedulable = condition("PodScheduled")
            .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
        let created = pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let deletion_cost = DeletionCost::of(&pod.metadata);
        let controller = Controller::of(&pod.metadata);
        let containers = status.container_statuses.iter().flatten();
        let mut waiting =
            containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_ref());
        Some(Self {
            uid: pod.metadata.uid.unwrap_or_default().into(),
            labels: pod.metadata.labels.unwrap_or_default(),
            node: spec.node_name.filter(|n| !n.is_empty()),
            ip: status.pod_ip.filter(|ip| !ip.is_empty()),
            requests,
            ready: ready.is_some(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            gone_by: pod.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            controller,
            created,
            ready_since: ready.and(since).map(|t| t.0),
            unready_since: match ready {
                Some(_) => None,
                None => since.map(|t| t.0).or(created),
            },
            unschedulable_since: unschedulable
                .and_then(|c| c.last_transition_time.as_ref())
                .map(|t| t.0),
            cannot_start: waiting
                .find(|reason| CANNOT_START.contains(&reason.as_str()))
                .cloned(),
            deletion_cost,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cost(annotations: Value, managers: &[(&str, &str)]) -> DeletionCost {
        let entry = |(manager, key): &(&str, &str)| {
            let fields = json!({ "f:metadata": { "f:annotations": { format!("f:{key}"): {} } } });
            json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields })
        };
        let entries: Vec<Value> = managers.iter().map(entry).collect();
        let meta = json!({ "annotations": annotations, "managedFields": entries });
        DeletionCost::of(&serde_json::from_value(meta).unwrap())
    }

    #[test]
    fn a_deletion_cost_is_ours_by_its_field_manager_and_not_by_its_value() {
        let ours = json!({ POD_DELETION_COST: "-1000" });
        let (we, they) = (
            (PODS_MANAGER, POD_DELETION_COST),
            ("kubectl", POD_DELETION_COST),
        );
        assert_eq!(cost(ours.clone(), &[we]), DeletionCost::Ours);
        assert_eq!(cost(ours.clone(), &[they]), DeletionCost::Theirs);
        assert_eq!(cost(ours.clone(), &[]), DeletionCost::Theirs);
        let other = (PODS_MANAGER, "agentpool.dev/other");
        assert_eq!(cost(ours, &[other, they]), DeletionCost::Theirs);
        assert_eq!(cost(json!({ "team": "x" }), &[we]), DeletionCost::Unset);
        assert_eq!(cost(Value::Null, &[]), DeletionCost::Unset);
    }
}
