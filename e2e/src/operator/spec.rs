//! From a pod's container to a process: arguments and environment, as a kubelet would resolve them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt;

/// How to start the process of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Launch {
    /// Reads a container of a running pod. All pods share this machine's ports, so a listener on every address (`0.0.0.0`, `[::]`) becomes a
    /// listener on the pod's own, and without one in the container, `AGENTPOOL_LISTEN` gets it.
    ///
    /// # Errors
    /// The pod has no address yet or no such container, or a variable comes from where the bench cannot look.
    pub(super) fn of(pod: &Pod, container: Option<&str>) -> Result<Self> {
        let name = pod.name_any();
        let address = pod_address(pod).ok_or_else(|| anyhow!("pod {name} has no address"))?;
        let containers = pod
            .spec
            .as_ref()
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        let found = match container {
            Some(wanted) => containers.iter().find(|container| container.name == wanted),
            None => containers.first(),
        };
        let container = found.ok_or_else(|| {
            anyhow!(
                "pod {name} has no container {}",
                container.unwrap_or("at all")
            )
        })?;
        let mut environment =
            BTreeMap::from([("AGENTPOOL_LISTEN".to_owned(), format!("{address}:8080"))]);
        for variable in container.env.iter().flatten() {
            let value = value_of(pod, variable)
                .with_context(|| format!("variable {} of pod {name}", variable.name))?;
            environment.insert(
                variable.name.clone(),
                own_address(&expand(&value, &environment), &address),
            );
        }
        let arguments = arguments(container)
            .map(|text| own_address(&expand(text, &environment), &address))
            .collect();
        Ok(Self {
            arguments,
            environment,
        })
    }

    /// The command that runs `binary` so, reaching the API server through `kubeconfig` and nothing else of this machine's environment.
    pub(super) fn command(&self, binary: &Path, kubeconfig: &Path) -> Command {
        let mut command = Command::new(binary);
        command.args(&self.arguments).env_clear();
        for keep in ["PATH", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(keep) {
                command.env(keep, value);
            }
        }
        command
            .envs(&self.environment)
            .env("KUBECONFIG", kubeconfig);
        command
    }
}

/// The arguments after the program's own name; an image's entry point is the program.
fn arguments(container: &Container) -> impl Iterator<Item = &String> {
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten())
}

pub(super) fn pod_address(pod: &Pod) -> Option<String> {
    pod.status
        .as_ref()?
        .pod_ip
        .clone()
        .filter(|address| !address.is_empty())
}

fn own_address(text: &str, address: &str) -> String {
    text.replace("0.0.0.0", address).replace("[::]", address)
}

/// `$(NAME)` of variables that stand before.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    environment
        .iter()
        .fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("$({name})"), value)
        })
}

fn value_of(pod: &Pod, variable: &EnvVar) -> Result<String> {
    let Some(source) = &variable.value_from else {
        return Ok(variable.value.clone().unwrap_or_default());
    };
    let Some(field) = &source.field_ref else {
        bail!("only plain values and fieldRef are understood here");
    };
    let found = match field.field_path.as_str() {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.nodeName" => pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" => pod_address(pod),
        path => bail!("fieldPath {path} is not understood here"),
    };
    found.ok_or_else(|| anyhow!("the pod has no {}", field.field_path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(env: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "agentpool-0", "namespace": "agentpool"},
            "spec": {"containers": [{"name": "operator", "args": ["run", "--listen=0.0.0.0:9090", "--pod-name=$(POD_NAME)"], "env": env}]},
            "status": {"podIP": "127.64.0.9"},
        }))
        .unwrap()
    }

    #[test]
    fn a_pods_process_gets_its_arguments_and_listens_on_its_own_address() {
        let env = json!([{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        let launch = Launch::of(&pod(env), None).unwrap();
        assert_eq!(
            launch.arguments,
            ["run", "--listen=127.64.0.9:9090", "--pod-name=agentpool-0"]
        );
        assert_eq!(launch.environment["POD_NAME"], "agentpool-0");
    }

    #[test]
    fn what_the_bench_cannot_resolve_is_an_error_and_not_an_empty_value() {
        let env =
            json!([{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let error = Launch::of(&pod(env), None).unwrap_err();
        assert!(format!("{error:#}").contains("SECRET"), "{error:#}");
        assert!(Launch::of(&pod(json!([])), Some("other")).is_err());
    }
}
