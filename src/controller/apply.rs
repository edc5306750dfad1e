//! Carries out the steps of a plan. Idempotent: every step states what it expects to find, and is decided anew when it is not so.

use super::cache::{Caches, Workload};
use super::marks::{self, marks};
use super::observe::{AgentView, View};
use super::request::retarget;
use super::reverts::Count;
use super::write::{GPU_MANAGER, WriteError, Writer};
use crate::api::{ValidAgent, ValidPool, WorkloadKind, annotations};
use crate::sharing::{PoolShape, Step, Strategy};
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
                let mut unmarked = String::new();
                // Who grows gives up no pod; marks of an earlier scale-in are loose ends.
                if to < from && K::KIND == WorkloadKind::Deployment {
                    let marks = marks(&view.pods, victims);
                    match marks::write(self.writer, &self.pool.namespace, &marks).await {
                        Err(error) if error.is_refusal() && are_alike(&self.pool.shape) => {
                            tracing::warn!(agent = agent.name, %error, "a scale-in without marks");
                            unmarked = format!(
                                "; Kubernetes chooses which pods go, because a mark was refused: {error}"
                            );
                        }
                        other => other?,
                    }
                }
                let version = self.writer.scale(&api, name, *from, *to).await?;
                let key = (self.pool.namespace.clone(), name.to_owned());
                self.caches
                    .workloads(K::KIND)
                    .answer(key, version, Some(workload.scaled(*to)));
                done(
                    "Scaled",
                    format!("{name}: {from} -> {to} replicas{unmarked}"),
                )
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

/// Whether a scale-in makes the room that it is for whichever pods it takes: not where a replica needs several GPUs of one node, nor where
/// the memory of a GPU is shared.
fn are_alike(shape: &PoolShape) -> bool {
    let single = shape.agents.iter().all(|agent| agent.gpus_per_replica <= 1);
    single && !matches!(shape.strategy, Strategy::TimeSlicing { .. })
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::claims::Claims;
    use super::super::fixtures::{caches, deployment, pool, whole};
    use super::super::leadership::LeaderState;
    use super::super::observe::view;
    use super::*;
    use crate::signals::testing::serve_by_request;
    use crate::telemetry::{Health, Metrics};
    use std::io::Write;
    use std::time::Duration;
    use tokio::sync::watch;

    /// What a scale-in from two replicas to one comes to when the API server answers with this code to the mark of its victim, and how
    /// many scales it was asked for.
    async fn shrink(pool: &ValidPool, code: u16) -> (Result<Option<Done>, WriteError>, usize) {
        let served = serve_by_request(move |request, stream| {
            let (code, body) = match request.contains("/scale") {
                true => (
                    200,
                    json!({ "metadata": { "resourceVersion": "7" }, "spec": { "replicas": 1 } }),
                ),
                false => (
                    code,
                    json!({ "kind": "Status", "status": "Failure", "message": "no marks here", "code": code }),
                ),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).is_ok()
        });
        let url = format!("http://127.0.0.1:{}", served.port).parse().unwrap();
        let client = kube::Client::try_from(kube::Config::new(url)).unwrap();
        let leader = watch::channel(LeaderState::Unopposed).1;
        let (health, metrics) = (Health::new(), Metrics::new());
        let writer = Writer::new(client, leader, health, metrics, Duration::from_secs(5));
        let agents = [("a", deployment("a", 2, json!([])))];
        let caches = caches(&[("gpu", whole(4))], &agents, &[("a", "gpu"), ("a", "gpu")]);
        let view = view(pool, &caches, &Claims::default());
        let applier = Applier {
            writer: &writer,
            caches: &caches,
            pool,
            view: &view,
        };
        let step = Step::Scale {
            agent: 0,
            from: 2,
            to: 1,
            victims: vec!["a-0".to_owned()],
        };
        let done = applier.apply(&step).await;
        let scales = served.requests();
        let scales = scales.iter().filter(|request| request.contains("/scale"));
        (done, scales.count())
    }

    #[tokio::test]
    async fn an_agent_whose_pods_may_not_be_marked_shrinks_all_the_same_and_it_is_said() {
        let pool = pool("p", "WholeGPU", &["a"]);
        for code in [400, 403, 422] {
            let (done, scales) = shrink(&pool, code).await;
            let message = done.unwrap().unwrap().message;
            assert!(message.contains("2 -> 1 replicas"), "{code}: {message}");
            assert!(message.contains("no marks here"), "{code}: {message}");
            assert_eq!(scales, 1, "{code}");
        }
    }

    #[tokio::test]
    async fn where_it_matters_which_pod_goes_or_nobody_knows_why_there_is_no_mark_nothing_is_scaled()
     {
        let whole = pool("p", "WholeGPU", &["a"]);
        let (done, scales) = shrink(&whole, 500).await;
        assert!(done.is_err() && scales == 0, "{done:?}");
        let mut pairs = whole.clone();
        pairs.shape.agents[0].gpus_per_replica = 2;
        let (done, scales) = shrink(&pairs, 403).await;
        assert!(done.is_err() && scales == 0, "{done:?}");
        let (done, scales) = shrink(&pool("p", "TimeSlicing", &["a"]), 403).await;
        assert!(done.is_err() && scales == 0, "{done:?}");
    }
}
