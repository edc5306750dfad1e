use super::rule::{Refusal, Rule};
use super::{Controller, Sight, Wish};
use crate::simulation::{Cluster, Scenario};
use crate::units::MilliGpus;

/// All GPUs to one agent, to the next a second later: the paper's baseline (arXiv 2512.22149: tick t gives all of G to agent t mod N).
#[derive(Debug, Clone)]
pub(super) struct RoundRobin {
    turn: usize,
}

impl RoundRobin {
    /// # Errors
    /// Where there are pods, which nobody restarts every second.
    pub fn build(rule: &Rule, scenario: &Scenario) -> Result<Box<dyn Controller>, Refusal> {
        match scenario.cluster {
            Cluster::Fractions(_) => Ok(Box::new(Self { turn: 0 })),
            Cluster::Nodes(_) => Err(rule.refuse(
                "it gives all GPUs to another agent every second, which shares without pods can do and pods cannot",
            )),
        }
    }
}

impl Controller for RoundRobin {
    fn interval(&self) -> f64 {
        1.0
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let mut shares = vec![MilliGpus::ZERO; sight.agents.len()];
        if let Some(share) = shares.get_mut(self.turn) {
            *share = sight.capacity;
        }
        self.turn = (self.turn + 1) % sight.agents.len().max(1);
        *wish = Wish::Shares(shares);
    }
}
