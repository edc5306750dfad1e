use super::metrics::MetricsOverride;
use crate::api::{Amount, rules, schema};
use crate::units::Priority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One model served by one workload.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Name of the agent, unique in the pool; a DNS label of at most 63 characters. Required.
    #[schemars(schema_with = "schema::label")]
    pub name: String,

    /// The workload that serves the model, in the pool's own namespace. Required.
    pub workload_ref: WorkloadRef,

    /// Container that asks for the GPU; a DNS label of at most 63 characters. Default: the only container of the pod template;
    /// needed where it has more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label")]
    pub container: Option<String>,

    /// High, Medium or Low: who gets more under overload, where a High agent weighs 2 times a Medium and 3 times a Low one, and
    /// who keeps its minimum share when not all fit. Default Medium.
    #[serde(default)]
    pub priority: Priority,

    /// Share that the agent is entitled to while it has demand, in GPUs, as 1, "0.1" or "100m" (fractions are quoted); 0 to 65536
    /// in whole milli-GPUs; the sum over agents is at most devices[0].gpus. Default 0.
    #[serde(default = "AgentSpec::no_share")]
    #[schemars(schema_with = "schema::min_share", default = "AgentSpec::no_share")]
    pub min_share: Amount,

    /// Fewest and most replicas. Required.
    pub replicas: ReplicasSpec,

    /// What the model needs and how fast it is. Required.
    pub model: ModelSpec,

    /// Where this agent's load comes from, where it differs from the pool's metrics. Default: as in spec.metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsOverride>,
}

impl AgentSpec {
    fn no_share() -> Amount {
        Amount::Whole(0)
    }
}

/// A workload in the pool's own namespace. Anything with a controller of its own above it (an operator's Deployment) is refused.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// API version of the workload: apps/v1. Required.
    #[schemars(schema_with = "schema::apps_v1")]
    pub api_version: String,
    /// Deployment, or StatefulSet with update strategy RollingUpdate. Required.
    pub kind: WorkloadKind,
    /// Name of the workload, at most 253 characters; no two agents name the same. Required.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// Kinds of workload that are built.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet with update strategy RollingUpdate.
    StatefulSet,
}

/// Fewest and most replicas.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::replicas()))]
pub struct ReplicasSpec {
    /// Fewest replicas; 1 to 1000, at most max. Default 1.
    #[serde(default = "ReplicasSpec::one")]
    #[schemars(range(min = 1, max = 1000), default = "ReplicasSpec::one")]
    pub min: u32,
    /// Most replicas; 1 to 1000. Required.
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
}

impl ReplicasSpec {
    fn one() -> u32 {
        1
    }
}

/// What the model needs and how fast it is.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// Requests per second that one whole GPU serves under full batches, as 100 or "2.5" (fractions are quoted); above 0, at most
    /// 1000000. Required.
    #[schemars(schema_with = "schema::requests_per_second")]
    pub requests_per_second_per_gpu: Amount,

    /// GPU memory of one replica in bytes, weights, cache and context together, as "500Mi" or "16Gi"; above 0, at most 16Ti.
    /// Required with sharing type TimeSlicing or MIG. Default with WholeGPU: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub memory_per_replica: Option<Amount>,

    /// GPUs of one replica (tensor parallel, all on one node); 1 to 16; above 1 only with sharing type WholeGPU. Default 1.
    #[serde(default = "ModelSpec::one")]
    #[schemars(range(min = 1, max = 16), default = "ModelSpec::one")]
    pub gpus_per_replica: u32,

    /// b in speed = requestsPerSecondPerGpu x share^b on a MIG instance, without unit; "0.1" to 1 (fractions are quoted); 0.3 was
    /// measured for long answers, 0.7 for long prompts. Below 1 only with sharing type MIG. Default 1.
    #[serde(default = "ModelSpec::linear")]
    #[schemars(schema_with = "schema::exponent", default = "ModelSpec::linear")]
    pub speed_exponent: Amount,
}

impl ModelSpec {
    fn one() -> u32 {
        1
    }

    fn linear() -> Amount {
        Amount::Whole(1)
    }
}
