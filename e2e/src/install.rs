//! Installs AgentPool as a user would, from `deploy/install.yaml`, and makes identities for operators under test.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::controlplane::files::Token;
use crate::controlplane::{ControlPlane, binaries, client_of};
use crate::wait;

/// The namespace of `deploy/install.yaml`.
pub const NAMESPACE: &str = "agentpool-system";
/// The name of the operator's service account, lease and roles there.
pub const NAME: &str = "agentpool";

const LIMIT: Duration = Duration::from_secs(60);

/// Installs everything but the operator's own Deployment (the operator under test is a process of the bench), and waits until the
/// CustomResourceDefinition is served and both admission policies bite.
///
/// # Errors
/// An object is refused, or something is not in force within a minute.
pub async fn install(control_plane: &ControlPlane) -> Result<()> {
    let client = control_plane.client().await?;
    let path = binaries::repository().join("deploy/install.yaml");
    for object in objects(&path)? {
        if object["kind"] != "Deployment" {
            apply(&client, object).await?;
        }
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    wait::until(LIMIT, "the CRD of AgentPool is served", async || {
        let crd = crds.get("agentpools.agentpool.dev").await?;
        let conditions = crd.status.and_then(|status| status.conditions);
        let served = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True");
        Ok(served.then_some(()))
    })
    .await?;
    policies_bite(control_plane, &client).await
}

/// The label selector of the operator's pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=agentpool";

/// Applies the operator's own Deployment; an [`crate::operator::OperatorRunner`] then runs its pods. Needs a node.
///
/// # Errors
/// The API server refuses it.
pub async fn deploy(client: &Client, replicas: u32) -> Result<()> {
    for mut object in objects(&binaries::repository().join("deploy/install.yaml"))? {
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = json!(replicas);
            apply(client, object).await?;
        }
    }
    Ok(())
}

/// The objects of a file of YAML documents.
///
/// # Errors
/// The file cannot be read, or is no YAML.
pub fn objects(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    let objects: Result<Vec<Value>, _> = documents.collect();
    let mut objects = objects.with_context(|| format!("parse {}", path.display()))?;
    objects.retain(|object| !object.is_null());
    Ok(objects)
}

/// Applies an object of any kind.
///
/// # Errors
/// The kind is unknown, or the object is refused.
pub async fn apply(client: &Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let Some(types) = object.types.clone() else {
        bail!("an object without apiVersion and kind");
    };
    let TypeMeta { api_version, kind } = types.clone();
    let gvk = GroupVersionKind::try_from(types)?;
    let name = object.metadata.name.clone().unwrap_or_default();
    let (resource, capabilities) = pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("find {api_version} {kind}"))?;
    let api: Api<DynamicObject> = match (&capabilities.scope, object.metadata.namespace.as_deref())
    {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    api.patch(
        &name,
        &PatchParams::apply("bench").force(),
        &Patch::Apply(&object),
    )
    .await
    .with_context(|| format!("apply {kind} {name}"))?;
    Ok(())
}

/// Makes a pod for an operator under test to stand for (nothing runs in it), and returns a token of the operator's service account that is
/// bound to it, as the kubelet would mount it.
///
/// # Errors
/// The API server refuses either.
pub async fn identity(client: &Client, pod: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let object: Pod = serde_json::from_value(json!({
        "metadata": {"name": pod, "labels": {"bench.agentpool.dev/operator": "true"}},
        "spec": {
            "serviceAccountName": NAME,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "operator", "image": "none", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    }))?;
    pods.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("create the pod {pod}"))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.to_owned()),
                uid: None,
            }),
            expiration_seconds: Some(24 * 3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(NAME, &PostParams::default(), &request)
        .await
        .context("a token bound to the pod")?;
    Ok(answer.status.map(|status| status.token).unwrap_or_default())
}

/// A client that is one of the operator's pods.
///
/// # Errors
/// As [`identity`].
pub async fn client_as(control_plane: &ControlPlane, pod: &str) -> Result<Client> {
    let token = identity(&control_plane.client().await?, pod).await?;
    let path = control_plane.folder().join(format!("kubeconfig-{pod}"));
    control_plane
        .write_kubeconfig(&path, Token::Inline(&token), NAMESPACE, None)
        .await?;
    client_of(&path).await
}

/// Writes who holds the operator's lease; `None`: nobody.
///
/// # Errors
/// The API server refuses.
pub async fn hold_lease(client: &Client, holder: Option<&str>) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = json!({"spec": {"holderIdentity": holder}});
    leases
        .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Waits until each policy refuses what only it refuses.
async fn policies_bite(control_plane: &ControlPlane, client: &Client) -> Result<()> {
    const PROBE: &str = "policy-probe";
    let operator = client_as(control_plane, PROBE).await?;
    let pods: Api<Pod> = Api::namespaced(operator, NAMESPACE);
    // Each by a write that the other permits: which of two refusals is reported is not said.
    let refused_by = async |policy: &str, metadata: Value| {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        wait::until(LIMIT, format!("{policy} is in force"), async || match pods
            .patch(PROBE, &PatchParams::default().dry_run(), &patch)
            .await
        {
            Err(kube::Error::Api(status)) if status.message.contains(policy) => Ok(Some(())),
            _ => Ok(None),
        })
        .await
    };
    hold_lease(client, Some(PROBE)).await?;
    refused_by("agentpool-jail", json!({"labels": {"probe": "true"}})).await?;
    hold_lease(client, Some("nobody")).await?;
    refused_by(
        "agentpool-fence",
        json!({"annotations": {"agentpool.dev/probe": "true"}}),
    )
    .await?;
    hold_lease(client, None).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.delete(PROBE, &DeleteParams::default().grace_period(0))
        .await?;
    Ok(())
}
