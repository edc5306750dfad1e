//! What the operator says of itself: logs, metrics, the HTTP endpoints that serve them, and the recording of its decisions.

mod agents;
mod health;
mod labels;
mod logging;
mod metrics;
mod recorder;
mod server;

pub use agents::AgentSample;
pub use health::{Health, Watched};
pub use labels::{ScrapeOutcome, WriteKind, WriteOutcome};
pub use logging::{LogFormat, count_panics, init_logging};
pub use metrics::{Metrics, ReconcileTimer};
pub use recorder::{RecordConfig, Recorder, Recording, Taken};
pub use server::serve;
