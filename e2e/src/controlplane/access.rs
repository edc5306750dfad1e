//! Clients of a kubeconfig, and the folder of a run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::binaries;

/// A client for a kubeconfig file.
pub async fn client_of(kubeconfig: &Path) -> Result<Client> {
    Client::try_from(config_of(kubeconfig).await?)
        .with_context(|| format!("a client for {}", kubeconfig.display()))
}

pub(crate) async fn config_of(path: &Path) -> Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", path.display()))
}

/// `target/e2e/<name>-<pid>`, or with a number behind it when this process makes several.
pub(super) fn new_folder(name: &str) -> Result<PathBuf> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let target = binaries::target();
    let folder = match RUNS.fetch_add(1, Ordering::Relaxed) {
        0 => target.join(format!("e2e/{name}-{}", std::process::id())),
        run => target.join(format!("e2e/{name}-{}-{run}", std::process::id())),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("make the folder of this run, {}", folder.display()))?;
    // Components are started in it.
    folder.canonicalize().context("find the folder of this run")
}
