//! What the operator says of itself: logs, metrics, and the HTTP endpoints that serve them.

mod agents;
mod health;
mod labels;
mod logging;
mod metrics;
mod server;

pub use agents::AgentSample;
pub use health::Health;
pub use labels::{ScrapeOutcome, WriteKind, WriteOutcome};
pub use logging::{LogFormat, count_panics, init_logging};
pub use metrics::{Metrics, ReconcileTimer};
pub use server::serve;
