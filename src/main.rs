//! The operator and its tools, one binary: see `agentpool --help`.
#![forbid(unsafe_code)]

/// A list of a large cluster is read page by page and most of it is dropped at once. glibc keeps such pages for itself; this gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    agentpool::cli::main()
}
