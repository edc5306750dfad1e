//! Sends loads, open loop: a request is sent when its time has come, however slow the engines are.
//!
//! Every fleet that is driven gets the same requests at the same moments. Latency counts from the moment at which a
//! request was due, so that a late driver shows up in the figures and not in their absence. A request that is refused
//! or cut is tried again; one that finds no ready pod waits for one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::balance::{Balance, Balancer};
use super::recorder::Recorder;
use crate::engine::Failure;
use crate::engine::stats::{Latencies, LatencySummary};
use agentpool::simulation::load::{AgentLoad, Request, merge};

/// How a load is driven.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Which pod a request goes to.
    pub balance: Balance,
    /// Draws the pods.
    pub seed: u64,
    /// How many requests of one fleet may be open; more are counted as shed.
    pub max_open: usize,
    /// How often a request is tried before it is lost; waiting for a ready pod is not a try.
    pub tries: u32,
    /// How long a request may take before it is lost.
    pub patience: Duration,
    /// The namespace of the agents' pods.
    pub namespace: String,
}

impl DriverOptions {
    /// The defaults, for the agents of this namespace: two choices, 4096 open requests, 5 tries, 10 minutes.
    pub fn new(namespace: &str) -> Self {
        Self {
            balance: Balance::TwoChoices,
            seed: 1,
            max_open: 4096,
            tries: 5,
            patience: Duration::from_secs(600),
            namespace: namespace.to_owned(),
        }
    }
}

/// First and longest pause before another look for a ready pod, or another try.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A fleet to be driven.
pub struct Driven {
    /// Where requests go.
    pub backend: Arc<dyn Backend>,
    /// How.
    pub options: DriverOptions,
}

/// A load that is being sent.
pub struct Driver {
    origin: Instant,
    lateness: Arc<Mutex<Latencies>>,
    lanes: Vec<Arc<Lane>>,
    stop: CancellationToken,
    done: CancellationToken,
}

/// One fleet's part of the load.
struct Lane {
    backend: Arc<dyn Backend>,
    options: DriverOptions,
    balancer: Balancer,
    agents: Vec<String>,
    records: Vec<Mutex<Recorder>>,
    open: AtomicUsize,
    origin: Instant,
}

impl Driver {
    /// Begins to send these loads, drawn with this seed, to all fleets, for `length` of time.
    pub fn start(loads: &[AgentLoad], seed: u64, fleets: Vec<Driven>, length: Duration) -> Self {
        let origin = Instant::now();
        let agents: Vec<String> = loads.iter().map(|load| load.agent.clone()).collect();
        let lanes: Vec<Arc<Lane>> = fleets
            .into_iter()
            .map(|fleet| {
                Arc::new(Lane {
                    balancer: Balancer::new(fleet.options.balance, fleet.options.seed),
                    backend: fleet.backend,
                    options: fleet.options,
                    agents: agents.clone(),
                    records: agents.iter().map(|_| Mutex::default()).collect(),
                    open: AtomicUsize::new(0),
                    origin,
                })
            })
            .collect();
        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let lateness: Arc<Mutex<Latencies>> = Arc::default();
        tokio::spawn(dispatch(
            merge(loads, seed, length.as_secs_f64()),
            lanes.clone(),
            origin,
            lateness.clone(),
            stop.clone(),
            done.clone(),
        ));
        Self {
            origin,
            lateness,
            lanes,
            stop,
            done,
        }
    }

    /// How much later than due requests were sent. Beyond some milliseconds the machine is too busy, and latencies
    /// say more about it than about the engines.
    pub fn lateness(&self) -> LatencySummary {
        lock(&self.lateness).summary()
    }

    /// Seconds since the load began.
    pub fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    /// The records of one fleet (in the order given at the start), by agent, as they are now.
    pub fn records(&self, fleet: usize) -> BTreeMap<String, Recorder> {
        let lane = &self.lanes[fleet];
        let records = lane.records.iter().map(|record| lock(record).clone());
        lane.agents.iter().cloned().zip(records).collect()
    }

    /// Requests of one fleet that are open now.
    pub fn open(&self, fleet: usize) -> usize {
        self.lanes[fleet].open.load(Ordering::Relaxed)
    }

    /// Sends nothing more.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until everything has been sent, then until no request is open or `settle` has passed.
    pub async fn finish(&self, settle: Duration) {
        self.done.cancelled().await;
        let limit = Instant::now() + settle;
        while Instant::now() < limit && (0..self.lanes.len()).any(|fleet| self.open(fleet) > 0) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn dispatch(
    requests: impl Iterator<Item = (usize, Request)>,
    lanes: Vec<Arc<Lane>>,
    origin: Instant,
    lateness: Arc<Mutex<Latencies>>,
    stop: CancellationToken,
    done: CancellationToken,
) {
    let _done = done.drop_guard();
    for (agent, arrival) in requests {
        let due = origin + Duration::from_secs_f64(arrival.at);
        // The timer ticks in milliseconds; what is due within the tick is sent together.
        if due > Instant::now() {
            tokio::select! {
                () = sleep_until(due) => {}
                () = stop.cancelled() => return,
            }
        }
        if stop.is_cancelled() {
            return;
        }
        lock(&lateness).add(due.elapsed().as_secs_f64());
        for lane in &lanes {
            lane.take(agent, arrival.work, due);
        }
    }
}

impl Lane {
    fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    fn record(&self, agent: usize) -> MutexGuard<'_, Recorder> {
        lock(&self.records[agent])
    }

    fn take(self: &Arc<Self>, agent: usize, work: f64, due: Instant) {
        let now = self.now();
        self.record(agent).offered(now);
        if self.open.load(Ordering::Relaxed) >= self.options.max_open {
            return self.record(agent).shed(now);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let lane = self.clone();
        tokio::spawn(async move {
            let outcome = lane.bring(agent, work, due).await;
            let now = lane.now();
            {
                let mut record = lane.record(agent);
                match outcome {
                    Some(retried) => record.served(now, due.elapsed().as_secs_f64(), retried),
                    None => record.lost(now),
                }
            }
            lane.open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Tries until the request is served: whether it took more than one try. `None`: lost.
    async fn bring(&self, agent: usize, work: f64, due: Instant) -> Option<bool> {
        let name = format!("{}/{}", self.options.namespace, self.agents[agent]);
        let limit = due + self.options.patience;
        let mut pause = PAUSE.0;
        let (mut tries, mut looked) = (0, false);
        while Instant::now() < limit {
            let targets = self.backend.ready(&name);
            let uids: Vec<&str> = targets.iter().map(|target| target.uid.as_str()).collect();
            match self.balancer.choose(&uids) {
                None => {
                    if !looked {
                        self.record(agent).without_pod();
                        looked = true;
                    }
                }
                Some((index, open)) => {
                    let answer = timeout_at(limit, self.backend.send(&targets[index], work)).await;
                    drop(open);
                    tries += 1;
                    match answer {
                        Ok(Ok(())) => return Some(tries > 1),
                        Ok(Err(Failure::Cut)) => self.record(agent).cut(),
                        Ok(Err(Failure::Refused)) => self.record(agent).refused(),
                        Err(_) => return None,
                    }
                    if tries >= self.options.tries {
                        return None;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
