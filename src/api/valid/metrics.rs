//! `spec.metrics` and an agent's `metrics`.

use super::fields::{label, metric_name, path, port};
use super::{Invalid, ValidMetrics};
use crate::api::spec::{CustomMetrics, Engine, MetricSource, MetricsOverride, MetricsSpec};

/// Checks the pool's metrics; the name of its Prometheus source, or `None` where the pods are scraped.
pub(super) fn pool(spec: &MetricsSpec) -> Result<Option<String>, Invalid> {
    let field = "spec.metrics";
    port(&format!("{field}.port"), spec.port)?;
    path(&format!("{field}.path"), &spec.path)?;
    custom(field, spec.engine, spec.custom.as_ref())?;
    let field = "spec.metrics.prometheus";
    match (spec.source, &spec.prometheus) {
        (MetricSource::Pods, None) => Ok(None),
        (MetricSource::Prometheus, Some(source)) => {
            label(&format!("{field}.name"), &source.name)?;
            Ok(Some(source.name.clone()))
        }
        (MetricSource::Pods, Some(_)) => Err(Invalid::new(
            field,
            "set",
            "absent unless source is Prometheus",
        )),
        (MetricSource::Prometheus, None) => Err(Invalid::new(
            field,
            "absent",
            "the name of a metric source when source is Prometheus",
        )),
    }
}

/// An agent's metrics: its own where it says so, else the pool's, which have been checked.
pub(super) fn agent(
    field: &str,
    own: Option<&MetricsOverride>,
    defaults: &MetricsSpec,
) -> Result<ValidMetrics, Invalid> {
    let own = own.cloned().unwrap_or_default();
    custom(field, own.engine.unwrap_or_default(), own.custom.as_ref())?;
    if let Some(own) = &own.path {
        path(&format!("{field}.path"), own)?;
    }
    let (engine, custom) = match own.engine {
        Some(engine) => (engine, own.custom),
        None => (defaults.engine, defaults.custom.clone()),
    };
    Ok(ValidMetrics {
        port: port(&format!("{field}.port"), own.port.unwrap_or(defaults.port))?,
        path: own.path.unwrap_or_else(|| defaults.path.clone()),
        engine,
        custom,
    })
}

/// Names are declared exactly where the engine is Custom.
fn custom(field: &str, engine: Engine, names: Option<&CustomMetrics>) -> Result<(), Invalid> {
    let field = format!("{field}.custom");
    match (engine == Engine::Custom, names) {
        (true, Some(names)) => {
            metric_name(&format!("{field}.finished"), &names.finished)?;
            metric_name(&format!("{field}.running"), &names.running)?;
            metric_name(&format!("{field}.waiting"), &names.waiting)
        }
        (false, None) => Ok(()),
        (true, None) => Err(Invalid::new(field, "absent", "set when engine is Custom")),
        (false, Some(_)) => Err(Invalid::new(field, "set", "absent unless engine is Custom")),
    }
}
