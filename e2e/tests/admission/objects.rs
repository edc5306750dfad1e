//! Pools to start from.

use serde_json::{Map, Value, json};

/// Stands for a field that is taken away.
pub const ABSENT: &str = "(absent)";

/// A legal agent on a Deployment of the same name.
pub fn agent(name: &str) -> Value {
    json!({
        "name": name,
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minShare": "500m",
        "replicas": {"min": 1, "max": 4},
        "model": {"requestsPerSecondPerGpu": 30, "memoryPerReplica": "8Gi"},
    })
}

/// A legal pool of two agents, `a` and `b`, on four whole GPUs.
pub fn pool() -> Value {
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": "pool"},
        "spec": {
            "mode": "Auto",
            "devices": [{"name": "gpu", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [agent("a"), agent("b")],
        },
    })
}

/// The pool with fields set: paths as in an error message without `spec.`, such as `agents[0].minShare`; what is missing on the way is made.
pub fn with(changes: &[(&str, Value)]) -> Value {
    let mut pool = pool();
    for (path, value) in changes {
        set(&mut pool["spec"], path, value);
    }
    pool
}

fn set(mut at: &mut Value, path: &str, value: &Value) {
    let path = path.replace('[', ".[");
    let steps: Vec<&str> = path.split('.').collect();
    for (i, step) in steps.iter().enumerate() {
        let last = i + 1 == steps.len();
        if let Some(index) = step.strip_prefix('[') {
            let index: usize = index.trim_end_matches(']').parse().unwrap();
            at = &mut at[index];
        } else {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let object = at.as_object_mut().unwrap();
            if last && value == ABSENT {
                object.remove(*step);
                return;
            }
            at = object.entry(*step).or_insert(Value::Null);
        }
    }
    *at = value.clone();
}
