mod agent;
mod device;
mod fields;
mod invalid;
mod metrics;
#[cfg(test)]
mod tests;

pub use invalid::Invalid;

use super::annotations;
use super::spec::{
    AgentPool, AgentSpec, CustomMetrics, Engine, Mode, PolicySpec, PolicyType, SpareCapacity,
    StaleAction, TakeOver, WorkloadKind,
};
use crate::allocation::{Pace, Policy, Spare};
use crate::sharing::{Behavior, PoolShape};
use crate::units::MilliGpus;
use fields::{at_most, between, fraction, number, span, window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An AgentPool whose every field has been read once. Behind it nothing returns an error for bad input.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidPool {
    /// Namespace of the pool and of its workloads.
    pub namespace: String,
    /// Name of the pool.
    pub name: String,
    /// UID of the pool object.
    pub uid: String,
    /// Generation of the spec that was read.
    pub generation: Option<i64>,
    /// What the operator may do.
    pub mode: Mode,
    /// Frozen by annotation.
    pub paused: bool,
    /// Labels of the nodes of the pool; empty: all GPU nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Whether somebody else's GPU request may be replaced.
    pub take_over: bool,
    /// The rule.
    pub policy: Policy,
    /// How often the pool decides.
    pub interval: Duration,
    /// Declared averaging window and drain time.
    pub pace: Pace,
    /// Actuation lag until it is learned.
    pub declared_lag: Duration,
    /// Name of the Prometheus source; `None`: the pods' own metrics.
    pub prometheus: Option<String>,
    /// Time for which an agent without signals keeps what it has.
    pub hold_for: Duration,
    /// What follows then.
    pub then: StaleAction,
    /// What sharing needs; its agents are in the same order as `agents`.
    pub shape: PoolShape,
    /// The agents, ascending by name.
    pub agents: Vec<ValidAgent>,
}

/// One agent; what sharing needs of it is in `ValidPool::shape`.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidAgent {
    /// Name, unique in the pool.
    pub name: String,
    /// Kind of its workload.
    pub kind: WorkloadKind,
    /// Name of its workload.
    pub workload: String,
    /// Container that asks for the GPU; `None`: the only one.
    pub container: Option<String>,
    /// Entitlement.
    pub min_share: MilliGpus,
    /// Requests per second on one whole GPU; finite, > 0.
    pub base_throughput: f64,
    /// b in speed = T · share^b; in (0, 1].
    pub speed_exponent: f64,
    /// Where its load comes from.
    pub metrics: ValidMetrics,
}

/// Where an agent's load comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidMetrics {
    /// Port.
    pub port: u16,
    /// Absolute path.
    pub path: String,
    /// Engine.
    pub engine: Engine,
    /// Names, when the engine is Custom.
    pub custom: Option<CustomMetrics>,
}

impl ValidPool {
    /// Reads a pool once.
    ///
    /// # Errors
    /// The first field that is wrong. The CRD refuses the same earlier; this also holds where an older CRD is installed or none was
    /// asked.
    pub fn admit(pool: &AgentPool) -> Result<Self, Invalid> {
        let spec = &pool.spec;
        let [device] = spec.devices.as_slice() else {
            let found = spec.devices.len();
            return Err(Invalid::new(
                "spec.devices",
                found,
                "a list of exactly one item",
            ));
        };
        let device = device::read(device)?;
        if spec.agents.is_empty() || spec.agents.len() > 64 {
            let found = spec.agents.len();
            return Err(Invalid::new(
                "spec.agents",
                found,
                "a list of 1 to 64 agents",
            ));
        }
        let mut indexed: Vec<(usize, &AgentSpec)> = spec.agents.iter().enumerate().collect();
        indexed.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        unique(&indexed)?;
        let prometheus = metrics::pool(&spec.metrics)?;
        let (mut agents, mut shapes) = (Vec::new(), Vec::new());
        for (i, agent) in indexed {
            agents.push(agent::read(i, agent, &spec.metrics)?);
            shapes.push(agent::shape(i, agent, &device.strategy)?);
        }
        minimum_fits(&agents, device.gpus)?;
        let policy = &spec.policy;
        let spare = spare(policy)?;
        let annotations = pool.metadata.annotations.as_ref();
        Ok(Self {
            namespace: pool.metadata.namespace.clone().unwrap_or_default(),
            name: pool.metadata.name.clone().unwrap_or_default(),
            uid: pool.metadata.uid.clone().unwrap_or_default(),
            generation: pool.metadata.generation,
            mode: spec.mode,
            paused: annotations
                .and_then(|a| a.get(annotations::PAUSED))
                .is_some_and(|v| v == "true"),
            node_selector: device.node_selector,
            take_over: spec.requests.take_over == TakeOver::Allowed,
            policy: match policy.kind {
                PolicyType::WaterFilling => Policy::WaterFilling,
                PolicyType::Adaptive => Policy::Adaptive,
                PolicyType::StaticEqual => Policy::StaticEqual,
                PolicyType::Balanced => Policy::Balanced(spare),
            },
            interval: span("spec.policy.interval", &policy.interval, 1, 3600)?,
            pace: Pace {
                window: window("spec.policy.demandWindow", &policy.demand_window)?,
                drain: window("spec.policy.drain", &policy.drain)?,
            },
            declared_lag: span("spec.policy.actuationLag", &policy.actuation_lag, 0, 3600)?,
            prometheus,
            hold_for: window(
                "spec.metrics.onStale.holdFor",
                &spec.metrics.on_stale.hold_for,
            )?,
            then: spec.metrics.on_stale.then,
            shape: PoolShape {
                strategy: device.strategy,
                declared_gpus: device.gpus,
                nodes_hidden: false,
                allow_downtime: policy.disruption.allow_downtime,
                max_concurrent: between(
                    "spec.policy.disruption.maxConcurrent",
                    policy.disruption.max_concurrent,
                    1,
                    64,
                )?,
                behavior: behavior(policy)?,
                agents: shapes,
            },
            agents,
        })
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether workloads may be written at all.
    pub fn may_write(&self) -> bool {
        self.mode == Mode::Auto && !self.paused
    }
}

fn spare(policy: &PolicySpec) -> Result<Spare, Invalid> {
    let headroom = number(
        "spec.policy.headroom",
        &policy.headroom,
        |n| (0.0..=10.0).contains(&n),
        "standard deviations from \"0\" to \"10\"",
    )?;
    Ok(match policy.spare {
        SpareCapacity::Lend => Spare::Lend,
        SpareCapacity::Save => Spare::Save {
            // At most 10 000; to the nearest thousandth.
            headroom_milli: (headroom * 1000.0).round() as u32,
        },
    })
}

fn behavior(policy: &PolicySpec) -> Result<Behavior, Invalid> {
    let behavior = &policy.behavior;
    let seconds = |rule: &str, value: u32| {
        let field = format!("spec.policy.behavior.{rule}.stabilizationWindowSeconds");
        at_most(&field, value, 3600).map(|seconds| Duration::from_secs(seconds.into()))
    };
    Ok(Behavior {
        tolerance: fraction("spec.policy.behavior.tolerance", &behavior.tolerance)?,
        scale_up_window: seconds("scaleUp", behavior.scale_up.stabilization_window_seconds)?,
        scale_down_window: seconds(
            "scaleDown",
            behavior.scale_down.stabilization_window_seconds,
        )?,
    })
}

fn minimum_fits(agents: &[ValidAgent], gpus: Option<MilliGpus>) -> Result<(), Invalid> {
    let minimum: MilliGpus = agents.iter().map(|a| a.min_share).sum();
    match gpus {
        Some(gpus) if minimum > gpus => Err(Invalid::new(
            "spec.agents[].minShare",
            minimum,
            format!("at most devices[0].gpus ({gpus}) in sum"),
        )),
        _ => Ok(()),
    }
}

fn unique(agents: &[(usize, &AgentSpec)]) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    let mut workloads = BTreeSet::new();
    for (i, agent) in agents {
        if !names.insert(&agent.name) {
            let field = format!("spec.agents[{i}].name");
            return Err(Invalid::new(field, &agent.name, "unique in the pool"));
        }
        let workload = &agent.workload_ref;
        if !workloads.insert((workload.kind, &workload.name)) {
            let field = format!("spec.agents[{i}].workloadRef.name");
            let expected = "a workload that no other agent names";
            return Err(Invalid::new(field, &workload.name, expected));
        }
    }
    Ok(())
}
