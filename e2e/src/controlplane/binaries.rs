//! Where the programs of the control plane are, and how they get there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

/// What `e2e/controlplane/build.sh` builds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BinaryGroup {
    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kwok.
    Core,
    /// helm.
    Helm,
    /// prometheus and promtool.
    Prometheus,
}

impl BinaryGroup {
    fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Helm => "helm",
            Self::Prometheus => "prometheus",
        }
    }
}

/// The repository that this crate was compiled in.
pub fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

/// Where builds and runs put their files: `$CARGO_TARGET_DIR`, else `target` of the repository.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Where real traces are looked for: `$AGENTPOOL_TRACES`, else `../shared/traces` beside the repository.
pub fn traces() -> PathBuf {
    std::env::var_os("AGENTPOOL_TRACES")
        .map_or_else(|| repository().join("../shared/traces"), PathBuf::from)
}

/// The folder `e2e/controlplane` of the repository: build script, pinned versions, KWOK stages.
pub fn sources() -> PathBuf {
    repository().join("e2e/controlplane")
}

/// Where built programs are: `$AGENTPOOL_CACHE/bin`, by default `target/controlplane/bin` of the repository.
pub fn folder() -> PathBuf {
    match std::env::var_os("AGENTPOOL_CACHE") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache).join("bin"),
        _ => repository().join("target/controlplane/bin"),
    }
}

/// Builds what is missing or out of date of a group (minutes at first, half a second afterwards; progress goes to standard error)
/// and returns the folder of the programs. Checked once per process.
pub fn ensure(group: BinaryGroup) -> Result<PathBuf> {
    static DONE: Mutex<Vec<BinaryGroup>> = Mutex::new(Vec::new());
    let mut done = DONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !done.contains(&group) {
        let script = sources().join("build.sh");
        let status = Command::new(&script)
            .arg(group.name())
            .stdout(std::io::stderr())
            .status()
            .with_context(|| format!("run {}", script.display()))?;
        if !status.success() {
            bail!(
                "{} {} failed: what is missing is said above",
                script.display(),
                group.name()
            );
        }
        done.push(group);
    }
    Ok(folder())
}
