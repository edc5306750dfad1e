use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The main loop is taken for dead when it has not ticked for this long, and a view for out of date when a watch has failed for
/// this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch that fails is tried again after half a minute at most, and fails within another.
const FAILS_WITHIN: Duration = Duration::from_secs(90);

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
    failing: Mutex<BTreeMap<String, Failing>>,
}

/// A watch that fails again and again.
#[derive(Debug, Clone)]
struct Failing {
    since: Instant,
    last: Instant,
    why: String,
}

impl Failing {
    /// A watch that works again says so only when something changes: what has not failed for so long works.
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > FAILS_WITHIN
    }
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
                failing: Mutex::default(),
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

    /// Whether objects (`pods`, `pods in team`) can be listed and watched; if not, why, for people.
    pub fn watches(&self, what: &str, works: Result<(), String>) {
        self.watches_at(Instant::now(), what, works);
    }

    fn watches_at(&self, now: Instant, what: &str, works: Result<(), String>) {
        let mut failing = self.failing();
        match works {
            Ok(()) => {
                failing.remove(what);
            }
            Err(why) => {
                let before = failing.get(what).filter(|before| !before.is_over(now));
                let since = before.map_or(now, |before| before.since);
                let last = now;
                failing.insert(what.to_owned(), Failing { since, last, why });
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        let failing = self.shared.failing.lock();
        failing.unwrap_or_else(PoisonError::into_inner)
    }

    /// What has failed for at least this long, for people.
    fn unwatched_at(&self, now: Instant, long: Duration) -> Vec<String> {
        let failing = self.failing();
        let failing = failing.iter().filter(|(_, failing)| {
            !failing.is_over(now) && now.saturating_duration_since(failing.since) >= long
        });
        failing
            .map(|(what, failing)| format!("cannot list or watch {what}: {}", failing.why))
            .collect()
    }

    /// Whether some watch has failed for so long that what is known may be out of date: on such a view nothing is written.
    pub fn is_blind(&self) -> bool {
        !self.unwatched_at(Instant::now(), PATIENCE).is_empty()
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
        let long = if synced { PATIENCE } else { Duration::ZERO };
        let mut missing = self.unwatched_at(Instant::now(), long);
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
    fn a_watch_that_has_failed_for_a_minute_makes_blind_until_it_works() {
        let health = Health::new();
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        let fails =
            |seconds, why: &str| health.watches_at(at(seconds), "nodes", Err(why.to_owned()));
        let blind = |seconds| health.unwatched_at(at(seconds), PATIENCE);
        fails(0, "forbidden");
        fails(30, "forbidden again");
        assert!(blind(59).is_empty());
        assert_eq!(blind(60), ["cannot list or watch nodes: forbidden again"]);
        health.watches_at(at(61), "nodes", Ok(()));
        assert!(blind(61).is_empty());
    }

    #[test]
    fn a_watch_that_has_not_failed_for_a_while_works_even_if_nothing_changes() {
        let health = Health::new();
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        for seconds in [0, 50, 100] {
            health.watches_at(at(seconds), "nodes", Err("away".to_owned()));
        }
        assert!(!health.unwatched_at(at(190), PATIENCE).is_empty());
        assert!(health.unwatched_at(at(191), PATIENCE).is_empty());
        health.watches_at(at(300), "nodes", Err("away".to_owned()));
        assert!(health.unwatched_at(at(310), PATIENCE).is_empty());
    }

    #[test]
    fn ready_waits_for_the_api_server_and_for_the_caches() {
        let health = Health::new();
        let said = |health: &Health| health.ready().err().unwrap_or_default();
        assert!(said(&health).contains("API server"));
        health.set_server(Ok(()));
        assert!(said(&health).contains("caches"));
        health.watches("pods", Err("forbidden".to_owned()));
        assert_eq!(said(&health), "cannot list or watch pods: forbidden");
        health.set_synced(true);
        assert_eq!(health.ready(), Ok(()), "one failure is everyday life");
        health.set_server(Err("too old".to_owned()));
        assert_eq!(said(&health), "too old");
    }
}
