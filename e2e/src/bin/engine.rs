//! The engine stand-in as a program: stands in for the model servers of all pods of the cluster that the kubeconfig
//! names.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use agentpool_e2e::engine::{EngineFleet, EngineOptions};
use clap::Parser;

/// Answers on the addresses of all pods that carry the annotation bench.agentpool.dev/engine.
#[derive(Parser)]
struct Arguments {
    /// Where the control port listens (GET /state, /stats; PUT and DELETE /faults/NAMESPACE/NAME).
    #[arg(long, default_value = "127.0.0.1:8090")]
    control: SocketAddr,
    /// Part of a GPU's speed that is left while two or more processes take turns on it.
    #[arg(long, default_value_t = EngineOptions::default().switching_efficiency)]
    switching_efficiency: f64,
    /// Draws the work of requests that do not state theirs.
    #[arg(long, default_value_t = EngineOptions::default().seed)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let client = kube::Client::try_default().await?;
    let fleet = EngineFleet::start(
        client,
        EngineOptions {
            switching_efficiency: arguments.switching_efficiency,
            seed: arguments.seed,
            control: Some(arguments.control),
            ..EngineOptions::default()
        },
    )
    .await?;
    tracing::info!(control = %arguments.control, "engines follow the cluster");
    tokio::signal::ctrl_c().await?;
    fleet.stop().await;
    Ok(())
}
