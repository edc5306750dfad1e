//! What is kept of a failed run besides the logs.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a reader of a failed run looks at first.
const RESOURCES: [&str; 14] = [
    "agentpools.agentpool.dev",
    "deployments.apps",
    "statefulsets.apps",
    "replicasets.apps",
    "pods",
    "nodes",
    "events",
    "leases.coordination.k8s.io",
    "serviceaccounts",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
];

/// Writes one YAML file a resource into `folder`. Works without an asynchronous runtime, since it is called while a test panics;
/// an API server that does not answer costs 3 s once and is noted.
pub(super) fn dump(probe: Command, kubectl: impl Fn() -> Command, folder: &Path) {
    if std::fs::create_dir_all(folder).is_err() {
        return;
    }
    if let Err(why) = output(probe, &["version"]) {
        let _ = std::fs::write(
            folder.join("NOT-DUMPED"),
            format!("the API server did not answer:\n{why}\n"),
        );
        return;
    }
    for resource in RESOURCES {
        let text = output(
            kubectl(),
            &[
                "get",
                resource,
                "--all-namespaces",
                "--show-managed-fields",
                "-o",
                "yaml",
            ],
        )
        .unwrap_or_else(|why| why);
        let name = resource.split('.').next().unwrap_or(resource);
        let _ = std::fs::write(folder.join(format!("{name}.yaml")), text);
    }
}

fn output(mut command: Command, arguments: &[&str]) -> Result<String, String> {
    let output = command
        .args(arguments)
        .arg("--request-timeout=3s")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
