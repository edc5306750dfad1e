//! What rules that ask for replicas know of a pool and see of its pods.

use super::Sight;
use super::rule::{Refusal, Rule};
use crate::sharing::{self, PodState, PoolShape, Strategy};
use crate::simulation::{Cluster, Scenario};

/// The pool of a scenario with pods.
///
/// # Errors
/// Where there are none.
pub(super) fn shape<'a>(rule: &Rule, scenario: &'a Scenario) -> Result<&'a PoolShape, Refusal> {
    match scenario.cluster {
        Cluster::Nodes(_) => Ok(&scenario.pool.shape),
        Cluster::Fractions(_) => Err(rule.refuse(
            "it asks for replicas, and this scenario has shares of GPUs without pods: give it nodes",
        )),
    }
}

/// The same where the pods have whole GPUs.
///
/// # Errors
/// Elsewhere.
pub(super) fn whole_gpus<'a>(
    rule: &Rule,
    scenario: &'a Scenario,
) -> Result<&'a PoolShape, Refusal> {
    let shape = shape(rule, scenario)?;
    if shape.strategy == Strategy::WholeGpu {
        Ok(shape)
    } else {
        Err(rule.refuse("it counts whole GPUs: sharing must be of type WholeGPU"))
    }
}

/// Requests that run at once in a replica of each agent.
///
/// # Errors
/// When it is unbounded: then there is no occupancy to go by.
pub(super) fn slots(rule: &Rule, scenario: &Scenario) -> Result<Vec<f64>, Refusal> {
    let slots = scenario.services.iter().map(|s| s.max_running);
    slots
        .map(|slots| match slots {
            u32::MAX => Err(rule.refuse(
                "it goes by how full a replica is, and nothing is full where maxRunning is unbounded",
            )),
            slots => Ok(f64::from(slots)),
        })
        .collect()
}

/// Fewest (≥ 1) and most replicas of an agent, as a HorizontalPodAutoscaler takes them.
pub(super) fn bounds(shape: &PoolShape, agent: usize) -> (u32, u32) {
    let agent = &shape.agents[agent];
    let min = agent.min_replicas.max(1);
    (min, agent.max_replicas.max(min))
}

/// An agent's pods, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Census {
    /// Serve.
    pub ready: u32,
    /// Load the model: they run and have no metrics yet.
    pub loading: u32,
    /// Have no node.
    pub pending: u32,
    /// GPUs of those that serve.
    pub gpus: f64,
}

impl Census {
    /// Counts the pods of an agent.
    pub fn of(sight: &Sight<'_>, agent: usize) -> Self {
        let mut census = Self::default();
        let Some(observed) = sight.observed else {
            return census;
        };
        for pod in observed.agents.get(agent).iter().flat_map(|a| &a.pods) {
            match pod.state {
                PodState::Pending => census.pending += 1,
                PodState::Loading => census.loading += 1,
                PodState::Terminating | PodState::Stranded | PodState::Lost => {}
                PodState::Ready => {
                    census.ready += 1;
                    let node = observed
                        .nodes
                        .iter()
                        .find(|n| Some(&n.name) == pod.node.as_ref());
                    for (resource, count) in &pod.requests {
                        let each = match node {
                            Some(node) if node.instances.contains_key(resource) => {
                                sharing::instance(node, resource).0.as_gpus()
                            }
                            _ => 1.0,
                        };
                        census.gpus += each * f64::from(*count);
                    }
                }
            }
        }
        census
    }
}
