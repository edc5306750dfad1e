//! A cluster that somebody else runs: one test at a time, and nothing of ours stays there.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::audit::AuditLog;
use super::binaries;
use super::nodes::BENCH_NODE_LABEL;
use super::{AUDIT_LOG, BENCH_LABEL};

/// The cluster of `KUBECONFIG`, ours alone (among the tests of this machine) for as long as this value lives.
pub(super) struct Attached {
    kubeconfig: PathBuf,
    audit: Option<AuditLog>,
    _turn: File,
}

impl Attached {
    /// Waits for its turn, and removes what an earlier test that was killed left behind.
    pub(super) fn take_turn(kubeconfig: &Path) -> Result<Self> {
        if !kubeconfig.is_file() {
            bail!(
                "KUBECONFIG names {}, which is not a file; unset it to start a control plane of our own",
                kubeconfig.display()
            );
        }
        let path = std::env::temp_dir().join("agentpool-e2e-attached.lock");
        let turn = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        turn.lock()
            .with_context(|| format!("wait for {}", path.display()))?;
        let audit = std::env::var_os(AUDIT_LOG).map(PathBuf::from);
        let this = Self {
            kubeconfig: kubeconfig.to_owned(),
            audit: audit.map(AuditLog::from_now).transpose()?,
            _turn: turn,
        };
        this.clean()?;
        Ok(this)
    }

    /// The cluster's audit log, from the beginning of this turn.
    pub(super) fn audit(&self) -> Result<AuditLog> {
        self.audit.clone().with_context(|| {
            format!(
                "the audit log of the cluster of KUBECONFIG: {AUDIT_LOG} must name its file (JSON lines, level RequestResponse)"
            )
        })
    }

    /// Deletes the namespaces and nodes that the bench made, and waits until they are gone.
    pub(super) fn clean(&self) -> Result<()> {
        // Pods go while their nodes are still played.
        for (kind, label) in [("namespaces", BENCH_LABEL), ("nodes", BENCH_NODE_LABEL)] {
            let output = self
                .kubectl()
                .args(["delete", kind, "--selector", label, "--wait=true", "--timeout=120s"])
                .stdin(Stdio::null())
                .output()
                .context("kubectl is needed to clean up: build it with e2e/controlplane/build.sh or put it on the path")?;
            if !output.status.success() {
                bail!(
                    "kubectl delete {kind}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }

    /// The kubectl that the bench built, or the one on the path.
    pub(super) fn kubectl(&self) -> Command {
        let built = binaries::folder().join("kubectl");
        let mut command = Command::new(if built.is_file() {
            built
        } else {
            PathBuf::from("kubectl")
        });
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }
}
