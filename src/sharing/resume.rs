//! A swap by way of zero that was begun: completed when what it wants still is wanted or there, else undone. Where it stands is
//! read from the workload alone, so it does not matter who began it or where that one died.

use super::ground::covers;
use super::planner::{Planner, runs_on};
use super::types::{AgentObserved, HoldReason, Pod, PodState, Restore, Step};
use crate::units::GpuResource;
use std::collections::BTreeMap;

impl Planner<'_> {
    /// The next step of agent `i`'s swap.
    pub(super) fn resume(&mut self, i: usize, restore: &Restore) {
        let agent = &self.ground.agents[i];
        self.plan.unfinished = true;
        if agent.replicas > 0 {
            self.running(i, restore);
        } else if agent.pods.is_empty() {
            self.stopped(i, restore);
        } else {
            let message = format!(
                "{} pods of {} still hold their GPUs",
                agent.pods.len(),
                restore.from
            );
            self.hold(i, HoldReason::WaitingForRollout, message);
        }
    }

    /// Not stopped yet, stopped in vain, or up again.
    fn running(&mut self, i: usize, restore: &Restore) {
        let agent = &self.ground.agents[i];
        let wanted = self.quanta[i].as_ref();
        let begins = asks_for(agent, &restore.from)
            && self.market.shape.allow_downtime
            && wanted.is_some_and(|quantum| {
                quantum.replicas > 0
                    && quantum.resource.as_str() == restore.to
                    && !runs_on(agent, quantum)
            });
        let (Some(quantum), true) = (wanted, begins) else {
            // It is up on what it was to have, or on what it had: nothing is left to be put back.
            self.plan.steps.push(Step::Forget { agent: i });
            return;
        };
        if agent.rolling {
            let message = format!(
                "{} -> {}, when its own rollout has finished",
                restore.from, restore.to
            );
            return self.hold(i, HoldReason::WaitingForRollout, message);
        }
        let replicas = u64::from(agent.replicas);
        if self
            .ledger
            .take_all(i, &quantum.resource, quantum.count, replicas)
        {
            self.retarget(i, &quantum.resource, quantum.count);
        } else {
            self.plan.steps.push(Step::Scale {
                agent: i,
                from: agent.replicas,
                to: 0,
                victims: Vec::new(),
            });
        }
    }

    /// At zero, all pods gone: it gets what is decided, what it was to have, or what it had, whichever is there first.
    fn stopped(&mut self, i: usize, restore: &Restore) {
        let agent = &self.ground.agents[i];
        let decided = self.quanta[i]
            .clone()
            .filter(|quantum| quantum.replicas > 0);
        if self.quanta[i]
            .as_ref()
            .is_some_and(|quantum| quantum.replicas == 0)
        {
            // Meanwhile it was decided that it need not run.
            return self.plan.steps.push(Step::Forget { agent: i });
        }
        if let Some(quantum) = &decided
            && !runs_on(agent, quantum)
            && quantum.resource.as_str() == restore.to
        {
            // At zero replicas a template change starts nothing; its place may still have to be freed by others.
            return self.retarget(i, &quantum.resource, quantum.count);
        }
        let count = decided
            .as_ref()
            .map_or_else(|| self.market.count(i), |q| q.count);
        let wanted = GpuResource::parse(&restore.to).ok().zip(decided.as_ref());
        if let Some((to, quantum)) = wanted
            && quantum.resource == to
            && self.ledger.unpromised(&to) < u64::from(count)
            && self.comes_free(i, &to)
        {
            // What it had must stay free for the agent that is to make room.
            let message = format!("stopped until {to} is free, which others are to leave");
            return self.wait(i, HoldReason::WaitingForCapacity, &[&to], message);
        }
        let mut choices: Vec<(GpuResource, u32)> = Vec::new();
        if let Some(quantum) = &decided {
            choices.push((quantum.resource.clone(), quantum.replicas));
        }
        for (resource, replicas) in [
            (&restore.to, restore.to_replicas),
            (&restore.from, restore.replicas),
        ] {
            choices.extend(
                GpuResource::parse(resource)
                    .ok()
                    .map(|r| (r, replicas.max(1))),
            );
        }
        for (resource, replicas) in &choices {
            let (resource, replicas) = (resource.clone(), *replicas);
            let template = BTreeMap::from([(resource.clone(), count)]);
            let places = self.ledger.take(i, &resource, count, u64::from(replicas));
            if places == 0 {
                continue;
            }
            if covers(&agent.template, &template) {
                let to = u32::try_from(places).unwrap_or(u32::MAX);
                self.plan.steps.push(Step::Scale {
                    agent: i,
                    from: 0,
                    to,
                    victims: Vec::new(),
                });
            } else {
                self.retarget(i, &resource, count);
            }
            return;
        }
        let message = format!(
            "stopped between {} and {}: neither is free now",
            restore.from, restore.to
        );
        let mut resources: Vec<&GpuResource> = choices.iter().map(|(r, _)| r).collect();
        resources.sort();
        resources.dedup();
        self.wait(i, HoldReason::WaitingForCapacity, &resources, message);
    }

    /// Whether another agent is to give up some of `resource`, or pods that hold it are on their way out.
    fn comes_free(&self, i: usize, resource: &GpuResource) -> bool {
        self.ground.agents.iter().enumerate().any(|(j, agent)| {
            let holds = |pod: &&Pod| pod.node.is_some() && pod.requests.contains_key(resource);
            let pods: Vec<&Pod> = agent.pods.iter().filter(holds).collect();
            let leaving = pods.iter().any(|pod| pod.state == PodState::Terminating);
            let outdated =
                agent.rolling && pods.iter().any(|p| !covers(&p.requests, &agent.template));
            let to_leave = !agent.frozen
                && !agent.rolling
                && self.quanta[j].as_ref().is_some_and(|quantum| {
                    quantum.resource != *resource || quantum.replicas < agent.replicas
                });
            j != i && (leaving || outdated || (!pods.is_empty() && to_leave))
        })
    }
}

/// Whether the template asks for this resource and no other.
fn asks_for(agent: &AgentObserved, resource: &str) -> bool {
    super::swap::sole(agent).is_some_and(|sole| sole.as_str() == resource)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::model::{Cluster, Dice, run};
    use super::super::*;
    use crate::units::Priority;

    /// Agent a is to have the 4g and b the 3g; b has been stopped for that, and its pod is on its way out.
    fn between() -> (Cluster, PoolShape) {
        let agents = [("a", Priority::High), ("b", Priority::Low)];
        let agents = agents.map(|(name, rank)| with_memory(agent(name, rank, 1, 1, 1), 9000));
        let mut shape = pool(Strategy::Mig, agents.to_vec());
        (shape.allow_downtime, shape.max_concurrent) = (true, 1);
        let nodes = vec![a100("m", &[("4g.40gb", 1)]), a100("n", &[("3g.40gb", 1)])];
        let agents = vec![
            running(&mig("3g.40gb"), 1, &["n"]),
            running(&mig("4g.40gb"), 1, &["m"]),
        ];
        let mut cluster = Cluster::new(nodes, agents);
        while cluster.workloads[1].replicas > 0 {
            let plan = planned(&shape, &cluster.observed(), &[518, 388]);
            for step in &plan.steps {
                cluster.apply(step);
            }
        }
        assert!(cluster.turn(&mut Dice::new(0)), "its pod is deleted");
        (cluster, shape)
    }

    #[test]
    fn an_agent_whose_pods_are_on_a_node_that_does_not_answer_comes_up_on_another() {
        for seed in 0..40 {
            let (mut cluster, shape) = between();
            cluster.lose("m");
            cluster.nodes.push(a100("o", &[("4g.40gb", 1)]));
            let decision = [hungry(518), hungry(388)];
            run(&mut cluster, &shape, &decision, &mut Dice::new(seed), 2);
            let ready = [cluster.ready(0), cluster.ready(1)];
            assert_eq!(ready, [1, 1], "{seed}: {:?}", cluster.observed());
        }
    }

    #[test]
    fn an_agent_that_was_stopped_for_a_swap_comes_up_beside_a_pod_of_it_that_hangs() {
        let (mut cluster, shape) = between();
        cluster.nodes.push(a100("o", &[("3g.40gb", 1)]));
        let mut observed = cluster.observed();
        let planned = |observed: &Observed| planned(&shape, observed, &[518, 388]);
        let reason = |plan: &Plan| plan.holds[1].as_ref().map(|hold| hold.reason);
        assert_eq!(
            reason(&planned(&observed)),
            Some(HoldReason::WaitingForRollout)
        );
        observed.agents[1].pods[0].state = PodState::Stranded;
        let plan = planned(&observed);
        assert!(!plan.steps.is_empty(), "{:?}", plan.holds);
    }

    #[test]
    fn while_nothing_is_free_it_is_no_pod_that_it_waits_for() {
        let (mut cluster, shape) = between();
        let held = |cluster: &Cluster| {
            let plan = planned(&shape, &cluster.observed(), &[518, 388]);
            plan.holds[1].clone().map(|hold| hold.reason)
        };
        assert_eq!(held(&cluster), Some(HoldReason::WaitingForRollout));
        cluster.lose("m");
        assert_eq!(held(&cluster), Some(HoldReason::WaitingForCapacity));
    }
}
