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
        self.caches.workloads(K::KIND).put(
            (namespace.to_owned(), name.to_owned()),
            version,
            record,
        );
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
