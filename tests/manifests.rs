//! Generated files say what the code says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

fn assert_is_current(path: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "{} is not what the code says: run `make manifests`",
        path.display()
    );
}

#[test]
fn the_custom_resource_definition_in_the_repository_and_in_the_chart_is_the_one_of_the_types() {
    let generated = serde_yaml::to_string(&agentpool::api::crd()).unwrap();
    assert_is_current("crds/agentpools.agentpool.dev.yaml", &generated);
    assert_is_current("charts/agentpool/files/crd.yaml", &generated);
}
