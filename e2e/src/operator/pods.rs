//! Pods of the operator without its chart: for tests of the bench, and of the operator's identity.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::controlplane::BENCH_LABEL;

/// Bare pods of one service account. Roles are the caller's business, and so is a node to put them on.
#[derive(Debug, Clone)]
pub struct OperatorPods {
    /// Namespace of everything; created if it is missing.
    pub namespace: String,
    /// Name of the service account, and label `app.kubernetes.io/name` of the pods.
    pub name: String,
    /// Arguments of the program.
    pub arguments: Vec<String>,
    /// Environment of the program, on top of `POD_NAME` and `POD_NAMESPACE`.
    pub environment: BTreeMap<String, String>,
}

impl OperatorPods {
    /// Pods `<name>-0`, `<name>-1`, ... that run `agentpool run`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            arguments: vec!["run".to_owned()],
            environment: BTreeMap::new(),
        }
    }

    /// The label selector of the pods.
    pub fn selector(&self) -> String {
        format!("app.kubernetes.io/name={}", self.name)
    }

    /// Creates the namespace and the service account if they are missing, and `count` pods.
    pub async fn create(&self, client: &Client, count: usize) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(
            json!({"metadata": {"name": self.namespace, "labels": {BENCH_LABEL: "true"}}}),
        )
        .context("a namespace")?;
        tolerate_existing(
            Api::all(client.clone())
                .create(&PostParams::default(), &namespace)
                .await,
        )?;
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": self.name}}))
                .context("a service account")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &self.namespace);
        tolerate_existing(accounts.create(&PostParams::default(), &account).await)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        for index in 0..count {
            pods.create(&PostParams::default(), &self.pod(index)?)
                .await
                .context("create a pod of the operator")?;
        }
        Ok(())
    }

    fn pod(&self, index: usize) -> Result<Pod> {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut env = vec![
            json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
            json!({"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")}),
        ];
        env.extend(
            self.environment
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let pod = json!({
            "metadata": {"name": format!("{}-{index}", self.name), "labels": {"app.kubernetes.io/name": self.name}},
            "spec": {
                "serviceAccountName": self.name,
                "terminationGracePeriodSeconds": 10,
                "containers": [{"name": "operator", "image": "agentpool", "args": self.arguments, "env": env}],
            },
        });
        serde_json::from_value(pod).context("a pod of the operator")
    }
}

fn tolerate_existing<T>(created: kube::Result<T>) -> Result<()> {
    match created {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => bail!("create what the operator's pods need: {error}"),
    }
}
