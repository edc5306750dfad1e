//! Tokens bound to a pod, as a kubelet projects them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use crate::controlplane::files::write_private;

/// Longer than any test; a cluster may grant less, and then the token is renewed in time.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Writes a token of the pod's service account, bound to the pod, and returns after what time it should be renewed.
pub(super) async fn write(client: &Client, pod: &Pod, file: &Path) -> Result<Duration> {
    let namespace = pod.namespace().unwrap_or_default();
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.clone())
        .unwrap_or_else(|| "default".to_owned());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            // Empty: the API server's own audience.
            audiences: Vec::new(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
        },
        ..TokenRequest::default()
    };
    let granted = accounts
        .create_token_request(&account, &PostParams::default(), &request)
        .await;
    let granted = granted.with_context(|| {
        format!(
            "a token of service account {namespace}/{account} for pod {}",
            pod.name_any()
        )
    })?;
    let status = granted
        .status
        .context("a token request came back without a token")?;
    write_private(file, &status.token)?;
    let left = status
        .expiration_timestamp
        .0
        .duration_since(jiff::Timestamp::now())
        .unsigned_abs();
    Ok(left.mul_f64(0.5))
}
