use crate::api::schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How shares are decided.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// WaterFilling: serves demand and backlog, weighted by priority; minimum shares are entitlements while there is demand.
    /// Adaptive: the published rule (arXiv 2512.22149), faithful, not recommended. StaticEqual: equal parts. Default WaterFilling.
    #[serde(rename = "type")]
    pub kind: PolicyType,

    /// How often the pool looks at its load and decides; 1s to 1h. Default 1s.
    #[schemars(schema_with = "schema::interval")]
    pub interval: String,

    /// Time over which arrivals are averaged; 1s to 24h; never less than 4 times the actuation lag. Default 60s.
    #[schemars(schema_with = "schema::window")]
    pub demand_window: String,

    /// Time in which backlog is to be worked off; 1s to 24h; never less than 2 times the actuation lag. Default 30s.
    #[schemars(schema_with = "schema::window")]
    pub drain: String,

    /// Time from a decision to a copy that serves, until it is learned from the pool's own pods; 0s to 1h. Default 30s.
    #[schemars(schema_with = "schema::lag")]
    pub actuation_lag: String,

    /// When a change is worth its price.
    pub behavior: BehaviorSpec,

    /// How much disruption a change may cause.
    pub disruption: DisruptionSpec,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            kind: PolicyType::default(),
            interval: "1s".into(),
            demand_window: "60s".into(),
            drain: "30s".into(),
            actuation_lag: "30s".into(),
            behavior: BehaviorSpec::default(),
            disruption: DisruptionSpec::default(),
        }
    }
}

/// How shares are decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyType {
    /// Demand and backlog, weighted by priority.
    #[default]
    WaterFilling,
    /// The published rule.
    Adaptive,
    /// Equal parts.
    StaticEqual,
}

/// When a change is worth its price.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BehaviorSpec {
    /// A change of a share by less than this fraction of the share in force is held; "0" to "1". Default "0.1".
    #[schemars(schema_with = "schema::fraction")]
    pub tolerance: String,

    /// When an agent may get more.
    pub scale_up: ScaleRule,

    /// When an agent gives back what no other agent asks for. Default 300 s.
    #[serde(default = "ScaleRule::down")]
    #[schemars(default = "ScaleRule::down")]
    pub scale_down: ScaleRule,
}

impl Default for BehaviorSpec {
    fn default() -> Self {
        Self {
            tolerance: "0.1".into(),
            scale_up: ScaleRule::default(),
            scale_down: ScaleRule::down(),
        }
    }
}

/// A stabilization window.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleRule {
    /// Seconds for which a recommendation must last before it is followed; 0 to 3600. While another agent of the pool is short
    /// of GPUs, giving waits only for the scaleUp window. Default: scaleUp 0, scaleDown 300.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: u32,
}

impl ScaleRule {
    fn down() -> Self {
        Self {
            stabilization_window_seconds: 300,
        }
    }
}

/// How much disruption a change may cause.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionSpec {
    /// Agents that may be in a disruptive change (pods replaced or cut) at once; 1 to 64. Default 1.
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent: u32,

    /// Whether a swap of MIG instances may leave an agent without a pod for a moment, where no spare instance exists. Default false.
    pub allow_downtime: bool,
}

impl Default for DisruptionSpec {
    fn default() -> Self {
        Self {
            max_concurrent: 1,
            allow_downtime: false,
        }
    }
}
