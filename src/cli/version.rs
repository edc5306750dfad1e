use std::process::ExitCode;

/// Prints the version.
pub(super) fn main() -> ExitCode {
    println!("agentpool {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}
