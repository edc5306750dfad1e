//! The test bench: a real control plane whose pods are played, and the tools to look at it, disturb it and load it.
//!
//! [`controlplane`] starts it (or attaches to a cluster); [`engine`] stands in for the model servers.
#![forbid(unsafe_code)]

pub mod controlplane;
pub mod engine;
pub mod wait;
