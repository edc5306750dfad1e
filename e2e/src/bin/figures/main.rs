//! `figures`: the benchmarks, one program so that it is optimized and linked once.
#![forbid(unsafe_code)]

mod allocate;
mod dice;
mod memory;
mod pays;
mod plan;
mod reaction;
mod settled;
mod simulate;

use anyhow::Result;
use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(
    about = "The figures of AgentPool; each benchmark prints a table and merges it into target/bench/report.json",
    version
)]
struct Arguments {
    /// What to measure.
    benchmark: Benchmark,
}

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// What a decision costs.
    Allocate,
    /// What a plan costs.
    Plan,
    /// What a simulated request costs.
    Simulate,
    /// How soon the loop acts.
    Loop,
    /// Memory, start to first decision, size of the binary.
    Memory,
    /// What the operator costs when there is nothing to do.
    Settled,
    /// Latency beside a static twin, over seeds.
    Pays,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Allocate => allocate::run(),
        Benchmark::Plan => plan::run(),
        Benchmark::Simulate => simulate::run(),
        Benchmark::Loop => reaction::run().await,
        Benchmark::Memory => memory::run().await,
        Benchmark::Settled => settled::run().await,
        Benchmark::Pays => pays::run().await,
    }
}
