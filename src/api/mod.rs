//! The AgentPool types, their CEL rules, conditions and reasons; AgentPool -> ValidPool, once.
//!
//! The doc comments of the spec are the manual: they become the descriptions that `kubectl explain agentpool` prints.

mod amount;
pub mod annotations;
pub mod conditions;
mod definition;
mod rules;
mod schema;
mod spec;
mod status;
mod valid;

pub use amount::Amount;
pub use definition::{crd, crd_yaml};
pub use spec::{
    AgentPool, AgentPoolSpec, AgentSpec, BehaviorSpec, CustomMetrics, DeviceSpec, DisruptionSpec,
    Engine, MetricSource, MetricsOverride, MetricsSpec, Mode, ModelSpec, OnStale, PolicySpec,
    PolicyType, PrometheusRef, ReplicasSpec, RequestsSpec, RequestsVia, ScaleDownRule, ScaleUpRule,
    SharingSpec, SharingType, SpareCapacity, StaleAction, TakeOver, TimeSliceResource,
    TimeSlicingSpec, WorkloadKind, WorkloadRef,
};
pub use status::{AgentPoolStatus, AgentStatus, CapacityStatus};
pub use valid::{Invalid, ValidAgent, ValidMetrics, ValidPool};
