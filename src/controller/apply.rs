//! Carries out the steps of a plan. Idempotent: every step states what it expects to find, and is decided anew when it is not so.

use super::cache::{Caches, Workload};
use super::marks::{self, marks};
use super::observe::{AgentView, View};
use super::request::retarget;
use super::reverts::Count;
use super::write::{GPU_MANAGER, WriteError, Writer};
use crate::api::{ValidAgent, ValidPool, WorkloadKind, annotations};
use crate::sharing::Step;
use crate::telemetry::WriteKind;
use crate::units::GpuResource;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::Api;
use serde_json::{Value, json};

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Index of the agent.
    pub agent: usize,
    /// Stable CamelCase name, for events.
    pub reason: &'static str,
    /// What was changed, with the numbers.
    pub message: String,
}

/// Where the writes of one pool go.
pub struct Applier<'a> {
    /// Makes the writes.
    pub writer: &'a Writer,
    /// Takes the answers, so that the next decision sees them.
    pub caches: &'a Caches,
    /// The pool.
    pub pool: &'a ValidPool,
    /// What was observed.
    pub view: &'a View,
}

impl Applier<'_> {
    /// Carries out one step.
    ///
    /// # Errors
    /// When the write was refused, lost a race or got no answer.
    pub async fn apply(&self, step: &Step) -> Result<Option<Done>, WriteError> {
        let index = agent_of(step);
        let (Some(agent), Some(view)) = (self.pool.agents.get(index), self.view.agents.get(index))
        else {
            return Ok(None);
        };
        match agent.kind {
            WorkloadKind::Deployment => self.on::<Deployment>(index, agent, view, step).await,
            WorkloadKind::StatefulSet => self.on::<StatefulSet>(index, agent, view, step).await,
        }
    }

    /// Counts on the workload that somebody put back what we had written.
    ///
    /// # Errors
    /// When the write was refused, lost a race or got no answer.
    pub async fn count_revert(&self, index: usize, count: &Count) -> Result<(), WriteError> {
        let Some(agent) = self.pool.agents.get(index) else {
            return Ok(());
        };
        let note = json!({ annotations::REVERTS: json!(count).to_string(), annotations::POOL: self.pool.key() });
        let name = agent.workload.as_str();
        match agent.kind {
            WorkloadKind::Deployment => self.note(&self.api::<Deployment>(), name, note).await,
            WorkloadKind::StatefulSet => self.note(&self.api::<StatefulSet>(), name, note).await,
        }
    }

    fn api<K: Workload>(&self) -> Api<K> {
        Api::namespaced(self.writer.client().clone(), &self.pool.namespace)
    }

    async fn on<K: Workload>(
        &self,
        index: usize,
        agent: &ValidAgent,
        view: &AgentView,
        step: &Step,
    ) -> Result<Option<Done>, WriteError> {
        let api = self.api::<K>();
        let Some(workload) = view.workload.as_deref() else {
            return Ok(None);
        };
        let name = agent.workload.as_str();
        let done = |reason, message| {
            Ok(Some(Done {
                agent: index,
                reason,
                message,
            }))
        };
        match step {
            Step::Remember { restore, .. } => {
                let note = json!({ annotations::RESTORE: json!(restore).to_string(), annotations::POOL: self.pool.key() });
                self.note(&api, name, note).await?;
                done(
                    "SwapStarted",
                    format!(
                        "{name}: swap {} -> {} with {} replicas begins",
                        restore.from, restore.to, restore.to_replicas
                    ),
                )
            }
            Step::Forget { .. } => {
                self.note(&api, name, json!({ annotations::RESTORE: null }))
                    .await?;
                done("SwapFinished", format!("{name}: swap finished"))
            }
            Step::Scale {
                from, to, victims, ..
            } => {
                // Who grows gives up no pod; marks of an earlier scale-in are loose ends.
                if to < from && K::KIND == WorkloadKind::Deployment {
                    let marks = marks(&view.pods, victims);
                    marks::write(self.writer, &self.pool.namespace, &marks).await?;
                }
                let version = self.writer.scale(&api, name, *from, *to).await?;
                let key = (self.pool.namespace.clone(), name.to_owned());
                self.caches
                    .workloads(K::KIND)
                    .answer(key, version, Some(workload.scaled(*to)));
                done("Scaled", format!("{name}: {from} -> {to} replicas"))
            }
            Step::Retarget {
                remove,
                resource,
                count,
                ..
            } => {
                let Some(index) = view.container else {
                    return Ok(None);
                };
                let operations =
                    retarget(&self.pool.key(), workload, index, remove, resource, *count);
                let object = self
                    .writer
                    .json_patch(WriteKind::GpuRequest, GPU_MANAGER, &api, name, operations)
                    .await?;
                self.caches.remember(object);
                let before: Vec<&str> = remove.keys().map(GpuResource::as_str).collect();
                done(
                    "GpuRequestChanged",
                    format!("{name}: {} -> {resource}: {count}", before.join(", ")),
                )
            }
        }
    }

    /// Writes our annotations on a workload; null removes one.
    async fn note<K: Workload>(
        &self,
        api: &Api<K>,
        name: &str,
        notes: Value,
    ) -> Result<(), WriteError> {
        let body = json!({ "metadata": { "annotations": notes } });
        let object = self
            .writer
            .merge(WriteKind::Annotation, GPU_MANAGER, api, name, body)
            .await?;
        self.caches.remember(object);
        Ok(())
    }
}

/// Index of the agent that a step is for.
pub fn agent_of(step: &Step) -> usize {
    match step {
        Step::Remember { agent, .. }
        | Step::Forget { agent }
        | Step::Scale { agent, .. }
        | Step::Retarget { agent, .. } => *agent,
    }
}
