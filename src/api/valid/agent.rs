//! `spec.agents`.

use super::fields::{between, gpus, label, number, object_name};
use super::{Invalid, ValidAgent, metrics};
use crate::api::spec::{AgentSpec, MetricsSpec};
use crate::sharing::{AgentShape, Strategy};
use crate::units::Mebibytes;

/// What the controller and the policies need of agent `i`.
pub(super) fn read(
    i: usize,
    spec: &AgentSpec,
    defaults: &MetricsSpec,
) -> Result<ValidAgent, Invalid> {
    let field = |name: &str| format!("spec.agents[{i}].{name}");
    label(&field("name"), &spec.name)?;
    object_name(&field("workloadRef.name"), &spec.workload_ref.name)?;
    let api_version = &spec.workload_ref.api_version;
    if api_version != "apps/v1" {
        return Err(Invalid::new(
            field("workloadRef.apiVersion"),
            api_version,
            "apps/v1",
        ));
    }
    if let Some(container) = &spec.container {
        label(&field("container"), container)?;
    }
    Ok(ValidAgent {
        name: spec.name.clone(),
        kind: spec.workload_ref.kind,
        workload: spec.workload_ref.name.clone(),
        container: spec.container.clone(),
        min_share: gpus(&field("minShare"), &spec.min_share)?,
        base_throughput: number(
            &field("model.requestsPerSecondPerGpu"),
            &spec.model.requests_per_second_per_gpu,
            |t| t > 0.0 && t <= 1e6,
            "requests per second above 0 and at most 1000000, such as 30 or \"2.5\"",
        )?,
        speed_exponent: number(
            &field("model.speedExponent"),
            &spec.model.speed_exponent,
            |b| (0.1..=1.0).contains(&b),
            "a number from \"0.1\" to \"1\"",
        )?,
        metrics: metrics::agent(&field("metrics"), spec.metrics.as_ref(), defaults)?,
    })
}

/// What sharing needs of agent `i`.
pub(super) fn shape(
    i: usize,
    spec: &AgentSpec,
    strategy: &Strategy,
) -> Result<AgentShape, Invalid> {
    let field = |name: &str| format!("spec.agents[{i}].{name}");
    let (min, max) = (spec.replicas.min, spec.replicas.max);
    if min < 1 || min > max || max > 1000 {
        let found = format!("{min}..{max}");
        return Err(Invalid::new(
            field("replicas"),
            found,
            "1 <= min <= max <= 1000",
        ));
    }
    let memory = spec.model.memory_per_replica.as_ref();
    if memory.is_none() && *strategy != Strategy::WholeGpu {
        let expected = "an amount such as 16Gi: TimeSlicing and MIG need it";
        return Err(Invalid::new(
            field("model.memoryPerReplica"),
            "absent",
            expected,
        ));
    }
    let memory = memory.map(|amount| {
        Mebibytes::parse(&amount.to_string())
            .map_err(|err| Invalid::unit(field("model.memoryPerReplica"), err))
    });
    let gpus = between(
        &field("model.gpusPerReplica"),
        spec.model.gpus_per_replica,
        1,
        16,
    )?;
    if gpus > 1 && *strategy != Strategy::WholeGpu {
        let expected = "1: more needs sharing type WholeGPU";
        return Err(Invalid::new(field("model.gpusPerReplica"), gpus, expected));
    }
    let exponent = spec.model.speed_exponent.to_string();
    if !exponent.starts_with('1') && *strategy != Strategy::Mig {
        let expected = "1: less needs sharing type MIG";
        return Err(Invalid::new(
            field("model.speedExponent"),
            exponent,
            expected,
        ));
    }
    Ok(AgentShape {
        name: spec.name.clone(),
        priority: spec.priority,
        min_replicas: min,
        max_replicas: max,
        gpus_per_replica: gpus,
        memory_per_replica: memory.transpose()?,
    })
}
