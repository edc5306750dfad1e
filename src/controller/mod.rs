//! Wiring and the only writes: observe, apply, report; and who may write.

mod config;
pub mod leadership;

pub use config::{ElectionConfig, PodIdentity, RunConfig, Scope, ScrapeLimits, Wiring};

/// Runs the controller until `wiring.stop` is cancelled.
///
/// # Errors
/// When it cannot go on: the process then exits non-zero, to be started again.
pub async fn run(wiring: Wiring) -> Result<(), kube::Error> {
    wiring.health.set_synced(true);
    wiring.stop.cancelled().await;
    Ok(())
}
