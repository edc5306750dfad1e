//! The largest AgentPool that the API server takes.

use serde_json::{Map, Value, json};

/// A pool named `pool` of 64 agents with every list, map and string as long as it may be. It may be changed, but hardly enlarged.
pub fn largest_pool() -> Value {
    let metric = |seed: &str| long(seed, 128);
    let custom = json!({ "finished": metric("f"), "running": metric("r"), "waiting": metric("w") });
    let path = format!("/{}", long("p", 127));
    let agent = |i: usize| {
        json!({
            "name": long(&format!("agent-{i}-"), 63),
            "workloadRef": {
                "apiVersion": "apps/v1",
                "kind": if i.is_multiple_of(2) { "Deployment" } else { "StatefulSet" },
                // Names that differ in the last character only are the dearest to compare.
                "name": format!("{}{:03}", long("w", 250), i / 2),
            },
            "container": long("c", 63),
            "priority": "Medium",
            "minShare": "1.500",
            "replicas": { "min": 1000, "max": 1000 },
            "model": {
                "requestsPerSecondPerGpu": "999999.000001",
                "memoryPerReplica": "17179869183.5Ki",
                "speedExponent": "0.9999",
            },
            "metrics": { "port": 65535, "path": path, "engine": "Custom", "custom": custom },
        })
    };
    let selector: Map<String, Value> = (0..16)
        .map(|i| {
            let key = format!("{}/{}", long("d", 253), long(&format!("k{i}-"), 63));
            (key, json!(long("v", 63)))
        })
        .collect();
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": { "name": "pool" },
        "spec": {
            "mode": "Auto",
            "devices": [{
                "name": long("d", 63),
                "gpus": "65536.000",
                "pricePerGpuHour": "10000.0000",
                "nodeSelector": selector,
                "sharing": { "type": "MIG" },
            }],
            "policy": {
                "interval": "000001h000000ms",
                "behavior": { "tolerance": "0.9999" },
            },
            "metrics": {
                "path": path,
                "source": "Prometheus",
                "prometheus": { "name": long("p", 63) },
                "engine": "Custom",
                "custom": custom,
            },
            "agents": (0..64).map(agent).collect::<Vec<_>>(),
        },
    })
}

/// A text that begins with `seed` and is so long.
fn long(seed: &str, length: usize) -> String {
    format!("{seed:0<length$}")
}
