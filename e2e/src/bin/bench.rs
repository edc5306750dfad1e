//! `bench up`: a control plane to look around in, until Ctrl-C.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes, T4};
use agentpool_e2e::controlplane::{AUDIT_LOG, ControlPlane, Options};
use agentpool_e2e::wait;

#[derive(Parser)]
#[command(about = "The test bench of AgentPool", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a real control plane (etcd, API server, controllers, scheduler, KWOK) and keeps it until Ctrl-C.
    Up {
        /// Nodes to add, each `NAME=KIND`: `whole:N` (N whole A100-80), `shared:N` (one T4 in N time slices), `mig:P*N+P*N` (instances of one A100-80).
        #[arg(long = "node", value_parser = node)]
        nodes: Vec<NodeSpec>,
    },
}

fn node(text: &str) -> Result<NodeSpec, String> {
    let (name, kind) = text
        .split_once('=')
        .ok_or("expected NAME=KIND, such as gpu-0=whole:8")?;
    let (kind, amount) = kind
        .split_once(':')
        .ok_or("expected a kind such as whole:8, shared:10 or mig:1g.10gb*3+4g.40gb*1")?;
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("'{text}' is not a number"))
    };
    match kind {
        "whole" => Ok(NodeSpec::whole(name, A100_80, number(amount)?)),
        "shared" => Ok(NodeSpec::time_sliced(name, T4, 1, number(amount)?)),
        "mig" => {
            let mut instances = Vec::new();
            for part in amount.split('+') {
                let (profile, count) = part
                    .split_once('*')
                    .ok_or("expected PROFILE*COUNT, such as 1g.10gb*3")?;
                instances.push((profile, number(count)?));
            }
            NodeSpec::mig(name, A100_80, 1, &instances).map_err(|error| error.to_string())
        }
        _ => Err(format!(
            "no kind of node named '{kind}': whole, shared or mig"
        )),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Command::Up { nodes } = Arguments::parse().command;
    let control_plane = tokio::select! {
        started = ControlPlane::start(Options::new("bench")) => started?,
        // The processes end with this one.
        ended = wait::interrupted() => return ended,
    };
    let api = Nodes::new(control_plane.client().await?);
    for node in &nodes {
        api.add(node).await?;
        println!("node {} is ready", node.name());
    }
    println!(
        "export KUBECONFIG={}",
        control_plane.kubeconfig_path().display()
    );
    if let Ok(audit) = control_plane.audit() {
        println!("export {AUDIT_LOG}={}", audit.path().display());
    }
    println!(
        "logs and audit log are in {}; Ctrl-C ends it",
        control_plane.folder().display()
    );
    wait::interrupted().await?;
    control_plane.finish();
    Ok(())
}
