//! `agentpool simulate`: files, threads and progress around the pure simulation.

use crate::simulation::report;
use clap::Args;
use std::process::ExitCode;

/// What is simulated.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The simulation of the paper (arXiv 2512.22149): its table reproduced, and what it does not say.
    #[arg(long, required = true)]
    paper: bool,
}

/// Runs it.
pub(super) fn main(args: SimulateArgs) -> ExitCode {
    debug_assert!(args.paper, "required");
    print!("{}", report::paper().to_text());
    ExitCode::SUCCESS
}
