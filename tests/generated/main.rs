//! Generated files say what the sources say. `make generate` writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fields;
mod reasons;
mod reference;
mod sources;

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Set by `make generate`: write instead of compare.
const GENERATE: &str = "AGENTPOOL_GENERATE";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file with what it should say, or writes it.
fn generated(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os(GENERATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found
        .lines()
        .zip(expected.lines())
        .position(|(a, b)| a != b)
        .unwrap_or_else(|| found.lines().count().min(expected.lines().count()))
        + 1;
    assert!(
        found == expected,
        "{} differs from the sources at line {difference}: run `make generate` and commit what it writes",
        path.display()
    );
}

#[test]
fn the_crd_here_and_in_the_chart_is_generated_from_the_types() {
    let expected = agentpool::api::crd_yaml().unwrap();
    generated("crds/agentpools.agentpool.dev.yaml", &expected);
    generated("charts/agentpool/files/crd.yaml", &expected);
}

#[test]
fn the_reference_is_generated_from_the_crd_and_the_sources() {
    generated("docs/reference.md", &reference::markdown());
}

#[test]
fn the_manual_of_simulate_is_generated_from_the_types() {
    generated("docs/simulate.md", &agentpool::cli::simulate_reference());
    let schema = agentpool::cli::simulate_schema().unwrap();
    generated("docs/simulate.schema.json", &schema);
}

#[test]
fn the_crd_in_the_plain_manifests_is_the_one_of_the_types() {
    let path = "deploy/install.yaml";
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let found = serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde_yaml::Value::deserialize(document).unwrap())
        .find(|object| object["kind"] == "CustomResourceDefinition")
        .expect("a CustomResourceDefinition");
    let expected: serde_yaml::Value =
        serde_yaml::from_str(&agentpool::api::crd_yaml().unwrap()).unwrap();
    assert!(
        found["spec"] == expected["spec"],
        "the CRD in {path} differs from the types: run `make generate` and commit what it writes"
    );
}
