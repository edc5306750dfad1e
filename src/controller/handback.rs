//! Gives workloads back that no pool names any more: a pool was deleted, or an agent left it, here or before this process started.
//!
//! Values stay as they are and nothing restarts: only our entries in `managedFields` and our annotations go. An empty apply would
//! delete the values instead (seen on Kubernetes 1.36). A swap that was cut in its middle is brought to an end first, so that no agent
//! is left without replicas.
//!
//! In a namespace with a pool that cannot be read nothing is handed back, because that pool may name it; what was cut is brought up all the
//! same.

mod all;
mod marks;
mod unreadable;

pub use all::{HandBackError, Returned, hand_back_all, wait_for_no_pods};

use super::backoff::Backoff;
use super::cache::{Caches, Key, Workload, WorkloadRecord, own_notes};
use super::claims::Claims;
use super::cut::{Raiser, cut};
use super::ending::wanted;
use super::promises::Promises;
use super::request::pointer;
use super::shared::Shared;
use super::write::{
    GPU_MANAGER, PODS_MANAGER, REPLICAS_MANAGER, STATUS_MANAGER, WriteError, Writer,
};
use crate::api::WorkloadKind;
use crate::signals::Clock;
use crate::telemetry::WriteKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::Api;
use kube::core::ObjectMeta;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two looks for orphans.
const EVERY: Duration = Duration::from_secs(2);
/// A workload must be seen as an orphan this often in a row: a pool that is replaced by GitOps comes back within a moment.
const SIGHTINGS: u32 = 2;
/// For so long a workload waits for places to end a swap that was cut; then it goes on without.
pub const PATIENCE: Duration = Duration::from_secs(300);

const MANAGERS: [&str; 4] = [REPLICAS_MANAGER, GPU_MANAGER, PODS_MANAGER, STATUS_MANAGER];

/// What a sweep remembers from round to round.
#[derive(Default)]
struct Orphans {
    /// How often they were seen in a row.
    seen: BTreeMap<(WorkloadKind, String, String), u32>,
    /// One whose write gets no answer does not keep the others waiting in every round.
    backoff: Backoff,
}

/// Looks for orphans until stopped. Nothing is an orphan before the caches are filled and the pools have been listed.
pub async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    let mut orphans = Orphans::default();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = shared.clock.now();
        round(&shared, &mut orphans, now).await;
    }
}

async fn round(shared: &Shared, orphans: &mut Orphans, now: Duration) {
    let begun = Instant::now();
    let Orphans { seen, backoff } = orphans;
    let hands = Hands {
        writer: &shared.writer,
        caches: &shared.caches,
        claims: Some(&shared.claims),
        promises: &shared.promises,
        clock: shared.clock,
        nodes_hidden: shared.nodes_hidden(),
    };
    let mut still = BTreeMap::new();
    let ours =
        |namespace: &str| shared.ready_to_decide(namespace) && shared.writer.leads_in(namespace);
    for (kind, (namespace, name), record) in marked(&shared.caches) {
        if !ours(&namespace) {
            continue;
        }
        let claimed = shared.claims.is_claimed(&namespace, kind, &name);
        if claimed && !unreadable::leaves(shared, &namespace, &name, &record).await {
            continue;
        }
        let key = (kind, namespace, name);
        let sightings = seen.remove(&key).unwrap_or(0) + 1;
        let (kind, namespace, name) = (key.0, key.1.as_str(), key.2.as_str());
        let who = format!("{kind:?} {namespace}/{name}");
        if sightings >= SIGHTINGS && !backoff.holds(&who, now) {
            let patient = EVERY * sightings < PATIENCE;
            let ended = hands.end(namespace, name, &record, patient, claimed).await;
            if ended.is_ok() {
                backoff.clear(&who);
            }
            match ended {
                Ok(true) => {
                    tracing::info!(namespace, name, "handed back: no pool names it any more")
                }
                Ok(false) => {
                    tracing::info!(
                        namespace,
                        name,
                        "stopped in the middle of a swap: brought up where there is a place"
                    )
                }
                Err(error) if error.is_race() => {}
                Err(error) => {
                    tracing::warn!(namespace, name, %error, "cannot be handed back now; trying again");
                    // The calls took time: counted from before them the pause could be over already.
                    backoff.failed(&who, now + begun.elapsed(), error.to_string());
                }
            }
        }
        still.insert(key, sightings);
    }
    backoff.keep(|who| {
        let mut still = still.keys();
        still.any(|(kind, namespace, name)| who == format!("{kind:?} {namespace}/{name}"))
    });
    *seen = still;
}

/// Workloads that bear our marks.
fn marked(caches: &Caches) -> impl Iterator<Item = (WorkloadKind, Key, Arc<WorkloadRecord>)> {
    [WorkloadKind::Deployment, WorkloadKind::StatefulSet]
        .into_iter()
        .flat_map(|kind| {
            let all = caches.workloads(kind).all().into_iter();
            all.map(move |(key, record)| (kind, key, record))
        })
        .filter(|(_, _, record)| is_marked(record))
}

fn is_marked(record: &WorkloadRecord) -> bool {
    record.marked
        || record
            .owners
            .iter()
            .any(|o| MANAGERS.contains(&o.manager.as_str()))
}

/// Whoever hands back: with what it writes, and what it knows.
struct Hands<'a> {
    writer: &'a Writer,
    /// Takes the answers, so that the next workload does not get what this one has taken.
    caches: &'a Caches,
    /// Whose turn it is to take what is free; `None` where no pool takes anything.
    claims: Option<&'a Claims>,
    /// Takes what is reserved for its writes.
    promises: &'a Promises,
    clock: Clock,
    /// What is free cannot be known: a cut swap goes back to what it had.
    nodes_hidden: bool,
}

impl Hands<'_> {
    /// Hands one workload back, or brings it nearer to where it can be; says whether it is handed back. After a long wait in vain a
    /// workload that was left with too few replicas is handed back all the same: a pod that waits is better seen than none. `keeps`: it is
    /// brought up only.
    async fn end(
        &self,
        namespace: &str,
        name: &str,
        record: &WorkloadRecord,
        patient: bool,
        keeps: bool,
    ) -> Result<bool, WriteError> {
        match record.kind {
            WorkloadKind::Deployment => {
                self.end_of::<Deployment>(namespace, name, record, patient, keeps)
                    .await
            }
            WorkloadKind::StatefulSet => {
                self.end_of::<StatefulSet>(namespace, name, record, patient, keeps)
                    .await
            }
        }
    }

    async fn end_of<K: Workload>(
        &self,
        namespace: &str,
        name: &str,
        record: &WorkloadRecord,
        patient: bool,
        keeps: bool,
    ) -> Result<bool, WriteError> {
        let api = Api::<K>::namespaced(self.writer.client().clone(), namespace);
        if let Some(restore) = cut(record) {
            let raiser = Raiser {
                writer: self.writer,
                caches: self.caches,
                claims: self.claims,
                promises: self.promises,
                clock: self.clock,
                nodes: &BTreeMap::new(),
                nodes_hidden: self.nodes_hidden,
            };
            let place = (namespace, name);
            let raised = raiser.raise::<K>(place, record, &restore, patient).await?;
            if keeps || raised.is_none_or(|replicas| replicas < wanted(record, &restore)) {
                return Ok(false);
            }
        }
        // Before the workload, so that what fails here is tried again for as long as that is ours.
        marks::take_off(self.writer, namespace, record).await?;
        self.hand_back(&api, name).await?;
        Ok(true)
    }

    async fn hand_back<K: Workload>(&self, api: &Api<K>, name: &str) -> Result<(), WriteError> {
        let mut object = self.writer.read(api.get(name)).await?;
        let operations = give_up(object.meta());
        if !operations.is_empty() {
            let kind = WriteKind::HandBack;
            object = self
                .writer
                .json_patch(kind, GPU_MANAGER, api, name, operations)
                .await?;
        }
        self.caches.remember(object);
        Ok(())
    }
}

/// The JSON patch that removes our entries from `managedFields`, and the annotations that we have written. It holds only for the version
/// it was made for.
fn give_up(meta: &ObjectMeta) -> Vec<Value> {
    let mut operations = Vec::new();
    let entries = meta.managed_fields.iter().flatten().enumerate();
    let ours: Vec<usize> = entries
        .filter(|(_, e)| e.manager.as_deref().is_some_and(|m| MANAGERS.contains(&m)))
        .map(|(i, _)| i)
        .collect();
    // From the end, so that an index is still right when those before it are removed.
    operations.extend(
        ours.into_iter()
            .rev()
            .map(|i| json!({"op": "remove", "path": format!("/metadata/managedFields/{i}")})),
    );
    // Not what somebody else wrote under such a name: a GitOps tool would put it back, for ever.
    let there = |key: &str| meta.annotations.iter().any(|all| all.contains_key(key));
    let notes: BTreeSet<&str> = own_notes(meta.managed_fields.as_ref()).collect();
    operations.extend(notes.into_iter().filter(|key| there(key)).map(
        |key| json!({"op": "remove", "path": format!("/metadata/annotations/{}", pointer(key))}),
    ));
    if !operations.is_empty() {
        operations.insert(0, json!({"op": "test", "path": "/metadata/resourceVersion", "value": meta.resource_version}));
    }
    operations
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixtures::{caches, deployment, shared};
    use super::*;

    #[tokio::test]
    async fn before_a_workload_that_cannot_be_handed_back_the_sweep_pauses_longer_each_time() {
        let left = deployment("a", 1, json!([])).scaled(1);
        let caches = caches(&[], &[("a", left)], &[]);
        let shared = shared("http://127.0.0.1:1", caches, &[]);
        let mut orphans = Orphans::default();
        for (seconds, tried) in [(0, 0), (2, 1), (2, 1), (4, 2), (5, 2), (7, 3), (10, 3)] {
            round(&shared, &mut orphans, Duration::from_secs(seconds)).await;
            let times = orphans.backoff.times("Deployment n/a");
            assert_eq!(times, tried, "after {seconds} s");
        }
        let key = ("n".to_owned(), "a".to_owned());
        shared.caches.deployments.remove(&key);
        round(&shared, &mut orphans, Duration::from_secs(11)).await;
        assert_eq!(orphans.backoff.why(), None, "it is gone");
    }

    #[test]
    fn our_entries_and_notes_go_and_all_others_stay() {
        let meta: ObjectMeta = serde_json::from_value(json!({
            "resourceVersion": "7",
            "annotations": {"agentpool.dev/pool": "a/b", "agentpool.dev/paused": "true", "team": "x"},
            "managedFields": [{"manager": "agentpool/replicas"}, {"manager": "kubectl"}, {"manager": "agentpool/gpu", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:agentpool.dev/pool": {}, "f:agentpool.dev/gone": {}}}}}]
        }))
        .unwrap();
        let paths: Vec<_> = give_up(&meta)
            .iter()
            .map(|op| op["path"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/metadata/managedFields/2",
                "/metadata/managedFields/0",
                "/metadata/annotations/agentpool.dev~1pool"
            ]
        );
    }

    #[test]
    fn nothing_of_ours_is_nothing_to_write() {
        assert!(give_up(&ObjectMeta::default()).is_empty());
    }
}
