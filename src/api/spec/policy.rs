use crate::api::{Amount, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How shares are decided.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// Balanced: learns forecasts and their errors, moves shares only while that pays, and otherwise keeps what is in force; minimum
    /// shares are entitlements while there is demand. WaterFilling: follows demand and backlog at once, weighted by priority, with the
    /// same entitlements. Adaptive: the published rule (arXiv 2512.22149), faithful, not recommended. StaticEqual: equal parts.
    /// Default Balanced.
    #[serde(rename = "type")]
    pub kind: PolicyType,

    /// How often the pool looks at its load and decides, as a duration; 1s to 1h. Default 1s.
    #[schemars(schema_with = "schema::interval")]
    pub interval: String,

    /// Time over which arrivals are averaged, as a duration; 1s to 24h; where the actuation lag is long, 4 times the lag is used
    /// instead. Balanced weights several averages by how well each foretells and does not use it. Default 60s.
    #[schemars(schema_with = "schema::window")]
    pub demand_window: String,

    /// Time in which backlog is to be worked off, as a duration; 1s to 24h; where the actuation lag is long, 2 times the lag is
    /// used instead. By as much as it is longer than both that and 30s, Save lets requests wait, which takes fewer GPUs. Default 30s.
    #[schemars(schema_with = "schema::window")]
    pub drain: String,

    /// What Balanced does with capacity that nobody needs; the other policies always lend. Lend: those who gain most by it get it.
    /// Save: it stays free, so that nodes can go. Default Lend.
    pub spare: SpareCapacity,

    /// Headroom that Save keeps above the load that is foretold, in standard deviations of the GPUs that are busy at once, which vary
    /// with random arrivals (by the square root of the load in GPUs) and with the forecast's error; "0" to "10". Under steady load on
    /// many GPUs one request in 2 waits at "0.5", one in 5 at "1", one in 40 at "2". More costs GPUs and shortens the tail of latency.
    /// Default "1".
    #[schemars(schema_with = "schema::deviations")]
    pub headroom: Amount,

    /// Time from a decision to a copy that serves (image, weights, warm-up), as a duration; 0s to 1h; used until three starts of the
    /// pool's own pods were seen, or longer where the pods that run took longer. Default 30s.
    #[schemars(schema_with = "schema::lag")]
    pub actuation_lag: String,

    /// When a change is worth its price. Default: the defaults of its fields.
    pub behavior: BehaviorSpec,

    /// How much disruption a change may cause. Default: the defaults of its fields.
    pub disruption: DisruptionSpec,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            kind: PolicyType::default(),
            interval: "1s".into(),
            demand_window: "60s".into(),
            drain: "30s".into(),
            spare: SpareCapacity::default(),
            headroom: "1".into(),
            actuation_lag: "30s".into(),
            behavior: BehaviorSpec::default(),
            disruption: DisruptionSpec::default(),
        }
    }
}

/// How shares are decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyType {
    /// What pays, and else what is in force.
    #[default]
    Balanced,
    /// Demand and backlog, weighted by priority.
    WaterFilling,
    /// The published rule.
    Adaptive,
    /// Equal parts.
    StaticEqual,
}

/// What becomes of capacity that nobody needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpareCapacity {
    /// It is lent.
    #[default]
    Lend,
    /// It stays free.
    Save,
}

/// When a change is worth its price.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BehaviorSpec {
    /// A change of a share by less than this fraction of the share in force is held; "0" to "1" (fractions are quoted). Default "0.1".
    #[schemars(schema_with = "schema::fraction", default = "BehaviorSpec::tenth")]
    pub tolerance: Amount,

    /// When an agent may get more. Default: at once.
    pub scale_up: ScaleUpRule,

    /// When an agent gives back what no other agent asks for. Default: after 300 s.
    pub scale_down: ScaleDownRule,
}

impl BehaviorSpec {
    fn tenth() -> Amount {
        "0.1".into()
    }
}

impl Default for BehaviorSpec {
    fn default() -> Self {
        Self {
            tolerance: Self::tenth(),
            scale_up: ScaleUpRule::default(),
            scale_down: ScaleDownRule::default(),
        }
    }
}

/// When an agent may get more.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleUpRule {
    /// Seconds for which a higher recommendation must last before it is followed; 0 to 3600. Default 0.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: u32,
}

/// When an agent gives back what no other agent asks for.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDownRule {
    /// Seconds for which a lower recommendation must last before it is followed; 0 to 3600. While another agent of the pool is
    /// short of GPUs, the window of scaleUp applies instead. Default 300.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: u32,
}

impl Default for ScaleDownRule {
    fn default() -> Self {
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

    /// Whether a swap of MIG instances may leave an agent without a pod for a moment, where no spare instance exists: true or false.
    /// Default false.
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
