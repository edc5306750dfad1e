//! What a user sees of a pool through kubectl.

use crate::objects::pool;
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::ControlPlane;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

fn run(control_plane: &ControlPlane, args: &[&str]) -> String {
    let output = control_plane.kubectl().args(args).output().unwrap();
    assert!(
        output.status.success(),
        "kubectl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// All names of fields below a schema.
fn names(schema: &Value, found: &mut Vec<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        found.push(name.clone());
        names(below, found);
        names(&below["items"], found);
    }
}

pub fn explains_every_field(control_plane: &ControlPlane) {
    let crd = serde_json::to_value(agentpool::api::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    names(schema, &mut fields);
    assert!(fields.len() > 50, "{fields:?}");
    let tree = run(control_plane, &["explain", "agentpool.spec", "--recursive"]);
    let lines: Vec<&str> = tree.lines().map(str::trim).collect();
    for field in fields {
        assert!(
            lines.iter().any(|l| l.starts_with(&format!("{field}\t"))),
            "{field} is not in:\n{tree}"
        );
    }
    let one = run(control_plane, &["explain", "ap.spec.agents.minShare"]);
    let words: Vec<&str> = one.split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains("in GPUs") && words.contains("Default 0."),
        "{one}"
    );
}

/// A pool with long but real names and values, in the widest of the usual views.
pub async fn prints_within(
    control_plane: &ControlPlane,
    client: &Client,
    namespace: &str,
    columns: usize,
) {
    let mut pool = pool();
    pool["metadata"] = json!({"name": "reasoning-pipeline"});
    pool["spec"]["devices"][0]["sharing"]["type"] = json!("TimeSlicing");
    pool["spec"]["policy"] = json!({ "type": "WaterFilling" });
    let pools: Api<AgentPool> = Api::namespaced(client.clone(), namespace);
    let pool: AgentPool = serde_json::from_value(pool).unwrap();
    pools.create(&PostParams::default(), &pool).await.unwrap();
    let status = json!({"status": {
        "capacity": {"usable": "12500m"},
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "PausedByAnnotation", "message": "held",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    pools
        .patch_status(
            "reasoning-pipeline",
            &PatchParams::default(),
            &Patch::Merge(status),
        )
        .await
        .unwrap();
    // The column of the namespace is the widest view; only our own pool in it.
    let ours = format!("--field-selector=metadata.namespace={namespace}");
    let table = run(
        control_plane,
        &["get", "agentpools", "--all-namespaces", &ours],
    );
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 2, "{table}");
    for value in [
        "TimeSlicing",
        "WaterFilling",
        "12500m",
        "False",
        "PausedByAnnotation",
    ] {
        assert!(lines[1].contains(value), "{value} is not in:\n{table}");
    }
    for line in lines {
        assert!(line.len() < columns, "{} columns:\n{table}", line.len());
    }
}
