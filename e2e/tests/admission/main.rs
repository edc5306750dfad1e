//! The API on a real API server: what is wrong is refused in words, what is right is taken, `kubectl` explains and prints it, and the
//! examples apply.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod examples;
mod kubectl;
mod objects;
mod right;
mod wrong;

use agentpool::api::{AgentPool, ValidPool};
use agentpool_e2e::controlplane::{ControlPlane, Options};
use agentpool_e2e::install;
use kube::Client;
use serde_json::Value;

/// A control plane with AgentPool installed, and a namespace of the same name.
async fn installed(name: &str) -> (ControlPlane, Client) {
    let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
    install::install(&control_plane).await.unwrap();
    control_plane.create_namespace(name).await.unwrap();
    let client = control_plane.client().await.unwrap();
    (control_plane, client)
}

/// Has the API server check a pool as `kubectl apply` does, strictly and without storing it: the object with its defaults, or what is
/// wrong with it.
async fn submit(client: &Client, namespace: &str, pool: &Value) -> Result<Value, String> {
    let path = format!("/apis/agentpool.dev/v1alpha1/namespaces/{namespace}/agentpools");
    let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(pool).unwrap())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(stored) => Ok(stored),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Reads a stored pool as the operator does.
fn admit(stored: &Value) -> Result<ValidPool, String> {
    let pool: AgentPool =
        serde_json::from_value(stored.clone()).map_err(|error| error.to_string())?;
    ValidPool::admit(&pool).map_err(|invalid| invalid.to_string())
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_field_and_what_would_be_right() {
    let (control_plane, client) = installed("admission-wrong").await;
    let mut surprises = Vec::new();
    let cases = wrong::cases();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    for case in cases {
        match submit(&client, "admission-wrong", &case.pool).await {
            Ok(_) => surprises.push(format!("{}: accepted", case.what)),
            Err(message) => {
                let missing = case.says.iter().filter(|words| !message.contains(**words));
                let missing: Vec<_> = missing.collect();
                if !missing.is_empty() {
                    surprises.push(format!(
                        "{}: does not say {missing:?}:\n    {message}",
                        case.what
                    ));
                }
                // What the types do not know they cannot refuse; all else the operator refuses as well, should an older CRD be installed.
                if !message.contains("unknown field") && admit(&case.pool).is_ok() {
                    surprises.push(format!("{}: taken by the operator", case.what));
                }
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    control_plane.finish();
}

#[tokio::test]
async fn what_is_right_is_taken_and_read_by_the_operator_without_complaint() {
    let (control_plane, client) = installed("admission-right").await;
    let mut surprises = Vec::new();
    for (what, pool) in right::cases() {
        match submit(&client, "admission-right", &pool).await {
            Err(message) => surprises.push(format!("{what}: {message}")),
            Ok(stored) => {
                if let Err(invalid) = admit(&stored) {
                    surprises.push(format!("{what}: the operator refuses it: {invalid}"));
                }
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    right::defaults_are_those_of_the_types(&client, "admission-right").await;
    right::the_largest_pool_is_stored_and_changed(&client, "admission-right").await;
    control_plane.finish();
}

#[tokio::test]
async fn every_example_applies_strictly_and_names_workloads_that_ask_for_what_the_pool_shares() {
    let (control_plane, client) = installed("admission-examples").await;
    examples::apply_all(&control_plane, &client, "admission-examples").await;
    control_plane.finish();
}

#[tokio::test]
async fn kubectl_explains_every_field_and_prints_a_pool_within_120_columns() {
    let (control_plane, client) = installed("admission-kubectl").await;
    kubectl::explains_every_field(&control_plane);
    kubectl::prints_within(&control_plane, &client, "admission-kubectl", 120).await;
    control_plane.finish();
}
