use crate::api::{rules, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where load comes from.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::metrics()))]
pub struct MetricsSpec {
    /// Pods: scrape each pod's own metrics at its IP. Prometheus: query a server that the operator's administrator named. Default Pods.
    pub source: MetricSource,

    /// Port of the pods' metrics; 1 to 65535. Default 8000.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// Path of the pods' metrics; an absolute path without query, at most 128 characters. Default /metrics.
    #[schemars(schema_with = "schema::path")]
    pub path: String,

    /// Whose metric names to read. Auto: found out by the names that the pod exposes. VLLM, SGLang: these names only. Custom: as
    /// declared in custom. Default Auto.
    pub engine: Engine,

    /// Metric names; required with engine Custom, and only then. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomMetrics>,

    /// The Prometheus server; required with source Prometheus, and only then. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusRef>,

    /// What follows when an agent's signals are missing, stale or absurd, which never shrinks it. Default: hold for 5m, then Hold.
    pub on_stale: OnStale,
}

impl Default for MetricsSpec {
    fn default() -> Self {
        Self {
            source: MetricSource::default(),
            port: 8000,
            path: "/metrics".into(),
            engine: Engine::default(),
            custom: None,
            prometheus: None,
            on_stale: OnStale::default(),
        }
    }
}

/// Where load comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricSource {
    /// The pods' own metrics.
    #[default]
    Pods,
    /// A Prometheus server.
    Prometheus,
}

/// Whose metric names to read: Auto, VLLM, SGLang or Custom. Default: as in spec.metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// Found out by the names.
    #[default]
    Auto,
    /// vLLM.
    VLLM,
    /// SGLang.
    SGLang,
    /// Names declared in `custom`.
    Custom,
}

/// Metric names of an engine that is not known by name. Samples that differ in labels are summed.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomMetrics {
    /// Counter of finished requests; a metric name of at most 128 characters. Required.
    #[schemars(schema_with = "schema::metric_name")]
    pub finished: String,
    /// Gauge of requests being served; a metric name of at most 128 characters. Required.
    #[schemars(schema_with = "schema::metric_name")]
    pub running: String,
    /// Gauge of requests waiting to be served; a metric name of at most 128 characters. Required.
    #[schemars(schema_with = "schema::metric_name")]
    pub waiting: String,
}

/// A Prometheus server, by the name that the operator's administrator gave it.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusRef {
    /// Name as in the operator's flag --metric-source NAME=URL; a DNS label of at most 63 characters. Required.
    #[schemars(schema_with = "schema::label")]
    pub name: String,
}

/// What follows when an agent's signals are missing, stale or absurd.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnStale {
    /// Time for which the agent keeps what it has, whatever the others ask for; 1s to 24h. Default 5m.
    #[schemars(schema_with = "schema::window")]
    pub hold_for: String,
    /// What follows then. Hold: it keeps what it has. Minimum: it is raised to its minimum share where it has less, and keeps what it has
    /// otherwise. Default Hold.
    pub then: StaleAction,
}

impl Default for OnStale {
    fn default() -> Self {
        Self {
            hold_for: "5m".into(),
            then: StaleAction::Hold,
        }
    }
}

/// What follows after the hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StaleAction {
    /// Keep what it has.
    #[default]
    Hold,
    /// At least the minimum share.
    Minimum,
}

/// Where one agent's load comes from; what is absent is as in the pool's metrics.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::metrics_override()))]
pub struct MetricsOverride {
    /// Port of the pods' metrics; 1 to 65535. Default: as in spec.metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Path of the pods' metrics; an absolute path without query, at most 128 characters. Default: as in spec.metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::path")]
    pub path: Option<String>,
    /// Whose metric names to read: Auto, VLLM, SGLang or Custom. Default: as in spec.metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Metric names; required with engine Custom, and only then. Default: as in spec.metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomMetrics>,
}
