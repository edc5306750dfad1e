use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was decided last, and why. Ages and live rates are metrics, not status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentPoolStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What holds of the pool: Ready, Reconciling, Stalled, SignalsFresh, CapacityAvailable, MinimumUnmet, MemoryBound, Conflicted, Paused.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// GPUs of the pool, as quantities (1500m is one and a half).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,

    /// Time from a decision to a copy that serves, as learned from the pool's pods, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actuation_lag_seconds: Option<u32>,

    /// The agents at the last decision, by name.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub agents: Vec<AgentStatus>,
}

/// GPUs of the pool, as quantities (1500m is one and a half).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityStatus {
    /// GPUs that the spec declares; absent when it declares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub declared: Option<String>,
    /// GPUs that the selected nodes have; absent where nodes cannot be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub found: Option<String>,
    /// GPUs that pods of no agent of the pool hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub foreign: Option<String>,
    /// GPUs that the pool may spend.
    #[schemars(length(max = 16))]
    pub usable: String,
}

/// One agent at the last decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// Name of the agent.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Share that the policy asks for, in GPUs.
    #[schemars(length(max = 16))]
    pub target_share: String,
    /// Share that is in force, in GPUs; pending and loading copies count as granted.
    #[schemars(length(max = 16))]
    pub realized_share: String,
    /// Replicas in force: spec.replicas of the workload.
    pub replicas: u32,
    /// Replicas that are decided, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<u32>,
    /// GPU resource in force, as the container asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub gpu_resource: Option<String>,
    /// GPU resource that is decided, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub desired_gpu_resource: Option<String>,
    /// State of the agent's signals, one word: Fresh, or why they are not.
    #[schemars(length(max = 63))]
    pub signals: String,
    /// Why the target share is what it is, one word.
    #[schemars(length(max = 63))]
    pub reason: String,
    /// Why a wanted change is held, one word; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub hold: Option<String>,
    /// The numbers at the last decision, for people; at most 1024 characters.
    #[schemars(length(max = 1024))]
    pub message: String,
}
