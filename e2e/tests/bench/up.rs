//! `bench up`, and what is left of it when it ends in good ways and bad.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use agentpool_e2e::controlplane::{AUDIT_LOG, Component};
use kube::api::ListParams;

/// Starts `bench up` and waits for its kubeconfig.
async fn up(arguments: &[&str]) -> (Child, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("up")
        .args(arguments)
        .env_remove("KUBECONFIG")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (found, kubeconfig) = tokio::sync::oneshot::channel();
    // Reads on to the end: a program whose output nobody takes would fail for that.
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in lines.map_while(Result::ok) {
            if let Some(path) = line.strip_prefix("export KUBECONFIG=") {
                found.take().map(|found| found.send(PathBuf::from(path)));
            }
        }
    });
    let kubeconfig = tokio::time::timeout(Duration::from_secs(600), kubeconfig)
        .await
        .expect("in time");
    (child, kubeconfig.expect("bench up prints its kubeconfig"))
}

async fn client(kubeconfig: &Path) -> Client {
    agentpool_e2e::controlplane::client_of(kubeconfig)
        .await
        .unwrap()
}

/// Sends a signal, such as `-INT`.
pub fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Processes whose command line or environment names the folder of the run.
pub fn processes_of(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let names_folder = |path: &PathBuf| {
        ["cmdline", "environ"].iter().any(|file| {
            let text = std::fs::read(path.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&folder)
        })
    };
    processes.filter(names_folder).collect()
}

/// Waits until they are gone.
pub async fn wait_until_nothing_runs(folder: &Path) {
    wait::until(
        LIMIT,
        "the processes of the control plane are gone",
        async || Ok(processes_of(folder).is_empty().then_some(())),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn ctrl_c_ends_everything_and_leaves_nothing() {
    let (mut child, kubeconfig) = up(&["--node", "gpu-0=mig:1g.10gb*3+4g.40gb*1"]).await;
    let folder = kubeconfig.parent().unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client(&kubeconfig).await);
    assert_eq!(
        nodes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(processes_of(folder).len(), 5);
    signal(&child, "-INT");
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
    wait_until_nothing_runs(folder).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn no_process_survives_a_bench_that_was_killed() {
    let (mut child, kubeconfig) = up(&[]).await;
    let folder = kubeconfig.parent().unwrap();
    assert_eq!(processes_of(folder).len(), 5);
    signal(&child, "-KILL");
    child.wait().unwrap();
    wait_until_nothing_runs(folder).await;
    assert!(folder.join("audit.log").exists(), "what was logged is kept");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn the_bench_works_in_a_cluster_of_somebody_else_and_leaves_nothing_there() {
    let (mut child, kubeconfig) = up(&[]).await;
    let run = kubeconfig.parent().unwrap();
    let control_plane = ControlPlane::attach("attached", &kubeconfig).await.unwrap();
    let client = control_plane.client().await.unwrap();
    control_plane.create_namespace(NAMESPACE).await.unwrap();
    let nodes = Nodes::new(client.clone());
    nodes
        .add(&NodeSpec::whole("gpu-0", A100_80, 1))
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(&Default::default(), &deployment("guest", 1))
        .await
        .unwrap();
    wait_for_ready(&client, "guest", 1).await;

    let refused = control_plane
        .kill(Component::Etcd)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("etcd") && refused.contains("KUBECONFIG"),
        "{refused}"
    );
    let unknown = control_plane.audit().err().map(|error| error.to_string());
    assert!(
        std::env::var_os(AUDIT_LOG).is_some() || unknown.unwrap().contains(AUDIT_LOG),
        "its audit log is where it is said to be"
    );

    tokio::task::spawn_blocking(move || control_plane.finish())
        .await
        .unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    assert!(
        nodes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    assert!(namespaces.get_opt(NAMESPACE).await.unwrap().is_none());
    signal(&child, "-TERM");
    child.wait().unwrap();
    wait_until_nothing_runs(run).await;
}
