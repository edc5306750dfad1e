//! Brings up a workload that stands at too few replicas because a swap of it was cut in its middle, and that no plan goes on with.

use super::cache::{Caches, Workload, WorkloadRecord};
use super::claims::Claims;
use super::ending::{Ending, ending, places, wanted};
use super::request::retarget;
use super::write::{GPU_MANAGER, WriteError, Writer};
use crate::api::annotations;
use crate::sharing::Restore;
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
    /// Labels of the nodes to look at for a place; none: all.
    pub nodes: &'a BTreeMap<String, String>,
    /// What is free cannot be known: a workload goes back to what it had.
    pub nodes_hidden: bool,
}

impl Raiser<'_> {
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
        // Until the write is made. Whoever calls this may have the turn already, so to wait for it would be to wait for ever.
        let turn = self.claims.map(|claims| claims.turn().now_or_never());
        if matches!(turn, Some(None)) {
            return Ok(None);
        }
        let api = Api::<K>::namespaced(self.writer.client().clone(), namespace);
        let all = wanted(record, restore);
        let to = match self.ending(record, restore) {
            Ending::Wait if patient => return Ok(None),
            Ending::Retarget {
                container,
                remove,
                resource,
                count,
            } => {
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
        let version = self.writer.scale(&api, name, record.replicas, to).await?;
        let record = WorkloadRecord {
            replicas: to,
            ..record.clone()
        };
        let key = (namespace.to_owned(), name.to_owned());
        self.caches
            .workloads(K::KIND)
            .answer(key, version, Some(record));
        Ok(Some(to))
    }

    fn ending(&self, record: &WorkloadRecord, restore: &Restore) -> Ending {
        match self.nodes_hidden {
            true => Ending::Start(wanted(record, restore)),
            false => ending(record, restore, |resource, count| {
                places(self.caches, record, self.nodes, resource, count)
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixtures::{caches, deployment, whole};
    use super::super::leadership::LeaderState;
    use super::*;
    use crate::telemetry::{Health, Metrics};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;
    use std::time::Duration;
    use tokio::sync::watch;

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
            nodes: &BTreeMap::new(),
            nodes_hidden: false,
        };
        let restore = Restore {
            replicas: 1,
            from: "nvidia.com/gpu".to_owned(),
            to: "nvidia.com/gpu.shared".to_owned(),
            to_replicas: 1,
        };
        let raise = || raiser.raise::<Deployment>(("n", "a"), &record, &restore, true);
        let turn = claims.turn().await;
        assert!(matches!(raise().await, Ok(None)));
        drop(turn);
        let tried = raise().await;
        assert!(matches!(tried, Err(WriteError::NotLeading)), "{tried:?}");
    }
}
