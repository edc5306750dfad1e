//! The cluster of a scenario that names none.

use super::file::{ClusterFile, GroupFile};
use crate::api::ValidPool;
use crate::sharing::Strategy;
use std::collections::BTreeMap;

/// GPUs that a node has at most, as usual servers do.
const NODE: u64 = 8;

/// What there is to serve with where the scenario does not say, and what is assumed with it, in words.
///
/// Whole GPUs are pods on nodes: the manifest says all that these take. It says neither the memory of a time-sliced GPU nor which
/// MIG instances there are, without which no pod can be placed: there it is shares without pods.
///
/// # Errors
/// The pool does not say how many GPUs there are.
pub(super) fn cluster(pool: &ValidPool) -> Result<(ClusterFile, String), String> {
    let missing = match pool.shape.strategy {
        Strategy::WholeGpu => return nodes(pool),
        Strategy::TimeSlicing { .. } => {
            "nothing is said about nodes, and the pool does not say how much memory a GPU has, without which no copy can be said to \
             fit: shares of GPUs without pods (copies need cluster: {type: Nodes, groups: [{name: ..., gpus: 1, gpuMemory: ...}]})"
        }
        Strategy::Mig => {
            "nothing is said about nodes, and the pool does not say which MIG instances there are: shares of GPUs without pods \
             (instances need cluster: {type: Nodes, groups: [{name: ..., gpus: 1, multiprocessors: ..., instances: ...}]})"
        }
    };
    let fractions = ClusterFile::Fractions {
        gpus: None,
        lag: None,
        sharing: None,
        switching_efficiency: None,
    };
    Ok((fractions, missing.to_owned()))
}

fn nodes(pool: &ValidPool) -> Result<(ClusterFile, String), String> {
    let declared = pool.shape.declared_gpus.ok_or(
        "cluster: is absent, and the pool does not say how many GPUs it has: give it nodes, or set --gpus",
    )?;
    let gpus = declared.0 / 1000;
    if gpus == 0 {
        return Err(format!(
            "spec.devices[0].gpus: {declared}: must be at least 1, as the pool shares whole GPUs"
        ));
    }
    let replicas = pool.shape.agents.iter().map(|a| a.gpus_per_replica);
    // A replica is never spread over nodes.
    let size = replicas.map(u64::from).fold(NODE, u64::max);
    let group = |name: &str, count: u64, gpus: u64| GroupFile {
        name: name.to_owned(),
        // What does not fit is far above what is taken.
        count: count.try_into().unwrap_or(u32::MAX),
        gpus: gpus.try_into().unwrap_or(u32::MAX),
        gpu_memory: None,
        instances: BTreeMap::new(),
        multiprocessors: None,
        elastic: None,
    };
    let groups = match (gpus / size, gpus % size) {
        (0, rest) => vec![group("gpu", 1, rest)],
        (full, 0) => vec![group("gpu", full, size)],
        (full, rest) => vec![group("gpu", full, size), group("gpu-rest", 1, rest)],
    };
    let words = format!("nothing is said about nodes: {gpus} whole GPUs, at most {size} on a node");
    let cluster = ClusterFile::Nodes {
        groups,
        switching_efficiency: None,
    };
    Ok((cluster, words))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn pool(devices: &str, gpus_per_replica: u32) -> ValidPool {
        let memory = if gpus_per_replica == 1 {
            ", memoryPerReplica: 1Gi"
        } else {
            ""
        };
        let text = format!(
            "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: p, namespace: n}}\nspec:\n  mode: Auto\n  \
             devices: [{devices}]\n  agents:\n  - {{name: a, workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: a}}, \
             replicas: {{max: 4}}, model: {{requestsPerSecondPerGpu: 1, gpusPerReplica: {gpus_per_replica}{memory}}}}}\n"
        );
        ValidPool::admit(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    fn groups(gpus: &str, gpus_per_replica: u32) -> Vec<(u32, u32)> {
        let whole = format!("{{name: d, gpus: {gpus}, sharing: {{type: WholeGPU}}}}");
        match cluster(&pool(&whole, gpus_per_replica)).unwrap().0 {
            ClusterFile::Nodes { groups, .. } => groups.iter().map(|g| (g.count, g.gpus)).collect(),
            fractions @ ClusterFile::Fractions { .. } => panic!("{fractions:?}"),
        }
    }

    #[test]
    fn whole_gpus_are_on_nodes_of_eight_unless_a_replica_needs_more() {
        assert_eq!(groups("8", 2), [(1, 8)]);
        assert_eq!(groups("3", 2), [(1, 3)]);
        assert_eq!(groups("20", 2), [(2, 8), (1, 4)]);
        assert_eq!(groups("20", 16), [(1, 16), (1, 4)]);
        // Parts of a GPU are nobody's.
        assert_eq!(groups("\"2.5\"", 1), [(1, 2)]);
    }

    #[test]
    fn a_pool_that_does_not_say_how_many_gpus_it_has_is_refused() {
        let refused = |devices| cluster(&pool(devices, 1)).unwrap_err();
        let none = refused("{name: d, sharing: {type: WholeGPU}}");
        assert!(none.contains("set --gpus"), "{none}");
        let part = refused("{name: d, gpus: \"0.5\", sharing: {type: WholeGPU}}");
        assert!(
            part.starts_with("spec.devices[0].gpus: 500m: must be at least 1"),
            "{part}"
        );
    }

    #[test]
    fn where_the_pool_does_not_say_enough_there_are_shares_and_it_is_said_what_is_missing() {
        for (sharing, missing) in [
            ("TimeSlicing, timeSlicing: {slicesPerGpu: 4}", "memory"),
            ("MIG", "MIG instances"),
        ] {
            let device = format!("{{name: d, gpus: 1, sharing: {{type: {sharing}}}}}");
            let (cluster, words) = cluster(&pool(&device, 1)).unwrap();
            assert!(matches!(cluster, ClusterFile::Fractions { .. }));
            assert!(
                words.contains(missing) && words.contains("without pods"),
                "{words}"
            );
        }
    }
}
