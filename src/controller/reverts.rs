//! Notices when somebody puts back what we had written, counts it on the workload, and stops after a few times: two managers that
//! fight over a field restart pods for ever. Counted without a time window, so that a tool that reverts once an hour is noticed too.

use super::cache::{ContainerRecord, WorkloadRecord};
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

    /// Agents whose fields were put back since our last write, with the count to write; each is told once.
    pub fn reverted(&mut self, pool: &ValidPool, view: &View) -> Vec<(usize, Count)> {
        let mut found = Vec::new();
        for (i, (agent, seen)) in pool.agents.iter().zip(&view.agents).enumerate() {
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
    fn put_back(
        &mut self,
        workload: &WorkloadRecord,
        container: Option<&ContainerRecord>,
    ) -> Option<(&'static str, String)> {
        if self.replicas.is_some_and(|ours| ours != workload.replicas) {
            self.replicas = None;
            let others = workload
                .owners
                .iter()
                .filter(|o| o.replicas && o.manager != REPLICAS_MANAGER);
            return Some((
                "spec.replicas",
                others
                    .map(|o| o.manager.as_str())
                    .next_back()
                    .unwrap_or("unknown")
                    .to_owned(),
            ));
        }
        if let Some(container) =
            container.filter(|c| self.gpus.as_ref().is_some_and(|ours| *ours != c.gpus()))
        {
            self.gpus = None;
            let owns = |o: &&super::cache::FieldOwner| {
                o.manager != GPU_MANAGER && o.gpus.iter().any(|(c, _)| *c == container.name)
            };
            return Some((
                "the GPU request",
                workload
                    .owners
                    .iter()
                    .rfind(owns)
                    .map_or("unknown", |o| &o.manager)
                    .to_owned(),
            ));
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
