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
            return self.hold(i, HoldReason::WaitingForCapacity, message);
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
        for (resource, replicas) in choices {
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
        self.hold(i, HoldReason::WaitingForCapacity, message);
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
