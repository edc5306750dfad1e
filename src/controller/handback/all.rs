use super::{Record, Scope, WorkloadRecord, WriteError, Writer, hand_back, is_marked};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::Instant;

/// Objects in one answer of a list.
const PAGE: u32 = 200;
/// Attempts on one workload when somebody else writes in between.
const ATTEMPTS: u32 = 5;
/// Time between two looks at whether the operator's pods are gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why not everything was handed back.
#[derive(Debug, thiserror::Error)]
pub enum HandBackError {
    /// The workloads cannot be listed.
    #[error("cannot list the {kind}s{place}: {source}")]
    List {
        /// Kind of the workloads.
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
/// # Errors
/// When workloads cannot be listed; those that could be are handed back all the same.
pub async fn hand_back_all(writer: &Writer, scope: &Scope) -> Result<Returned, HandBackError> {
    let places: Vec<Option<&str>> = match scope {
        Scope::Cluster => vec![None],
        Scope::Namespaces(namespaces) => namespaces.iter().map(|n| Some(n.as_str())).collect(),
    };
    let mut returned = Returned::default();
    let mut first_error = None;
    for place in places {
        for outcome in [
            of_kind::<Deployment>(writer, place, &mut returned).await,
            of_kind::<StatefulSet>(writer, place, &mut returned).await,
        ] {
            if let Err(error) = outcome {
                tracing::error!(%error, "not everything is handed back");
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(returned), Err)
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

async fn of_kind<K>(
    writer: &Writer,
    namespace: Option<&str>,
    returned: &mut Returned,
) -> Result<(), HandBackError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
    WorkloadRecord: Record<K>,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(writer.client().clone(), namespace),
        None => Api::all(writer.client().clone()),
    };
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = writer.read(api.list(&params)).await;
        let page = page.map_err(|source| HandBackError::List {
            kind: K::kind(&()).into_owned(),
            place: namespace.map(|n| format!(" in {n}")).unwrap_or_default(),
            source,
        })?;
        for object in page.items {
            match one(writer, object).await {
                Some(Ok(())) => returned.done += 1,
                Some(Err(())) => returned.failed += 1,
                None => {}
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

/// Hands one workload back if it bears our marks; `None`: it does not.
async fn one<K>(writer: &Writer, object: K) -> Option<Result<(), ()>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
    WorkloadRecord: Record<K>,
{
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let name = object.meta().name.clone().unwrap_or_default();
    let record = WorkloadRecord::of(object).filter(is_marked)?;
    for _ in 0..ATTEMPTS {
        match hand_back::<K>(writer, &namespace, &name, &record).await {
            Ok(()) => {
                tracing::info!(namespace, name, "handed back");
                return Some(Ok(()));
            }
            Err(error) if error.is_race() => {}
            Err(error) => {
                tracing::error!(namespace, name, %error, "cannot be handed back");
                return Some(Err(()));
            }
        }
    }
    tracing::error!(
        namespace,
        name,
        "cannot be handed back: somebody else keeps writing to it"
    );
    Some(Err(()))
}
