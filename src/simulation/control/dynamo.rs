use super::pods;
use super::rule::{Refusal, Rule};
use super::{AgentSight, Controller, Sight, Wish};
use crate::sharing::PoolShape;
use crate::simulation::Scenario;

/// The load loop of NVIDIA Dynamo's planner for each agent, under its GlobalPlanner's ceiling of GPUs.
///
/// Every 5 s, by the thresholds of `optimization_target: throughput` (the default): one replica more when any of them is over-full
/// (requests that run or wait, in place of KV-cache tokens, above 100 % of those that run at once), one fewer when all of them are
/// below 60 % (`_agg_easy_decision`); nothing while replicas that were asked for are not ready. Each request goes to the GlobalPlanner:
/// it grants what stays within the ceiling, together with what other agents asked for the other way in the last 360 s, the smallest
/// first and the last one in part; anything else is denied and remembered. There is no priority. The ceiling is the pool's capacity.
/// Source: `components/src/dynamo/planner/core/load_scaling.py` and `global_planner/orchestrator.py` of ai-dynamo/dynamo (read August
/// 2026).
///
/// The knob is the upper threshold; the lower one is 0.6 of it.
#[derive(Debug, Clone)]
pub(super) struct Dynamo {
    target: f64,
    slots: Vec<f64>,
    shape: PoolShape,
    /// What each agent asked for last, and when.
    intents: Vec<Option<(u32, f64)>>,
}

/// The target without one: `_DECODE_THROUGHPUT_SCALE_UP`.
pub(super) const TARGET: f64 = 1.0;
/// `_DECODE_THROUGHPUT_SCALE_DOWN` over the upper threshold.
const LOWER: f64 = 0.6;
/// Time between two looks, in seconds.
const INTERVAL: f64 = 5.0;
/// `intent_cache_ttl_seconds`.
const REMEMBERED: f64 = 360.0;

impl Dynamo {
    /// # Errors
    /// Without pods with whole GPUs, or where a replica runs any number of requests at once.
    pub fn build(
        rule: &Rule,
        target: f64,
        scenario: &Scenario,
    ) -> Result<Box<dyn Controller>, Refusal> {
        let shape = pods::whole_gpus(rule, scenario)?;
        let slots = pods::slots(rule, scenario)?;
        Ok(Box::new(Self::new(target, slots, shape)))
    }

    fn new(target: f64, slots: Vec<f64>, shape: &PoolShape) -> Self {
        Self {
            target,
            slots,
            shape: shape.clone(),
            intents: vec![None; shape.agents.len()],
        }
    }

    /// What an agent's own planner asks for; `None`: nothing.
    fn asks(&self, i: usize, seen: &AgentSight) -> Option<u32> {
        let workers = seen.ready;
        if workers == 0 || workers != seen.replicas {
            return None;
        }
        // All are below a threshold where the fullest is.
        let full = seen.fullest / self.slots[i];
        let (min, max) = pods::bounds(&self.shape, i);
        let wanted = if full > self.target {
            workers.saturating_add(1).min(max)
        } else if full < self.target * LOWER {
            workers.saturating_sub(1).max(min)
        } else {
            workers
        };
        (wanted != workers).then_some(wanted)
    }

    /// Lets the GlobalPlanner decide on what one agent asks for; `replicas` are those of all agents.
    fn mediate(&mut self, now: f64, i: usize, wanted: u32, ceiling: u64, replicas: &mut [u32]) {
        self.intents[i] = Some((wanted, now));
        let grows = wanted > replicas[i];
        let mut after = replicas.to_vec();
        after[i] = wanted;
        let alone = after.clone();
        let mut paired = false;
        for (partner, asked) in self.partners(now, i, grows, replicas) {
            let before = after[partner];
            after[partner] = asked;
            let total = self.gpus(&after);
            if total <= ceiling || grows {
                paired = true;
                continue;
            }
            // It grows too far: in part, and no other.
            after[partner] = before;
            let room = ceiling.saturating_sub(self.gpus(&after)) / self.size(partner);
            let part = asked.min(before.saturating_add(u32::try_from(room).unwrap_or(u32::MAX)));
            paired |= part > before;
            after[partner] = part;
            break;
        }
        if paired && self.gpus(&after) <= ceiling {
            replicas.copy_from_slice(&after);
        } else if self.gpus(&alone) <= ceiling {
            replicas.copy_from_slice(&alone);
        }
    }

    /// Who asked for the opposite and has not got it, the smallest change first.
    fn partners(&self, now: f64, i: usize, grows: bool, replicas: &[u32]) -> Vec<(usize, u32)> {
        let fresh = |j: usize| {
            let (asked, at) = self.intents[j].filter(|(_, at)| now - at <= REMEMBERED)?;
            let opposite = if grows {
                asked < replicas[j]
            } else {
                asked > replicas[j]
            };
            (j != i && opposite && at <= now).then_some((j, asked))
        };
        let mut partners: Vec<(usize, u32)> = (0..replicas.len()).filter_map(fresh).collect();
        partners.sort_by_key(|&(j, asked)| u64::from(asked.abs_diff(replicas[j])) * self.size(j));
        partners
    }

    fn size(&self, i: usize) -> u64 {
        u64::from(self.shape.agents[i].gpus_per_replica.max(1))
    }

    fn gpus(&self, replicas: &[u32]) -> u64 {
        let gpus = replicas.iter().enumerate();
        gpus.map(|(i, n)| u64::from(*n) * self.size(i)).sum()
    }
}

impl Controller for Dynamo {
    fn interval(&self) -> f64 {
        INTERVAL
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let mut replicas: Vec<u32> = sight.agents.iter().map(|seen| seen.replicas).collect();
        let ceiling = sight.capacity.0 / 1000;
        for (i, seen) in sight.agents.iter().enumerate() {
            if let Some(wanted) = self.asks(i, seen) {
                self.mediate(sight.now, i, wanted, ceiling, &mut replicas);
            }
        }
        *wish = Wish::Replicas(replicas);
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::super::rule::tests::{shape, sight};
    use super::*;

    /// Requests that are evenly spread over the ready replicas.
    fn seen(replicas: u32, ready: u32, requests: f64) -> AgentSight {
        AgentSight {
            replicas,
            ready,
            running: requests,
            fullest: requests / f64::from(ready),
            ..AgentSight::default()
        }
    }

    fn dynamo(agents: &[(u32, u32, u32)]) -> Dynamo {
        Dynamo::new(TARGET, vec![10.0; agents.len()], &shape(agents))
    }

    fn ask(dynamo: &mut Dynamo, now: f64, seen: &[AgentSight]) -> Vec<u32> {
        let mut wish = Wish::Nothing;
        dynamo.decide(&sight(now, 8, seen), &mut wish);
        match wish {
            Wish::Replicas(replicas) => replicas,
            other => panic!("replicas, not {other:?}"),
        }
    }

    #[test]
    fn one_more_when_over_full_one_fewer_below_sixty_percent_and_nothing_while_a_pod_comes() {
        let mut dynamo = dynamo(&[(1, 8, 1)]);
        assert_eq!(ask(&mut dynamo, 0.0, &[seen(2, 2, 21.0)]), [3]);
        assert_eq!(ask(&mut dynamo, 5.0, &[seen(3, 2, 40.0)]), [3]);
        assert_eq!(ask(&mut dynamo, 10.0, &[seen(3, 3, 18.0)]), [3]);
        assert_eq!(ask(&mut dynamo, 15.0, &[seen(3, 3, 17.0)]), [2]);
        assert_eq!(ask(&mut dynamo, 20.0, &[seen(1, 1, 0.0)]), [1]);
    }

    /// Four replicas of ten requests each hold 20: half full in the mean, whoever has them.
    #[test]
    fn one_replica_that_is_over_full_asks_for_one_more_and_one_that_is_not_empty_keeps_all() {
        let mut dynamo = dynamo(&[(1, 8, 1)]);
        let mut fullest = |now: f64, fullest: f64| {
            let seen = AgentSight {
                fullest,
                ..seen(4, 4, 20.0)
            };
            ask(&mut dynamo, now, &[seen])
        };
        assert_eq!(fullest(0.0, 11.0), [5], "11, 3, 3 and 3");
        assert_eq!(fullest(5.0, 10.0), [4], "10, 4, 3 and 3");
        assert_eq!(fullest(10.0, 6.0), [4], "6, 6, 6 and 2");
        assert_eq!(fullest(15.0, 5.0), [3], "5 each");
    }

    #[test]
    fn what_exceeds_the_ceiling_is_denied_and_granted_when_another_gives_up() {
        let mut dynamo = dynamo(&[(1, 8, 1), (1, 8, 1)]);
        let full = [seen(4, 4, 80.0), seen(4, 4, 30.0)];
        assert_eq!(ask(&mut dynamo, 0.0, &full), [4, 4]);
        // The second gives one up 300 s later; the first, which asks for nothing any more, gets it.
        let calm = [seen(4, 4, 30.0), seen(4, 4, 10.0)];
        assert_eq!(ask(&mut dynamo, 300.0, &calm), [5, 3]);
    }

    #[test]
    fn a_denied_request_is_forgotten_after_360_seconds() {
        let mut dynamo = dynamo(&[(1, 8, 1), (1, 8, 1)]);
        ask(&mut dynamo, 0.0, &[seen(4, 4, 80.0), seen(4, 4, 30.0)]);
        let calm = [seen(4, 4, 30.0), seen(4, 4, 10.0)];
        assert_eq!(ask(&mut dynamo, 361.0, &calm), [4, 3]);
    }

    #[test]
    fn the_smallest_change_is_paired_first_and_the_last_one_in_part() {
        let mut dynamo = dynamo(&[(0, 9, 1), (0, 9, 1), (0, 9, 1)]);
        dynamo.intents = vec![Some((6, 0.0)), Some((2, 0.0)), None];
        let mut replicas = [2, 1, 5];
        // 8 GPUs are used; the third gives three back: one more for the second, and two of four more for the first.
        dynamo.mediate(1.0, 2, 2, 8, &mut replicas);
        assert_eq!(replicas, [4, 2, 2]);
    }

    #[test]
    fn a_replica_too_large_for_what_is_given_up_stays_denied() {
        let mut dynamo = dynamo(&[(0, 9, 4), (0, 9, 1)]);
        dynamo.intents = vec![Some((2, 0.0)), None];
        let mut replicas = [1, 4];
        dynamo.mediate(1.0, 1, 3, 8, &mut replicas);
        assert_eq!(replicas, [1, 3]);
    }
}
