//! `demo`: AgentPool at work, beside a static twin, in about a minute.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use agentpool::units::parse_duration;
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
    #[arg(long, env = "LENGTH", default_value = "60s", value_parser = duration)]
    length: Duration,
    /// From the binding of a pod to its Ready: 0s to 5m.
    #[arg(long, env = "READY", default_value = "2s", value_parser = duration)]
    ready: Duration,
    /// Draws arrivals and work; the same seed gives the same requests.
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u64,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let scene = scene::Scene::choose(&scene::Choice {
        scene: arguments.scene,
        length: arguments.length,
        ready: arguments.ready,
        seed: arguments.seed,
    })?;
    println!("{}\n", scene.story);
    demo::run(scene).await
}
