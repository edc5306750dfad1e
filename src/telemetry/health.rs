use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The main loop is taken for dead when it has not ticked for this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `/healthz` and `/readyz` answer from; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Milliseconds after `started` of the last tick.
    ticked: AtomicU64,
    synced: AtomicBool,
    server: Mutex<Result<(), String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive from now on; not ready.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                ticked: AtomicU64::new(0),
                synced: AtomicBool::new(false),
                server: Mutex::new(Err("the API server has not answered yet".to_owned())),
            }),
        }
    }

    /// The main loop went round. Call it at least every few seconds, also while there is nothing to do.
    pub fn tick(&self) {
        self.tick_at(Instant::now());
    }

    fn tick_at(&self, now: Instant) {
        let since = now.duration_since(self.shared.started).as_millis();
        self.shared
            .ticked
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether every cache is filled.
    pub fn set_synced(&self, synced: bool) {
        self.shared.synced.store(synced, Ordering::Relaxed);
    }

    /// Whether the API server can be used, as seen the last time it was asked; if not, why, for people.
    pub fn set_server(&self, server: Result<(), String>) {
        *self
            .shared
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// Whether the process does its work.
    ///
    /// # Errors
    /// What it does not do, for people.
    pub fn live(&self) -> Result<(), String> {
        self.live_at(Instant::now())
    }

    fn live_at(&self, now: Instant) -> Result<(), String> {
        let ticked = Duration::from_millis(self.shared.ticked.load(Ordering::Relaxed));
        let silent = now
            .duration_since(self.shared.started)
            .saturating_sub(ticked);
        if silent > PATIENCE {
            return Err(format!(
                "the main loop has not gone round for {} s (at most {} s)",
                silent.as_secs(),
                PATIENCE.as_secs()
            ));
        }
        Ok(())
    }

    /// Whether the process could decide: followers are ready too.
    ///
    /// # Errors
    /// What it waits for, for people.
    pub fn ready(&self) -> Result<(), String> {
        self.live()?;
        self.shared
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        if !self.shared.synced.load(Ordering::Relaxed) {
            return Err("the caches are not filled yet".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_for_a_minute_is_not_alive() {
        let health = Health::new();
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        assert_eq!(health.live_at(at(59)), Ok(()));
        health.tick_at(at(59));
        assert_eq!(health.live_at(at(119)), Ok(()));
        let error = health.live_at(at(120)).err().unwrap_or_default();
        assert!(error.contains("61 s"), "{error}");
        health.tick_at(at(120));
        assert_eq!(health.live_at(at(121)), Ok(()));
    }

    #[test]
    fn ready_waits_for_the_api_server_and_for_the_caches() {
        let health = Health::new();
        let said = |health: &Health| health.ready().err().unwrap_or_default();
        assert!(said(&health).contains("API server"));
        health.set_server(Ok(()));
        assert!(said(&health).contains("caches"));
        health.set_synced(true);
        assert_eq!(health.ready(), Ok(()));
        health.set_server(Err("too old".to_owned()));
        assert_eq!(said(&health), "too old");
    }
}
