//! The operator's Helm chart on a stage: installed and uninstalled as a user would.

use super::{SYSTEM, Stage, StageOptions};
use crate::controlplane::ControlPlane;
use crate::controlplane::binaries::{self, BinaryGroup};
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Name of the release.
const RELEASE: &str = "agentpool";

pub(super) fn install(control_plane: &ControlPlane, options: &StageOptions) -> Result<()> {
    let mut command = helm(control_plane)?;
    command.args(["upgrade", "--install", RELEASE]);
    command.arg(binaries::repository().join("charts/agentpool"));
    command.arg("--create-namespace");
    command.args(["--set", &format!("replicaCount={}", options.operators)]);
    for value in &options.values {
        command.args(["--set", value]);
    }
    run(command)
}

impl Stage {
    /// Uninstalls the chart, its hook included; somebody has to run the hook's pod meanwhile.
    ///
    /// # Errors
    /// Helm's, with its words; also when it is not done within two minutes.
    pub async fn uninstall(&self) -> Result<()> {
        let mut command = helm(&self.control_plane)?;
        command.args(["uninstall", RELEASE, "--timeout=2m"]);
        tokio::task::spawn_blocking(|| run(command)).await?
    }
}

fn helm(control_plane: &ControlPlane) -> Result<Command> {
    let mut command = Command::new(binaries::ensure(BinaryGroup::Helm)?.join("helm"));
    command.env("KUBECONFIG", control_plane.kubeconfig_path());
    command.args(["--namespace", SYSTEM]);
    Ok(command)
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().context("helm")?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
