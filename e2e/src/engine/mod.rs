//! The engine stand-in: what answers on the pods' addresses, at the speed that the GPUs allow.
//!
//! [`physics`] says how fast, [`placement`] on which GPU, [`profile`] what a pod's annotations ask for,
//! [`metrics`] what an engine tells about itself and [`stats`] what its clients saw. [`view`] reads pods and nodes;
//! [`world`] puts all of it together without I/O; [`fleet`] runs it: watches, listens, serves, and breaks on request
//! ([`faults`]).

mod control;
pub mod faults;
pub mod fleet;
pub mod metrics;
pub mod physics;
pub mod placement;
pub mod profile;
mod server;
pub mod stats;
mod tasks;
pub mod twin;
pub mod view;
mod watch;
pub mod world;

pub use faults::Fault;
pub use fleet::{EngineFleet, EngineOptions, Failure};
pub use server::DEMAND_HEADER;
pub use world::Demand;
