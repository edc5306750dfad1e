//! Load comes in: scrapes of the pods' own `/metrics`, a Prometheus server, engine dialects; freshness as a value.
//!
//! ```text
//!  pod /metrics ──scrape──▶ exposition ──dialect──▶ PodSample ─┐
//!  Prometheus ───────────prometheus───────────────▶ PodSample ─┴─▶ window::Tracker ──▶ AgentSignal
//! ```
//!
//! Everything left of [`window`] turns the outside into one [`PodSample`] per pod or a [`Problem`] that names what was
//! wrong; [`window`] is pure and turns the samples of all pods of an agent into its load, or into the knowledge that
//! the load is not known. Nothing here ever reads a missing, stale or absurd value as zero load.

pub mod dialect;
pub mod exposition;
pub mod prometheus;
pub mod scrape;
pub mod stale;
pub mod window;

mod clock;
mod http;
mod problem;
mod sample;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod testing;

pub use clock::Clock;
pub use problem::{Input, Problem};
pub use sample::{PodSample, Scrape};
pub use stale::{Fallback, OnStale, after_stale};
pub use window::{AgentSignal, Coverage, Freshness, Pod, PodLoad, Settings, Tracker};
