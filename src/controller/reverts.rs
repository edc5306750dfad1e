//! Notices when somebody puts back what we had written, counts it on the workload, and stops after a few times: two managers that
//! fight over a field restart pods for ever. Counted without a time window, so that a tool that reverts once an hour is noticed too.

use super::cache::{ContainerRecord, FieldOwner, WorkloadRecord};
use super::observe::View;
use super::standing::{Refusal, describe};
use super::write::{GPU_MANAGER, REPLICAS_MANAGER};
use crate::api::{ValidAgent, ValidPool, annotations};
use crate::sharing::Step;
use crate::units::GpuResource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// After so many reverts we stop, until the pool's spec is changed.
pub const MOST: u32 = 3;

/// What we wrote last, by agent. Lost at a restart: then the first revert after it goes unnoticed, and the count stays.
#[derive(Debug, Default)]
pub struct Expected {
    agents: BTreeMap<String, Wrote>,
}

#[derive(Debug, Default)]
struct Wrote {
    replicas: Option<u32>,
    gpus: Option<BTreeMap<GpuResource, u32>>,
}

/// The count, as it stands in an annotation of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Reverts so far.
    pub count: u32,
    /// The field manager that owns the field now.
    pub manager: String,
    /// The field.
    pub field: String,
    /// Generation of the pool's spec that this counts for: an edit of the pool starts anew.
    pub generation: i64,
}

impl Expected {
    /// A step was carried out.
    pub fn wrote(&mut self, agent: &str, step: &Step) {
        let wrote = self.agents.entry(agent.to_owned()).or_default();
        match step {
            Step::Scale { to, .. } => wrote.replicas = Some(*to),
            Step::Retarget {
                resource, count, ..
            } => wrote.gpus = Some(BTreeMap::from([(resource.clone(), *count)])),
            Step::Remember { .. } | Step::Forget { .. } => {}
        }
    }

    /// What stands in an agent's fields is not known to be ours: a write of ours got no answer, or others may write there.
    pub fn forget(&mut self, agent: &str) {
        self.agents.remove(agent);
    }

    /// Agents whose fields were put back since our last write, with the count to write; each is told once.
    pub fn reverted(&mut self, pool: &ValidPool, view: &View) -> Vec<(usize, Count)> {
        let mut found = Vec::new();
        for (i, (agent, seen)) in pool.agents.iter().zip(&view.agents).enumerate() {
            if seen.refusal.is_some() {
                // It is left alone: what others change in it is theirs to change.
                self.forget(&agent.name);
                continue;
            }
            let (Some(wrote), Some(workload)) =
                (self.agents.get_mut(&agent.name), seen.workload.as_deref())
            else {
                continue;
            };
            let container = seen.container.and_then(|c| workload.containers.get(c));
            let Some((field, manager)) = wrote.put_back(workload, container) else {
                continue;
            };
            let generation = pool.generation.unwrap_or(0);
            let before = count(workload)
                .filter(|c| c.generation == generation)
                .map_or(0, |c| c.count);
            found.push((
                i,
                Count {
                    count: before.saturating_add(1),
                    manager,
                    field: field.to_owned(),
                    generation,
                },
            ));
        }
        found
    }
}

impl Wrote {
    /// The field that another manager has put back, and that manager. A value that is not ours but has no other owner was put back by
    /// nobody: it is a write of our own that we believed lost.
    fn put_back(
        &mut self,
        workload: &WorkloadRecord,
        container: Option<&ContainerRecord>,
    ) -> Option<(&'static str, String)> {
        if self.replicas.is_some_and(|ours| ours != workload.replicas) {
            self.replicas = None;
            let owns = |o: &&FieldOwner| o.replicas && o.manager != REPLICAS_MANAGER;
            if let Some(other) = workload.owners.iter().rfind(owns) {
                return Some(("spec.replicas", other.manager.clone()));
            }
        }
        let container = container?;
        if self
            .gpus
            .as_ref()
            .is_some_and(|ours| *ours != container.gpus())
        {
            self.gpus = None;
            let owns = |o: &&FieldOwner| {
                o.manager != GPU_MANAGER && o.gpus.iter().any(|(c, _)| *c == container.name)
            };
            if let Some(other) = workload.owners.iter().rfind(owns) {
                return Some(("the GPU request", other.manager.clone()));
            }
        }
        None
    }
}

fn count(workload: &WorkloadRecord) -> Option<Count> {
    serde_json::from_str(workload.notes.get(annotations::REVERTS)?).ok()
}

/// Why nothing is written any more for a workload whose fields were put back too often.
pub fn refusal(
    agent: &ValidAgent,
    workload: &WorkloadRecord,
    generation: Option<i64>,
) -> Option<Refusal> {
    let counted =
        count(workload).filter(|c| c.count >= MOST && Some(c.generation) == generation)?;
    let message = format!(
        "{}: {} was set back {} times, last by field manager {:?}; let that tool leave the field alone, then edit the AgentPool to start again",
        describe(agent),
        counted.field,
        counted.count,
        counted.manager
    );
    Some(Refusal {
        reason: "Reverted",
        message,
        conflict: true,
    })
}

/// Whether an agent is refused because we have stopped.
pub fn gave_up(refusal: &Refusal) -> bool {
    refusal.reason == "Reverted"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::AgentPool;
    use crate::controller::cache::Record;
    use crate::controller::observe::AgentView;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const SMALL: &str = "nvidia.com/mig-1g.10gb";
    const LARGE: &str = "nvidia.com/mig-3g.40gb";

    fn gpu(name: &str) -> GpuResource {
        GpuResource::parse(name).unwrap()
    }

    /// A Deployment with so many replicas that asks for `limits`; `owners` are manager and fields.
    fn workload(replicas: u32, limits: &[&str], owners: &[(&str, Value)]) -> WorkloadRecord {
        let limits: BTreeMap<&str, &str> = limits.iter().map(|name| (*name, "1")).collect();
        let entries: Vec<Value> = owners
            .iter()
            .map(|(manager, fields)| {
                json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": fields } })
            })
            .collect();
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat", "managedFields": entries },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": limits } }] } }
            }
        }))
        .unwrap();
        WorkloadRecord::of(deployment).unwrap()
    }

    fn owns_replicas() -> Value {
        json!({ "f:replicas": {} })
    }

    fn owns_limit(name: &str) -> Value {
        let containers = json!({ "k:{\"name\":\"server\"}": { "f:resources": { "f:limits": { format!("f:{name}"): {} } } } });
        json!({ "f:template": { "f:spec": { "f:containers": containers } } })
    }

    fn scaled_to(replicas: u32) -> Wrote {
        Wrote {
            replicas: Some(replicas),
            gpus: None,
        }
    }

    fn retargeted_to(name: &str) -> Wrote {
        Wrote {
            replicas: None,
            gpus: Some(BTreeMap::from([(gpu(name), 1)])),
        }
    }

    #[test]
    fn replicas_that_another_manager_owns_and_has_changed_are_put_back_once() {
        let mut wrote = scaled_to(3);
        let back = workload(1, &[SMALL], &[("gitops", owns_replicas())]);
        let said = wrote.put_back(&back, None);
        assert_eq!(said, Some(("spec.replicas", "gitops".to_owned())));
        assert_eq!(wrote.put_back(&back, None), None);
    }

    #[test]
    fn our_own_value_whose_answer_was_lost_is_nobodys_revert() {
        let ours = workload(4, &[SMALL], &[(REPLICAS_MANAGER, owns_replicas())]);
        assert_eq!(scaled_to(3).put_back(&ours, None), None);
        let ours = workload(1, &[LARGE], &[(GPU_MANAGER, owns_limit(LARGE))]);
        let wrote = &mut retargeted_to(SMALL);
        assert_eq!(wrote.put_back(&ours, ours.containers.first()), None);
    }

    #[test]
    fn a_key_that_another_manager_puts_beside_ours_is_a_revert() {
        let owners = [
            (GPU_MANAGER, owns_limit(LARGE)),
            ("gitops", owns_limit(SMALL)),
        ];
        let both = workload(1, &[LARGE, SMALL], &owners);
        let said = retargeted_to(LARGE).put_back(&both, both.containers.first());
        assert_eq!(said, Some(("the GPU request", "gitops".to_owned())));
    }

    /// A pool with the agent `chat`, and what was seen of its workload.
    fn seen(workload: WorkloadRecord, refusal: Option<Refusal>) -> (ValidPool, View) {
        let pool: AgentPool = serde_json::from_value(json!({
            "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": { "name": "p", "namespace": "n" },
            "spec": {
                "mode": "Auto",
                "devices": [{ "name": "gpu", "sharing": { "type": "MIG" } }],
                "agents": [{
                    "name": "chat", "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "chat" },
                    "replicas": { "min": 1, "max": 8 },
                    "model": { "requestsPerSecondPerGpu": "10", "memoryPerReplica": "1Gi" }
                }]
            }
        }))
        .unwrap();
        let agent = AgentView {
            workload: Some(Arc::new(workload)),
            container: Some(0),
            pods: Vec::new(),
            short: None,
            refusal,
        };
        let view = View {
            agents: vec![agent],
            nodes: Vec::new(),
            closed: BTreeMap::new(),
        };
        (ValidPool::admit(&pool).unwrap(), view)
    }

    #[test]
    fn what_an_autoscaler_that_was_added_later_changes_is_not_counted() {
        let counted = |refusal: Option<Refusal>| {
            let mut expected = Expected::default();
            let wrote = expected.agents.entry("chat".to_owned()).or_default();
            wrote.replicas = Some(3);
            let scaled = workload(5, &[SMALL], &[("hpa", owns_replicas())]);
            let (pool, view) = seen(scaled, refusal);
            (expected.reverted(&pool, &view).len(), expected.agents.len())
        };
        let refusal = Refusal {
            reason: "Autoscaled",
            message: String::new(),
            conflict: true,
        };
        assert_eq!(counted(None), (1, 1));
        assert_eq!(counted(Some(refusal)), (0, 0));
    }

    #[test]
    fn what_is_forgotten_or_as_we_wrote_it_is_no_revert() {
        let mut expected = Expected::default();
        let step = Step::Scale {
            agent: 0,
            from: 1,
            to: 3,
            victims: Vec::new(),
        };
        expected.wrote("chat", &step);
        let back = workload(3, &[SMALL], &[("gitops", owns_replicas())]);
        let wrote = expected.agents.get_mut("chat").unwrap();
        assert_eq!(wrote.put_back(&back, None), None);
        expected.forget("chat");
        assert!(expected.agents.is_empty());
    }
}
