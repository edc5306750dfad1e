//! One task a pool: started when the pool appears, told when it changes, ended when it goes. A panic or a hostile pool disturbs no other.

use super::cache::{Key, key};
use super::reconcile::{Current, State, Tick, reconcile};
use super::shared::Shared;
use crate::api::AgentPool;
use futures::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// A pool is looked at no more often than this when changes wake it between ticks.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks of all pools.
#[derive(Default)]
pub struct Pools {
    tasks: BTreeMap<Key, (watch::Sender<Arc<AgentPool>>, JoinHandle<()>)>,
    objects: BTreeMap<Key, Arc<AgentPool>>,
    unreadable: BTreeSet<Key>,
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
            old.spec.agents != pool.spec.agents || old.spec.devices != pool.spec.devices
        }) | self.unreadable.remove(&key);
        self.objects.insert(key.clone(), pool.clone());
        if claims_change {
            self.claim(shared);
        }
        if let Some((sender, _)) = self.tasks.get(&key) {
            sender.send_replace(pool);
            return;
        }
        let (sender, receiver) = watch::channel(pool);
        let task = tokio::spawn(live(shared.clone(), receiver));
        self.tasks.insert(key, (sender, task));
        shared.metrics.set_pools(self.tasks.len());
    }

    /// A pool is there and cannot be read. Nothing is decided on what it was before, and nothing that it may name is handed back.
    pub fn put_unreadable(&mut self, shared: &Arc<Shared>, key: Key) {
        if let Some((_, task)) = self.tasks.remove(&key) {
            task.abort();
        }
        shared.metrics.set_pools(self.tasks.len());
        self.unreadable.insert(key);
        self.claim(shared);
    }

    /// A pool is gone.
    pub fn remove(&mut self, shared: &Arc<Shared>, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.objects.remove(&key);
        self.unreadable.remove(&key);
        if let Some((_, task)) = self.tasks.remove(&key) {
            task.abort();
        }
        shared.bells.remove(namespace, name);
        shared.metrics.forget_pool(namespace, name);
        shared.metrics.set_pools(self.tasks.len());
        self.claim(shared);
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

    fn claim(&self, shared: &Shared) {
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

/// The life of one pool: a tick every interval, one more whenever something changed, a pause after failures.
async fn live(shared: Arc<Shared>, mut pool: watch::Receiver<Arc<AgentPool>>) {
    let (namespace, name) = key(&pool.borrow().metadata);
    let bell = shared.bells.of(&namespace, &name);
    let mut state = State::default();
    let mut generation = None;
    let mut failures = 0u32;
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
        let tick = AssertUnwindSafe(reconcile(&shared, current, &mut state, scrape))
            .catch_unwind()
            .await;
        drop(timer);
        last = Instant::now();
        let panicked = tick.is_err();
        let tick = tick.unwrap_or_else(|_| {
            // The panic hook has counted and logged it. What the pool remembered may be half changed: start afresh.
            state = State::default();
            Tick::default()
        });
        if let Some(wanted) = tick.interval.filter(|wanted| *wanted != every) {
            every = wanted;
            ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        failures = if panicked {
            failures.saturating_add(1)
        } else {
            0
        };
        if failures > 0 {
            let pause = Duration::from_secs(1) * 2u32.saturating_pow(failures.min(6) - 1);
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = sleep(pause.min(LONGEST_PAUSE)) => {}
            }
        }
    }
}
