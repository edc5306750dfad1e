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

/// 64 agents with every list, map and string as long as it may be.
pub fn largest() -> Value {
    let long = |seed: &str, length: usize| format!("{seed:0<length$}");
    let metric = |seed: &str| long(seed, 128);
    let agents: Vec<Value> = (0..64)
        .map(|i| {
            json!({
                "name": long(&format!("agent-{i}-"), 63),
                "workloadRef": {
                    "apiVersion": "apps/v1",
                    "kind": if i % 2 == 0 { "Deployment" } else { "StatefulSet" },
                    // Names that differ in the last character only are the dearest to compare.
                    "name": format!("{}{:03}", long("w", 250), i / 2),
                },
                "container": long("c", 63),
                "priority": "Medium",
                "minShare": "1.500",
                "replicas": {"min": 1000, "max": 1000},
                "model": {
                    "requestsPerSecondPerGpu": "999999.000001",
                    "memoryPerReplica": "17179869183.5Ki",
                    "speedExponent": "0.9999",
                },
                "metrics": {
                    "port": 65535,
                    "path": format!("/{}", long("p", 127)),
                    "engine": "Custom",
                    "custom": {"finished": metric("f"), "running": metric("r"), "waiting": metric("w")},
                },
            })
        })
        .collect();
    let selector: Map<String, Value> = (0..16)
        .map(|i| {
            let key = format!("{}/{}", long("d", 253), long(&format!("k{i}-"), 63));
            (key, json!(long("v", 63)))
        })
        .collect();
    with(&[
        ("agents", json!(agents)),
        ("devices[0].name", json!(long("d", 63))),
        ("devices[0].gpus", json!("65536.000")),
        ("devices[0].pricePerGpuHour", json!("10000.0000")),
        ("devices[0].nodeSelector", Value::Object(selector)),
        ("devices[0].sharing.type", json!("MIG")),
        ("policy.interval", json!("000001h000000ms")),
        ("policy.behavior.tolerance", json!("0.9999")),
        ("metrics.path", json!(format!("/{}", long("p", 127)))),
        ("metrics.source", json!("Prometheus")),
        ("metrics.prometheus.name", json!(long("p", 63))),
        ("metrics.engine", json!("Custom")),
        (
            "metrics.custom",
            json!({"finished": metric("f"), "running": metric("r"), "waiting": metric("w")}),
        ),
    ])
}
