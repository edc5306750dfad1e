//! Who is in control: the operator's own policies, and what users would otherwise run, one file a rule.

mod behavior;
mod dynamo;
mod fixed;
mod hold;
mod hpa;
mod keda;
mod knative;
mod operator;
mod pods;
mod round_robin;
mod rule;
mod static_equal;
mod static_proportional;
mod wva;
mod wva_rescale;

pub use operator::Operator;
#[cfg(test)]
pub(super) use rule::tests as rule_tests;
pub use rule::{Refusal, Rule, RuleError};

use crate::sharing::{Observed, Step};
use crate::simulation::Dispatch;
use crate::units::MilliGpus;

/// A rule in control of all agents. What it knows of the pool it was given when it was made.
pub trait Controller: Send {
    /// Time between two decisions, in seconds; > 0.
    fn interval(&self) -> f64;

    /// Where requests wait under it, unless the scenario says: what it brings along in front of the pods.
    fn dispatch(&self) -> Dispatch {
        Dispatch::FewestRequests
    }

    /// Whether it decides between its ticks too, as soon as a pod serves or is gone, on what was measured last.
    fn wakes(&self) -> bool {
        false
    }

    /// Decides once. `wish` is [`Wish::Nothing`] before.
    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish);
}

/// What a rule sees at its tick: what a metrics server and the API server would tell it, never the future.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Seconds since the start of the run.
    pub now: f64,
    /// Whether this is a tick: what was measured is new. Else a pod woke the rule, see [`Controller::wakes`].
    pub is_tick: bool,
    /// GPUs that are there.
    pub capacity: MilliGpus,
    /// From a decision until it is in force, in seconds, as far as it is known.
    pub lag: f64,
    /// The agents, in the order of the pool; what was measured is as old as the scenario's metric age.
    pub agents: &'a [AgentSight],
    /// Pods and nodes, where there are any.
    pub observed: Option<&'a Observed>,
}

/// What is seen of one agent. Counts are since the start of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgentSight {
    /// Requests that reached it.
    pub arrived: f64,
    /// Requests that it finished.
    pub finished: f64,
    /// Requests that run.
    pub running: f64,
    /// Requests that wait, in a replica or in front of all of them.
    pub waiting: f64,
    /// Requests in its fullest replica, running and waiting; what waits in front of all of them counts in equal parts.
    pub fullest: f64,
    /// GPU-seconds for which its GPUs were busy, as their counters would tell it.
    pub busy: f64,
    /// Replicas that are asked for; 0 without pods.
    pub replicas: u32,
    /// Of these, ready.
    pub ready: u32,
    /// Share in force.
    pub realized: MilliGpus,
}

/// What a rule wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Wish {
    /// Everything stays.
    #[default]
    Nothing,
    /// These shares, in the order of the pool. Only where there are no pods.
    Shares(Vec<MilliGpus>),
    /// These replicas, in the order of the pool; pods that find no room wait in the order in which they were asked for. Only where
    /// there are pods.
    Replicas(Vec<u32>),
    /// These steps. Only where there are pods.
    Steps(Vec<Step>),
}
