//! `examples/`: what a user copies must work.

use crate::admit;
use agentpool_e2e::controlplane::{ControlPlane, binaries};
use agentpool_e2e::install;
use kube::{Api, Client};
use serde_json::Value;
use std::path::PathBuf;

fn files() -> Vec<PathBuf> {
    let folder = binaries::repository().join("examples");
    let entries = std::fs::read_dir(&folder).unwrap().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// Applies every example as a user would, reads its pools as the operator does, and compares pools with workloads.
pub async fn apply_all(control_plane: &ControlPlane, client: &Client, namespace: &str) {
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let output = control_plane
            .kubectl()
            .args(["apply", "--validate=strict", "--namespace", namespace, "-f"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(said.trim().is_empty(), "{name} draws warnings: {said}");
        let objects = install::objects(&path).unwrap();
        let of_kind = |kind: &'static str| objects.iter().filter(move |o| o["kind"] == kind);
        let mut pools = 0;
        for pool in of_kind("AgentPool") {
            pools += 1;
            let api: Api<agentpool::api::AgentPool> = Api::namespaced(client.clone(), namespace);
            let stored = api
                .get(pool["metadata"]["name"].as_str().unwrap())
                .await
                .unwrap();
            admit(&serde_json::to_value(stored).unwrap())
                .unwrap_or_else(|invalid| panic!("{name}: {invalid}"));
            let workloads: Vec<&Value> = of_kind("Deployment").collect();
            if !workloads.is_empty() {
                workloads_fit(&name, pool, &workloads);
            }
        }
        assert_eq!(pools, 1, "{name}");
    }
}

/// Every agent's workload is there, and asks for what the pool shares.
fn workloads_fit(name: &str, pool: &Value, workloads: &[&Value]) {
    let agents = pool["spec"]["agents"].as_array().unwrap();
    assert_eq!(agents.len(), workloads.len(), "{name}");
    for agent in agents {
        let wanted = &agent["workloadRef"]["name"];
        let workload = workloads
            .iter()
            .find(|w| w["metadata"]["name"] == *wanted)
            .unwrap_or_else(|| panic!("{name}: no Deployment {wanted}"));
        assert!(
            workload["spec"]["replicas"].is_null(),
            "{name}: {wanted} sets replicas, which the operator sets"
        );
        let limits = &workload["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
        let limits = limits.as_object().unwrap();
        let (resource, count) = limits.iter().next().unwrap();
        let gpus = agent["model"]["gpusPerReplica"].as_u64().unwrap_or(1);
        assert_eq!(count.as_u64(), Some(gpus), "{name}: {wanted}");
        let fits = match pool["spec"]["devices"][0]["sharing"]["type"].as_str() {
            Some("WholeGPU") => resource == "nvidia.com/gpu",
            Some("TimeSlicing") => resource == "nvidia.com/gpu.shared",
            _ => resource.starts_with("nvidia.com/mig-"),
        };
        assert!(fits, "{name}: {wanted} asks for {resource}");
    }
}
