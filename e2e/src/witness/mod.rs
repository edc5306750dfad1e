//! The witness: watches nodes and pods by itself, from the API server alone, and says whether anything happened that must never happen.
//!
//! It shares no code with the operator. What it holds against us: pods bound to a node that ask for more GPUs than it has; time-sliced copies
//! whose memory cannot fit; pods that no node can take. It also counts what became of the pods of each workload.

mod facts;
mod ledger;
mod rules;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::{CancellationToken, DropGuard};

use facts::{NodeFacts, PodFacts, PodKey};
use ledger::Ledger;
pub use ledger::{Violation, WorkloadCounts};
pub use rules::{GPU_MEMORY_ANNOTATION, WitnessRules};

use crate::wait;

const LIMIT: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
pub struct Witness {
    client: Client,
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    ledger: Mutex<Ledger>,
    /// Resource version of the latest pod event.
    seen: Mutex<u64>,
}

impl Witness {
    /// Starts to watch, and returns once all nodes and pods were seen.
    pub async fn start(client: Client, rules: WitnessRules) -> Result<Self> {
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(rules)),
            seen: Mutex::new(0),
        });
        let end = CancellationToken::new();
        // Nodes first: a pod is judged by the node that it arrives on.
        let (nodes_ready, nodes_listed) = tokio::sync::oneshot::channel();
        tokio::spawn(end.clone().run_until_cancelled_owned(watch_nodes(
            client.clone(),
            Arc::clone(&shared),
            nodes_ready,
        )));
        tokio::time::timeout(LIMIT, nodes_listed)
            .await
            .context("the witness did not see the nodes")??;
        let (pods_ready, pods_listed) = tokio::sync::oneshot::channel();
        tokio::spawn(end.clone().run_until_cancelled_owned(watch_pods(
            client.clone(),
            Arc::clone(&shared),
            pods_ready,
        )));
        tokio::time::timeout(LIMIT, pods_listed)
            .await
            .context("the witness did not see the pods")??;
        Ok(Self {
            client,
            shared,
            _end: end.drop_guard(),
        })
    }

    /// What must never happen and did.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.shared.ledger).violations.clone()
    }

    /// What happened so far, one line each, with times.
    pub fn history(&self) -> Vec<String> {
        lock(&self.shared.ledger).history.clone()
    }

    /// What became of the pods of a workload (Deployment, StatefulSet).
    pub fn counts(&self, namespace: &str, workload: &str) -> WorkloadCounts {
        lock(&self.shared.ledger).counts(namespace, workload)
    }

    /// Starts minima and maxima of the counts anew; created, gone and restarts go on.
    pub fn mark(&self) {
        lock(&self.shared.ledger).mark();
    }

    /// Changes what is watched from now on.
    pub fn set_rules(&self, rules: WitnessRules) {
        lock(&self.shared.ledger).rules = rules;
    }

    /// Waits until it has seen every change of a pod that the API server has answered before.
    pub async fn catch_up(&self) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let newest = pods
            .list(&ListParams::default())
            .await
            .context("list the pods")?
            .items
            .iter()
            .map(version_of)
            .max()
            .unwrap_or(0);
        wait::until(LIMIT, "the witness has seen all pods", async || {
            Ok((*lock(&self.shared.seen) >= newest).then_some(()))
        })
        .await
    }

    /// Catches up, and fails with everything that happened if there was a violation.
    ///
    /// # Errors
    /// There was a violation, or the API server cannot be asked.
    pub async fn check_clean(&self) -> Result<()> {
        self.catch_up().await?;
        let ledger = lock(&self.shared.ledger);
        if ledger.violations.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = ledger
            .violations
            .iter()
            .map(|violation| format!("{:.3} {}", violation.time, violation.what))
            .collect();
        let from = ledger.history.len().saturating_sub(60);
        let history = ledger.history.get(from..).unwrap_or_default().join("\n  ");
        bail!(
            "the witness saw what must never happen:\n  {}\nwhat happened (the last 60 lines):\n  {history}",
            list.join("\n  ")
        )
    }

    /// [`Witness::check_clean`], for tests.
    ///
    /// # Panics
    /// There was a violation.
    #[allow(clippy::panic)]
    pub async fn assert_clean(&self) {
        if let Err(why) = self.check_clean().await {
            panic!("{why:#}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The API server's resource versions grow with every change in its store, and since 1.35 they may be compared.
fn version_of(pod: &Pod) -> u64 {
    pod.resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

async fn watch_nodes(client: Client, shared: Arc<Shared>, ready: tokio::sync::oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let mut listed = Vec::new();
    let mut events = watcher(Api::<Node>::all(client), watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        let now = Timestamp::now();
        let mut ledger = lock(&shared.ledger);
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(node)) => {
                listed.push(node.name_any());
                ledger.node(node.name_any(), NodeFacts::of(&node), now);
            }
            Ok(Event::InitDone) => {
                for name in ledger.node_names() {
                    if !listed.contains(&name) {
                        ledger.node_gone(&name, now);
                    }
                }
                ready.take().map(|ready| ready.send(()));
            }
            Ok(Event::Apply(node)) => ledger.node(node.name_any(), NodeFacts::of(&node), now),
            Ok(Event::Delete(node)) => ledger.node_gone(&node.name_any(), now),
            // The stream tries again; what it missed comes with the next list.
            Err(_) => {}
        }
    }
}

async fn watch_pods(client: Client, shared: Arc<Shared>, ready: tokio::sync::oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let mut listed = Vec::new();
    let mut events = watcher(Api::<Pod>::all(client), watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tick.tick() => {
                lock(&shared.ledger).tick(Timestamp::now());
                continue;
            }
        };
        let Some(event) = event else { return };
        let now = Timestamp::now();
        let mut ledger = lock(&shared.ledger);
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => listed.push(pod),
            Ok(Event::InitDone) => {
                // Who went meanwhile makes room for who came.
                let present: BTreeSet<PodKey> = listed.iter().map(PodKey::of).collect();
                for key in ledger
                    .pod_keys()
                    .into_iter()
                    .filter(|key| !present.contains(key))
                {
                    ledger.pod_gone(&key, now);
                }
                for pod in listed.drain(..) {
                    ledger.pod(PodKey::of(&pod), PodFacts::of(&pod), now);
                    saw(&shared, &pod);
                }
                ready.take().map(|ready| ready.send(()));
            }
            Ok(Event::Apply(pod)) => {
                ledger.pod(PodKey::of(&pod), PodFacts::of(&pod), now);
                saw(&shared, &pod);
            }
            Ok(Event::Delete(pod)) => {
                ledger.pod_gone(&PodKey::of(&pod), now);
                saw(&shared, &pod);
            }
            Err(_) => {}
        }
    }
}

fn saw(shared: &Shared, pod: &Pod) {
    let mut seen = lock(&shared.seen);
    *seen = version_of(pod).max(*seen);
}
