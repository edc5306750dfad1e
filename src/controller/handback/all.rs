use super::{Hands, marked};
use crate::controller::cache::{Caches, Record, Store, key, version};
use crate::controller::config::Scope;
use crate::controller::cut::cut;
use crate::controller::promises::Promises;
use crate::controller::write::{WriteError, Writer};
use crate::signals::Clock;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::Instant;

/// Objects in one answer of a list.
const PAGE: u32 = 200;
/// Time between two looks at whether the operator's pods are gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time between two rounds, when something is left.
const ROUND_EVERY: Duration = Duration::from_secs(2);
/// How long a workload that was cut in the middle of a swap is given to find a place, and one that others keep writing to is tried again.
/// The chart's job has three minutes, of which the operator's pods may take one to go.
const PATIENCE: Duration = Duration::from_secs(60);
/// After that, so long for what is still to be written.
const GRACE: Duration = Duration::from_secs(10);

/// Why not everything was handed back.
#[derive(Debug, thiserror::Error)]
pub enum HandBackError {
    /// Workloads, pods or nodes cannot be listed.
    #[error("cannot list the {kind}s{place}: {source}")]
    List {
        /// Their kind.
        kind: String,
        /// In which namespace; empty for all.
        place: String,
        /// What the API server said.
        source: WriteError,
    },
    /// The operator's pods cannot be listed.
    #[error("cannot list the operator's pods: {0}")]
    Pods(WriteError),
    /// The operator still runs: what is handed back now it would take again.
    #[error("{0} pods of the operator still run")]
    StillRunning(usize),
}

/// What became of the workloads that the operator had written to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Handed back.
    pub done: usize,
    /// Not handed back; the log says why.
    pub failed: usize,
}

/// Hands back every workload that bears our marks, whatever pools say: the operator is being uninstalled. Run it when no operator runs.
///
/// A workload that was cut in the middle of a swap gets a place that is free first, for at most a minute; then it is handed back all the same.
///
/// # Errors
/// When something cannot be listed; what could be handed back is handed back all the same.
pub async fn hand_back_all(writer: &Writer, scope: &Scope) -> Result<Returned, HandBackError> {
    let places = scope.places();
    let nodes_hidden = !matches!(scope, Scope::Cluster);
    let begun = Instant::now();
    let mut returned = Returned::default();
    let mut given_up = BTreeSet::new();
    // What got no answer in one round is left alone in the next.
    let (promises, clock) = (Promises::default(), Clock::start());
    loop {
        let patient = begun.elapsed() < PATIENCE;
        let caches = Caches::default();
        let listed = look(writer, &places, nodes_hidden, &caches).await;
        let hands = Hands {
            writer,
            caches: &caches,
            claims: None,
            promises: &promises,
            clock,
            nodes_hidden,
        };
        let mut left = 0;
        for (kind, (namespace, name), record) in marked(&caches) {
            let key = (kind, namespace, name);
            if given_up.contains(&key) {
                continue;
            }
            let (namespace, name) = (key.1.as_str(), key.2.as_str());
            match hands.end(namespace, name, &record, patient, false).await {
                Ok(true) => {
                    tracing::info!(namespace, name, "handed back");
                    returned.done += 1;
                }
                Ok(false) => {
                    tracing::info!(
                        namespace,
                        name,
                        "stopped in the middle of a swap: waits for a place"
                    );
                    left += 1;
                }
                Err(error) if error.is_race() => left += 1,
                Err(error) => {
                    tracing::error!(namespace, name, %error, "cannot be handed back");
                    given_up.insert(key);
                }
            }
        }
        if left == 0 || begun.elapsed() >= PATIENCE + GRACE {
            returned.failed = given_up.len() + left;
            return listed.map(|()| returned);
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
}

/// Fills the caches with what handing back needs to know. What can be listed is listed, also when something else cannot.
async fn look(
    writer: &Writer,
    places: &[Option<String>],
    nodes_hidden: bool,
    caches: &Caches,
) -> Result<(), HandBackError> {
    let mut result = Ok(());
    for place in places {
        let place = place.as_deref();
        let deployments = list::<Deployment, _>(writer, place, &caches.deployments).await;
        let stateful_sets = list::<StatefulSet, _>(writer, place, &caches.stateful_sets).await;
        result = result.and(deployments).and(stateful_sets);
    }
    // What is free is asked only where somebody needs a place.
    if !nodes_hidden && marked(caches).any(|(_, _, record)| cut(&record).is_some()) {
        let pods = list::<Pod, _>(writer, None, &caches.pods).await;
        let api = Api::<Node>::all(writer.client().clone());
        let nodes = list_from(writer, &api, "", &caches.nodes).await;
        result = result.and(pods).and(nodes);
    }
    result
}

/// Waits until no pod that `selector` finds is left in `namespace`, at most for `limit`.
///
/// # Errors
/// When they are still there, or cannot be listed.
pub async fn wait_for_no_pods(
    writer: &Writer,
    namespace: &str,
    selector: &str,
    limit: Duration,
) -> Result<(), HandBackError> {
    let pods = Api::<Pod>::namespaced(writer.client().clone(), namespace);
    let end = Instant::now() + limit;
    loop {
        let params = ListParams::default().labels(selector);
        let left = writer.read(pods.list_metadata(&params)).await;
        let left = left.map_err(HandBackError::Pods)?.items.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(HandBackError::StillRunning(left));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn list<K, R>(
    writer: &Writer,
    namespace: Option<&str>,
    store: &Store<R>,
) -> Result<(), HandBackError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
    R: Record<K>,
{
    let (api, place): (Api<K>, String) = match namespace {
        Some(name) => (
            Api::namespaced(writer.client().clone(), name),
            format!(" in {name}"),
        ),
        None => (Api::all(writer.client().clone()), String::new()),
    };
    list_from(writer, &api, &place, store).await
}

async fn list_from<K, R>(
    writer: &Writer,
    api: &Api<K>,
    place: &str,
    store: &Store<R>,
) -> Result<(), HandBackError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    R: Record<K>,
{
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = writer.read(api.list(&params)).await;
        let page = page.map_err(|source| HandBackError::List {
            kind: K::kind(&()).into_owned(),
            place: place.to_owned(),
            source,
        })?;
        for object in page.items {
            let (key, version) = (key(object.meta()), version(object.meta()));
            if let Some(record) = R::of(object) {
                store.put(key, version, record);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}
