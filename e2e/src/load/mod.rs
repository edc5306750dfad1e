//! Loads on their way: where requests go ([`driver`]), and what becomes of them ([`recorder`]). What arrives is
//! [`agentpool::simulation::load`]'s.

pub mod backend;
pub mod balance;
pub mod driver;
pub mod endpoints;
pub mod recorder;

pub use agentpool::simulation::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
pub use backend::{Backend, Direct, Http};
pub use balance::Balance;
pub use driver::{Driven, Driver, DriverOptions};
pub use endpoints::Endpoints;
