//! Whether anything may be written for an agent, and if not, why: decided before any write, explained by name.

use super::cache::{AutoscalerRecord, ContainerRecord, UpdateStrategy, WorkloadRecord};
use crate::api::{ValidAgent, WorkloadKind};
use crate::sharing::{AgentShape, Strategy};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Why an agent keeps what it has. Reasons are stable CamelCase names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: &'static str,
    /// Names, values, and what would be right.
    pub message: String,
    /// Somebody else manages the workload: the pool is Conflicted rather than misconfigured.
    pub conflict: bool,
}

impl Refusal {
    fn new(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            conflict: false,
        }
    }

    fn conflict(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            conflict: true,
        }
    }

    /// Whether another pool acts on the workload.
    pub fn is_claim(&self) -> bool {
        self.reason == "ClaimedByPool"
    }
}

/// What is known of an agent's workload from outside of it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Autoscalers of the namespace.
    pub autoscalers: &'a [std::sync::Arc<AutoscalerRecord>],
    /// The pool that may act on the workload, when it is not this one: `namespace/name`.
    pub claimed_by: Option<&'a str>,
}

/// The container of the template that asks for the agent's GPUs, by index.
///
/// # Errors
/// When none or several could be meant.
pub fn gpu_container(agent: &ValidAgent, workload: &WorkloadRecord) -> Result<usize, Refusal> {
    let what = describe(agent);
    if let Some(init) = workload.gpu_init_containers.first() {
        return Err(Refusal::new(
            "GpuInitContainer",
            format!("{what}: init container {init:?} asks for a GPU; only the model server may"),
        ));
    }
    let asking: Vec<&ContainerRecord> = workload
        .containers
        .iter()
        .filter(|c| !c.gpus().is_empty() || !c.unknown.is_empty())
        .collect();
    if asking.len() > 1 {
        let names: Vec<&str> = asking.iter().map(|c| c.name.as_str()).collect();
        return Err(Refusal::new(
            "SeveralGpuContainers",
            format!("{what}: containers {names:?} all ask for GPUs; one may"),
        ));
    }
    let named = match &agent.container {
        Some(name) => workload
            .containers
            .iter()
            .position(|c| c.name == *name)
            .ok_or_else(|| {
                let names: Vec<&str> = workload
                    .containers
                    .iter()
                    .map(|c| c.name.as_str())
                    .collect();
                Refusal::new(
                    "ContainerNotFound",
                    format!("{what} has no container {name:?}; it has {names:?}"),
                )
            })?,
        None if workload.containers.len() == 1 => 0,
        None => {
            let names: Vec<&str> = workload
                .containers
                .iter()
                .map(|c| c.name.as_str())
                .collect();
            return Err(Refusal::new(
                "ContainerAmbiguous",
                format!("{what} has containers {names:?}: name one in agents[].container"),
            ));
        }
    };
    match asking.first() {
        Some(asks) if asks.name != workload.containers[named].name => Err(Refusal::new(
            "ContainerAsksForNoGpu",
            format!(
                "{what}: container {:?} asks for GPUs, but agents[].container is {:?}",
                asks.name, workload.containers[named].name
            ),
        )),
        None => Err(Refusal::new(
            "ContainerAsksForNoGpu",
            format!(
                "{what}: no container asks for a GPU; set resources.limits of the model server"
            ),
        )),
        Some(_) => Ok(named),
    }
}

/// Why nothing may be written for an agent; `None` when all is well.
pub fn refusal(
    agent: &ValidAgent,
    shape: &AgentShape,
    strategy: &Strategy,
    take_over: bool,
    workload: &WorkloadRecord,
    around: Surroundings<'_>,
) -> Option<Refusal> {
    let what = describe(agent);
    if let Some(pool) = around.claimed_by {
        return Some(Refusal::conflict(
            "ClaimedByPool",
            format!("{what} belongs to the older AgentPool {pool}"),
        ));
    }
    if let Some(controller) = &workload.controller {
        return Some(Refusal::conflict(
            "OwnedByController",
            format!(
                "{what} is managed by {controller}, which would revert every change; only workloads without a controller above them are supported"
            ),
        ));
    }
    let scales = |a: &&std::sync::Arc<AutoscalerRecord>| {
        a.target == agent.workload && a.target_kind == kind(agent)
    };
    if let Some(autoscaler) = around.autoscalers.iter().find(scales) {
        return Some(Refusal::conflict(
            "Autoscaled",
            format!(
                "{what} is scaled by {}; remove it or the agent",
                autoscaler.who
            ),
        ));
    }
    if workload.paused {
        return Some(Refusal::new(
            "DeploymentPaused",
            format!("{what} has spec.paused true: nothing would be rolled out"),
        ));
    }
    if workload.strategy == UpdateStrategy::OnDelete {
        return Some(Refusal::new(
            "UpdateStrategyOnDelete",
            format!(
                "{what} has update strategy OnDelete or a partition: a change would reach no pod; use RollingUpdate without partition"
            ),
        ));
    }
    let index = match gpu_container(agent, workload) {
        Ok(index) => index,
        Err(refusal) => return Some(refusal),
    };
    wrong_request(
        &what,
        &workload.containers[index],
        shape,
        strategy,
        take_over,
    )
}

fn kind(agent: &ValidAgent) -> &'static str {
    match agent.kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    }
}

/// `Deployment chat`.
pub fn describe(agent: &ValidAgent) -> String {
    format!("{} {}", kind(agent), agent.workload)
}

/// `nvidia.com/gpu: 2`.
fn listed(gpus: &BTreeMap<GpuResource, u32>) -> String {
    gpus.iter()
        .map(|(resource, count)| format!("{resource}: {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn wrong_request(
    what: &str,
    container: &ContainerRecord,
    shape: &AgentShape,
    strategy: &Strategy,
    take_over: bool,
) -> Option<Refusal> {
    let name = &container.name;
    if let Some(unknown) = container.unknown.first() {
        return Some(Refusal::new(
            "UnknownGpuResource",
            format!("{what}: container {name:?} asks for {unknown}, which AgentPool does not know"),
        ));
    }
    let gpus = container.gpus();
    let asks = listed(&gpus);
    let wrong = |right: String| {
        Some(Refusal::new(
            "WrongGpuRequest",
            format!("{what}: container {name:?} asks for {asks}; must be {right}"),
        ))
    };
    let exactly =
        |resource: &GpuResource, count: u32| gpus.len() == 1 && gpus.get(resource) == Some(&count);
    match strategy {
        Strategy::WholeGpu if !exactly(&GpuResource::whole(), shape.gpus_per_replica) => {
            wrong(format!(
                "nvidia.com/gpu: {} (model.gpusPerReplica)",
                shape.gpus_per_replica
            ))
        }
        Strategy::TimeSlicing { resource, .. } if !exactly(resource, 1) => wrong(format!(
            "{resource}: 1 (a time slice is an access token: more of them give no more of the GPU)"
        )),
        Strategy::Mig => {
            let one_instance = gpus.len() == 1
                && gpus
                    .iter()
                    .all(|(r, n)| r.mig_profile().is_some() && *n == 1);
            if one_instance || take_over {
                None
            } else {
                wrong("one nvidia.com/mig-<profile>: 1, or allow requests.takeOver".to_owned())
            }
        }
        Strategy::WholeGpu | Strategy::TimeSlicing { .. } => None,
    }
}

#[cfg(test)]
mod tests;
