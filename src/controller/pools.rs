//! One task a pool: started when the pool appears, told when it changes, ended when it goes. A panic or a hostile pool disturbs no other.

use super::cache::{Key, key};
use super::claims::may_write;
use super::reconcile::{Current, Tick, reconcile};
use super::shared::Shared;
use super::unreadable::Complaint;
use crate::api::AgentPool;
use futures::FutureExt;
use kube::core::error_boundary::InvalidObject;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// A pool is looked at no more often than this when changes wake it between ticks.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Longest pause after panics.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks of all pools.
#[derive(Default)]
pub struct Pools {
    tasks: BTreeMap<Key, (watch::Sender<Arc<AgentPool>>, JoinHandle<()>)>,
    objects: BTreeMap<Key, Arc<AgentPool>>,
    unreadable: BTreeSet<Key>,
    complaints: BTreeMap<Key, Complaint>,
}

impl Pools {
    /// A pool is there, or has changed.
    pub fn put(&mut self, shared: &Arc<Shared>, pool: AgentPool) {
        let key = key(&pool.metadata);
        let pool = Arc::new(pool);
        let renamed = self
            .objects
            .get(&key)
            .is_some_and(|old| old.metadata.uid != pool.metadata.uid);
        if renamed {
            self.remove(shared, &key.0, &key.1);
        }
        let claims_change = self.objects.get(&key).is_none_or(|old| {
            old.spec.agents != pool.spec.agents
                || old.spec.devices != pool.spec.devices
                || may_write(old) != may_write(&pool)
        }) | self.forgive(&key);
        self.objects.insert(key.clone(), pool.clone());
        if claims_change {
            self.claim(shared, &key.0);
        }
        if let Some((sender, _)) = self.tasks.get(&key) {
            sender.send_replace(pool);
            return;
        }
        let (sender, receiver) = watch::channel(pool);
        let task = tokio::spawn(live(shared.clone(), receiver, reconcile));
        self.tasks.insert(key, (sender, task));
        shared.metrics.set_pools(self.tasks.len());
    }

    /// A pool is there and cannot be read. Nothing is decided on what it was before, and nothing that it may name is handed back.
    pub fn put_unreadable(&mut self, shared: &Arc<Shared>, invalid: InvalidObject) {
        let (key, version) = (key(&invalid.metadata), invalid.metadata.resource_version);
        self.end(shared, &key);
        let known = self.complaints.get(&key);
        // What is told comes back as a change of the pool.
        if !known.is_some_and(|known| known.is_still(&invalid.error, version.clone())) {
            let complaint = Complaint::new(shared, key.clone(), invalid.error, version);
            self.complaints.insert(key.clone(), complaint);
        }
        self.unreadable.insert(key.clone());
        self.claim(shared, &key.0);
    }

    /// A pool can be read again, or is gone. Says whether it could not be read before.
    fn forgive(&mut self, key: &Key) -> bool {
        self.complaints.remove(key);
        self.unreadable.remove(key)
    }

    /// Ends the task of a pool, and takes its series away.
    fn end(&mut self, shared: &Arc<Shared>, key: &Key) {
        let (namespace, name) = key.clone();
        shared.metrics.forget_pool(&namespace, &name);
        if let Some((_, task)) = self.tasks.remove(key) {
            task.abort();
            let metrics = shared.metrics.clone();
            // A tick that is about to end publishes once more before it notices.
            tokio::spawn(async move {
                let _ = task.await;
                metrics.forget_pool(&namespace, &name);
            });
        }
        shared.metrics.set_pools(self.tasks.len());
    }

    /// A pool is gone.
    pub fn remove(&mut self, shared: &Arc<Shared>, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.objects.remove(&key);
        self.forgive(&key);
        self.end(shared, &key);
        shared.bells.remove(namespace, name);
        self.claim(shared, namespace);
    }

    /// These pools are all there are in a namespace (`None`: in all).
    pub fn keep_only(&mut self, shared: &Arc<Shared>, namespace: Option<&str>, present: &[Key]) {
        let present: BTreeSet<&Key> = present.iter().collect();
        let gone: Vec<Key> = self
            .objects
            .keys()
            .chain(&self.unreadable)
            .filter(|key| namespace.is_none_or(|ns| key.0 == ns))
            .filter(|key| !present.contains(key))
            .cloned()
            .collect();
        for (namespace, name) in gone {
            self.remove(shared, &namespace, &name);
        }
    }

    /// Every pool of a namespace (`None`: of all) has been seen: from now on it can be said which holds a workload there, and things are decided.
    pub fn listed(&self, shared: &Shared, namespace: Option<&str>) {
        self.replace_claims(shared);
        shared.pools_listed.came(namespace);
    }

    /// Not for each pool of a namespace's first list: with a thousand that would be a thousand looks at all of them.
    fn claim(&self, shared: &Shared, namespace: &str) {
        if shared.pools_listed.has(namespace) {
            self.replace_claims(shared);
        }
    }

    fn replace_claims(&self, shared: &Shared) {
        shared
            .claims
            .replace(self.objects.values().map(Arc::as_ref), &self.unreadable);
    }

    /// Waits until every task has ended; they end when `shared.stop` is cancelled.
    pub async fn join(self) {
        for (_, (_, task)) in self.tasks {
            let _ = task.await;
        }
    }
}

/// The life of one pool: a tick every interval, one more whenever something changed, a pause after a tick that panicked.
async fn live<S: Default>(
    shared: Arc<Shared>,
    mut pool: watch::Receiver<Arc<AgentPool>>,
    tick: impl AsyncFn(&Shared, Current<'_>, &mut S, bool) -> Tick,
) {
    let (namespace, name) = key(&pool.borrow().metadata);
    let bell = shared.bells.of(&namespace, &name);
    let mut state = S::default();
    let mut generation = None;
    let mut panics = 0u32;
    let mut every = Duration::from_secs(1);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        let scrape = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => true,
            () = bell.notified() => false,
            changed = pool.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
        };
        if !shared.ready_to_decide(&namespace) {
            continue;
        }
        let object = pool.borrow_and_update().clone();
        // Our own status writes come back as changes: only what a user can change is news.
        let spec = (
            object.metadata.generation,
            object.metadata.annotations.clone(),
        );
        let news = generation.as_ref() != Some(&spec);
        generation = Some(spec);
        if !scrape && !news {
            sleep_until(last + DEBOUNCE).await;
        }
        let timer = shared.metrics.time_reconcile();
        let current = Current {
            begun: &object,
            now: &pool,
        };
        let done = AssertUnwindSafe(tick(&shared, current, &mut state, scrape))
            .catch_unwind()
            .await;
        drop(timer);
        last = Instant::now();
        let Ok(done) = done else {
            // The panic hook has counted and logged it. What the pool remembered may be half changed: start afresh.
            state = S::default();
            panics = panics.saturating_add(1);
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = sleep(pause(panics)) => {}
            }
            continue;
        };
        panics = 0;
        if let Some(wanted) = done.interval.filter(|wanted| *wanted != every) {
            every = wanted;
            ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
    }
}

/// After so many panics one after the other.
fn pause(panics: u32) -> Duration {
    let doubled = Duration::from_secs(1) * 2u32.saturating_pow(panics.saturating_sub(1));
    doubled.min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::super::cache::Caches;
    use super::super::fixtures::{object, shared};
    use super::*;
    use std::sync::Mutex;

    /// What was seen of the ticks of a pool: the second of each, and the how many-eth it was for what the pool remembers.
    type Seen = Arc<Mutex<Vec<(u64, u32)>>>;

    /// Lets a pool live whose ticks panic while `panics` says so of their number.
    fn begin(
        shared: &Arc<Shared>,
        name: &str,
        panics: fn(usize) -> bool,
    ) -> (Seen, watch::Sender<Arc<AgentPool>>) {
        let (seen, start) = (Seen::default(), Instant::now());
        let log = seen.clone();
        let tick = async move |_: &Shared, _: Current<'_>, remembered: &mut u32, _: bool| {
            *remembered += 1;
            let number = {
                let mut log = log
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                log.push((start.elapsed().as_secs(), *remembered));
                log.len()
            };
            assert!(!panics(number), "tick {number}, as the test wants it");
            Tick::default()
        };
        let (sender, receiver) = watch::channel(Arc::new(object(name, "WholeGPU", &["a"])));
        tokio::spawn(live(shared.clone(), receiver, tick));
        (seen, sender)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_panics_pauses_longer_each_time_and_forgets_while_another_goes_on() {
        let shared = Arc::new(shared("http://127.0.0.1:1", Caches::default(), &[]));
        let (bad, _bad) = begin(&shared, "bad", |number| number <= 9);
        let (good, _good) = begin(&shared, "good", |_| false);
        sleep(Duration::from_millis(245_500)).await;
        shared.stop.cancel();
        let log = |seen: &Seen| seen.lock().map(|log| log.clone()).unwrap_or_default();

        let seconds: Vec<u64> = log(&bad).iter().map(|(second, _)| *second).collect();
        // Pauses of 1, 2, 4, 8, 16, 32 and 60 s thrice; then every second.
        let expected = [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 244, 245];
        assert_eq!(seconds, expected);
        let remembered: Vec<u32> = log(&bad)
            .iter()
            .map(|(_, remembered)| *remembered)
            .collect();
        assert_eq!(remembered, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3]);

        let every_second: Vec<(u64, u32)> = (0..=245).zip(1..).collect();
        assert_eq!(log(&good), every_second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_goes_well_ends_the_count_of_panics() {
        let shared = Arc::new(shared("http://127.0.0.1:1", Caches::default(), &[]));
        let (seen, _sender) = begin(&shared, "p", |number| number != 4);
        sleep(Duration::from_millis(12_500)).await;
        let seen = seen.lock().map(|log| log.clone()).unwrap_or_default();
        let seconds: Vec<u64> = seen.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 1, 3, 7, 8, 9, 11]);
    }
}
