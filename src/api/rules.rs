//! CEL rules that look at several fields at once. The API server estimates their cost from the bounds on lists and strings and
//! refuses the whole CRD when it exceeds its budget, so each is as simple as it can be.

use serde_json::{Value, json};

/// An amount of GPUs in whole milli-GPUs: 0.1 + 0.2 + 0.3 is 0.6, which it is not in floating point.
fn milli(amount: &str) -> String {
    format!(
        "(type({amount}) == int ? {amount} * 1000 : int(quantity({amount}).asApproximateFloat() * 1000.0 + 0.5))"
    )
}

/// Rules over the whole spec.
pub(super) fn pool() -> Value {
    let (share, gpus) = (milli("a.minShare"), milli("self.devices[0].gpus"));
    json!([
        {
            "rule": format!("!has(self.devices[0].gpus) || self.agents.map(a, {share}).sum() <= {gpus}"),
            "message": "the sum of agents[].minShare must be at most devices[0].gpus",
            "fieldPath": ".agents"
        },
        {
            "rule": "self.agents.all(a, self.agents.exists_one(b, a.workloadRef.kind == b.workloadRef.kind && a.workloadRef.name == b.workloadRef.name))",
            "message": "must be unique: each workload may belong to one agent only",
            "fieldPath": ".agents"
        },
        {
            "rule": "self.devices[0].sharing.type == 'WholeGPU' || self.agents.all(a, a.model.gpusPerReplica == 1)",
            "message": "model.gpusPerReplica above 1 needs sharing type WholeGPU: on a shared GPU a replica uses one time-slice or one MIG instance",
            "fieldPath": ".agents"
        },
        {
            "rule": "self.devices[0].sharing.type == 'MIG' || self.agents.all(a, type(a.model.speedExponent) == int || a.model.speedExponent.startsWith('1'))",
            "message": "model.speedExponent below 1 needs sharing type MIG: the speed of whole GPUs and of time-slices is linear",
            "fieldPath": ".agents"
        },
        {
            "rule": "self.devices[0].sharing.type == 'WholeGPU' || self.agents.all(a, has(a.model.memoryPerReplica))",
            "message": "model.memoryPerReplica, such as 16Gi, is required with sharing type TimeSlicing (nothing else keeps copies within a GPU's memory) and MIG (it decides the smallest instance)",
            "fieldPath": ".agents"
        }
    ])
}

/// Rules over `sharing`.
pub(super) fn sharing() -> Value {
    json!([{
        "rule": "!has(self.timeSlicing) || self.type == 'TimeSlicing'",
        "message": "timeSlicing may be set only when type is TimeSlicing",
        "fieldPath": ".timeSlicing"
    }])
}

/// Rules over `replicas`.
pub(super) fn replicas() -> Value {
    json!([{
        "rule": "self.min <= self.max",
        "message": "must be at most replicas.max",
        "fieldPath": ".min"
    }])
}

/// Rules over the pool's `metrics`.
pub(super) fn metrics() -> Value {
    json!([
        {
            "rule": "(self.source == 'Prometheus') == has(self.prometheus)",
            "message": "prometheus.name is required when source is Prometheus, and may be set only then"
        },
        {
            "rule": "(self.engine == 'Custom') == has(self.custom)",
            "message": "custom is required when engine is Custom, and may be set only then"
        }
    ])
}

/// Rules over an agent's `metrics`.
pub(super) fn metrics_override() -> Value {
    json!([{
        "rule": "(has(self.engine) && self.engine == 'Custom') == has(self.custom)",
        "message": "custom is required when engine is Custom, and may be set only then"
    }])
}
