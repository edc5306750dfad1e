//! Pure: the operator's own allocation and sharing code against a model of load, queues and GPUs.
//!
//! ```text
//!  load ──requests──▶ engine (queues, speeds) ──served──▶ account ──▶ Outcome
//!                        ▲  │ what is measured
//!               speeds   │  ▼
//!                      world (fractions | pods on nodes) ◀──Wish── control (one file a rule)
//! ```
//!
//! Time is in seconds since the start of the run, exact between events. The same scenario, rule and seed give the same
//! bytes, and rules are compared on the same requests.

mod account;
pub mod bounds;
pub mod control;
pub mod engine;
pub mod load;
mod outcome;
pub mod paper;
pub mod report;
mod run;
mod scenario;
mod series;
pub mod statistics;
mod tally;
#[cfg(test)]
mod trust;
pub mod world;

pub use account::Sketch;
pub use engine::Dispatch;
pub use outcome::{AgentOutcome, Outcome, Point, PointOfAgent};

/// Points that a run's series has at most.
pub const POINTS: usize = 600;
pub use run::{RunError, admit, run};
pub use scenario::{
    Cluster, Elastic, Fractions, NodeGroup, Nodes, Power, Scenario, Service, Sharing,
};
