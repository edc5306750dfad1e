//! Whether this operator, as it is installed, can serve a pool that is right in itself.

use crate::api::{AgentPool, Invalid, ValidPool};
use crate::sharing::Strategy;

/// Reads a pool. `nodes_hidden`: the operator runs namespaced; `sources`: the metrics servers that its administrator named.
///
/// # Errors
/// The field, its value, and what would be right.
pub(super) fn admit<'a>(
    pool: &AgentPool,
    nodes_hidden: bool,
    sources: impl Iterator<Item = &'a str>,
) -> Result<ValidPool, Invalid> {
    let mut valid = ValidPool::admit(pool)?;
    valid.shape.nodes_hidden = nodes_hidden;
    if nodes_hidden {
        known_without_nodes(&valid)?;
    }
    if let Some(name) = &valid.prometheus {
        let known: Vec<&str> = sources.collect();
        if !known.contains(&name.as_str()) {
            return Err(invalid(
                "spec.metrics.prometheus.name",
                name,
                format!(
                    "a metric source that the operator's administrator configured (--metric-source): {known:?}"
                ),
            ));
        }
    }
    Ok(valid)
}

/// What is otherwise read off the nodes must be declared.
fn known_without_nodes(valid: &ValidPool) -> Result<(), Invalid> {
    match &valid.shape.strategy {
        Strategy::Mig => {
            return Err(invalid(
                "spec.devices[0].sharing.type",
                "MIG",
                "WholeGPU or TimeSlicing: the operator runs namespaced and cannot see which MIG instances the nodes have; for MIG its administrator installs it without --namespace"
                    .to_owned(),
            ));
        }
        Strategy::TimeSlicing {
            slices_per_gpu: None,
            ..
        } => {
            return Err(invalid(
                "spec.devices[0].sharing.timeSlicing.slicesPerGpu",
                "absent",
                "set: the operator runs namespaced and cannot see how many slices a GPU has"
                    .to_owned(),
            ));
        }
        Strategy::TimeSlicing { .. } | Strategy::WholeGpu => {}
    }
    if valid.shape.declared_gpus.is_none() {
        return Err(invalid(
            "spec.devices[0].gpus",
            "absent",
            "set: the operator runs namespaced and cannot see what the nodes have".to_owned(),
        ));
    }
    Ok(())
}

fn invalid(field: &str, value: &str, expected: String) -> Invalid {
    Invalid {
        field: field.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pool(gpus: Value, sharing: Value) -> AgentPool {
        let mut device = json!({ "name": "gpu", "gpus": gpus, "sharing": sharing });
        if gpus.is_null() {
            device.as_object_mut().unwrap().remove("gpus");
        }
        serde_json::from_value(json!({
            "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": { "name": "p", "namespace": "n" },
            "spec": {
                "mode": "Auto",
                "devices": [device],
                "metrics": { "source": "Prometheus", "prometheus": { "name": "prom" } },
                "agents": [{
                    "name": "a", "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a" },
                    "priority": "High", "minShare": "100m", "replicas": { "min": 1, "max": 4 },
                    "model": { "requestsPerSecondPerGpu": "10", "memoryPerReplica": "1Gi" }
                }]
            }
        }))
        .unwrap()
    }

    fn sliced() -> Value {
        json!({ "type": "TimeSlicing", "timeSlicing": { "resourceName": "nvidia.com/gpu.shared", "slicesPerGpu": 4 } })
    }

    #[test]
    fn without_a_sight_of_nodes_what_they_would_say_must_be_declared_and_mig_is_refused() {
        let mut undivided = sliced();
        undivided["timeSlicing"]
            .as_object_mut()
            .unwrap()
            .remove("slicesPerGpu");
        let whole = json!({ "type": "WholeGPU" });
        let mig = json!({ "type": "MIG" });
        let refused = [
            (
                json!(2),
                mig,
                ["sharing.type", "MIG", "without --namespace"],
            ),
            (json!(2), undivided, ["slicesPerGpu", "absent", "set"]),
            (
                json!(null),
                whole.clone(),
                ["devices[0].gpus", "absent", "set"],
            ),
        ];
        for (gpus, sharing, words) in refused {
            let pool = pool(gpus, sharing);
            let why = admit(&pool, true, ["prom"].into_iter()).unwrap_err();
            for word in words {
                assert!(why.to_string().contains(word), "{word} is not in: {why}");
            }
            assert!(admit(&pool, false, ["prom"].into_iter()).is_ok(), "{why}");
        }
        for sharing in [whole, sliced()] {
            let valid = admit(&pool(json!(2), sharing), true, ["prom"].into_iter()).unwrap();
            assert!(valid.shape.nodes_hidden);
        }
    }

    #[test]
    fn a_metric_source_that_nobody_configured_is_refused_with_those_there_are() {
        let why = admit(&pool(json!(2), sliced()), false, ["other"].into_iter()).unwrap_err();
        let why = why.to_string();
        assert!(why.contains("\"prom\"") || why.contains("prom"), "{why}");
        assert!(why.contains("[\"other\"]"), "{why}");
    }
}
