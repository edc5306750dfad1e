use super::behavior::{Behavior, SYNC, replicas_for, within_tolerance};
use super::pods;
use super::rule::{Refusal, Rule};
use super::{AgentSight, Controller, Sight, Wish};
use crate::sharing::PoolShape;
use crate::simulation::Scenario;

/// A KEDA ScaledObject for each agent on its queue: `sum(vllm:num_requests_waiting)` against a number of waiting requests a replica.
///
/// Between one and many replicas it is a HorizontalPodAutoscaler that pulls the metric every 15 s (External metric, AverageValue:
/// `ceil(waiting / target)`, tolerance 0.1, default [`Behavior`]). Between none and one KEDA itself polls every 30 s: any waiting request
/// activates (`activationThreshold` 0), and 300 s after the last one were seen (`cooldownPeriod`) an agent that may have no replica
/// has none. As in reality, requests that run do not count. The default target of 5 is that of the vLLM production stack's KEDA
/// example. Sources: keda.sh/docs/2.21/reference/scaledobject-spec, `pkg/scaling/executor/scale_scaledobjects.go` of KEDA,
/// `GetExternalPerPodMetricReplicas` of Kubernetes.
#[derive(Debug, Clone)]
pub(super) struct Keda {
    target: f64,
    shape: PoolShape,
    agents: Vec<Agent>,
    /// When KEDA polls next.
    poll: f64,
}

#[derive(Debug, Clone, Default)]
struct Agent {
    behavior: Behavior,
    /// When a poll found a request that waits.
    active: Option<f64>,
}

/// The target without one: waiting requests a replica.
pub(super) const TARGET: f64 = 5.0;
/// `pollingInterval`, in seconds.
const POLL: f64 = 30.0;
/// `cooldownPeriod`, in seconds.
const COOLDOWN: f64 = 300.0;

impl Keda {
    /// # Errors
    /// Without pods.
    pub fn build(
        rule: &Rule,
        target: f64,
        scenario: &Scenario,
    ) -> Result<Box<dyn Controller>, Refusal> {
        let shape = pods::shape(rule, scenario)?;
        Ok(Box::new(Self::new(target, shape)))
    }

    fn new(target: f64, shape: &PoolShape) -> Self {
        Self {
            target,
            shape: shape.clone(),
            agents: vec![Agent::default(); shape.agents.len()],
            poll: 0.0,
        }
    }
}

impl Controller for Keda {
    fn interval(&self) -> f64 {
        SYNC
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let polls = sight.now >= self.poll;
        if polls {
            self.poll = sight.now + POLL;
        }
        let mut replicas = Vec::with_capacity(sight.agents.len());
        for (i, (agent, seen)) in self.agents.iter_mut().zip(sight.agents).enumerate() {
            let bounds = pods::bounds(&self.shape, i);
            let may_have_none = self.shape.agents[i].min_replicas == 0;
            let polled = if polls {
                agent.poll(sight.now, seen, may_have_none)
            } else {
                None
            };
            replicas.push(polled.unwrap_or_else(|| {
                let recommended = recommend(seen.waiting, self.target, seen.replicas);
                agent
                    .behavior
                    .follow(sight.now, seen.replicas, recommended, bounds)
            }));
        }
        *wish = Wish::Replicas(replicas);
    }
}

impl Agent {
    /// What KEDA itself asks for: the first replica, or none.
    fn poll(&mut self, now: f64, seen: &AgentSight, may_have_none: bool) -> Option<u32> {
        if seen.waiting > 0.0 {
            self.active = Some(now);
            return (seen.replicas == 0).then_some(1);
        }
        let cooled = self.active.is_none_or(|active| active + COOLDOWN < now);
        (may_have_none && seen.replicas > 0 && cooled).then_some(0)
    }
}

/// What an External metric with an AverageValue recommends.
fn recommend(metric: f64, target: f64, current: u32) -> u32 {
    let ratio = metric / (target * f64::from(current));
    if within_tolerance(ratio) {
        current
    } else {
        replicas_for(metric, target)
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::super::rule::tests::{shape, sight};
    use super::*;

    fn ask(keda: &mut Keda, now: f64, waiting: f64, replicas: u32) -> u32 {
        let seen = [AgentSight {
            waiting,
            replicas,
            ready: replicas,
            ..AgentSight::default()
        }];
        let mut wish = Wish::Nothing;
        keda.decide(&sight(now, 8, &seen), &mut wish);
        match wish {
            Wish::Replicas(replicas) => replicas[0],
            other => panic!("replicas, not {other:?}"),
        }
    }

    #[test]
    fn a_queue_of_twelve_at_five_a_replica_asks_for_three() {
        assert_eq!(recommend(12.0, 5.0, 1), 3);
        assert_eq!(recommend(0.0, 5.0, 2), 0);
        // 11 of 10 is within the tolerance, 12 is not.
        assert_eq!(recommend(11.0, 5.0, 2), 2);
        assert_eq!(recommend(12.0, 5.0, 2), 3);
    }

    #[test]
    fn an_agent_that_may_have_none_goes_after_the_cooldown_and_comes_back_at_a_poll() {
        let mut keda = Keda::new(5.0, &shape(&[(0, 8, 1)]));
        assert_eq!(ask(&mut keda, 0.0, 1.0, 1), 1);
        for tick in 1..21u32 {
            assert_eq!(ask(&mut keda, f64::from(tick) * 15.0, 0.0, 1), 1);
        }
        assert_eq!(ask(&mut keda, 315.0, 0.0, 1), 1, "no poll");
        assert_eq!(ask(&mut keda, 330.0, 0.0, 1), 0);
        assert_eq!(
            ask(&mut keda, 345.0, 7.0, 0),
            0,
            "seen at the next poll only"
        );
        assert_eq!(ask(&mut keda, 360.0, 7.0, 0), 1);
        assert_eq!(ask(&mut keda, 375.0, 7.0, 1), 2);
    }

    #[test]
    fn an_agent_with_a_fewest_keeps_it() {
        let mut keda = Keda::new(5.0, &shape(&[(2, 8, 1)]));
        for tick in 0..100u32 {
            assert_eq!(ask(&mut keda, f64::from(tick) * 15.0, 0.0, 2), 2);
        }
    }
}
