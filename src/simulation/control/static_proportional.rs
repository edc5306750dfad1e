use super::Controller;
use super::fixed::Fixed;
use super::rule::{Refusal, Rule};
use crate::sharing::Strategy;
use crate::simulation::{Cluster, Scenario};
use crate::units::MilliGpus;

/// A share in proportion to the mean load that is declared: arrivals a second over the requests a second that the manifest says a
/// whole GPU serves. What a careful user sets by hand and leaves alone.
pub(super) fn build(
    rule: &Rule,
    gpus: Option<MilliGpus>,
    scenario: &Scenario,
) -> Result<Box<dyn Controller>, Refusal> {
    let shape = &scenario.pool.shape;
    let pods = match &scenario.cluster {
        Cluster::Fractions(_) => None,
        Cluster::Nodes(_) if shape.strategy == Strategy::WholeGpu => Some(shape.agents.clone()),
        Cluster::Nodes(_) => {
            return Err(rule.refuse(
                "only whole GPUs can be dealt out by replicas: the size of a MIG instance is no number of replicas, and time-slicing \
                 lends idle turns by itself; `hold` keeps the equal shares that a run begins with",
            ));
        }
    };
    Ok(Box::new(Fixed::new(loads(scenario), gpus, pods)))
}

/// GPUs that each agent's mean load needs by what its manifest declares.
fn loads(scenario: &Scenario) -> Vec<f64> {
    let agents = scenario.pool.agents.iter().zip(&scenario.loads);
    agents
        .map(|(agent, load)| load.arrivals.mean_rate(scenario.seconds) / agent.base_throughput)
        .collect()
}
