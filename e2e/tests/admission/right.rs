//! Pools that must be taken.

use crate::objects::{pool, with};
use crate::{admit, submit};
use agentpool::api::{AgentPool, AgentPoolSpec};
use agentpool_e2e::stage::largest_pool;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// What it shows, and the pool.
pub fn cases() -> Vec<(String, Value)> {
    let mut cases = vec![
        ("a pool".to_owned(), pool()),
        ("the largest pool".to_owned(), largest_pool()),
        (
            "no declared GPUs, however large the minimum shares".to_owned(),
            with(&[
                ("devices[0].gpus", Value::Null),
                ("agents[0].minShare", json!(65536)),
            ]),
        ),
        (
            "nulls, which read as absent".to_owned(),
            with(&[
                ("policy", Value::Null),
                ("metrics", Value::Null),
                ("agents[0].minShare", Value::Null),
                ("agents[0].priority", Value::Null),
                ("agents[0].container", Value::Null),
                ("agents[0].metrics", Value::Null),
                ("devices[0].sharing.timeSlicing", Value::Null),
            ]),
        ),
        (
            "a Deployment and a StatefulSet of one name".to_owned(),
            with(&[
                ("agents[1].workloadRef.name", json!("a")),
                ("agents[1].workloadRef.kind", json!("StatefulSet")),
            ]),
        ),
        (
            "TimeSlicing without settings".to_owned(),
            with(&[("devices[0].sharing.type", json!("TimeSlicing"))]),
        ),
        (
            "MIG with a curved speed".to_owned(),
            with(&[
                ("devices[0].sharing.type", json!("MIG")),
                ("agents[0].model.speedExponent", json!("0.3")),
            ]),
        ),
        (
            "whole GPUs without memory, two a replica".to_owned(),
            with(&[(
                "agents[0].model",
                json!({"requestsPerSecondPerGpu": "0.5", "gpusPerReplica": 2}),
            )]),
        ),
        (
            "an agent whose engine differs from the pool's custom one".to_owned(),
            with(&[
                ("metrics.engine", json!("Custom")),
                (
                    "metrics.custom",
                    json!({"finished": "f", "running": "r", "waiting": "w"}),
                ),
                ("agents[0].metrics.engine", json!("VLLM")),
            ]),
        ),
    ];
    // Sums that floating point gets wrong, and their neighbours.
    for (gpus, a, b) in [
        (json!(1), json!("0.6"), json!("400m")),
        (json!("600m"), json!("0.4"), json!("200m")),
        (json!("0.3"), json!("0.1"), json!("0.2")),
        (json!("0.7"), json!("0.6"), json!("0.1")),
        (json!(4), json!(3), json!(1)),
        (json!("65536"), json!("65535.999"), json!("1m")),
    ] {
        let what = format!("minimum shares of {a} and {b} on {gpus} GPUs");
        let changes = [
            ("devices[0].gpus", gpus),
            ("agents[0].minShare", a),
            ("agents[1].minShare", b),
        ];
        cases.push((what, with(&changes)));
    }
    for (field, values) in [
        (
            "devices[0].gpus",
            vec![
                json!(4),
                json!("4"),
                json!("4000m"),
                json!("4.0"),
                json!(65536),
            ],
        ),
        (
            "devices[0].pricePerGpuHour",
            vec![json!(0), json!(2), json!("2.10"), json!("10000")],
        ),
        (
            "agents[0].minShare",
            vec![json!(0), json!(1), json!("0.001"), json!("1m")],
        ),
        (
            "agents[0].model.requestsPerSecondPerGpu",
            vec![
                json!(1),
                json!("0.000001"),
                json!("2.5"),
                json!(1_000_000),
                json!("1000000"),
            ],
        ),
        (
            "agents[0].model.memoryPerReplica",
            vec![
                json!(17_179_869_184_i64),
                json!("500Mi"),
                json!("1.5Gi"),
                json!("16Ti"),
                json!("1"),
            ],
        ),
        (
            "agents[0].model.speedExponent",
            vec![json!(1), json!("1"), json!("1.0")],
        ),
        (
            "policy.behavior.tolerance",
            vec![json!(0), json!(1), json!("0"), json!("0.05"), json!("1.0")],
        ),
        (
            "policy.interval",
            vec![json!("1s"), json!("1000ms"), json!("2m30s"), json!("1h")],
        ),
        ("policy.actuationLag", vec![json!("0s"), json!("250ms")]),
        ("policy.demandWindow", vec![json!("24h"), json!("1s")]),
    ] {
        for value in values {
            cases.push((format!("{field} is {value}"), with(&[(field, value)])));
        }
    }
    cases
}

/// The server fills in what the types fill in: a pool means the same whoever reads it.
pub async fn defaults_are_those_of_the_types(client: &Client, namespace: &str) {
    let mut pool = pool();
    pool["spec"]["policy"] = json!({"behavior": {"scaleDown": {}}, "disruption": {}});
    pool["spec"]["metrics"] = json!({"onStale": {}});
    let stored = submit(client, namespace, &pool).await.unwrap();
    let ours: AgentPoolSpec = serde_json::from_value(pool["spec"].clone()).unwrap();
    let theirs: AgentPoolSpec = serde_json::from_value(stored["spec"].clone()).unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(
        theirs
            .policy
            .behavior
            .scale_down
            .stabilization_window_seconds,
        300
    );
}

/// The rules' cost at run time is within the server's budget where it is highest; an update runs them again.
pub async fn the_largest_pool_is_stored_and_changed(client: &Client, namespace: &str) {
    let pools: Api<AgentPool> = Api::namespaced(client.clone(), namespace);
    let pool: AgentPool = serde_json::from_value(largest_pool()).unwrap();
    pools.create(&PostParams::default(), &pool).await.unwrap();
    let change = Patch::Merge(json!({"spec": {"mode": "Observe"}}));
    let stored = pools
        .patch("pool", &PatchParams::default(), &change)
        .await
        .unwrap();
    let admitted = admit(&serde_json::to_value(stored).unwrap()).unwrap();
    assert_eq!(admitted.agents.len(), 64);
}
