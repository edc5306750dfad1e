use super::metrics::MetricsOverride;
use crate::api::{Amount, schema};
use crate::units::Priority;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One model served by one workload.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Name of the agent, unique in the pool. A DNS label.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The workload that serves the model, in the pool's own namespace.
    pub workload_ref: WorkloadRef,

    /// Container that asks for the GPU. A DNS label. Required when the pod template has more than one container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::container")]
    pub container: Option<String>,

    /// High, Medium or Low. Under overload a High agent weighs 3 times a Low one. Default Medium.
    #[serde(default)]
    pub priority: Priority,

    /// Share in GPUs that the agent is entitled to while it has demand, as 1, "0.1" or "100m" (whole milli-GPUs, at most 65536). Default 0.
    #[serde(default = "AgentSpec::no_share")]
    #[schemars(schema_with = "schema::min_share", default = "AgentSpec::no_share")]
    pub min_share: Amount,

    /// Fewest and most replicas.
    pub replicas: ReplicasSpec,

    /// What the model needs and how fast it is.
    pub model: ModelSpec,

    /// Where this agent's load comes from, where it differs from the pool's metrics.
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
    /// API version: apps/v1.
    #[schemars(schema_with = "schema::apps_v1")]
    pub api_version: String,
    /// Deployment or StatefulSet.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
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
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.min <= self.max").message("replicas.min must not exceed replicas.max"))]
pub struct ReplicasSpec {
    /// Fewest replicas; 1 to 1000. Default 1.
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
    /// Requests per second that one whole GPU serves, as 100 or "2.5"; above 0, at most 1000000. Required.
    #[schemars(schema_with = "schema::requests_per_second")]
    pub requests_per_second_per_gpu: Amount,

    /// GPU memory of one replica, weights, cache and context together, as "500Mi" or "16Gi"; above 0, at most 16Ti. Required with
    /// TimeSlicing and MIG. Default: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub memory_per_replica: Option<String>,

    /// GPUs of one replica (tensor parallel, all on one node); 1 to 16; above 1 with WholeGPU only. Default 1.
    #[serde(default = "ModelSpec::one")]
    #[schemars(range(min = 1, max = 16), default = "ModelSpec::one")]
    pub gpus_per_replica: u32,

    /// b in speed = T x share^b on a MIG instance; "0.1" to "1"; 0.3 was measured for long answers, 0.7 for long prompts. MIG only. Default "1".
    #[serde(default = "ModelSpec::linear")]
    #[schemars(schema_with = "schema::exponent")]
    pub speed_exponent: String,
}

impl ModelSpec {
    fn one() -> u32 {
        1
    }

    fn linear() -> String {
        "1".into()
    }
}
