//! All engines of a cluster in one process: it watches pods and nodes, listens on the pods' addresses and lets the
//! [`World`] decide what is served when.
//!
//! It learns what runs where from the API server alone. While the API server is away the engines go on as they were.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::control;
use super::faults::{Answer, Fault, Faults};
use super::physics::{Finished, RequestId};
use super::placement::NodeView;
use super::server::{self, Server};
use super::tasks::Tasks;
use super::view::PodView;
use super::watch;
use super::world::report::EngineState;
use super::world::{AgentStats, Demand, Effect, World};

/// How a fleet is run.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The part of a GPU's speed that is left while two or more processes take turns on it; see
    /// [`Physics::new`](super::physics::Physics::new).
    pub switching_efficiency: f64,
    /// Draws the work of requests that do not state theirs.
    pub seed: u64,
    /// Where the control port listens, if anywhere.
    pub control: Option<SocketAddr>,
    /// Whether the engines listen on their pods' addresses; without, requests reach them through
    /// [`EngineFleet::request`] alone.
    pub listen: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            switching_efficiency: 0.9,
            seed: 1,
            control: None,
            listen: true,
        }
    }
}

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The engine did not take it.
    Refused,
    /// The engine died over it.
    Cut,
}

struct Inner {
    world: World,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Finished, Failure>>>,
    servers: BTreeMap<String, Server>,
    faults: Faults,
    /// When the clockwork will look next.
    due: Option<f64>,
}

pub(super) struct Shared {
    listen: bool,
    origin: Instant,
    inner: Mutex<Inner>,
    changed: Notify,
    pub(super) tasks: Tasks,
    pub(super) stop: CancellationToken,
}

/// A running fleet. It ends when the last handle is dropped or [`EngineFleet::stop`] is called.
pub struct EngineFleet {
    shared: Arc<Shared>,
    control: Option<SocketAddr>,
}

impl EngineFleet {
    /// Starts a fleet for the cluster of this client.
    ///
    /// # Errors
    /// When the control port cannot be opened.
    pub async fn start(client: kube::Client, options: EngineOptions) -> anyhow::Result<Self> {
        let fleet = Self::without_cluster(options).await?;
        let shared = &fleet.shared;
        shared
            .tasks
            .spawn(watch::nodes(shared.clone(), client.clone()));
        shared.tasks.spawn(watch::pods(shared.clone(), client));
        Ok(fleet)
    }

    /// Starts a fleet that is told by hand what runs where ([`EngineFleet::apply_node`], [`EngineFleet::apply_pod`]).
    ///
    /// # Errors
    /// When the control port cannot be opened.
    pub async fn without_cluster(options: EngineOptions) -> anyhow::Result<Self> {
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let shared = Arc::new(Shared {
            listen: options.listen,
            origin: Instant::now(),
            inner: Mutex::new(Inner {
                world: World::new(
                    options.switching_efficiency,
                    options.seed,
                    epoch.as_secs_f64(),
                ),
                waiting: HashMap::new(),
                servers: BTreeMap::new(),
                faults: Faults::default(),
                due: None,
            }),
            changed: Notify::new(),
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
        });
        let control = match options.control {
            None => None,
            Some(address) => Some(control::listen(shared.clone(), address).await?),
        };
        shared.tasks.spawn(run(shared.clone()));
        Ok(Self { shared, control })
    }

    /// Where the control port listens.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// A node appeared or changed.
    pub fn apply_node(&self, node: &NodeView) {
        self.shared
            .update(|world, now| world.node_applied(now, node));
    }

    /// A pod appeared or changed.
    pub fn apply_pod(&self, pod: PodView) {
        self.shared.update(|world, now| world.pod_applied(now, pod));
    }

    /// A pod's object is gone.
    pub fn remove_pod(&self, uid: &str) {
        self.shared.update(|world, now| world.pod_gone(now, uid));
    }

    /// Sends a request to a pod's engine without a socket and waits until it is served.
    ///
    /// # Errors
    /// Refused when the engine does not serve, cut when it dies.
    pub async fn request(&self, uid: &str, demand: Demand) -> Result<Finished, Failure> {
        self.shared.request(uid, demand).await
    }

    /// `(uid, state)` of every pod that takes part.
    pub fn states(&self) -> Vec<(String, EngineState)> {
        self.shared.update(|world, now| {
            world.advance(now);
            world.states()
        })
    }

    /// The uids and addresses of the serving pods of `namespace/agent`.
    pub fn serving(&self, agent: &str) -> Vec<(String, SocketAddr)> {
        self.shared.update(|world, now| {
            world.advance(now);
            world.serving(agent)
        })
    }

    /// What happened so far at the engines, by `namespace/agent`.
    pub fn stats(&self) -> BTreeMap<String, AgentStats> {
        self.shared.update(|world, now| {
            world.advance(now);
            world.stats().clone()
        })
    }

    /// What no real cluster would allow (two pods on an exclusive device, more memory than there is), and
    /// annotations that could not be read.
    pub fn violations(&self) -> Vec<String> {
        self.shared.update(|world, _| world.violations().to_vec())
    }

    /// Who lives on which device, `node/resource/index`.
    pub fn residents(&self) -> BTreeMap<String, Vec<String>> {
        self.shared.update(|world, _| world.residents())
    }

    /// Puts a fault in force for `namespace/pod` or, for all its pods, `namespace/agent`.
    pub fn set_fault(&self, target: &str, fault: Fault) {
        self.shared.set_fault(target, fault);
    }

    /// Ends a fault. False when there was none.
    pub fn clear_fault(&self, target: &str) -> bool {
        self.shared.clear_fault(target)
    }

    /// The counters of `namespace/pod` or `namespace/agent` go back to zero, as if the process had restarted.
    pub fn reset_counters(&self, target: &str) {
        self.shared.reset_counters(target);
    }

    /// Stops everything and waits until it has stopped.
    pub async fn stop(&self) {
        self.shared.halt();
        self.shared.tasks.wait().await;
    }
}

impl Drop for EngineFleet {
    fn drop(&mut self) {
        self.shared.halt();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere must not take the whole fleet down; the world is consistent between calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    fn halt(&self) {
        self.stop.cancel();
        let servers = std::mem::take(&mut self.lock().servers);
        for server in servers.values() {
            server.kill();
        }
    }

    /// Does something to the world now, then what follows from it.
    pub(super) fn update<T>(self: &Arc<Self>, act: impl FnOnce(&mut World, f64) -> T) -> T {
        let mut inner = self.lock();
        // The time is taken under the lock: it never goes back from one call to the next.
        let now = self.now();
        let result = act(&mut inner.world, now);
        self.carry_out(&mut inner);
        result
    }

    fn carry_out(self: &Arc<Self>, inner: &mut Inner) {
        for effect in inner.world.take_effects() {
            match effect {
                Effect::Served(finished) => {
                    if let Some(client) = inner.waiting.remove(&finished.request) {
                        let _ = client.send(Ok(finished));
                    }
                }
                Effect::Cut(request) => {
                    if let Some(client) = inner.waiting.remove(&request) {
                        let _ = client.send(Err(Failure::Cut));
                    }
                }
                Effect::Open(uid, address) => self.open(inner, &uid, address),
                Effect::Close(uid) => {
                    if let Some(server) = inner.servers.get(&uid) {
                        server.close();
                    }
                }
                Effect::Kill(uid) => {
                    if let Some(server) = inner.servers.remove(&uid) {
                        server.kill();
                    }
                }
            }
        }
        let next = inner.world.next_event();
        if next.is_some_and(|next| inner.due.is_none_or(|due| next < due)) {
            self.changed.notify_one();
        }
    }

    /// Lets time pass; returns when to look again.
    fn tick(self: &Arc<Self>) -> Option<f64> {
        let mut inner = self.lock();
        let now = self.now();
        inner.world.advance(now);
        inner.due = inner.world.next_event();
        self.carry_out(&mut inner);
        inner.due
    }

    fn open(self: &Arc<Self>, inner: &mut Inner, uid: &str, address: SocketAddr) {
        let Some((pod, agent)) = inner.world.names(uid) else {
            return;
        };
        if !self.listen || self.stop.is_cancelled() || inner.faults.refuses(&pod, &agent) {
            return;
        }
        let server = server::listen(self.clone(), uid.to_owned(), address);
        if let Some(old) = inner.servers.insert(uid.to_owned(), server) {
            old.kill();
        }
    }

    pub(super) async fn request(
        self: &Arc<Self>,
        uid: &str,
        demand: Demand,
    ) -> Result<Finished, Failure> {
        let (sender, receiver) = oneshot::channel();
        let request = {
            let mut inner = self.lock();
            let now = self.now();
            let accepted = inner.world.submit(now, uid, demand);
            if let Some(request) = accepted {
                inner.waiting.insert(request, sender);
            }
            self.carry_out(&mut inner);
            accepted.ok_or(Failure::Refused)?
        };
        let mut client = Client {
            shared: self.clone(),
            uid: uid.to_owned(),
            request: Some(request),
        };
        let outcome = receiver.await.unwrap_or(Err(Failure::Cut));
        client.request = None;
        outcome
    }

    /// The answer to a scrape; `None` when the engine is dead.
    pub(super) fn scrape(self: &Arc<Self>, uid: &str) -> Option<Answer> {
        let mut inner = self.lock();
        let now = self.now();
        let page = inner.world.page(now, uid);
        self.carry_out(&mut inner);
        let (pod, agent) = inner.world.names(uid)?;
        Some(inner.faults.answer(&pod, &agent, page?))
    }

    pub(super) fn set_fault(self: &Arc<Self>, target: &str, fault: Fault) {
        let mut inner = self.lock();
        inner.faults.set(target, fault);
        self.reopen(&mut inner);
    }

    pub(super) fn clear_fault(self: &Arc<Self>, target: &str) -> bool {
        let mut inner = self.lock();
        let cleared = inner.faults.clear(target);
        self.reopen(&mut inner);
        cleared
    }

    pub(super) fn faults(&self) -> BTreeMap<String, Fault> {
        self.lock().faults.all().clone()
    }

    pub(super) fn reset_counters(self: &Arc<Self>, target: &str) {
        self.update(|world, now| {
            for (uid, state) in world.states() {
                if state.pod == target || state.agent == target {
                    world.reset_counters(now, &uid);
                }
            }
        });
    }

    /// Makes the listeners those that the faults allow.
    fn reopen(self: &Arc<Self>, inner: &mut Inner) {
        for (uid, state) in inner.world.states() {
            let refused = inner.faults.refuses(&state.pod, &state.agent);
            match (state.address, inner.servers.contains_key(&uid)) {
                (Some(address), false) if !refused => self.open(inner, &uid, address),
                (_, true) if refused => {
                    if let Some(server) = inner.servers.remove(&uid) {
                        server.kill();
                    }
                }
                _ => {}
            }
        }
    }
}

/// Takes a request back when its client goes away before the answer.
struct Client {
    shared: Arc<Shared>,
    uid: String,
    request: Option<RequestId>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let uid = std::mem::take(&mut self.uid);
            self.shared.lock().waiting.remove(&request);
            self.shared
                .update(|world, now| world.abort(now, &uid, request));
        }
    }
}

/// Lets time pass in the world: wakes up when something is due or has changed.
async fn run(shared: Arc<Shared>) {
    loop {
        let due = shared
            .tick()
            .and_then(|at| Duration::try_from_secs_f64(at).ok());
        let sleep = async {
            match due.and_then(|due| shared.origin.checked_add(due)) {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = shared.changed.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests;
