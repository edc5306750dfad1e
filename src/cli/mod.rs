//! The command line: one file a subcommand.

mod crd;
mod hand_back;
mod recordings;
mod replay;
mod run;
mod simulate;
pub mod traces;
mod values;
mod version;

pub use simulate::{paper_page, reference as simulate_reference, schema as simulate_schema};

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The command line of `agentpool`.
#[derive(Debug, Parser)]
#[command(name = "agentpool", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<run::RunArgs>),
    /// Give every workload back: before or after the operator is uninstalled.
    ///
    /// Values stay as they are and nothing restarts; the operator's field ownership and annotations go, and a swap that was cut
    /// in its middle is brought to an end. Run it when no operator runs.
    HandBack(hand_back::HandBackArgs),
    /// Say what a policy would do with a load, beside what else you could run: without a cluster.
    Simulate(Box<simulate::SimulateArgs>),
    /// Compute the decisions of a recording again, and compare.
    ///
    /// A recording is what `agentpool run --record DIR` writes. Exit codes: 0 every decision is computed to the same, byte for
    /// byte; 1 one is not, and the first is said; 2 the recording cannot be read.
    Replay(replay::ReplayArgs),
    /// Print the AgentPool CustomResourceDefinition as YAML.
    Crd,
    /// Print the version.
    Version,
}

/// Parses the command line and does what it says. Exit codes: 0 done, 1 failed, 2 the command line is wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(args) => run::main(*args),
        Command::HandBack(args) => hand_back::main(args),
        Command::Simulate(args) => simulate::main(*args),
        Command::Replay(args) => replay::main(&args),
        Command::Crd => crd::main(),
        Command::Version => version::main(),
    }
}

/// Says what went wrong on standard error.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("error: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_has_an_environment_variable_of_its_own_name() {
        let command = Cli::command();
        let run = command.find_subcommand("run");
        let mut seen = 0;
        for arg in run.into_iter().flat_map(clap::Command::get_arguments) {
            let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) else {
                continue;
            };
            let expected = format!("AGENTPOOL_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(
                arg.get_env().and_then(|e| e.to_str()),
                Some(expected.as_str()),
                "--{long}"
            );
            seen += 1;
        }
        assert!(seen >= 15, "only {seen} flags seen");
    }
}
