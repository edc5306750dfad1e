//! agentpool
fn main() {}
