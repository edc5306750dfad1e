//! Loose ends: what the operator has begun at a workload and no plan goes on with, because it was called off, because the pool is paused,
//! only observes or cannot be read, or because the workload is refused. They are tied up all the same, and nothing else is done there.

use crate::api::{AgentPool, ValidPool, WorkloadKind, annotations};
use crate::controller::apply::{Done, agent_of};
use crate::controller::backoff::Backoff;
use crate::controller::cache::{NodeRecord, Workload, WorkloadRecord};
use crate::controller::cut::{Raiser, begun, cut};
use crate::controller::handback::PATIENCE;
use crate::controller::marks::{self, Mark};
use crate::controller::observe::{AgentView, View};
use crate::controller::request;
use crate::controller::reverts;
use crate::controller::shared::Shared;
use crate::controller::standing::Refusal;
use crate::controller::write::{GPU_MANAGER, WriteError};
use crate::sharing::{Restore, Step};
use crate::telemetry::WriteKind;
use crate::units::GpuResource;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::Api;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is to be tied up at one workload.
#[derive(Debug)]
pub(super) struct LooseEnd {
    /// Index of the agent.
    index: usize,
    /// Name of the agent.
    pub(super) agent: String,
    kind: WorkloadKind,
    name: String,
    /// Labels of the nodes to look at for a place.
    nodes: BTreeMap<String, String>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A swap was begun: it ends, so that no agent is left without replicas.
    Swap(Restore, Arc<WorkloadRecord>),
    /// Our GPU key goes, because a manager keeps putting its own beside it: with both no node takes a pod.
    GiveWay(Vec<Value>),
    /// Pods that a scale-in was to take are not to be taken first any more.
    Unmark(Vec<Mark>),
}

/// The loose ends of a pool that is about to take these steps.
pub(super) fn of(pool: &ValidPool, view: &View, steps: &[Step]) -> Vec<LooseEnd> {
    let agents = pool.agents.iter().zip(&view.agents).enumerate();
    agents
        .filter_map(|(index, (agent, agent_view))| {
            let shrinks = |step: &Step| matches!(step, Step::Scale { agent, from, to, .. } if *agent == index && to < from);
            let displaced = !pool.shape.nodes_hidden && is_displaced(agent_view, &view.nodes);
            let what = match pool.may_write() && agent_view.refusal.is_none() {
                true if steps.iter().any(|step| agent_of(step) == index) => {
                    unmark(agent_view).filter(|_| !steps.iter().any(shrinks))
                }
                true if displaced => stopped(agent_view, true),
                true => unmark(agent_view),
                false => stopped(agent_view, pool.may_write()),
            };
            Some(LooseEnd {
                index,
                agent: agent.name.clone(),
                kind: agent.kind,
                name: agent.workload.clone(),
                nodes: match displaced {
                    true => BTreeMap::new(),
                    false => pool.node_selector.clone(),
                },
                what: what?,
            })
        })
        .collect()
}

/// The loose ends of a pool that cannot be read.
pub(super) fn of_unreadable(shared: &Shared, pool: &AgentPool) -> Vec<LooseEnd> {
    let meta = &pool.metadata;
    let (Some(namespace), Some(uid)) = (&meta.namespace, &meta.uid) else {
        return Vec::new();
    };
    let device = pool.spec.devices.first();
    let nodes = device.map(|device| device.node_selector.clone());
    let agents = pool.spec.agents.iter().enumerate();
    agents
        .filter_map(|(index, agent)| {
            let (kind, name) = (agent.workload_ref.kind, &agent.workload_ref.name);
            let held = shared.claims.holds(uid, namespace, kind, name);
            let workloads = shared.caches.workloads(kind);
            let record = workloads.get(namespace, name).filter(|_| held)?;
            Some(LooseEnd {
                index,
                agent: agent.name.clone(),
                kind,
                name: name.clone(),
                nodes: nodes.clone().unwrap_or_default(),
                what: What::Swap(begun(&record)?, record),
            })
        })
        .collect()
}

/// Of an agent whose scale-ins, if there were any, are over.
fn unmark(view: &AgentView) -> Option<What> {
    let marks = marks::called_off(view.workload.as_ref()?, &view.pods);
    (!marks.is_empty()).then_some(What::Unmark(marks))
}

/// Whether the agent was stopped by a swap of which the pool's nodes have neither side: the pool was given other nodes meanwhile. What the
/// labels of a node name it has, also while its device plugin is away.
fn is_displaced(view: &AgentView, nodes: &[(String, Arc<NodeRecord>)]) -> bool {
    let restore = view.workload.as_deref().filter(|w| w.replicas == 0);
    let Some(restore) = restore.and_then(cut) else {
        return false;
    };
    let has = |node: &NodeRecord, side: &str| {
        let offers = |(resource, n): (&GpuResource, &u32)| *n > 0 && resource.as_str() == side;
        node.labels.contains_key(&format!("{side}.count")) || node.allocatable.iter().any(offers)
    };
    let mut nodes = nodes.iter();
    !nodes.any(|(_, node)| has(node, &restore.from) || has(node, &restore.to))
}

/// Of an agent for which nothing is planned.
fn stopped(view: &AgentView, may_write: bool) -> Option<What> {
    let record = view.workload.as_ref()?;
    let refusal = view.refusal.as_ref();
    if refusal.is_some_and(Refusal::is_claim) {
        return None;
    }
    if let Some(restore) = begun(record) {
        return Some(What::Swap(restore, record.clone()));
    }
    refusal.filter(|r| may_write && reverts::gave_up(r))?;
    request::give_way(record, view.container?).map(What::GiveWay)
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tied {
    pub(super) done: Vec<Done>,
    /// A write got no answer: nobody knows what was done there.
    pub(super) unsure: bool,
}

/// Ties them up, each by one write or, where pods are unmarked, one a pod; says what was done. A write without an answer is the last, and
/// who has failed before comes last: nobody waits for one agent's timeouts tick after tick.
pub(super) async fn tie(
    shared: &Shared,
    namespace: &str,
    ends: &[LooseEnd],
    backoff: &mut Backoff,
    now: Duration,
) -> Tied {
    let mut tied = Tied::default();
    let is_swap = |end: &&LooseEnd| matches!(end.what, What::Swap(..));
    backoff.wait_only(|name| ends.iter().filter(is_swap).any(|end| end.agent == name));
    let mut ends: Vec<&LooseEnd> = ends.iter().collect();
    ends.sort_by_key(|end| backoff.times(&end.agent));
    for end in ends {
        if backoff.holds(&end.agent, now) {
            continue;
        }
        let patient = !is_swap(&end) || backoff.waited(&end.agent, now) < PATIENCE;
        let done = match end.kind {
            WorkloadKind::Deployment => one::<Deployment>(shared, namespace, end, patient).await,
            WorkloadKind::StatefulSet => one::<StatefulSet>(shared, namespace, end, patient).await,
        };
        match done {
            Ok(done) => {
                backoff.clear(&end.agent);
                tied.done.extend(done);
            }
            Err(WriteError::NotLeading) => break,
            Err(error) => {
                let now = shared.clock.now();
                super::act::failed(shared, backoff, &end.agent, &end.name, &error, now);
                tied.unsure = error.is_unsure();
                if tied.unsure {
                    break;
                }
            }
        }
    }
    tied
}

async fn one<K: Workload>(
    shared: &Shared,
    namespace: &str,
    end: &LooseEnd,
    patient: bool,
) -> Result<Option<Done>, WriteError> {
    let api = Api::<K>::namespaced(shared.writer.client().clone(), namespace);
    let name = end.name.as_str();
    let done = |reason, message| {
        Some(Done {
            agent: end.index,
            reason,
            message,
        })
    };
    match &end.what {
        What::Swap(restore, record) if cut(record).is_some() => {
            let raiser = Raiser::of(shared, &end.nodes);
            let place = (namespace, name);
            let raised = raiser.raise::<K>(place, record, restore, patient).await?;
            let from = record.replicas;
            Ok(raised.and_then(|to| {
                let message =
                    format!("{name}: {from} -> {to} replicas, to end a swap that was cut");
                done("Scaled", message)
            }))
        }
        What::Swap(..) => {
            let body = json!({ "metadata": { "annotations": { annotations::RESTORE: null } } });
            let kind = WriteKind::Annotation;
            let object = shared
                .writer
                .merge(kind, GPU_MANAGER, &api, name, body)
                .await?;
            shared.caches.remember(object);
            Ok(done("SwapFinished", format!("{name}: swap ended")))
        }
        What::Unmark(marks) => {
            marks::write(&shared.writer, namespace, marks).await?;
            Ok(None)
        }
        What::GiveWay(operations) => {
            let kind = WriteKind::GpuRequest;
            let object = shared
                .writer
                .json_patch(kind, GPU_MANAGER, &api, name, operations.clone())
                .await?;
            shared.caches.remember(object);
            let message =
                format!("{name}: our GPU request is taken back, the other manager's stays");
            Ok(done("GpuRequestChanged", message))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::cache::Record;
    use crate::controller::fixtures::node;

    const SMALL: &str = "nvidia.com/mig-1g.10gb";
    const LARGE: &str = "nvidia.com/mig-3g.40gb";
    /// What is written before a swap.
    const NOTE: &str = r#"{"replicas":1,"from":"nvidia.com/mig-3g.40gb","to":"nvidia.com/mig-1g.10gb","toReplicas":1}"#;

    /// An agent with these annotations that asks for `limits`, of which the large instance is ours.
    fn agent(limits: &Value, notes: &Value, refusal: Option<&'static str>) -> AgentView {
        let fields = json!({ "k:{\"name\":\"server\"}": { "f:resources": { "f:limits": { format!("f:{LARGE}"): {} } } } });
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat", "annotations": notes, "managedFields": [{
                "manager": GPU_MANAGER, "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": fields } } } }
            }] },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": limits } }] } }
            }
        }))
        .unwrap();
        AgentView {
            workload: Some(Arc::new(WorkloadRecord::of(deployment).unwrap())),
            container: Some(0),
            pods: Vec::new(),
            short: None,
            refusal: refusal.map(|reason| Refusal {
                reason,
                message: String::new(),
                conflict: true,
            }),
        }
    }

    fn swapping(refusal: Option<&'static str>) -> AgentView {
        agent(
            &json!({ LARGE: "1" }),
            &json!({ annotations::RESTORE: NOTE }),
            refusal,
        )
    }

    #[test]
    fn a_swap_that_was_begun_is_ended_where_no_plan_goes_on_with_it() {
        let ends =
            |view: &AgentView, may_write| matches!(stopped(view, may_write), Some(What::Swap(..)));
        assert!(ends(&swapping(None), false), "paused or Observe");
        assert!(ends(&swapping(Some("Autoscaled")), true), "refused");
        assert!(ends(&swapping(Some("Reverted")), true), "given up");
        assert!(
            !ends(&swapping(Some("ClaimedByPool")), false),
            "the other pool ends it"
        );
        let idle = agent(&json!({ LARGE: "1" }), &json!({}), None);
        assert!(stopped(&idle, false).is_none(), "nothing was begun");
    }

    #[test]
    fn an_agent_is_displaced_when_no_node_of_its_pool_has_either_side_of_its_swap() {
        let displaced = |labels: Value, gpus: Value| {
            let nodes = [("gpu".to_owned(), Arc::new(node(labels, gpus, json!([]))))];
            is_displaced(&swapping(None), &nodes)
        };
        let whole = json!({ "nvidia.com/gpu": "4" });
        assert!(displaced(json!({}), whole.clone()));
        assert!(displaced(
            json!({}),
            json!({ LARGE: "0", "nvidia.com/gpu": "1" })
        ));
        assert!(!displaced(json!({}), json!({ SMALL: "1" })));
        let plugin_away = json!({ format!("{LARGE}.count"): "1" });
        assert!(!displaced(plugin_away, json!({ LARGE: "0" })));
        let idle = agent(&json!({ LARGE: "1" }), &json!({}), None);
        assert!(!is_displaced(&idle, &[]), "nothing was begun");
    }

    #[test]
    fn who_has_given_up_takes_its_key_away_from_beside_the_other_managers() {
        let both = |refusal| agent(&json!({ SMALL: "1", LARGE: "1" }), &json!({}), refusal);
        let gives_way = |view: &AgentView, may_write| {
            matches!(stopped(view, may_write), Some(What::GiveWay(_)))
        };
        assert!(gives_way(&both(Some("Reverted")), true));
        assert!(!gives_way(&both(Some("Reverted")), false));
        assert!(!gives_way(&both(Some("Autoscaled")), true));
        let alone = agent(&json!({ LARGE: "1" }), &json!({}), Some("Reverted"));
        assert!(!gives_way(&alone, true));
    }
}
