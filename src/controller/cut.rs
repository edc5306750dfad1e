//! Brings up a workload that stands at zero replicas because a swap of it was cut in its middle, and that no pool goes on with.

use super::cache::{Caches, Workload, WorkloadRecord};
use super::ending::{Ending, ending, free};
use super::request::retarget;
use super::write::{GPU_MANAGER, WriteError, Writer};
use crate::api::annotations;
use crate::sharing::Restore;
use crate::telemetry::WriteKind;
use kube::api::Api;

/// What was written before a swap of this workload began, while it has not ended.
pub fn begun(record: &WorkloadRecord) -> Option<Restore> {
    serde_json::from_str(record.notes.get(annotations::RESTORE)?).ok()
}

/// The same, when the workload stands at zero replicas because of it.
pub fn cut(record: &WorkloadRecord) -> Option<Restore> {
    begun(record).filter(|_| record.replicas == 0)
}

/// Whoever brings workloads up: with what it writes, and what it knows.
pub struct Raiser<'a> {
    /// Makes the writes.
    pub writer: &'a Writer,
    /// Takes the answers, so that the next workload does not get what this one has taken.
    pub caches: &'a Caches,
    /// What is free cannot be known: a workload goes back to what it had.
    pub nodes_hidden: bool,
}

impl Raiser<'_> {
    /// Brings a workload that was cut one write nearer to its replicas; says how many it has now. It waits for a place; who has no
    /// patience for that gets a pod that waits, which is better seen than none.
    ///
    /// # Errors
    /// When the write was refused, lost a race or got no answer.
    pub async fn raise<K: Workload>(
        &self,
        (namespace, name): (&str, &str),
        record: &WorkloadRecord,
        restore: &Restore,
        patient: bool,
    ) -> Result<u32, WriteError> {
        let api = Api::<K>::namespaced(self.writer.client().clone(), namespace);
        let ending = match self.nodes_hidden {
            true => Ending::Start,
            false => ending(record, restore, |resource| free(self.caches, resource)),
        };
        match ending {
            Ending::Wait if patient => return Ok(0),
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
                return Ok(0);
            }
            Ending::Wait | Ending::Start => {}
        }
        let mut asked = record.containers.iter().flat_map(|c| c.gpus().into_keys());
        let replicas = match asked.any(|resource| resource.as_str() == restore.to) {
            true => restore.to_replicas,
            false => restore.replicas,
        };
        let replicas = replicas.max(1);
        let version = self.writer.scale(&api, name, 0, replicas).await?;
        let record = WorkloadRecord {
            replicas,
            ..record.clone()
        };
        let key = (namespace.to_owned(), name.to_owned());
        self.caches
            .workloads(K::KIND)
            .answer(key, version, Some(record));
        Ok(replicas)
    }
}
