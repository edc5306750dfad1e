//! Brings up a workload that stands at too few replicas because a swap of it was cut in its middle, and that no plan goes on with.

use super::cache::{Caches, Workload, WorkloadRecord};
use super::claims::{self, Claims};
use super::ending::{Ending, Room, ending, wanted};
use super::promises::Promises;
use super::request::retarget;
use super::shared::Shared;
use super::write::{GPU_MANAGER, WriteError, Writer};
use crate::api::annotations;
use crate::sharing::Restore;
use crate::signals::Clock;
use crate::telemetry::WriteKind;
use futures::FutureExt;
use kube::api::Api;
use std::collections::BTreeMap;

/// What was written before a swap of this workload began, while it has not ended.
pub fn begun(record: &WorkloadRecord) -> Option<Restore> {
    serde_json::from_str(record.notes.get(annotations::RESTORE)?).ok()
}

/// The same, when the workload has fewer replicas because of it than it is to have in the end.
pub fn cut(record: &WorkloadRecord) -> Option<Restore> {
    begun(record).filter(|restore| record.replicas < wanted(record, restore))
}

/// Whoever brings workloads up: with what it writes, and what it knows.
pub struct Raiser<'a> {
    /// Makes the writes.
    pub writer: &'a Writer,
    /// Takes the answers, so that the next workload does not get what this one has taken.
    pub caches: &'a Caches,
    /// Whose turn it is to take what is free; `None` where no pool takes anything.
    pub claims: Option<&'a Claims>,
    /// Takes what is reserved for the writes.
    pub promises: &'a Promises,
    /// The time.
    pub clock: Clock,
    /// Labels of the nodes to look at for a place; none: all.
    pub nodes: &'a BTreeMap<String, String>,
    /// What is free cannot be known: a workload goes back to what it had.
    pub nodes_hidden: bool,
}

impl<'a> Raiser<'a> {
    /// With what the controller has; a place is looked for on nodes with these labels.
    pub fn of(shared: &'a Shared, nodes: &'a BTreeMap<String, String>) -> Self {
        Self {
            writer: &shared.writer,
            caches: &shared.caches,
            claims: Some(&shared.claims),
            promises: &shared.promises,
            clock: shared.clock,
            nodes,
            nodes_hidden: shared.nodes_hidden(),
        }
    }

    /// Brings a workload that was cut one write nearer to its replicas; says how many it has now, `None` when that is not changed. It waits
    /// for places, and does not wait for its turn: the next look is soon. Who has no patience for that gets pods that wait, which are better
    /// seen than none.
    ///
    /// # Errors
    /// When the write was refused, lost a race or got no answer.
    pub async fn raise<K: Workload>(
        &self,
        (namespace, name): (&str, &str),
        record: &WorkloadRecord,
        restore: &Restore,
        patient: bool,
    ) -> Result<Option<u32>, WriteError> {
        // Until what is taken is reserved. Whoever calls this may have the turn already, so to wait for it would be to wait for ever.
        let turn = self.claims.map(|claims| claims.turn().now_or_never());
        if matches!(turn, Some(None)) {
            return Ok(None);
        }
        let api = Api::<K>::namespaced(self.writer.client().clone(), namespace);
        let all = wanted(record, restore);
        let workload = (namespace.to_owned(), K::KIND, name.to_owned());
        let to = match self.ending(&workload, record, restore) {
            Ending::Wait if patient => return Ok(None),
            Ending::Retarget {
                container,
                remove,
                resource,
                count,
            } => {
                drop(turn);
                let pool = record.notes.get(annotations::POOL);
                let pool = pool.map_or("", String::as_str);
                let operations = retarget(pool, record, container, &remove, &resource, count);
                let kind = WriteKind::GpuRequest;
                let object = self
                    .writer
                    .json_patch(kind, GPU_MANAGER, &api, name, operations)
                    .await?;
                self.caches.remember(object);
                return Ok(None);
            }
            Ending::Start(more) if patient => record.replicas.saturating_add(more).min(all),
            Ending::Start(_) | Ending::Wait => all,
        };
        if to <= record.replicas {
            return Ok(None);
        }
        let reserved = self.promises.reserve_for(workload.clone(), record, to);
        drop(turn);
        let scaled = self.writer.scale(&api, name, record.replicas, to).await;
        if scaled.as_ref().is_err_and(WriteError::is_unsure) {
            reserved.unsure(&workload, self.clock.now());
        }
        let raised = scaled.map(|version| {
            let record = WorkloadRecord {
                replicas: to,
                ..record.clone()
            };
            let key = (namespace.to_owned(), name.to_owned());
            let workloads = self.caches.workloads(K::KIND);
            workloads.answer(key, version, Some(record));
            Some(to)
        });
        reserved.end();
        raised
    }

    fn ending(
        &self,
        workload: &claims::Workload,
        record: &WorkloadRecord,
        restore: &Restore,
    ) -> Ending {
        let room = Room {
            caches: self.caches,
            promises: self.promises,
            nodes: self.nodes,
            now: self.clock.now(),
        };
        match self.nodes_hidden {
            true => Ending::Start(wanted(record, restore)),
            false => ending(record, restore, |resource, count| {
                room.places(workload, record, resource, count)
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixtures::{caches, deployment, object, shared, whole};
    use super::super::leadership::LeaderState;
    use super::*;
    use crate::telemetry::{Health, Metrics};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;
    use std::time::Duration;
    use tokio::sync::watch;

    fn restore() -> Restore {
        Restore {
            replicas: 1,
            from: "nvidia.com/gpu".to_owned(),
            to: "nvidia.com/gpu.shared".to_owned(),
            to_replicas: 1,
        }
    }

    #[tokio::test]
    async fn nothing_is_taken_while_a_pool_has_its_turn() {
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(nowhere).unwrap();
        let leader = watch::channel(LeaderState::Following { holder: None }).1;
        let (health, metrics) = (Health::new(), Metrics::new());
        let writer = Writer::new(client, leader, health, metrics, Duration::from_secs(1));
        let record = deployment("a", 0, json!([]));
        let caches = caches(&[("gpu", whole(1))], &[("a", record.clone())], &[]);
        let claims = Claims::default();
        let raiser = Raiser {
            writer: &writer,
            caches: &caches,
            claims: Some(&claims),
            promises: &Promises::default(),
            clock: Clock::start(),
            nodes: &BTreeMap::new(),
            nodes_hidden: false,
        };
        let restore = restore();
        let raise = || raiser.raise::<Deployment>(("n", "a"), &record, &restore, true);
        let turn = claims.turn().await;
        assert!(matches!(raise().await, Ok(None)));
        drop(turn);
        let tried = raise().await;
        assert!(matches!(tried, Err(WriteError::NotLeading)), "{tried:?}");
    }

    #[tokio::test]
    async fn others_have_their_turn_while_a_write_gets_no_answer_and_leave_alone_what_it_may_have_taken()
     {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let stopped = deployment("a", 0, json!([]));
        let pool = object("p", "WholeGPU", &["b"]);
        let caches = caches(&[("gpu", whole(1))], &[("a", stopped.clone())], &[]);
        let shared = shared(&url, caches, &[&pool]);
        let everywhere = BTreeMap::new();
        let raiser = Raiser::of(&shared, &everywhere);
        let restore = restore();
        let raise = raiser.raise::<Deployment>(("n", "a"), &stopped, &restore, true);
        let (raised, ()) = tokio::join!(raise, async {
            let (_stream, _) = silent.accept().await.unwrap();
            assert!(shared.claims.turn().now_or_never().is_some());
        });
        assert!(raised.is_err_and(|error| error.is_unsure()));
        let now = shared.clock.now();
        let reserved = shared.promises.reserved(&shared.caches, now);
        assert_eq!(reserved.len(), 1, "{reserved:?}");
    }
}
