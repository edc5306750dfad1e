use super::behavior::{Behavior, SYNC, replicas_for, within_tolerance};
use super::pods::{self, Census};
use super::rule::{Refusal, Rule};
use super::{Controller, Sight, Wish};
use crate::sharing::{PoolShape, Strategy};
use crate::simulation::Scenario;

/// A HorizontalPodAutoscaler for each agent on the utilisation of its GPUs, as a Pods metric: the mean over its pods since the last
/// look, against a target.
///
/// Every 15 s, tolerance 0.1, `ceil(pods · mean / target)`; pods that load count as idle when it wants more and as right at the target
/// when it wants fewer, pods without a node as idle when it wants more; then the default [`Behavior`]. The default target is the 80 %
/// that autoscaling/v2 takes when no metric is named. Source: `pkg/controller/podautoscaler/replica_calculator.go` of Kubernetes
/// (`calcPlainMetricReplicas`, `groupPods`). Not modelled: the adapter's own delay beyond the scenario's metric age.
#[derive(Debug, Clone)]
pub(super) struct Hpa {
    target: f64,
    shape: PoolShape,
    agents: Vec<Agent>,
    /// When the last look was.
    last: f64,
}

#[derive(Debug, Clone, Default)]
struct Agent {
    behavior: Behavior,
    /// GPU-seconds for which its GPUs had been busy at the last look.
    busy: Option<f64>,
}

/// The target without one: `averageUtilization: 80`.
pub(super) const TARGET: f64 = 0.8;
/// The largest target at which GPUs that are always busy are beyond the tolerance, in thousandths.
pub(super) const MOST: f64 = 0.909;

impl Hpa {
    /// # Errors
    /// Without pods, or where GPUs are time-sliced.
    pub fn build(
        rule: &Rule,
        target: f64,
        scenario: &Scenario,
    ) -> Result<Box<dyn Controller>, Refusal> {
        let shape = pods::shape(rule, scenario)?;
        if matches!(shape.strategy, Strategy::TimeSlicing { .. }) {
            return Err(rule.refuse(
                "the utilisation of a time-sliced GPU is measured per GPU and not per pod; use `keda`, which goes by queues",
            ));
        }
        Ok(Box::new(Self {
            target,
            shape: shape.clone(),
            agents: vec![Agent::default(); shape.agents.len()],
            last: 0.0,
        }))
    }
}

impl Controller for Hpa {
    fn interval(&self) -> f64 {
        SYNC
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let seconds = sight.now - self.last;
        self.last = sight.now;
        let mut replicas = Vec::with_capacity(sight.agents.len());
        for (i, (agent, seen)) in self.agents.iter_mut().zip(sight.agents).enumerate() {
            let busy = agent.busy.replace(seen.busy).map(|busy| seen.busy - busy);
            let census = Census::of(sight, i);
            let recommended = match busy {
                Some(busy) if seconds > 0.0 && census.gpus > 0.0 => {
                    let mean = busy / (seconds * census.gpus);
                    recommend(mean, self.target, &census, seen.replicas)
                }
                // No ready pod has a metric yet: the real one reports an error and does nothing.
                _ => seen.replicas,
            };
            let bounds = pods::bounds(&self.shape, i);
            let next = agent
                .behavior
                .follow(sight.now, seen.replicas, recommended, bounds);
            replicas.push(next);
        }
        *wish = Wish::Replicas(replicas);
    }
}

/// What a Pods metric recommends: `mean` over the ready pods against `target`.
fn recommend(mean: f64, target: f64, census: &Census, current: u32) -> u32 {
    let ready = f64::from(census.ready);
    let ratio = mean / target;
    let rebalance = census.pending > 0 && ratio > 1.0;
    if census.loading == 0 && !rebalance {
        return if within_tolerance(ratio) {
            current
        } else {
            replicas_for(ratio * ready, 1.0)
        };
    }
    let loading = f64::from(census.loading);
    let as_if = if ratio < 1.0 { loading } else { 0.0 };
    let pending = if rebalance {
        f64::from(census.pending)
    } else {
        0.0
    };
    let counted = ready + loading + pending;
    let again = (ratio * ready + as_if) / counted;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if within_tolerance(again) || turned {
        return current;
    }
    let next = replicas_for(again * counted, 1.0);
    if (again < 1.0 && next > current) || (again > 1.0 && next < current) {
        return current;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::super::AgentSight;
    use super::super::rule::tests::{shape, sight};
    use super::*;
    use crate::sharing::{AgentObserved, Observed, Pod, PodState, Rollout};
    use crate::units::GpuResource;
    use std::collections::BTreeMap;

    fn observed(states: &[PodState]) -> Observed {
        let pod = |(i, state): (usize, &PodState)| Pod {
            name: format!("pod-{i}"),
            node: None,
            requests: BTreeMap::from([(GpuResource::whole(), 2)]),
            state: *state,
            unschedulable: false,
            load: None,
        };
        let agent = AgentObserved {
            replicas: 4,
            template: BTreeMap::new(),
            rollout: Rollout::Rolling,
            rolling: false,
            pods: states.iter().enumerate().map(pod).collect(),
            restore: None,
            frozen: false,
            template_locked: false,
        };
        Observed {
            agents: vec![agent],
            ..Observed::default()
        }
    }

    /// Two pods of two GPUs serve, one loads, one has no node, one goes: 60 GPU-seconds in 15 s on four GPUs are all of them, 1.25 times
    /// the target on two, and 2.5 / 4 when the others are to count as idle: nothing is done. With none but the two it is three.
    #[test]
    fn utilisation_is_the_busy_time_since_the_last_look_over_the_gpus_of_ready_pods() {
        use PodState::{Loading, Pending, Ready, Terminating};
        let ask = |states: &[PodState], replicas: u32| {
            let mut hpa = Hpa {
                target: 0.8,
                shape: shape(&[(1, 9, 2)]),
                agents: vec![Agent::default()],
                last: 0.0,
            };
            let observed = observed(states);
            let mut asked = Vec::new();
            for (now, busy) in [(0.0, 100.0), (15.0, 160.0)] {
                let seen = [AgentSight {
                    busy,
                    replicas,
                    ..AgentSight::default()
                }];
                let mut sight = sight(now, 8, &seen);
                sight.observed = Some(&observed);
                let mut wish = Wish::Nothing;
                hpa.decide(&sight, &mut wish);
                asked.push(wish);
            }
            asked
        };
        let want = |a, b| vec![Wish::Replicas(vec![a]), Wish::Replicas(vec![b])];
        assert_eq!(
            ask(&[Ready, Ready, Loading, Pending, Terminating], 4),
            want(4, 4)
        );
        assert_eq!(ask(&[Ready, Ready], 2), want(2, 3));
        assert_eq!(
            ask(&[Pending, Pending], 2),
            want(2, 2),
            "no metric, no change"
        );
    }

    #[test]
    fn above_the_largest_target_gpus_that_are_always_busy_add_no_replica() {
        assert_eq!(recommend(1.0, MOST, &census(4, 0, 0), 4), 5);
        assert_eq!(recommend(1.0, MOST + 0.001, &census(4, 0, 0), 4), 4);
    }

    fn census(ready: u32, loading: u32, pending: u32) -> Census {
        Census {
            ready,
            loading,
            pending,
            gpus: f64::from(ready),
        }
    }

    /// The documentation's examples: at 200m for 100m there are twice as many replicas, at 50m half.
    #[test]
    fn replicas_grow_and_fall_with_the_ratio() {
        assert_eq!(recommend(0.2, 0.1, &census(3, 0, 0), 3), 6);
        assert_eq!(recommend(0.05, 0.1, &census(3, 0, 0), 3), 2);
    }

    #[test]
    fn within_a_tenth_of_the_target_nothing_changes() {
        assert_eq!(recommend(0.87, 0.8, &census(10, 0, 0), 10), 10);
        assert_eq!(recommend(0.73, 0.8, &census(10, 0, 0), 10), 10);
        assert_eq!(recommend(0.89, 0.8, &census(10, 0, 0), 10), 12);
    }

    /// Three of four pods at 1.5 times the target, one that loads: 4.5 / 4 asks for five, not for six.
    #[test]
    fn pods_that_load_dampen_a_scale_up() {
        assert_eq!(recommend(1.2, 0.8, &census(3, 1, 0), 4), 5);
        assert_eq!(recommend(1.2, 0.8, &census(3, 0, 1), 4), 5);
        // With as many waiting as serve, the ratio falls below 1: nothing is done.
        assert_eq!(recommend(1.2, 0.8, &census(2, 2, 0), 4), 4);
        assert_eq!(recommend(1.2, 0.8, &census(2, 0, 2), 4), 4);
    }

    /// Two pods at half the target and two that load, taken as at the target: 3 of 4.
    #[test]
    fn pods_that_load_dampen_a_scale_down_and_pods_without_a_node_do_not() {
        assert_eq!(recommend(0.4, 0.8, &census(2, 2, 0), 4), 3);
        assert_eq!(recommend(0.4, 0.8, &census(2, 0, 2), 4), 1);
    }
}
