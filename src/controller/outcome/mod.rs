//! Everything that one tick found out and decided, for status, events and metrics. Pure.

mod capacity;
mod verdicts;
mod wedge;

pub use verdicts::cut;

use super::observe::View;
use crate::allocation::Allotment;
use crate::api::conditions::clip;
use crate::api::{AgentStatus, CapacityStatus, ValidPool};
use crate::sharing::{Observed, Plan, Survey};
use crate::signals::{AgentSignal, Problem};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// What one tick found out and decided.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The pool.
    pub pool: &'a ValidPool,
    /// Its workloads and nodes.
    pub view: &'a View,
    /// What sharing looked at.
    pub observed: &'a Observed,
    /// What is there to be shared.
    pub survey: &'a Survey,
    /// The signals, in the pool's order.
    pub signals: &'a [Option<AgentSignal>],
    /// Why the pool's metrics server cannot be read.
    pub outage: Option<Problem>,
    /// The shares.
    pub decision: &'a [Allotment],
    /// The steps and holds.
    pub plan: &'a Plan,
    /// Learned actuation lag.
    pub lag: Option<Duration>,
    /// The first write that failed and is tried again, if any.
    pub failure: Option<String>,
    /// Now, as the API server's timestamps count.
    pub at: Timestamp,
}

impl Outcome<'_> {
    /// The agents' part of status.
    pub fn agents(&self) -> Vec<AgentStatus> {
        let agents = self.pool.agents.iter().enumerate();
        agents
            .map(|(i, agent)| {
                let observed = &self.observed.agents[i];
                let allotment = self.decision.get(i).copied().unwrap_or_default();
                let quantum = self.plan.quanta.get(i).cloned().flatten();
                let hold = self.plan.holds.get(i).cloned().flatten();
                let refusal = self.view.agents[i].refusal.as_ref();
                let resource = observed
                    .template
                    .iter()
                    .next()
                    .map(|(resource, count)| format!("{resource}: {count}"));
                let wanted = quantum
                    .as_ref()
                    .map(|q| format!("{}: {}", q.resource, q.count));
                AgentStatus {
                    name: agent.name.clone(),
                    target_share: allotment.target.to_string(),
                    realized_share: self.survey.agents[i].realized.to_string(),
                    replicas: observed.replicas,
                    desired_replicas: quantum
                        .as_ref()
                        .map(|q| q.replicas)
                        .filter(|n| *n != observed.replicas),
                    desired_gpu_resource: wanted.filter(|w| resource.as_ref() != Some(w)),
                    gpu_resource: resource,
                    signals: self
                        .signals
                        .get(i)
                        .and_then(Option::as_ref)
                        .map_or("NoPods", |s| s.freshness.as_str())
                        .to_owned(),
                    reason: refusal
                        .map_or(allotment.reason.as_str(), |r| r.reason)
                        .to_owned(),
                    message: {
                        let message =
                            refusal.map_or_else(|| self.numbers(i), |r| r.message.clone());
                        match &hold {
                            Some(hold) => clip(format!("{message}; held: {}", hold.message)),
                            None => clip(message),
                        }
                    },
                    hold: hold.map(|h| h.reason.as_str().to_owned()),
                }
            })
            .collect()
    }

    /// The numbers of one agent's decision.
    fn numbers(&self, i: usize) -> String {
        let agent = &self.pool.agents[i];
        let allotment = self.decision.get(i).copied().unwrap_or_default();
        let load = match self.signals.get(i).and_then(Option::as_ref).map(|s| s.load) {
            Some(crate::allocation::Load::Measured {
                arrivals_per_second,
                backlog,
            }) => {
                format!(
                    "{arrivals_per_second:.1} requests/s, backlog {backlog:.0}, at {} requests/s per GPU: demand {} GPUs",
                    agent.base_throughput, allotment.demand
                )
            }
            _ => match self
                .signals
                .get(i)
                .and_then(Option::as_ref)
                .and_then(|s| s.problems.first())
            {
                Some((pod, problem)) => format!("load unknown: pod {pod}: {problem}"),
                None => "load unknown".to_owned(),
            },
        };
        format!(
            "{load}, minimum {}, target {} of {}",
            agent.min_share, allotment.target, self.survey.capacity
        )
    }

    /// The GPUs' part of status.
    pub fn capacity(&self) -> CapacityStatus {
        CapacityStatus {
            declared: self.pool.shape.declared_gpus.map(|g| g.to_string()),
            found: self.survey.found.map(|g| g.to_string()),
            foreign: (self.survey.foreign.0 > 0).then(|| self.survey.foreign.to_string()),
            usable: self.survey.capacity.to_string(),
        }
    }
}
