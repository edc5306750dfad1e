//! Loads: when requests arrive ([`plan`]: constant, steps, Poisson, bursts, drifts, real traces), where they go
//! ([`driver`]), and what becomes of them ([`recorder`]).

pub mod arrivals;
pub mod backend;
pub mod balance;
pub mod builtin;
pub mod drift;
pub mod driver;
pub mod endpoints;
pub mod mmpp;
pub mod plan;
mod random;
pub mod recorder;
pub mod statistics;
pub mod traces;

pub use arrivals::Piece;
pub use backend::{Backend, Direct, Http};
pub use balance::Balance;
pub use driver::{Driven, Driver, DriverOptions};
pub use endpoints::Endpoints;
pub use plan::{AgentLoad, Process, Work};
