use super::{
    Controller, Filed, NodeRecord, PodRecord, Record, TaintRecord, TolerationRecord, gpu_resources,
};
use crate::api::WorkloadKind;
use crate::controller::write::{GPU_MANAGER, REPLICAS_MANAGER};
use crate::units::GpuResource;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, ManagedFieldsEntry, ObjectMeta,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::core::Selector;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A type of workload that an agent can have.
pub trait Workload:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
    /// Which it is.
    const KIND: WorkloadKind;

    /// What is kept of it; `None` when it asks for no GPU and bears no mark of ours.
    fn record(self) -> Option<WorkloadRecord>;
}

impl Filed for WorkloadRecord {}

impl<K: Workload> Record<K> for WorkloadRecord {
    fn of(object: K) -> Option<Self> {
        object.record()
    }
}

/// A Deployment or StatefulSet whose template asks for GPUs.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadRecord {
    /// Deployment or StatefulSet.
    pub kind: WorkloadKind,
    /// Its UID.
    pub uid: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Its containers, in order.
    pub containers: Vec<ContainerRecord>,
    /// Init containers that ask for GPUs, by name.
    pub gpu_init_containers: Vec<String>,
    /// Labels of the nodes that its pods may come to.
    pub node_selector: BTreeMap<String, String>,
    /// Which taints its pods tolerate.
    pub tolerations: Vec<TolerationRecord>,
    /// Which pods are its.
    pub selector: LabelSelector,
    /// A paused Deployment.
    pub paused: bool,
    /// How pods are replaced.
    pub strategy: UpdateStrategy,
    /// Its rollout starts a pod before it stops another.
    pub surges: bool,
    /// A rollout is under way.
    pub rolling: bool,
    /// The revision that its pods are to have, where none is replaced before the others are ready (a StatefulSet's OrderedReady).
    pub update_revision: Option<String>,
    /// What its controller says it cannot do (quota, admission), as in `ReplicaFailure`.
    pub failure: Option<String>,
    /// How many of a StatefulSet's pods exist, when there are fewer than its spec wants although nothing that it may wait for is missing.
    pub short_at: Option<u32>,
    /// Our annotations on it (`agentpool.dev/...`).
    pub notes: BTreeMap<String, String>,
    /// Some of them are ours by their field manager, and not only by their name.
    pub marked: bool,
    /// It has any annotation at all: a JSON patch needs to know.
    pub has_annotations: bool,
    /// Kind and name of the controller above it, if any.
    pub controller: Option<String>,
    /// Who owns the fields that we would write.
    pub owners: Vec<FieldOwner>,
}

/// A container of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Its name.
    pub name: String,
    /// GPU limits.
    pub limits: BTreeMap<GpuResource, u32>,
    /// GPU requests.
    pub requests: BTreeMap<GpuResource, u32>,
    /// GPU resources that are not in the closed set: `nvidia.com/...` names that the operator does not know.
    pub unknown: Vec<String>,
}

impl ContainerRecord {
    /// What the container asks for.
    pub fn gpus(&self) -> BTreeMap<GpuResource, u32> {
        let mut gpus = self.limits.clone();
        gpus.extend(self.requests.clone());
        gpus
    }
}

/// One entry of `managedFields`, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOwner {
    /// The field manager.
    pub manager: String,
    /// It owns `spec.replicas`.
    pub replicas: bool,
    /// GPU resources it owns, by container name.
    pub gpus: Vec<(String, String)>,
}

/// How a workload replaces its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// Deployment `Recreate`.
    Recreate,
    /// Deployment `RollingUpdate`.
    Rolling,
    /// StatefulSet `RollingUpdate`.
    Ordered,
    /// StatefulSet `OnDelete`, or a partition that keeps old pods: a template change reaches no pod by itself.
    OnDelete,
}

fn container(c: &Container) -> ContainerRecord {
    let resources = c.resources.as_ref();
    let lists = || {
        resources
            .into_iter()
            .flat_map(|r| [r.limits.as_ref(), r.requests.as_ref()])
            .flatten()
            .flatten()
    };
    let mut unknown: Vec<String> = lists()
        .filter(|(name, _)| name.starts_with("nvidia.com/") && GpuResource::parse(name).is_err())
        .map(|(name, _)| name.clone())
        .collect();
    unknown.dedup();
    ContainerRecord {
        name: c.name.clone(),
        limits: gpu_resources(resources.and_then(|r| r.limits.as_ref())),
        requests: gpu_resources(resources.and_then(|r| r.requests.as_ref())),
        unknown,
    }
}

fn owners(entries: Option<&Vec<ManagedFieldsEntry>>) -> Vec<FieldOwner> {
    entries
        .into_iter()
        .flatten()
        .filter(|e| e.subresource.as_deref().is_none_or(|s| s == "scale"))
        .filter_map(|entry| {
            let fields = &entry.fields_v1.as_ref()?.0;
            let spec = fields.get("f:spec")?;
            let containers = spec
                .pointer("/f:template/f:spec/f:containers")
                .and_then(|c| c.as_object());
            let mut gpus = Vec::new();
            for (key, owned) in containers.into_iter().flatten() {
                let name = key
                    .strip_prefix("k:{\"name\":\"")
                    .and_then(|k| k.strip_suffix("\"}"))
                    .unwrap_or_default();
                for list in ["f:limits", "f:requests"] {
                    let resources = owned
                        .get("f:resources")
                        .and_then(|r| r.get(list))
                        .and_then(|l| l.as_object());
                    for field in resources.into_iter().flatten().map(|(field, _)| field) {
                        let resource = field.strip_prefix("f:").unwrap_or(field);
                        if resource.starts_with("nvidia.com/")
                            && !gpus.iter().any(|(c, r)| c == name && r == resource)
                        {
                            gpus.push((name.to_owned(), resource.to_owned()));
                        }
                    }
                }
            }
            let owner = FieldOwner {
                manager: entry.manager.clone().unwrap_or_default(),
                replicas: spec.get("f:replicas").is_some(),
                gpus,
            };
            (owner.replicas || !owner.gpus.is_empty()).then_some(owner)
        })
        .collect()
}

/// The annotations that the operator has written, by their keys: by its field manager, since everybody may write their names.
pub fn own_notes(entries: Option<&Vec<ManagedFieldsEntry>>) -> impl Iterator<Item = &str> {
    let ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(GPU_MANAGER);
    let entries = entries.into_iter().flatten().filter(ours);
    entries.flat_map(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let notes = fields.and_then(|fields| fields.get("f:metadata")?.get("f:annotations"));
        let keys = notes.and_then(|notes| notes.as_object());
        let keys = keys.into_iter().flatten();
        keys.filter_map(|(key, _)| key.strip_prefix("f:"))
            .filter(|key| key.starts_with("agentpool.dev/"))
    })
}

fn is_marked(entries: Option<&Vec<ManagedFieldsEntry>>) -> bool {
    own_notes(entries).next().is_some()
}

struct Parts<'a> {
    kind: WorkloadKind,
    meta: &'a ObjectMeta,
    template: &'a PodTemplateSpec,
    replicas: Option<i32>,
    selector: LabelSelector,
}

impl Parts<'_> {
    fn record(self) -> Option<WorkloadRecord> {
        let spec = self.template.spec.as_ref()?;
        let containers: Vec<_> = spec.containers.iter().map(container).collect();
        let inits: Vec<_> = spec
            .init_containers
            .iter()
            .flatten()
            .map(container)
            .collect();
        let asks = |c: &ContainerRecord| !c.gpus().is_empty() || !c.unknown.is_empty();
        let annotations = self.meta.annotations.as_ref();
        let notes: BTreeMap<String, String> = annotations
            .into_iter()
            .flatten()
            .filter(|(k, _)| k.starts_with("agentpool.dev/"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !containers.iter().chain(&inits).any(asks) && notes.is_empty() {
            return None;
        }
        let controller = self
            .meta
            .owner_references
            .iter()
            .flatten()
            .find(|o| o.controller == Some(true));
        Some(WorkloadRecord {
            kind: self.kind,
            uid: self.meta.uid.clone().unwrap_or_default(),
            replicas: self
                .replicas
                .and_then(|r| u32::try_from(r).ok())
                .unwrap_or(1),
            containers,
            gpu_init_containers: inits
                .into_iter()
                .filter(|c| asks(c))
                .map(|c| c.name)
                .collect(),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            tolerations: spec
                .tolerations
                .iter()
                .flatten()
                .filter_map(TolerationRecord::of)
                .collect(),
            selector: self.selector,
            paused: false,
            strategy: UpdateStrategy::Rolling,
            surges: false,
            rolling: false,
            update_revision: None,
            failure: None,
            short_at: None,
            notes,
            marked: is_marked(self.meta.managed_fields.as_ref()),
            has_annotations: annotations.is_some_and(|a| !a.is_empty()),
            controller: controller.map(|o| format!("{} {}", o.kind, o.name)),
            owners: owners(self.meta.managed_fields.as_ref()),
        })
    }
}

impl WorkloadRecord {
    /// The workload after we have set its replicas: the field is ours then, and nobody else's.
    pub fn scaled(&self, replicas: u32) -> Self {
        let mut record = Self {
            replicas,
            ..self.clone()
        };
        for owner in &mut record.owners {
            owner.replicas = false;
        }
        let ours = record
            .owners
            .iter_mut()
            .find(|o| o.manager == REPLICAS_MANAGER);
        match ours {
            Some(owner) => owner.replicas = true,
            None => record.owners.push(FieldOwner {
                manager: REPLICAS_MANAGER.to_owned(),
                replicas: true,
                gpus: Vec::new(),
            }),
        }
        record
            .owners
            .retain(|owner| owner.replicas || !owner.gpus.is_empty());
        record
    }

    /// Which pods are its. `None` for an empty selector, which would match every pod; the API server refuses it, and so do we.
    pub fn pod_selector(&self) -> Option<Selector> {
        let selector = Selector::try_from(self.selector.clone()).ok();
        selector.filter(|selector| !selector.selects_all())
    }

    /// Whether a pod that it selects can be its: its own controllers' work, or nobody's.
    pub fn controls(&self, pod: &PodRecord) -> bool {
        match (&pod.controller, self.kind) {
            (Controller::None, _) | (Controller::ReplicaSet, WorkloadKind::Deployment) => true,
            (Controller::StatefulSet(uid), WorkloadKind::StatefulSet) => **uid == *self.uid,
            _ => false,
        }
    }

    /// Whether a new pod of it may come to the node.
    pub fn may_come(&self, node: &NodeRecord) -> bool {
        let repelled = self.repelled(&node.taints).is_some();
        node.schedulable && node.bears(&self.node_selector) && !repelled
    }

    /// The first taint that its pods do not tolerate.
    ///
    /// A taint whose key is the GPU resource that they ask for is taken as tolerated: where GPU nodes bear it, the admission plugin
    /// ExtendedResourceToleration gives pods the toleration, and the template does not show it.
    pub fn repelled<'a>(&self, taints: &'a [TaintRecord]) -> Option<&'a TaintRecord> {
        let asks = |key: &str| {
            let mut gpus = self.containers.iter().flat_map(ContainerRecord::gpus);
            gpus.any(|(resource, _)| resource.as_str() == key)
        };
        taints
            .iter()
            .find(|taint| !asks(&taint.key) && !self.tolerations.iter().any(|t| t.tolerates(taint)))
    }
}

impl Workload for Deployment {
    const KIND: WorkloadKind = WorkloadKind::Deployment;

    fn record(self) -> Option<WorkloadRecord> {
        let spec = self.spec.as_ref()?;
        let parts = Parts {
            kind: Self::KIND,
            meta: &self.metadata,
            template: &spec.template,
            replicas: spec.replicas,
            selector: spec.selector.clone(),
        };
        let mut record = parts.record()?;
        let status = self.status.clone().unwrap_or_default();
        record.paused = spec.paused.unwrap_or(false);
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
            record.strategy = UpdateStrategy::Recreate;
        } else {
            let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
            record.surges = match rolling.and_then(|r| r.max_surge.as_ref()) {
                Some(IntOrString::Int(pods)) => *pods > 0,
                Some(IntOrString::String(part)) => part != "0%",
                None => true,
            };
        }
        // More pods than updated ones means that pods of an older template are still there; scaling alone does not do that.
        let unseen =
            status.observed_generation.unwrap_or(0) < self.metadata.generation.unwrap_or(0);
        record.rolling =
            unseen || status.replicas.unwrap_or(0) > status.updated_replicas.unwrap_or(0);
        let failure = status
            .conditions
            .into_iter()
            .flatten()
            .find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
        record.failure = failure.and_then(|c| c.message);
        Some(record)
    }
}

impl Workload for StatefulSet {
    const KIND: WorkloadKind = WorkloadKind::StatefulSet;

    fn record(self) -> Option<WorkloadRecord> {
        let spec = self.spec.as_ref()?;
        let parts = Parts {
            kind: Self::KIND,
            meta: &self.metadata,
            template: &spec.template,
            replicas: spec.replicas,
            selector: spec.selector.clone(),
        };
        let mut record = parts.record()?;
        let status = self.status.clone().unwrap_or_default();
        let update = spec.update_strategy.as_ref();
        let partition = update
            .and_then(|u| u.rolling_update.as_ref())
            .and_then(|r| r.partition)
            .unwrap_or(0);
        let on_delete =
            update.and_then(|u| u.type_.as_deref()) == Some("OnDelete") || partition > 0;
        record.strategy = if on_delete {
            UpdateStrategy::OnDelete
        } else {
            UpdateStrategy::Ordered
        };
        let unseen =
            status.observed_generation.unwrap_or(0) < self.metadata.generation.unwrap_or(0);
        let between = status.current_revision != status.update_revision
            && status.updated_replicas.unwrap_or(0) < status.replicas;
        record.rolling = unseen || between;
        let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
        // With OrderedReady the next pod is created when those before it are ready.
        let may_create = parallel || status.ready_replicas.unwrap_or(0) == status.replicas;
        let there = u32::try_from(status.replicas).unwrap_or(0);
        record.short_at = (!unseen && may_create && there < record.replicas).then_some(there);
        record.update_revision = status.update_revision.filter(|_| !parallel);
        Some(record)
    }
}

#[cfg(test)]
mod tests;
