//! From the scenario's cluster to the simulator's.

use super::effect;
use super::failure::Failure;
use super::file::{ClusterFile, ElasticFile, Gpus, GroupFile, SharingFile};
use crate::api::ValidPool;
use crate::sharing::{InstanceFacts, Node, Strategy};
use crate::simulation::report::Described;
use crate::simulation::{Cluster, Elastic, Fractions, NodeGroup, Nodes, Sharing};
use crate::units::{GpuResource, Mebibytes, MilliGpus};
use std::collections::BTreeMap;

/// The cluster, and what is said about it.
///
/// # Errors
/// A field that cannot be.
pub(super) fn build(
    file: &ClusterFile,
    pool: &ValidPool,
    described: &mut Described,
) -> Result<Cluster, String> {
    match file {
        ClusterFile::Fractions {
            gpus,
            lag,
            sharing,
            switching_efficiency,
        } => {
            let gpus = amount(gpus.as_ref(), pool)?;
            let declared = pool.declared_lag.as_secs_f64();
            if lag.is_none() {
                described.assumed.push(format!(
                    "shares are in force {declared} s after they are decided (the pool's actuationLag)"
                ));
            }
            let lag = lag.unwrap_or(declared);
            let (sharing, words) = worth(*sharing, switching_efficiency.unwrap_or(1.0), pool);
            described.cluster =
                format!("{} GPUs as {words}, in force after {lag} s", gpus.as_gpus());
            let cluster = Cluster::Fractions(Fractions { gpus, lag, sharing });
            let unused = effect::switching(*switching_efficiency, pool, &cluster);
            described.assumed.extend(unused);
            Ok(cluster)
        }
        ClusterFile::Nodes {
            groups,
            switching_efficiency,
        } => {
            if groups.is_empty() {
                return Err("cluster.groups: is empty, must have one at least".to_owned());
            }
            let groups: Vec<NodeGroup> = groups
                .iter()
                .enumerate()
                .map(|(i, g)| {
                    group(g, &pool.shape.strategy).map_err(|e| format!("cluster.groups[{i}].{e}"))
                })
                .collect::<Result<_, _>>()?;
            let words: Vec<String> = groups
                .iter()
                .map(|group| {
                    let elastic = group
                        .elastic
                        .map_or(String::new(), |e| format!(" ({} to {})", e.min, e.max));
                    let nodes = match (group.count, group.elastic) {
                        (1, None) => "node",
                        _ => "nodes",
                    };
                    format!(
                        "{}{elastic} {nodes} {} of {} GPUs",
                        group.count, group.node.name, group.node.gpus
                    )
                })
                .collect();
            described.cluster = words.join(", ");
            let cluster = Cluster::Nodes(Nodes {
                groups,
                switching_efficiency: switching_efficiency.unwrap_or(1.0),
            });
            let unused = effect::switching(*switching_efficiency, pool, &cluster);
            described
                .assumed
                .extend(unused.into_iter().chain(surplus(&cluster, pool)));
            Ok(cluster)
        }
    }
}

/// GPUs that rules may give out at the start: of those on nodes no more than the pool declares.
pub(super) fn gpus(cluster: &Cluster, pool: &ValidPool) -> f64 {
    match cluster {
        Cluster::Fractions(fractions) => fractions.gpus.as_gpus(),
        Cluster::Nodes(nodes) => {
            let there = found(&nodes.groups, |group| group.count);
            let declared = pool.shape.declared_gpus;
            declared.map_or(there, |declared| declared.as_gpus().min(there))
        }
    }
}

/// GPUs of so many nodes of each group.
fn found(groups: &[NodeGroup], nodes: impl Fn(&NodeGroup) -> u32) -> f64 {
    let of = |group: &NodeGroup| f64::from(nodes(group)) * f64::from(group.node.gpus);
    groups.iter().map(of).sum()
}

/// Nodes that there are at most.
fn most(group: &NodeGroup) -> u32 {
    group
        .elastic
        .map_or(group.count, |e| e.max.max(group.count))
}

/// What is said where the pool declares another number of GPUs than the nodes have.
fn surplus(cluster: &Cluster, pool: &ValidPool) -> Option<String> {
    let Cluster::Nodes(nodes) = cluster else {
        return None;
    };
    let declared = pool.shape.declared_gpus?.as_gpus();
    let (there, most) = (
        found(&nodes.groups, |group| group.count),
        found(&nodes.groups, most),
    );
    if declared < there {
        Some(format!(
            "of the {there} GPUs of the nodes rules give out the {declared} that the pool declares; all are paid for"
        ))
    } else if declared > most {
        Some(format!(
            "of the {declared} GPUs that the pool declares there are those that the nodes have, {most}"
        ))
    } else {
        None
    }
}

/// Refuses a number of GPUs by `--gpus`, as it was written, that the nodes of the scenario do not have: it would change nothing.
///
/// # Errors
/// They do not.
pub(super) fn reach(flag: &str, cluster: &Cluster, pool: &ValidPool) -> Result<(), Failure> {
    let (Cluster::Nodes(nodes), Some(declared)) = (cluster, pool.shape.declared_gpus) else {
        return Ok(());
    };
    let (declared, most) = (declared.as_gpus(), found(&nodes.groups, most));
    if declared <= most {
        return Ok(());
    }
    let group = nodes
        .groups
        .first()
        .map_or("", |group| group.node.name.as_str());
    Err(Failure::input(
        "--gpus",
        format_args!(
            "{flag}: the pool would have {declared} GPUs, and cluster.groups has {most} at most, which are all that can be given out: \
             give it more nodes instead, as --set cluster.groups[{group}].count=2"
        ),
    ))
}

fn amount(gpus: Option<&Gpus>, pool: &ValidPool) -> Result<MilliGpus, String> {
    let text = match gpus {
        Some(Gpus::Number(number)) => number.to_string(),
        Some(Gpus::Text(text)) => text.clone(),
        None => {
            return pool.shape.declared_gpus.ok_or_else(|| {
                "cluster.gpus: is absent, and the pool does not say how many GPUs it has: set it, or --gpus".to_owned()
            });
        }
    };
    match MilliGpus::parse(&text) {
        Ok(MilliGpus::ZERO) => Err("cluster.gpus: 0: must be above 0".to_owned()),
        Ok(gpus) => Ok(gpus),
        Err(error) => Err(format!("cluster.gpus: {error}")),
    }
}

fn worth(
    sharing: Option<SharingFile>,
    efficiency: f64,
    pool: &ValidPool,
) -> (Sharing, &'static str) {
    let own = match pool.shape.strategy {
        Strategy::TimeSlicing { .. } => SharingFile::TimeSlicing,
        Strategy::WholeGpu | Strategy::Mig => SharingFile::Partition,
    };
    match sharing.unwrap_or(own) {
        SharingFile::Partition => (Sharing::Partition, "hard parts"),
        SharingFile::Mps => (Sharing::Mps, "caps (MPS)"),
        SharingFile::TimeSlicing => {
            let turns = Sharing::TimeSlicing {
                switching_efficiency: efficiency,
            };
            (turns, "turns of a time-sliced GPU")
        }
    }
}

fn group(file: &GroupFile, strategy: &Strategy) -> Result<NodeGroup, String> {
    let at_least_one = |field: &str, n: u32| match n {
        0 => Err(format!("{field}: 0: must be at least 1")),
        // More would not fit any memory.
        n if n > 10_000 => Err(format!("{field}: {n}: must be at most 10000")),
        n => Ok(n),
    };
    let mut allocatable = BTreeMap::new();
    let mut slices = None;
    match strategy {
        Strategy::WholeGpu => {
            allocatable.insert(GpuResource::whole(), file.gpus);
        }
        Strategy::TimeSlicing {
            resource,
            slices_per_gpu,
        } => {
            // As many as the pool says the device plugin offers.
            let each = slices_per_gpu
                .ok_or("gpus: the pool must say slicesPerGpu, as there are no labels to read")?;
            slices = Some(each);
            allocatable.insert(resource.clone(), file.gpus.saturating_mul(each));
        }
        Strategy::Mig if file.instances.is_empty() => {
            return Err(
                "instances: is empty, and the pool shares by MIG: must have one at least"
                    .to_owned(),
            );
        }
        Strategy::Mig => {}
    }
    if *strategy != Strategy::Mig
        && let Some(name) = file.instances.keys().next()
    {
        return Err(format!(
            "instances: {name}: the pool does not share by MIG, and nobody would use it: leave it out"
        ));
    }
    let mut instances = BTreeMap::new();
    for (name, instance) in &file.instances {
        let resource = GpuResource::parse(name).map_err(|error| format!("instances: {error}"))?;
        allocatable.insert(
            resource.clone(),
            at_least_one("instances.count", instance.count)?,
        );
        let memory = memory("instances.memory", &instance.memory)?;
        instances.insert(
            resource,
            InstanceFacts {
                multiprocessors: instance.multiprocessors,
                memory,
            },
        );
    }
    let gpu_memory = file
        .gpu_memory
        .as_deref()
        .map(|text| memory("gpuMemory", text));
    Ok(NodeGroup {
        count: at_least_one("count", file.count)?,
        elastic: file.elastic.map(elastic).transpose()?,
        node: Node {
            name: file.name.clone(),
            schedulable: true,
            allocatable,
            gpus: at_least_one("gpus", file.gpus)?,
            slices_per_gpu: slices,
            gpu_memory: gpu_memory.transpose()?,
            multiprocessors: file.multiprocessors,
            instances,
            ..Node::default()
        },
    })
}

fn memory(field: &str, text: &str) -> Result<Mebibytes, String> {
    Mebibytes::parse(text).map_err(|error| format!("{field}: {error}"))
}

fn elastic(file: ElasticFile) -> Result<Elastic, String> {
    let time = |x: f64| x.is_finite() && x >= 0.0;
    if file.max < file.min || file.max > 10_000 {
        return Err(format!(
            "elastic.max: {}: must be from min to 10000",
            file.max
        ));
    }
    if !(time(file.provision) && time(file.idle)) {
        return Err("elastic: provision and idle must be at least 0".to_owned());
    }
    Ok(Elastic {
        min: file.min,
        max: file.max,
        provision: file.provision,
        idle: file.idle,
    })
}
