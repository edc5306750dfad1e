//! `bench up`, and what is left of it when it ends in good ways and bad.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use kube::api::ListParams;

/// Starts `bench up` with one node and waits for its kubeconfig.
async fn up() -> (Child, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["up", "--node", "gpu-0=mig:1g.10gb*3+4g.40gb*1"])
        .env_remove("KUBECONFIG")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kubeconfig = tokio::task::spawn_blocking(move || {
        let mut lines = lines.map_while(Result::ok);
        lines.find_map(|line| line.strip_prefix("export KUBECONFIG=").map(PathBuf::from))
    });
    let kubeconfig = tokio::time::timeout(Duration::from_secs(600), kubeconfig)
        .await
        .expect("in time")
        .unwrap();
    (child, kubeconfig.expect("bench up prints its kubeconfig"))
}

async fn client(kubeconfig: &Path) -> Client {
    agentpool_e2e::controlplane::client_of(kubeconfig)
        .await
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Process ids whose command line names the folder of the run.
fn processes_of(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let names_folder = |path: &PathBuf| {
        let command_line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command_line).contains(&folder)
    };
    processes.filter(names_folder).collect()
}

async fn wait_until_nothing_runs(folder: &Path) {
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
    let (mut child, kubeconfig) = up().await;
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
    let (mut child, kubeconfig) = up().await;
    let folder = kubeconfig.parent().unwrap();
    assert_eq!(processes_of(folder).len(), 5);
    signal(&child, "-KILL");
    child.wait().unwrap();
    wait_until_nothing_runs(folder).await;
    assert!(folder.join("audit.log").exists(), "what was logged is kept");
    std::fs::remove_dir_all(folder).unwrap();
}
