//! `evaluation`: writes docs/evaluation.md from runs of the simulator.
#![forbid(unsafe_code)]

use agentpool_e2e::controlplane::binaries::repository;
use agentpool_e2e::evaluation::{Settings, pages};
use anyhow::{Context as _, Result};
use clap::Parser;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    about = "Runs the simulator over everything that docs/evaluation.md says, and writes it",
    version
)]
struct Arguments {
    /// Seeds of every comparison; 2 to 1000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=1000))]
    seeds: u64,
    /// Where to write; default: docs/evaluation.md of the repository.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let start = std::time::Instant::now();
    let settings = Settings {
        seeds: arguments.seeds,
    };
    let pages = pages(&settings)?;
    let mut text = format!(
        "# Evaluation\n\nWritten by `make evaluation`; do not edit. {} seeds, {} {}, {} cores.\n\n",
        settings.seeds,
        std::env::consts::ARCH,
        std::env::consts::OS,
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    for page in &pages {
        text += &page.to_markdown(2, "evaluation");
        text += "\n";
    }
    let path = arguments
        .output
        .unwrap_or_else(|| repository().join("docs/evaluation.md"));
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    for figure in pages.iter().flat_map(|page| page.figures()) {
        let folder = path.with_extension("");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let file = folder.join(format!("{}.svg", figure.name));
        std::fs::write(&file, &figure.svg).with_context(|| format!("write {}", file.display()))?;
    }
    eprintln!(
        "evaluation: {} in {:.0} s",
        path.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
