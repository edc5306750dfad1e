//! The AgentPool types, their CEL rules, conditions and reasons; AgentPool -> ValidPool, once.
//!
//! The doc comments of the spec are the manual: they become the descriptions that `kubectl explain agentpool` prints.

mod amount;
pub mod annotations;
pub mod conditions;
mod schema;
mod spec;
mod status;
mod valid;

pub use amount::Amount;
pub use spec::{
    AgentPool, AgentPoolSpec, AgentSpec, BehaviorSpec, CustomMetrics, DeviceSpec, DisruptionSpec,
    Engine, MetricSource, MetricsOverride, MetricsSpec, Mode, ModelSpec, OnStale, PolicySpec,
    PolicyType, PrometheusRef, ReplicasSpec, RequestsSpec, RequestsVia, ScaleRule, SharingSpec,
    SharingType, StaleAction, TakeOver, TimeSliceResource, TimeSlicingSpec, WorkloadKind,
    WorkloadRef,
};
pub use status::{AgentPoolStatus, AgentStatus, CapacityStatus};
pub use valid::{Invalid, ValidAgent, ValidMetrics, ValidPool};

/// The CustomResourceDefinition as it is installed: generated from the Rust types, then completed by what the derive cannot say.
pub fn crd()
-> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
    schema::complete(<AgentPool as kube::CustomResourceExt>::crd())
}
