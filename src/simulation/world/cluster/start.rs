//! Where a run begins: settled with equal shares, whatever rule takes control then.

use super::nodes::Machines;
use super::workload::Workload;
use super::{Cluster, Happening};
use crate::allocation::{self, Allotment};
use crate::api::{ValidPool, WorkloadKind};
use crate::sharing::{self, Memory, Rollout, Strategy};
use crate::simulation::{Nodes, Service};
use crate::units::{GpuResource, MilliGpus};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds in which a start finds its place; each moves an agent at least, so that a legal pool needs far fewer.
const ROUNDS: usize = 10_000;

impl Cluster {
    /// A cluster in which the pool has settled with equal shares, whatever rule takes control then.
    pub fn new(pool: &ValidPool, services: &[Service], nodes: &Nodes) -> Self {
        let machines = Machines::new(&nodes.groups, &pool.shape);
        let workload = |(i, template): (usize, BTreeMap<GpuResource, u32>)| Workload {
            replicas: pool.shape.agents[i].min_replicas,
            rollout: match pool.agents[i].kind {
                WorkloadKind::Deployment => Rollout::Rolling,
                WorkloadKind::StatefulSet => Rollout::Ordered,
            },
            restore: None,
            revisions: vec![template.clone()],
            template,
            revision: 0,
            victims: Vec::new(),
        };
        let agents = pool.agents.len();
        let templates = templates(pool, &machines);
        let mut cluster = Self {
            workloads: templates.into_iter().enumerate().map(workload).collect(),
            machines,
            services: services.to_vec(),
            names: pool.agents.iter().map(|a| a.name.clone()).collect(),
            pods: BTreeMap::new(),
            made: 0,
            happened: Vec::new(),
            started: vec![0; agents],
            moves: vec![0; agents],
            before: true,
        };
        cluster.settle(pool);
        cluster.before = false;
        cluster.started.fill(0);
        cluster.moves.fill(0);
        cluster.happened.retain(
            |h| matches!(h, Happening::Serves { pod, .. } if cluster.pods.contains_key(pod)),
        );
        cluster
    }

    /// Lets equal shares come in force before the run.
    fn settle(&mut self, pool: &ValidPool) {
        let mut shape = pool.shape.clone();
        shape.behavior.scale_up_window = Duration::ZERO;
        shape.behavior.scale_down_window = Duration::ZERO;
        shape.allow_downtime = true;
        let mut memory = Memory::default();
        for round in 0..ROUNDS {
            self.turn(0.0);
            let observed = self.observed(|_| None);
            let survey = sharing::survey(&shape, &observed);
            let equal = survey.capacity.0 / pool.agents.len().max(1) as u64;
            let decision: Vec<Allotment> = survey
                .agents
                .iter()
                .map(|extent| Allotment {
                    target: MilliGpus(equal).min(extent.ceiling).max(extent.floor),
                    demand: MilliGpus(equal),
                    reason: allocation::Reason::EqualSplit,
                    minimum_unmet: false,
                })
                .collect();
            let now = Duration::from_secs(round as u64);
            let (plan, next) = sharing::plan(&shape, &observed, &decision, &memory, now);
            memory = next;
            if plan.steps.is_empty() && !plan.unfinished {
                break;
            }
            for step in &plan.steps {
                // Observed in this very round: it cannot be stale.
                let _ = self.step(step);
            }
        }
    }
}

/// What the templates ask for before anybody decides.
fn templates(pool: &ValidPool, machines: &Machines) -> Vec<BTreeMap<GpuResource, u32>> {
    let agents = &pool.shape.agents;
    let asks: Vec<(GpuResource, u32)> = match &pool.shape.strategy {
        Strategy::WholeGpu => agents
            .iter()
            .map(|a| (GpuResource::whole(), a.gpus_per_replica))
            .collect(),
        Strategy::TimeSlicing { resource, .. } => {
            agents.iter().map(|_| (resource.clone(), 1)).collect()
        }
        Strategy::Mig => {
            let needs: Vec<_> = agents.iter().map(|a| a.memory_per_replica).collect();
            machines
                .profiles(&needs)
                .into_iter()
                .map(|r| (r, 1))
                .collect()
        }
    };
    asks.into_iter().map(|ask| BTreeMap::from([ask])).collect()
}
