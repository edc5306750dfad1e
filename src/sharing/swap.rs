//! Another GPU resource for a running agent: directly when all its new replicas have a place beside the old ones, else by way
//! of zero replicas, when that is permitted.
//!
//! Directly needs a place for every new replica, because then no rollout strategy (surge, one by one, all at once) can be
//! stuck. By way of zero is safe against the old ReplicaSet retaking the instance: remember what to put back, scale to 0,
//! wait until the pods are gone, change the template, scale up, forget.

use super::flow::Flow;
use super::planner::Planner;
use super::types::{AgentObserved, HoldReason, PodState, Quantum, Restore, Step};
use crate::units::GpuResource;
use std::cmp::Reverse;

impl Planner<'_> {
    /// Begins or holds the swaps of agents whose template asks for another resource than decided.
    pub(super) fn swap(&mut self, swapping: Vec<(usize, &Quantum)>) {
        let mut blocked: Vec<(usize, &Quantum)> = Vec::new();
        for (i, quantum) in swapping {
            let agent = &self.ground.agents[i];
            let what = change(agent, quantum);
            // A template with two GPU resources is on no node: its rollout never finishes.
            if agent.rolling && sole(agent).is_some() && !self.wedged(i, quantum) {
                self.plan.unfinished = true;
                let message = format!("{what}, when its own rollout has finished");
                self.hold(i, HoldReason::WaitingForRollout, message);
                continue;
            }
            // Pods that have what is wanted already (a swap taken back) need no new place.
            let there = agent
                .pods
                .iter()
                .filter(|pod| pod.state != PodState::Terminating && pod.node.is_some())
                .filter(|pod| pod.requests.get(&quantum.resource) == Some(&quantum.count))
                .count() as u64;
            let needed = u64::from(agent.replicas).saturating_sub(there);
            let promised = self.ground.promised(i);
            let open = self
                .ledger
                .take_all(i, &quantum.resource, quantum.count, needed);
            if open {
                self.plan.unfinished = true;
                if agent.replicas == 0
                    || promised >= u64::from(agent.replicas)
                    || self.may_disrupt(i, &what)
                {
                    self.retarget(i, &quantum.resource, quantum.count);
                }
            } else {
                blocked.push((i, quantum));
            }
        }
        if !blocked.is_empty() {
            self.unblock(blocked);
        }
    }

    /// Whether the agent's rollout cannot finish by itself: replicas of the new template without a node.
    fn wedged(&self, i: usize, quantum: &Quantum) -> bool {
        let agent = &self.ground.agents[i];
        self.ground.promised(i) > 0
            && agent
                .pods
                .iter()
                .filter(|pod| pod.state != PodState::Terminating && pod.node.is_some())
                .all(|pod| pod.requests.get(&quantum.resource) == Some(&quantum.count))
    }

    /// Replaces the GPU resource of the agent's template.
    pub(super) fn retarget(&mut self, i: usize, resource: &GpuResource, count: u32) {
        self.plan.steps.push(Step::Retarget {
            agent: i,
            remove: self.ground.agents[i].template.clone(),
            resource: resource.clone(),
            count,
        });
    }

    /// Swaps for which there is no place now: those that will have one wait; of those that block each other in a circle the
    /// least important goes by way of zero.
    fn unblock(&mut self, blocked: Vec<(usize, &Quantum)>) {
        let flow = self.flow();
        let stuck = flow.blocked(&blocked, None);
        let (stuck, waiting): (Vec<_>, Vec<_>) =
            blocked.into_iter().partition(|(i, _)| stuck.contains(i));
        for (i, quantum) in &waiting {
            self.plan.unfinished = true;
            let free = self.ledger.unpromised(&quantum.resource);
            let message = format!(
                "{}: {free} of {} {} are free",
                change(&self.ground.agents[*i], quantum),
                self.units(*i, quantum.count),
                quantum.resource
            );
            let reason = HoldReason::WaitingForCapacity;
            self.wait(*i, reason, &[&quantum.resource], message);
        }
        if stuck.is_empty() {
            return;
        }
        let chosen = self.yields(&flow, &stuck);
        for (i, quantum) in &stuck {
            let agent = &self.ground.agents[*i];
            let what = change(agent, quantum);
            let free = self.ledger.unpromised(&quantum.resource);
            let needed = self.units(*i, quantum.count);
            let numbers = format!("{what}: {free} of {needed} {} are free", quantum.resource);
            if !self.market.shape.allow_downtime {
                let message = format!(
                    "{numbers}, and none will be; set disruption.allowDowntime to let the least important agent of the circle stop for a moment"
                );
                let reason = HoldReason::SwapNeedsDowntime;
                self.wait(*i, reason, &[&quantum.resource], message);
            } else if chosen == Some(*i) {
                self.plan.unfinished = true;
                if self.may_disrupt(*i, &what)
                    && let Some(from) = sole(agent)
                {
                    self.plan.steps.push(Step::Remember {
                        agent: *i,
                        restore: Restore {
                            replicas: agent.replicas,
                            from: from.as_str().to_owned(),
                            to: quantum.resource.as_str().to_owned(),
                            to_replicas: quantum.replicas,
                        },
                    });
                }
            } else {
                self.plan.unfinished |= chosen.is_some();
                let reason = HoldReason::WaitingForCapacity;
                self.wait(*i, reason, &[&quantum.resource], numbers);
            }
        }
    }

    /// The agent to stop for a moment: one whose stop lets its own swap end and as many others as possible; of those the
    /// least important.
    fn yields(&self, flow: &Flow, stuck: &[(usize, &Quantum)]) -> Option<usize> {
        stuck
            .iter()
            .map(|(i, _)| *i)
            .filter(|i| sole(&self.ground.agents[*i]).is_some() && !self.ground.agents[*i].rolling)
            .filter_map(|i| {
                let rest = flow.blocked(stuck, Some(i));
                (!rest.contains(&i)).then_some((rest.len(), i))
            })
            .min_by_key(|(rest, i)| {
                let priority = self.market.shape.agents[*i].priority;
                (*rest, Reverse(priority), Reverse(*i))
            })
            .map(|(_, i)| i)
    }

    /// What agent `i` needs of a resource for all its replicas at `count` each.
    fn units(&self, i: usize, count: u32) -> u64 {
        u64::from(self.ground.agents[i].replicas) * u64::from(count)
    }

    /// What will be free once what is under way, this plan's steps included, has happened.
    fn flow(&mut self) -> Flow {
        let units = &self.market.units;
        let free: Vec<(GpuResource, u64)> = units
            .iter()
            .map(|unit| {
                let unpromised = self.ledger.unpromised(&unit.resource);
                (unit.resource.clone(), unpromised)
            })
            .collect();
        let mut flow = Flow::new(self.ground, free);
        for step in &self.plan.steps {
            match step {
                Step::Retarget { agent, .. } => {
                    flow.give(*agent, self.ground.agents[*agent].replicas);
                }
                Step::Scale {
                    agent, from, to, ..
                } => flow.give(*agent, from.saturating_sub(*to)),
                Step::Remember { .. } | Step::Forget { .. } => {}
            }
        }
        flow
    }
}

/// The one GPU resource of the template, when it is one.
pub(super) fn sole(agent: &AgentObserved) -> Option<&GpuResource> {
    let mut asked = agent.template.iter().filter(|(_, count)| **count > 0);
    let (resource, _) = asked.next()?;
    asked.next().is_none().then_some(resource)
}

fn change(agent: &AgentObserved, quantum: &Quantum) -> String {
    let from = sole(agent).map_or("no one GPU resource", GpuResource::as_str);
    format!(
        "{from} -> {} on {} replicas",
        quantum.resource, agent.replicas
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::model::{Cluster, Dice, run};
    use super::super::*;
    use crate::units::Priority;

    fn pair(max: u32) -> PoolShape {
        let agents = vec![
            with_memory(agent("a", Priority::High, 1, max, 1), 9000),
            with_memory(agent("b", Priority::Low, 1, max, 1), 9000),
        ];
        pool(Strategy::Mig, agents)
    }

    fn resource(cluster: &Cluster, i: usize) -> String {
        let names: Vec<String> = cluster.workloads[i]
            .template
            .keys()
            .map(|r| r.mig_profile().unwrap().to_owned())
            .collect();
        names.join("+")
    }

    #[test]
    fn a_share_grows_into_a_spare_instance_with_one_step() {
        let observed = world(
            vec![a100("n", &[("1g.10gb", 2), ("3g.40gb", 1)])],
            vec![
                running(&mig("1g.10gb"), 1, &["n"]),
                running(&mig("1g.10gb"), 1, &["n"]),
            ],
        );
        let plan = planned(&pair(1), &observed, &[388, 120]);
        let Step::Retarget {
            agent: 0,
            remove,
            resource,
            count: 1,
        } = &plan.steps[0]
        else {
            panic!("{:?}", plan.steps);
        };
        assert_eq!(remove.keys().collect::<Vec<_>>(), [&mig("1g.10gb")]);
        assert_eq!(*resource, mig("3g.40gb"));
        assert_eq!(plan.steps.len(), 1);
    }

    fn exchange(rollout: Rollout) -> Cluster {
        let with = |profile: &str| AgentObserved {
            rollout,
            ..running(&mig(profile), 1, &["n"])
        };
        Cluster::new(
            vec![a100("n", &[("3g.40gb", 1), ("4g.40gb", 1)])],
            vec![with("3g.40gb"), with("4g.40gb")],
        )
    }

    #[test]
    fn two_agents_without_a_spare_hold_when_downtime_is_not_permitted() {
        let mut cluster = exchange(Rollout::Rolling);
        let decision = [hungry(518), hungry(388)];
        let outcome = run(&mut cluster, &pair(1), &decision, &mut Dice::new(1), 0);
        for hold in &outcome.plan.holds {
            let hold = hold.as_ref().unwrap();
            assert_eq!(hold.reason, HoldReason::SwapNeedsDowntime);
            assert!(hold.message.contains("allowDowntime"), "{}", hold.message);
        }
        assert_eq!(outcome.downtime, Vec::<usize>::new());
        assert_eq!(cluster.created, 0);
    }

    #[test]
    fn with_downtime_permitted_only_the_less_important_of_two_stops_and_nothing_deadlocks() {
        for rollout in [Rollout::Rolling, Rollout::Recreate, Rollout::Ordered] {
            for (seed, most) in (0..60).map(|seed| (seed, 1 + seed as u32 % 2)) {
                let mut shape = pair(1);
                shape.allow_downtime = true;
                shape.max_concurrent = most;
                let mut cluster = exchange(rollout);
                let decision = [hungry(518), hungry(388)];
                let mut dice = Dice::new(seed);
                let outcome = run(
                    &mut cluster,
                    &shape,
                    &decision,
                    &mut dice,
                    seed as usize % 6,
                );
                assert_eq!(resource(&cluster, 0), "4g.40gb", "{rollout:?} {seed}");
                assert_eq!(resource(&cluster, 1), "3g.40gb", "{rollout:?} {seed}");
                assert_eq!(outcome.downtime, [1], "{rollout:?} {seed}");
                assert_eq!(cluster.unschedulable, Vec::<String>::new());
                assert_eq!(cluster.created, 2, "one new pod each: {rollout:?} {seed}");
                assert!(
                    cluster
                        .workloads
                        .iter()
                        .all(|w| w.restore.is_none() && w.replicas == 1)
                );
            }
        }
    }

    #[test]
    fn the_default_rolling_update_would_deadlock_if_the_template_were_just_changed() {
        // What the barrier is for: both templates changed at once leave both new pods without a node for ever.
        let mut cluster = exchange(Rollout::Rolling);
        let observed = cluster.observed();
        for (agent, to) in [(0, "4g.40gb"), (1, "3g.40gb")] {
            cluster.apply(&Step::Retarget {
                agent,
                remove: observed.agents[agent].template.clone(),
                resource: mig(to),
                count: 1,
            });
        }
        let mut dice = Dice::new(1);
        while cluster.turn(&mut dice) {}
        assert_eq!(
            cluster.unschedulable.len(),
            2,
            "{:?}",
            cluster.unschedulable
        );
    }
}
