//! Pods on nodes: what the API server, the workloads' controllers, the scheduler, kubelets and a cluster autoscaler would do.
//!
//! Everything that takes no time in a cluster of this size (controllers, binding) happens at once; what takes time (nodes that
//! come, images, cold starts, draining) is an event of its own.

mod life;
mod nodes;
mod pod;
mod start;
#[cfg(test)]
mod tests;
mod workload;

pub use nodes::Device;
pub use pod::PodId;

use crate::sharing::{self, AgentObserved, Observed, PodState, Step};
use crate::simulation::Service;
use crate::simulation::control::Wish;
use nodes::Machines;
use pod::Pod;
use std::collections::BTreeMap;
use workload::Workload;

/// What happened to a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// It serves from now on, on these devices.
    Serves {
        /// Which.
        pod: PodId,
        /// Whose.
        agent: usize,
        /// Numbers of its devices in [`Cluster::devices`].
        devices: Vec<usize>,
        /// Seconds since it was made.
        startup: f64,
    },
    /// It takes no more requests and finishes what it runs: to be told to [`Cluster::drained`].
    Retires {
        /// Which.
        pod: PodId,
    },
    /// Its object is gone; what it still ran is cut.
    Gone {
        /// Which.
        pod: PodId,
    },
}

/// A wish that a cluster of pods cannot fulfil: a defect of the rule in control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// Shares have no meaning for pods.
    #[error("a rule asked for shares where there are pods; it must ask for replicas or steps")]
    Shares,
    /// A step does not fit what it is applied to.
    #[error("a step expected {expected} and found {found}")]
    Stale {
        /// What the step expected.
        expected: String,
        /// What there is.
        found: String,
    },
}

/// The cluster of one run.
#[derive(Debug, Clone)]
pub struct Cluster {
    machines: Machines,
    workloads: Vec<Workload>,
    services: Vec<Service>,
    names: Vec<String>,
    pods: BTreeMap<PodId, Pod>,
    made: usize,
    happened: Vec<Happening>,
    started: Vec<u64>,
    moves: Vec<u64>,
    /// The start of the run has not come: nothing takes time.
    before: bool,
}

impl Cluster {
    /// Every device that there is or can be, by number.
    pub fn devices(&self) -> &[Device] {
        &self.machines.devices
    }

    /// What the operator would see; `load` is what is known of a pod's running and waiting requests.
    pub fn observed(&self, load: impl Fn(PodId) -> Option<f64>) -> Observed {
        let mut agents: Vec<AgentObserved> = self
            .workloads
            .iter()
            .map(|w| AgentObserved {
                replicas: w.replicas,
                template: w.template.clone(),
                rollout: w.rollout,
                rolling: false,
                pods: Vec::new(),
                restore: w.restore.clone(),
                frozen: false,
                template_locked: false,
            })
            .collect();
        for (id, pod) in &self.pods {
            let agent = &mut agents[pod.agent];
            agent.rolling |= pod.revision != self.workloads[pod.agent].revision;
            agent.pods.push(sharing::Pod {
                name: pod.name.clone(),
                node: pod.node.map(|at| self.machines.name(at).to_owned()),
                requests: pod.requests.clone(),
                state: pod.state,
                unschedulable: false,
                load: load(*id),
            });
        }
        Observed {
            nodes: self.machines.observed(),
            agents,
            ..Observed::default()
        }
    }

    /// Replicas that an agent asks for, and how many of its pods are ready.
    pub fn replicas(&self, agent: usize) -> (u32, u32) {
        let ready = self
            .pods
            .values()
            .filter(|p| p.agent == agent && p.state == PodState::Ready);
        let ready = ready.count().try_into().unwrap_or(u32::MAX);
        (self.workloads[agent].replicas, ready)
    }

    /// Does what a rule wishes.
    ///
    /// # Errors
    /// When the wish has no meaning here.
    pub fn apply(&mut self, now: f64, wish: &Wish) -> Result<(), WishError> {
        match wish {
            Wish::Nothing => {}
            Wish::Shares(_) => return Err(WishError::Shares),
            Wish::Replicas(replicas) => {
                let workloads = self.workloads.iter_mut().zip(&mut self.moves);
                for ((workload, moves), wanted) in workloads.zip(replicas) {
                    *moves += u64::from(workload.replicas != *wanted);
                    workload.replicas = *wanted;
                }
            }
            Wish::Steps(steps) => steps.iter().try_for_each(|step| self.step(step))?,
        }
        self.turn(now);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), WishError> {
        let stale =
            |expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| WishError::Stale {
                expected: format!("{expected:?}"),
                found: format!("{found:?}"),
            };
        match step {
            Step::Remember { agent, restore } => {
                self.workloads[*agent].restore = Some(restore.clone())
            }
            Step::Forget { agent } => self.workloads[*agent].restore = None,
            Step::Scale {
                agent,
                from,
                to,
                victims,
            } => {
                let workload = &mut self.workloads[*agent];
                if workload.replicas != *from {
                    return Err(stale(from, &workload.replicas));
                }
                workload.replicas = *to;
                workload.victims.clone_from(victims);
                self.moves[*agent] += 1;
            }
            Step::Retarget {
                agent,
                remove,
                resource,
                count,
            } => {
                let workload = &mut self.workloads[*agent];
                if workload.template != *remove {
                    return Err(stale(remove, &workload.template));
                }
                workload.retarget(BTreeMap::from([(resource.clone(), *count)]));
                self.moves[*agent] += 1;
            }
        }
        Ok(())
    }

    /// When something happens next by itself.
    pub fn next(&self) -> Option<f64> {
        let moving = self
            .pods
            .values()
            .filter(|p| matches!(p.state, PodState::Loading | PodState::Terminating));
        let pods = moving.map(|p| p.due).min_by(f64::total_cmp);
        let nodes = self.machines.next();
        [pods, nodes].into_iter().flatten().min_by(f64::total_cmp)
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: f64) {
        self.machines.advance(now);
        self.turn(now);
    }

    /// A pod that retires has finished what it ran.
    pub fn drained(&mut self, now: f64, pod: PodId) {
        if self.pods.get(&pod).is_some_and(|p| !p.is_live()) {
            self.go(now, pod);
            self.turn(now);
        }
    }

    /// What happened since this was last asked, in order.
    pub fn happened(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happened)
    }

    /// GPUs that are there and paid for.
    pub fn paid(&self) -> f64 {
        self.machines.paid()
    }

    /// GPUs that an agent's pods hold, whether they serve or not; residents hold equal parts of a GPU that they share.
    pub fn held(&self, agent: usize) -> f64 {
        let own = self.pods.values().filter(|p| p.agent == agent);
        let devices = own.flat_map(|p| &p.devices);
        devices.map(|d| self.machines.part(*d)).sum()
    }

    /// Changes of an agent's replicas and template that were begun since the run began.
    pub fn moves(&self, agent: usize) -> u64 {
        self.moves[agent]
    }

    /// Pods of an agent that were started since the run began.
    pub fn started(&self, agent: usize) -> u64 {
        self.started[agent]
    }
}
