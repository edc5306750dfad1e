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

    /// Ready, Reconciling, Stalled, SignalsFresh, CapacityAvailable, MinimumUnmet, MemoryBound, Conflicted, Paused.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// GPUs of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,

    /// Time from a decision to a copy that serves, as learned from the pool's pods, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actuation_lag_seconds: Option<u32>,

    /// The agents, by name.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub agents: Vec<AgentStatus>,
}

/// GPUs of the pool, as quantities (1500m is one and a half).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityStatus {
    /// What the spec declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    /// What the selected nodes have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What pods of nobody in the pool hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<String>,
    /// What the pool may spend.
    pub usable: String,
}

/// One agent at the last decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// Name of the agent.
    pub name: String,
    /// Share that the policy asks for, in GPUs.
    pub target_share: String,
    /// Share that is in force, in GPUs; pending and loading copies count as granted.
    pub realized_share: String,
    /// Replicas in force.
    pub replicas: u32,
    /// Replicas that are decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<u32>,
    /// GPU resource in force, as the container asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_resource: Option<String>,
    /// GPU resource that is decided, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_gpu_resource: Option<String>,
    /// State of the agent's signals: Fresh, or why they are not.
    pub signals: String,
    /// Why the target share is what it is.
    pub reason: String,
    /// Why a wanted change is held; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The numbers at the last decision, for people.
    pub message: String,
}
