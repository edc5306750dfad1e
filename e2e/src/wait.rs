//! Waiting on conditions. Nothing in the bench sleeps to let something happen.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(25);

/// Calls `condition` until it gives a value. `Ok(None)` means not yet; an error ends the wait.
///
/// # Errors
/// What the condition returned, or that `what` did not come true within `limit`.
pub async fn until<T>(
    limit: Duration,
    what: impl Display,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Waits until the user or the system asks this program to end: Ctrl-C, SIGTERM, or the terminal is closed.
///
/// # Errors
/// The system lets nobody listen.
pub async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_ends_in_vain_says_what_was_waited_for() {
        let error = until(Duration::from_millis(1), "the sun rises", async || {
            Ok(None::<()>)
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("the sun rises"), "{error}");
    }

    #[tokio::test]
    async fn a_wait_returns_what_the_condition_found() {
        let mut looks = 0;
        let found = until(Duration::from_secs(10), "three looks", async || {
            looks += 1;
            Ok((looks == 3).then_some("found"))
        });
        assert_eq!(found.await.unwrap(), "found");
    }
}
