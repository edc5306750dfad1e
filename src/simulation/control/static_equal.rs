use super::Controller;
use super::fixed::Fixed;
use super::hold::Hold;
use super::rule::{Refusal, Rule};
use crate::sharing::Strategy;
use crate::simulation::{Cluster, Scenario};
use crate::units::MilliGpus;

/// The same number of GPUs for every agent, whatever its load: the paper's baseline (arXiv 2512.22149).
///
/// A run begins settled with equal shares, so that pods that are to share all GPUs stay as they are. `gpus` splits fewer: peak
/// provisioning at a chosen peak.
pub(super) fn build(
    rule: &Rule,
    gpus: Option<MilliGpus>,
    scenario: &Scenario,
) -> Result<Box<dyn Controller>, Refusal> {
    let shape = &scenario.pool.shape;
    let pods = match (&scenario.cluster, gpus) {
        (Cluster::Fractions(_), _) => None,
        (Cluster::Nodes(_), None) => return Ok(Box::new(Hold)),
        (Cluster::Nodes(_), Some(_)) if shape.strategy == Strategy::WholeGpu => {
            Some(shape.agents.clone())
        }
        (Cluster::Nodes(_), Some(_)) => {
            return Err(rule.refuse(
                "only pods with whole GPUs can be told to use fewer of them; without a number it keeps the equal shares that a run \
                 begins with",
            ));
        }
    };
    let weights = vec![1.0; shape.agents.len()];
    Ok(Box::new(Fixed::new(weights, gpus, pods)))
}
