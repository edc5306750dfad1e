//! The operator and its tools, one binary: see `agentpool --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    agentpool::cli::main()
}
