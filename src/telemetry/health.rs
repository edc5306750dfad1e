mod failures;

use failures::Failures;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The main loop is taken for dead when it has not ticked for this long, and a view for out of date when a watch has failed for
/// this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch that is tried again fails within this time.
const FAILS_WITHIN: Duration = Duration::from_secs(30);

/// Whatever else is tried again fails again within this time.
const DUTY_AGAIN: Duration = Duration::from_secs(90);

/// When a watch that has failed so often in a row fails again: its pauses double from 0.8 s to 30 s, each stretched by chance to twice that.
fn watch_again(times: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(1600);
    const LONGEST: Duration = Duration::from_secs(60);
    let pause = FIRST.saturating_mul(2u32.saturating_pow(times.saturating_sub(1)));
    pause.min(LONGEST) + FAILS_WITHIN
}

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
    watches: Mutex<Failures>,
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
                watches: Mutex::new(Failures::new(watch_again)),
                duties: Mutex::new(Failures::new(|_| DUTY_AGAIN)),
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
        locked(&self.shared.watches).note(now, what, works);
    }

    /// Whether something else can be done (`leases`: read and written); if not, why, for people. It makes nobody blind.
    pub fn does(&self, what: &str, works: Result<(), String>) {
        self.does_at(Instant::now(), what, works);
    }

    fn does_at(&self, now: Instant, what: &str, works: Result<(), String>) {
        locked(&self.shared.duties).note(now, what, works);
    }

    /// What cannot be watched for at least this long, for people.
    fn unwatched_at(&self, now: Instant, long: Duration) -> Vec<String> {
        let watches = locked(&self.shared.watches);
        let unwatched = watches.lasting(now, long).into_iter();
        unwatched
            .map(|(what, why)| format!("cannot list or watch {what}: {why}"))
            .collect()
    }

    /// What else has not worked for at least this long, for people.
    fn undone_at(&self, now: Instant, long: Duration) -> Vec<String> {
        let duties = locked(&self.shared.duties);
        let undone = duties.lasting(now, long).into_iter();
        undone.map(|(what, why)| format!("{what}: {why}")).collect()
    }

    /// Whether some watch has failed for so long that what is known may be out of date: who is blind writes nothing and does not lead.
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
        let now = Instant::now();
        let mut missing = self.unwatched_at(now, long);
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
    /// Makes blind: `nodes` have not been watchable for a minute.
    pub(crate) fn blind(&self) {
        let now = Instant::now();
        for ago in (0..=60).rev() {
            let at = now.checked_sub(Duration::from_secs(ago)).unwrap_or(now);
            self.watches_at(at, "nodes", Err("away".to_owned()));
        }
    }

    /// What else than a watch failed when it was tried last.
    pub(crate) fn undone(&self) -> Vec<String> {
        self.undone_at(Instant::now(), Duration::ZERO)
    }
}

fn locked(failures: &Mutex<Failures>) -> MutexGuard<'_, Failures> {
    failures.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// What is said at `seconds` of a watch that has failed at these times.
    fn blind(failed: &[u64], seconds: u64) -> Vec<String> {
        let health = Health::new();
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        for (i, &seconds) in failed.iter().enumerate() {
            health.watches_at(at(seconds), "nodes", Err(format!("failure {i}")));
        }
        health.unwatched_at(at(seconds), PATIENCE)
    }

    #[test]
    fn a_watch_that_has_failed_for_a_minute_makes_blind_until_it_works() {
        let failed = [0, 1, 3, 7, 14, 30, 55];
        assert!(blind(&failed, 59).is_empty());
        let said = ["cannot list or watch nodes: failure 6"];
        assert_eq!(blind(&failed, 60), said);
        assert_eq!(
            blind(&failed, 55 + 90),
            said,
            "it may be in its longest pause"
        );
        assert!(blind(&failed, 55 + 91).is_empty());

        let health = Health::new();
        let at = |seconds| health.shared.started + Duration::from_secs(seconds);
        for seconds in (0..100).step_by(2) {
            health.watches_at(at(seconds), "nodes", Err("forbidden".to_owned()));
        }
        assert!(!health.unwatched_at(at(100), PATIENCE).is_empty());
        health.watches_at(at(101), "nodes", Ok(()));
        assert!(health.unwatched_at(at(101), PATIENCE).is_empty());
    }

    #[test]
    fn failures_that_do_not_go_on_for_a_minute_make_nobody_blind_even_if_nothing_changes_afterwards()
     {
        let few: [&[u64]; 4] = [&[0], &[0, 1], &[0, 1, 3, 7], &[0, 1, 3, 7, 14, 28]];
        for failed in few {
            for seconds in 0..200 {
                let said = blind(failed, seconds);
                assert!(said.is_empty(), "{failed:?} at {seconds}: {said:?}");
            }
        }
    }

    #[test]
    fn api_servers_that_are_replaced_one_after_the_other_make_nobody_blind() {
        for seconds in 0..400 {
            assert!(
                blind(&[0, 45, 90, 135, 180], seconds).is_empty(),
                "{seconds}"
            );
        }
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
        assert!(health.unwatched_at(at(60), Duration::ZERO).is_empty());
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
        health.watches("pods", Err("forbidden".to_owned()));
        assert_eq!(said(&health), "cannot list or watch pods: forbidden");
        health.set_synced(true);
        assert_eq!(health.ready(), Ok(()), "one failure is everyday life");
        health.set_server(Err("too old".to_owned()));
        assert_eq!(said(&health), "too old");
    }
}
