//! `demo`: AgentPool at work, beside a static twin, in about a minute.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use agentpool_e2e::demo::{self, scene};
use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(
    about = "AgentPool at work on a real control plane, beside a static twin under the same arrivals",
    version
)]
struct Arguments {
    /// drift: four agents on eight whole GPUs; paper: the paper's four agents on one time-sliced GPU.
    #[arg(long, env = "SCENE", default_value = "drift")]
    scene: String,
    /// How long the load lasts: 10s to 1h.
    #[arg(long, env = "LENGTH", default_value = "60s")]
    length: String,
    /// From the binding of a pod to its Ready: 0s to 5m.
    #[arg(long, env = "READY", default_value = "2s")]
    ready: String,
    /// Draws arrivals and work; the same seed gives the same requests. A whole number.
    #[arg(long, env = "SEED", default_value = "3")]
    seed: String,
    /// How the pool decides: WaterFilling, or Balanced, the default of the API.
    #[arg(long, env = "POLICY", default_value = "WaterFilling")]
    policy: String,
    /// Only says whether the choice is possible, before anything is built for it.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let asked = Arguments::parse();
    let choice = scene::Choice::read(
        &asked.scene,
        &asked.length,
        &asked.ready,
        &asked.seed,
        &asked.policy,
    );
    let choice = match choice {
        Ok(choice) => choice,
        Err(error) => {
            eprintln!("demo: {error:#}");
            return ExitCode::from(2);
        }
    };
    if asked.check {
        return ExitCode::SUCCESS;
    }
    match run(&choice).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(choice: &scene::Choice) -> Result<()> {
    let scene = scene::Scene::of(choice);
    println!("{}\n", scene.story);
    demo::run(scene).await
}
