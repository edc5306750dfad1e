//! The test bench: a real control plane whose pods are played, and the tools to look at it, disturb it and load it.
//!
//! [`controlplane`] starts it (or attaches to a cluster); [`engine`] stands in for the model servers, [`load`] for their
//! clients; [`operator`] runs the operator as its pods would; [`proxy`] disturbs it on its way to the API server;
//! [`prometheus`] is a real one beside it; [`witness`] watches what becomes of it, from the API server alone.
#![forbid(unsafe_code)]

pub mod controlplane;
pub mod demo;
pub mod engine;
pub mod evaluation;
pub mod figures;
pub mod install;
pub mod load;
pub mod operator;
pub mod prometheus;
pub mod proxy;
pub mod stage;
pub mod wait;
pub mod witness;
