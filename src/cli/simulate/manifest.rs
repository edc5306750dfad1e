//! The pool: the manifest that a user would apply, refused as the operator would refuse it.

use super::failure::Failure;
use super::set::Set;
use crate::api::{AgentPool, ValidPool};
use serde::Deserialize;
use serde_yaml::{Deserializer, Value};
use std::path::Path;

/// A pool and its price.
#[derive(Debug)]
pub(super) struct Manifest {
    /// As the operator reads it.
    pub pool: ValidPool,
    /// USD an hour for a GPU, when it says so.
    pub price: Option<f64>,
}

/// Reads the only AgentPool of a file, which may have other objects beside it, and applies what-ifs.
///
/// # Errors
/// What the API server or the operator would refuse, in their words.
pub(super) fn read(path: &Path, sets: &[Set]) -> Result<Manifest, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::input(path.display(), format_args!("cannot be read: {error}")))?;
    parse(&text, &path.display().to_string(), sets)
}

fn parse(text: &str, file: &str, sets: &[Set]) -> Result<Manifest, Failure> {
    let wrong = |what: String| Failure::input(file, what);
    let mut pools = Vec::new();
    for (i, document) in Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|error| wrong(error.to_string()))?;
        if value.get("kind").and_then(Value::as_str) == Some("AgentPool") {
            pools.push((i, value));
        }
    }
    let [(index, written)] = &pools[..] else {
        let found = pools.len();
        return Err(wrong(format!(
            "has {found} objects of kind AgentPool, must have one"
        )));
    };
    // Read from the text first: what is wrong there has a line.
    let document = Deserializer::from_str(text).nth(*index);
    let typed = document.map(AgentPool::deserialize).transpose();
    typed.map_err(|error| wrong(error.to_string()))?;
    admit(written.clone(), file, sets)
}

/// A manifest as the operator reads it, after what-ifs.
///
/// # Errors
/// What the operator would refuse, in its words.
pub(super) fn admit(mut written: Value, file: &str, sets: &[Set]) -> Result<Manifest, Failure> {
    let wrong = |what: String| Failure::input(file, what);
    for set in sets.iter().filter(|set| set.is_of_pool()) {
        set.apply(&mut written).map_err(Failure::Input)?;
    }
    let pool: AgentPool =
        serde_yaml::from_value(written.clone()).map_err(|error| wrong(error.to_string()))?;
    if let Ok(read) = serde_yaml::to_value(&pool.spec)
        && let Some(stranger) = stranger(&written["spec"], &read, "spec")
    {
        return Err(wrong(format!("{stranger}: there is no such field")));
    }
    let price = pool
        .spec
        .devices
        .first()
        .and_then(|d| d.price_per_gpu_hour.clone());
    let valid = ValidPool::admit(&pool).map_err(|invalid| wrong(invalid.to_string()))?;
    Ok(Manifest {
        pool: valid,
        price: price.and_then(|price| price.to_string().parse().ok()),
    })
}

/// The first field that was written and not read.
fn stranger(written: &Value, read: &Value, path: &str) -> Option<String> {
    match (written, read) {
        (Value::Mapping(written), Value::Mapping(read)) => {
            written.iter().find_map(|(key, value)| {
                let name = key.as_str().unwrap_or("?");
                let path = format!("{path}.{name}");
                match read.get(key) {
                    Some(read) => stranger(value, read, &path),
                    None if value.is_null() => None,
                    None => Some(path),
                }
            })
        }
        (Value::Sequence(written), Value::Sequence(read)) => {
            let pairs = written.iter().zip(read).enumerate();
            pairs
                .filter_map(|(i, (w, r))| stranger(w, r, &format!("{path}[{i}]")))
                .next()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const POOL: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\n\
        metadata: {name: p}\nspec:\n  mode: Auto\n  devices: [{name: d, gpus: 2, pricePerGpuHour: \"2.10\", sharing: {type: WholeGPU}}]\n  \
        agents:\n  - {name: a, workloadRef: {apiVersion: apps/v1, kind: Deployment, name: a}, minShare: 1, replicas: {max: 2}, \
        model: {requestsPerSecondPerGpu: 5}}\n";

    fn read(text: &str, sets: &[&str]) -> Result<Manifest, String> {
        let sets: Vec<Set> = sets.iter().map(|set| Set::parse(set).unwrap()).collect();
        parse(text, "pool.yaml", &sets).map_err(|failure| {
            assert_eq!(failure.code(), 2);
            failure.to_string()
        })
    }

    #[test]
    fn a_pool_is_found_beside_other_objects_and_changed_by_what_ifs() {
        let manifest = read(
            POOL,
            &["spec.devices[d].gpus=1", "spec.agents[a].priority=High"],
        )
        .unwrap();
        assert_eq!(manifest.price, Some(2.1));
        assert_eq!(manifest.pool.shape.declared_gpus.unwrap().0, 1000);
        assert_eq!(
            manifest.pool.shape.agents[0].priority,
            crate::units::Priority::High
        );
    }

    #[test]
    fn what_the_operator_refuses_is_refused_in_its_words() {
        let error = read(&POOL.replace("minShare: 1", "minShare: 3"), &[]).unwrap_err();
        assert_eq!(
            error,
            "pool.yaml: spec.agents[].minShare: \"3\" is not valid: must be at most devices[0].gpus (2) in sum"
        );
        let error = read(&POOL.replace("mode: Auto", "mode: Maybe"), &[]).unwrap_err();
        assert!(
            error.contains("Maybe") && error.contains("line 9"),
            "{error}"
        );
        let error = read(&POOL.replace("minShare", "minshare"), &[]).unwrap_err();
        assert_eq!(
            error,
            "pool.yaml: spec.agents[0].minshare: there is no such field"
        );
        let error = read(POOL, &["spec.agents[a].priority=Highest"]).unwrap_err();
        assert!(error.contains("Highest"), "{error}");
        let error = read("kind: Service", &[]).unwrap_err();
        assert_eq!(
            error,
            "pool.yaml: has 0 objects of kind AgentPool, must have one"
        );
        let error = read("a: [", &[]).unwrap_err();
        assert!(error.contains("line"), "{error}");
    }
}
