//! What serves: shares of GPUs without pods, or pods on nodes.

pub mod cluster;
pub mod fractions;
