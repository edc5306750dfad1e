mod failures;
mod sights;

pub use sights::Watched;

use failures::Failures;
use sights::Sights;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The main loop is taken for dead when it has not ticked for this long; what fails for this long is named.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is tried again fails again within this time.
const DUTY_AGAIN: Duration = Duration::from_secs(90);

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
    watches: Mutex<Sights>,
    duties: Mutex<Failures>,
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
                watches: Mutex::default(),
                duties: Mutex::new(Failures::new(DUTY_AGAIN)),
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

    /// The API server has told something of what is watched, if only that there is nothing new; or a try to hear it failed: why, for people.
    pub fn watches(&self, watched: &Watched, works: Result<(), String>) {
        locked(&self.shared.watches).note(Instant::now(), watched, works);
    }

    /// It is not watched any more.
    pub fn forget(&self, watched: &Watched) {
        locked(&self.shared.watches).forget(watched);
    }

    /// Whether something else can be done (`leases`: read and written); if not, why, for people. It makes nobody blind.
    pub fn does(&self, what: &str, works: Result<(), String>) {
        self.does_at(Instant::now(), what, works);
    }

    fn does_at(&self, now: Instant, what: &str, works: Result<(), String>) {
        locked(&self.shared.duties).note(now, what, works);
    }

    /// What else has not worked for at least this long, for people.
    fn undone_at(&self, now: Instant, long: Duration) -> Vec<String> {
        let duties = locked(&self.shared.duties);
        let undone = duties.lasting(now, long).into_iter();
        undone.map(|(what, why)| format!("{what}: {why}")).collect()
    }

    /// Whether what is known of a namespace may be an old picture: who is blind there writes nothing there.
    pub fn is_blind_in(&self, namespace: &str) -> bool {
        locked(&self.shared.watches).is_outdated_in(Instant::now(), namespace)
    }

    /// Whether there is no namespace that is seen: who is blind does not lead.
    pub fn is_blind(&self) -> bool {
        locked(&self.shared.watches).is_outdated_everywhere(Instant::now())
    }

    /// What may be an old picture, and why, for people.
    pub fn unseen(&self) -> Vec<String> {
        locked(&self.shared.watches).complaints(Instant::now(), false)
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
        let synced = self.shared.synced.load(Ordering::Relaxed);
        let now = Instant::now();
        // One failure is everyday life; before anything was seen it says what is waited for.
        let mut missing = locked(&self.shared.watches).complaints(now, !synced);
        missing.extend(self.undone_at(now, PATIENCE));
        if !synced && missing.is_empty() {
            missing.push("the caches are not filled yet".to_owned());
        }
        if !missing.is_empty() {
            return Err(missing.join("; "));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Health {
    /// Makes blind: nothing has been told of the nodes for long.
    pub(crate) fn blind(&self) {
        let now = Instant::now();
        let long_ago = now.checked_sub(sights::OUTDATED).unwrap_or(now);
        locked(&self.shared.watches).note(long_ago, &Watched::new("nodes", None), Ok(()));
    }

    /// What else than a watch failed when it was tried last.
    pub(crate) fn undone(&self) -> Vec<String> {
        self.undone_at(Instant::now(), Duration::ZERO)
    }
}

fn locked<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_else_fails_for_a_minute_is_said_and_makes_nobody_blind() {
        let health = Health::new();
        health.set_server(Ok(()));
        health.set_synced(true);
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        for seconds in (0..60).step_by(5) {
            assert!(health.undone_at(at(seconds), PATIENCE).is_empty());
            health.does_at(at(seconds), "leases", Err("forbidden".to_owned()));
        }
        assert_eq!(health.undone_at(at(60), PATIENCE), ["leases: forbidden"]);
        assert!(!health.is_blind());
        health.does_at(at(61), "leases", Ok(()));
        assert!(health.undone_at(at(61), PATIENCE).is_empty());
    }

    #[test]
    fn ready_waits_for_the_api_server_and_for_the_caches() {
        let health = Health::new();
        let said = |health: &Health| health.ready().err().unwrap_or_default();
        assert!(said(&health).contains("API server"));
        health.set_server(Ok(()));
        assert!(said(&health).contains("caches"));
        let pods = Watched::new("pods", None);
        health.watches(&pods, Err("forbidden".to_owned()));
        assert_eq!(said(&health), "cannot list or watch pods: forbidden");
        health.set_synced(true);
        assert_eq!(health.ready(), Ok(()), "one failure is everyday life");
        health.set_server(Err("too old".to_owned()));
        assert_eq!(said(&health), "too old");
    }
}
