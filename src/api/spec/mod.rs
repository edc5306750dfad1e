mod agent;
mod device;
mod metrics;
mod policy;

pub use agent::{AgentSpec, ModelSpec, ReplicasSpec, WorkloadKind, WorkloadRef};
pub use device::{DeviceSpec, SharingSpec, SharingType, TimeSliceResource, TimeSlicingSpec};
pub use metrics::{
    CustomMetrics, Engine, MetricSource, MetricsOverride, MetricsSpec, OnStale, PrometheusRef,
    StaleAction,
};
pub use policy::{
    BehaviorSpec, DisruptionSpec, PolicySpec, PolicyType, ScaleDownRule, ScaleUpRule, SpareCapacity,
};

use super::rules;
use super::status::AgentPoolStatus;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the pool is to do: which agents share which GPUs, by which policy.
#[derive(CustomResource, JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "agentpool.dev",
    version = "v1alpha1",
    kind = "AgentPool",
    plural = "agentpools",
    shortname = "ap",
    namespaced,
    status = "AgentPoolStatus",
    derive = "PartialEq",
    doc = "Several LLM agents that share a GPU budget. The operator reads their load, computes every agent's GPU share, and enforces it through replica counts and GPU requests of their workloads. Status says why each agent got what it got.",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Policy","type":"string","jsonPath":".spec.policy.type"}"#,
    printcolumn = r#"{"name":"Sharing","type":"string","jsonPath":".spec.devices[0].sharing.type"}"#,
    printcolumn = r#"{"name":"GPUs","type":"string","jsonPath":".status.capacity.usable"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::pool()))]
pub struct AgentPoolSpec {
    /// Auto: decide and write. Observe: compute and explain, write nothing but status. Required.
    pub mode: Mode,

    /// GPUs of the pool; a list of exactly one item in v1alpha1. Required.
    #[schemars(length(min = 1, max = 1), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub devices: Vec<DeviceSpec>,

    /// How a decided GPU request reaches the pods. Default: the defaults of its fields.
    #[serde(default)]
    pub requests: RequestsSpec,

    /// How shares are decided. Default: the defaults of its fields.
    #[serde(default)]
    pub policy: PolicySpec,

    /// Where load comes from, for all agents that do not say otherwise. Default: the pods' own metrics, see its fields.
    #[serde(default)]
    pub metrics: MetricsSpec,

    /// The agents: 1 to 64, names unique. Required.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub agents: Vec<AgentSpec>,
}

/// What the operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Compute and explain; write nothing but status.
    Observe,
    /// Decide and write.
    Auto,
}

/// How a decided GPU request reaches the pods.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsSpec {
    /// Template: the workload's pod template is patched, its controller replaces the pods. Default Template.
    #[serde(default)]
    pub via: RequestsVia,

    /// Whether a GPU request in the template that another field manager owns (kubectl, Helm, GitOps) may be replaced.
    /// Refused: the agent keeps its request and a condition says so. Allowed: the old value is remembered on the workload, and
    /// the operator stops when somebody puts it back. Default Refused.
    #[serde(default)]
    pub take_over: TakeOver,
}

/// How a decided GPU request reaches the pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestsVia {
    /// Through the workload's pod template.
    #[default]
    Template,
}

/// Whether somebody else's GPU request may be replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TakeOver {
    /// Never.
    #[default]
    Refused,
    /// Yes; the old value is remembered.
    Allowed,
}
