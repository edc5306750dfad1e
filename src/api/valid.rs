use super::annotations;
use super::spec::{
    AgentPool, AgentSpec, CustomMetrics, DeviceSpec, Engine, MetricSource, MetricsSpec, Mode,
    PolicyType, SharingType, StaleAction, TakeOver, TimeSliceResource, WorkloadKind,
};
use crate::allocation::{Pace, Policy};
use crate::sharing::{AgentShape, Behavior, PoolShape, Strategy};
use crate::units::{GpuResource, Mebibytes, MilliGpus, UnitError, parse_duration};
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

/// A field that is wrong: which, what it says, what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not valid: must be {expected}")]
pub struct Invalid {
    /// Path of the field, as `spec.agents[2].minShare`.
    pub field: String,
    /// What it says, at most 64 characters.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl Invalid {
    fn new(field: impl Into<String>, value: impl ToString, expected: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            value: value.to_string().chars().take(64).collect(),
            expected: expected.into(),
        }
    }

    fn unit(field: impl Into<String>, err: UnitError) -> Self {
        Self::new(field, err.value, err.expected)
    }
}

impl ValidPool {
    /// Reads a pool once.
    ///
    /// # Errors
    /// The first field that is wrong. The CRD refuses almost all of it earlier; this also holds where an older CRD is installed.
    pub fn admit(pool: &AgentPool) -> Result<Self, Invalid> {
        let spec = &pool.spec;
        let [device] = spec.devices.as_slice() else {
            return Err(Invalid::new(
                "spec.devices",
                spec.devices.len(),
                "a list of exactly one item",
            ));
        };
        if spec.agents.is_empty() || spec.agents.len() > 64 {
            return Err(Invalid::new(
                "spec.agents",
                spec.agents.len(),
                "a list of 1 to 64 agents",
            ));
        }
        let strategy = strategy(device)?;
        let mut indexed: Vec<(usize, &AgentSpec)> = spec.agents.iter().enumerate().collect();
        indexed.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        unique(&indexed)?;
        let agents = indexed
            .iter()
            .map(|&(i, a)| agent(i, a, &spec.metrics))
            .collect::<Result<Vec<_>, _>>()?;
        let shapes = indexed
            .iter()
            .map(|&(i, a)| agent_shape(i, a, &strategy))
            .collect::<Result<Vec<_>, _>>()?;
        let declared_gpus = match &device.gpus {
            Some(gpus) => Some(positive_gpus(&gpus.to_string())?),
            None => None,
        };
        let minimum: MilliGpus = agents.iter().map(|a| a.min_share).sum();
        if let Some(gpus) = declared_gpus.filter(|&gpus| minimum > gpus) {
            return Err(Invalid::new(
                "spec.agents[].minShare",
                minimum,
                format!("at most devices[0].gpus ({gpus}) in sum"),
            ));
        }
        let policy = &spec.policy;
        let tolerance: f64 = policy
            .behavior
            .tolerance
            .to_string()
            .parse()
            .ok()
            .filter(|t| (0.0..=1.0).contains(t))
            .ok_or_else(|| {
                Invalid::new(
                    "spec.policy.behavior.tolerance",
                    &policy.behavior.tolerance,
                    "a fraction from \"0\" to \"1\"",
                )
            })?;
        let window = |field: &str, text: &str| span(field, text, 1, 86_400);
        Ok(Self {
            namespace: pool.metadata.namespace.clone().unwrap_or_default(),
            name: pool.metadata.name.clone().unwrap_or_default(),
            uid: pool.metadata.uid.clone().unwrap_or_default(),
            generation: pool.metadata.generation,
            mode: spec.mode,
            paused: pool
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(annotations::PAUSED))
                .is_some_and(|v| v == "true"),
            node_selector: device.node_selector.clone(),
            take_over: spec.requests.take_over == TakeOver::Allowed,
            policy: match policy.kind {
                PolicyType::WaterFilling => Policy::WaterFilling,
                PolicyType::Adaptive => Policy::Adaptive,
                PolicyType::StaticEqual => Policy::StaticEqual,
            },
            interval: span("spec.policy.interval", &policy.interval, 1, 3600)?,
            pace: Pace {
                window: window("spec.policy.demandWindow", &policy.demand_window)?,
                drain: window("spec.policy.drain", &policy.drain)?,
            },
            declared_lag: span("spec.policy.actuationLag", &policy.actuation_lag, 0, 3600)?,
            prometheus: prometheus(&spec.metrics)?,
            hold_for: window(
                "spec.metrics.onStale.holdFor",
                &spec.metrics.on_stale.hold_for,
            )?,
            then: spec.metrics.on_stale.then,
            shape: PoolShape {
                strategy,
                declared_gpus,
                nodes_hidden: false,
                allow_downtime: policy.disruption.allow_downtime,
                max_concurrent: policy.disruption.max_concurrent.max(1),
                behavior: Behavior {
                    tolerance,
                    scale_up_window: Duration::from_secs(
                        policy.behavior.scale_up.stabilization_window_seconds.into(),
                    ),
                    scale_down_window: Duration::from_secs(
                        policy
                            .behavior
                            .scale_down
                            .stabilization_window_seconds
                            .into(),
                    ),
                },
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

fn span(field: &str, text: &str, least: u64, most: u64) -> Result<Duration, Invalid> {
    let duration = parse_duration(text).map_err(|err| Invalid::unit(field, err))?;
    if duration < Duration::from_secs(least) || duration > Duration::from_secs(most) {
        return Err(Invalid::new(
            field,
            text,
            format!("a duration from {least}s to {most}s"),
        ));
    }
    Ok(duration)
}

fn positive_gpus(text: &str) -> Result<MilliGpus, Invalid> {
    let gpus = MilliGpus::parse(text).map_err(|err| Invalid::unit("spec.devices[0].gpus", err))?;
    if gpus == MilliGpus::ZERO {
        Err(Invalid::new("spec.devices[0].gpus", text, "above 0"))
    } else {
        Ok(gpus)
    }
}

fn strategy(device: &DeviceSpec) -> Result<Strategy, Invalid> {
    let slicing = device.sharing.time_slicing.as_ref();
    match (device.sharing.kind, slicing) {
        (SharingType::WholeGPU, None) => Ok(Strategy::WholeGpu),
        (SharingType::MIG, None) => Ok(Strategy::Mig),
        (SharingType::TimeSlicing, slicing) => Ok(Strategy::TimeSlicing {
            resource: match slicing.map(|s| s.resource_name).unwrap_or_default() {
                TimeSliceResource::Shared => GpuResource::shared(),
                TimeSliceResource::Gpu => GpuResource::whole(),
            },
            slices_per_gpu: slicing.and_then(|s| s.slices_per_gpu),
        }),
        (SharingType::WholeGPU | SharingType::MIG, Some(_)) => Err(Invalid::new(
            "spec.devices[0].sharing.timeSlicing",
            "set",
            "absent unless sharing.type is TimeSlicing",
        )),
    }
}

fn unique(agents: &[(usize, &AgentSpec)]) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    let mut workloads = BTreeSet::new();
    for (i, agent) in agents {
        if !names.insert(&agent.name) {
            return Err(Invalid::new(
                format!("spec.agents[{i}].name"),
                &agent.name,
                "unique in the pool",
            ));
        }
        if !workloads.insert((agent.workload_ref.kind, &agent.workload_ref.name)) {
            return Err(Invalid::new(
                format!("spec.agents[{i}].workloadRef.name"),
                &agent.workload_ref.name,
                "a workload that no other agent names",
            ));
        }
    }
    Ok(())
}

fn agent(i: usize, spec: &AgentSpec, defaults: &MetricsSpec) -> Result<ValidAgent, Invalid> {
    let field = |name: &str| format!("spec.agents[{i}].{name}");
    let throughput = spec.model.requests_per_second_per_gpu.to_string();
    let base_throughput = throughput
        .parse::<f64>()
        .ok()
        .filter(|t| t.is_finite() && *t > 0.0 && *t <= 1e6)
        .ok_or_else(|| {
            Invalid::new(
                field("model.requestsPerSecondPerGpu"),
                &throughput,
                "requests per second above 0 and at most 1000000, such as 30 or \"2.5\"",
            )
        })?;
    let speed_exponent = spec
        .model
        .speed_exponent
        .to_string()
        .parse::<f64>()
        .ok()
        .filter(|b| (0.1..=1.0).contains(b))
        .ok_or_else(|| {
            Invalid::new(
                field("model.speedExponent"),
                &spec.model.speed_exponent,
                "a number from \"0.1\" to \"1\"",
            )
        })?;
    let over = spec.metrics.clone().unwrap_or_default();
    let (engine, custom) = match over.engine {
        Some(engine) => (engine, over.custom),
        None => (defaults.engine, defaults.custom.clone()),
    };
    if (engine == Engine::Custom) != custom.is_some() {
        return Err(Invalid::new(
            field("metrics.custom"),
            if custom.is_some() { "set" } else { "absent" },
            "set exactly when engine is Custom",
        ));
    }
    Ok(ValidAgent {
        name: spec.name.clone(),
        kind: spec.workload_ref.kind,
        workload: spec.workload_ref.name.clone(),
        container: spec.container.clone(),
        min_share: MilliGpus::parse(&spec.min_share.to_string())
            .map_err(|err| Invalid::unit(field("minShare"), err))?,
        base_throughput,
        speed_exponent,
        metrics: ValidMetrics {
            port: over.port.unwrap_or(defaults.port),
            path: over.path.unwrap_or_else(|| defaults.path.clone()),
            engine,
            custom,
        },
    })
}

fn agent_shape(i: usize, spec: &AgentSpec, strategy: &Strategy) -> Result<AgentShape, Invalid> {
    let field = |name: &str| format!("spec.agents[{i}].{name}");
    if spec.replicas.min < 1 || spec.replicas.min > spec.replicas.max || spec.replicas.max > 1000 {
        return Err(Invalid::new(
            field("replicas"),
            format!("{}..{}", spec.replicas.min, spec.replicas.max),
            "1 <= min <= max <= 1000",
        ));
    }
    let memory_per_replica = match &spec.model.memory_per_replica {
        Some(amount) => Some(
            Mebibytes::parse(&amount.to_string())
                .map_err(|err| Invalid::unit(field("model.memoryPerReplica"), err))?,
        ),
        None if *strategy != Strategy::WholeGpu => {
            return Err(Invalid::new(
                field("model.memoryPerReplica"),
                "absent",
                "an amount such as 16Gi: TimeSlicing and MIG need it",
            ));
        }
        None => None,
    };
    let gpus = spec.model.gpus_per_replica;
    if !(1..=16).contains(&gpus) || (gpus > 1 && *strategy != Strategy::WholeGpu) {
        return Err(Invalid::new(
            field("model.gpusPerReplica"),
            gpus,
            "1, or 2 to 16 with sharing type WholeGPU",
        ));
    }
    Ok(AgentShape {
        name: spec.name.clone(),
        priority: spec.priority,
        min_replicas: spec.replicas.min,
        max_replicas: spec.replicas.max,
        gpus_per_replica: gpus,
        memory_per_replica,
    })
}

fn prometheus(metrics: &MetricsSpec) -> Result<Option<String>, Invalid> {
    match (metrics.source, &metrics.prometheus) {
        (MetricSource::Pods, None) => Ok(None),
        (MetricSource::Prometheus, Some(source)) => Ok(Some(source.name.clone())),
        (MetricSource::Pods, Some(_)) => Err(Invalid::new(
            "spec.metrics.prometheus",
            "set",
            "absent unless source is Prometheus",
        )),
        (MetricSource::Prometheus, None) => Err(Invalid::new(
            "spec.metrics.prometheus",
            "absent",
            "the name of a metric source when source is Prometheus",
        )),
    }
}
