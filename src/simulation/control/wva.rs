use super::behavior::{Behavior, SYNC, replicas_for, within_tolerance};
use super::pods;
use super::rule::{Refusal, Rule};
use super::wva_rescale::{Claim, rescale};
use super::{AgentSight, Controller, Sight, Wish};
use crate::sharing::PoolShape;
use crate::simulation::Scenario;
use std::collections::VecDeque;

/// The Workload Variant Autoscaler 0.9 of llm-d with its limiter and its rescale on (both are off by default), all agents under one
/// GPU budget.
///
/// Every 15 s: demand is the occupancy of the replicas and their queues at its highest in the last minute (`max_over_time[1m]`); in place
/// of KV-cache tokens it counts requests against 80 % of those that run at once in a replica. An agent wants more when demand / 0.85
/// exceeds its replicas, pending ones included, and fewer when demand / 0.70 is below them. Where all demands together exceed the
/// budget, GPUs are dealt out by [`rescale`] instead: reclaimed in whole replicas, and filled, the highest priority first, from what is
/// free in this cycle. What it wants is a gauge that a HorizontalPodAutoscaler with its defaults reads at its next look. Its weights are
/// 6, 3 and 2 for High, Medium and Low. Source: `internal/engines/pipeline/{greedy_score_optimizer,rescale}.go` of
/// llm-d-workload-variant-autoscaler v0.9.0. Simplified: without contention, agents are filled by priority and name, not by fair share.
///
/// The knob is the scale-up threshold; the scale-down boundary keeps its ratio to it.
#[derive(Debug, Clone)]
pub(super) struct Wva {
    target: f64,
    /// Requests that a replica is taken to hold.
    holds: Vec<f64>,
    shape: PoolShape,
    agents: Vec<Agent>,
}

#[derive(Debug, Clone, Default)]
struct Agent {
    /// Occupancy at the last looks.
    demands: VecDeque<f64>,
    /// `wva_desired_replicas`, once it is there.
    gauge: Option<u32>,
    behavior: Behavior,
}

/// The target without one: `scaleUpThreshold`.
pub(super) const TARGET: f64 = 0.85;
/// `scaleDownBoundary` over `scaleUpThreshold`.
const BOUNDARY: f64 = 0.70 / 0.85;
/// `kvCacheThreshold`: part of a replica that may be occupied.
const FULL: f64 = 0.80;
/// Looks in a minute.
const LOOKS: usize = 4;

impl Wva {
    /// # Errors
    /// Without pods with whole GPUs, or where a replica runs any number of requests at once.
    pub fn build(
        rule: &Rule,
        target: f64,
        scenario: &Scenario,
    ) -> Result<Box<dyn Controller>, Refusal> {
        let shape = pods::whole_gpus(rule, scenario)?;
        let slots = pods::slots(rule, scenario)?;
        Ok(Box::new(Self::new(target, &slots, shape)))
    }

    fn new(target: f64, slots: &[f64], shape: &PoolShape) -> Self {
        Self {
            target,
            holds: slots.iter().map(|slots| slots * FULL).collect(),
            shape: shape.clone(),
            agents: vec![Agent::default(); shape.agents.len()],
        }
    }

    /// What every agent should have by its own demand, before the budget: in replicas.
    fn alone(&self, i: usize, demand: f64, replicas: u32) -> u32 {
        let have = f64::from(replicas);
        let (min, max) = pods::bounds(&self.shape, i);
        let needed = demand / self.holds[i] / self.target;
        let spare = (have - demand / self.holds[i] / (self.target * BOUNDARY)).floor();
        let wanted = if needed > have {
            replicas_for(needed, 1.0)
        } else if spare > 0.0 {
            replicas - (spare as u32).min(replicas)
        } else {
            replicas
        };
        wanted.clamp(min, max)
    }

    /// What the gauge shows next, by agent.
    fn wanted(&self, seen: &[AgentSight], demands: &[f64], budget: u64) -> Vec<u32> {
        let gpus = |i: usize| u64::from(self.shape.agents[i].gpus_per_replica);
        let order = self.by_priority();
        let used: u64 = seen
            .iter()
            .enumerate()
            .map(|(i, s)| u64::from(s.replicas) * gpus(i))
            .sum();
        let mut free = budget.saturating_sub(used);
        let claim = |i: usize| {
            let shape = &self.shape.agents[i];
            let needed = u64::from(replicas_for(demands[i], self.holds[i])) * gpus(i);
            let floor = u64::from(shape.min_replicas) * gpus(i);
            let most = u64::from(shape.max_replicas) * gpus(i);
            let weight = shape.priority.weight() as f64 * demands[i];
            (
                needed,
                Claim {
                    weight,
                    floor,
                    cap: needed.min(most).max(floor),
                },
            )
        };
        let (needs, claims): (Vec<u64>, Vec<Claim>) = (0..seen.len()).map(claim).unzip();
        let contended = needs.iter().fold(0u64, |sum, n| sum.saturating_add(*n)) > budget;
        let targets = if contended {
            rescale(&claims, budget)
        } else {
            Vec::new()
        };
        let mut next: Vec<u32> = seen.iter().map(|s| s.replicas).collect();
        for i in order {
            let have = u64::from(next[i]) * gpus(i);
            let want = match targets.get(i) {
                Some(target) => *target,
                None => u64::from(self.alone(i, demands[i], next[i])) * gpus(i),
            };
            let shape = &self.shape.agents[i];
            if want < have {
                let shed = ((have - want) / gpus(i)) as u32;
                next[i] = (next[i] - shed).max(shape.min_replicas);
            } else {
                let more = (want - have).min(free) / gpus(i);
                free -= more * gpus(i);
                next[i] = next[i]
                    .saturating_add(more as u32)
                    .min(shape.max_replicas.max(next[i]));
            }
        }
        next
    }

    /// Agents, the most important first, then by name.
    fn by_priority(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.shape.agents.len()).collect();
        order.sort_by_key(|&i| (self.shape.agents[i].priority, i));
        order
    }
}

impl Controller for Wva {
    fn interval(&self) -> f64 {
        SYNC
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let mut replicas = Vec::with_capacity(sight.agents.len());
        let mut demands = Vec::with_capacity(sight.agents.len());
        for (i, (agent, seen)) in self.agents.iter_mut().zip(sight.agents).enumerate() {
            let recommended = recommend(agent.gauge, seen.replicas);
            let bounds = pods::bounds(&self.shape, i);
            let next = agent
                .behavior
                .follow(sight.now, seen.replicas, recommended, bounds);
            replicas.push(next);
            agent.demands.push_back(seen.running + seen.waiting);
            if agent.demands.len() > LOOKS {
                agent.demands.pop_front();
            }
            demands.push(agent.demands.iter().copied().fold(0.0, f64::max));
        }
        let wanted = self.wanted(sight.agents, &demands, sight.capacity.0 / 1000);
        for (agent, wanted) in self.agents.iter_mut().zip(wanted) {
            agent.gauge = Some(wanted);
        }
        *wish = Wish::Replicas(replicas);
    }
}

/// What the HorizontalPodAutoscaler makes of the gauge: an External metric with an AverageValue of 1.
fn recommend(gauge: Option<u32>, current: u32) -> u32 {
    let Some(gauge) = gauge else { return current };
    let ratio = f64::from(gauge) / f64::from(current);
    if within_tolerance(ratio) {
        current
    } else {
        gauge
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::{prioritised, sight};
    use super::*;
    use crate::units::Priority::{High, Low};

    fn seen(replicas: u32, running: f64, waiting: f64) -> AgentSight {
        AgentSight {
            replicas,
            ready: replicas,
            running,
            waiting,
            ..AgentSight::default()
        }
    }

    /// A replica holds 8 of 10 requests. 20 requests need 2.9 replicas at 0.85 and 3.6 at 0.70.
    #[test]
    fn without_contention_an_agent_follows_its_demand_between_two_thresholds() {
        let wva = Wva::new(TARGET, &[10.0], &prioritised(&[(High, 1, 8, 1)]));
        assert_eq!(wva.alone(0, 20.0, 1), 3);
        assert_eq!(wva.alone(0, 20.0, 3), 3);
        assert_eq!(wva.alone(0, 20.0, 4), 4);
        assert_eq!(wva.alone(0, 20.0, 6), 4);
        assert_eq!(wva.alone(0, 0.0, 6), 1);
        assert_eq!(wva.alone(0, 1e12, 6), 8);
    }

    /// The worked example of its proposal, with weights 6 and 2 for its 3 and 1: eight GPUs, all with the less important one.
    #[test]
    fn under_contention_it_reclaims_first_and_fills_when_gpus_are_free() {
        let shape = prioritised(&[(Low, 0, 8, 1), (High, 0, 8, 1)]);
        let wva = Wva::new(TARGET, &[10.0, 10.0], &shape);
        let demands = [64.0, 64.0];
        let full = [seen(8, 64.0, 0.0), seen(0, 0.0, 64.0)];
        assert_eq!(wva.wanted(&full, &demands, 8), [2, 0]);
        let freed = [seen(2, 64.0, 0.0), seen(0, 0.0, 64.0)];
        assert_eq!(wva.wanted(&freed, &demands, 8), [2, 6]);
    }

    /// Three models of four GPUs a replica on eight GPUs from nothing: targets 3, 3, 2, and nobody can ever start.
    #[test]
    fn targets_below_a_replica_strand_gpus() {
        let shape = prioritised(&[(High, 0, 8, 4), (High, 0, 8, 4), (High, 0, 8, 4)]);
        let wva = Wva::new(TARGET, &[10.0; 3], &shape);
        let none = [seen(0, 0.0, 80.0); 3];
        assert_eq!(wva.wanted(&none, &[80.0; 3], 8), [0, 0, 0]);
    }

    #[test]
    fn what_it_wants_comes_through_an_autoscaler_one_look_later() {
        let shape = prioritised(&[(High, 1, 8, 1)]);
        let mut wva = Wva::new(TARGET, &[10.0], &shape);
        let mut ask = |now: f64, replicas: u32, running: f64| {
            let mut wish = Wish::Nothing;
            wva.decide(&sight(now, 8, &[seen(replicas, running, 0.0)]), &mut wish);
            wish
        };
        assert_eq!(ask(0.0, 1, 20.0), Wish::Replicas(vec![1]));
        assert_eq!(ask(15.0, 1, 0.0), Wish::Replicas(vec![3]));
        // The peak counts for a minute, and a lower gauge for 300 s after that does not.
        for tick in 2..24u32 {
            assert_eq!(
                ask(f64::from(tick) * 15.0, 3, 0.0),
                Wish::Replicas(vec![3]),
                "{tick}"
            );
        }
        assert_eq!(ask(375.0, 3, 0.0), Wish::Replicas(vec![1]));
    }
}
