//! Quanta -> steps in safe order. Level-triggered: every plan starts from what is observed, so a crash between any two
//! steps is just another starting point.
//!
//! Nothing grows before what it needs is free: a GPU is free when the pod that held it is gone, and what is promised to
//! replicas without a node is not free for anyone else. In order: swaps that are under way, shrinking, new swaps, growing.

use super::decide::Decided;
use super::ground::{Ground, covers};
use super::ledger::Ledger;
use super::market::Market;
use super::starts::Starts;
use super::types::{AgentObserved, Hold, HoldReason, Plan, Pod, PodState, Quantum, Step};
use super::victims;
use crate::units::GpuResource;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A plan in the making.
pub(super) struct Planner<'a> {
    pub market: &'a Market<'a>,
    pub ground: &'a Ground<'a>,
    pub quanta: &'a [Option<Quantum>],
    pub ledger: Ledger<'a>,
    pub plan: Plan,
    /// Agents that are in a disruptive change, those of this plan included.
    disrupted: usize,
    /// Resources that an agent at zero replicas waits for: who is to leave them does not wait for the limit.
    urgent: BTreeSet<GpuResource>,
    /// A replica of several GPUs waits for its place: smaller ones of the same resource could spoil it.
    waits: Option<(GpuResource, u32)>,
    starts: Starts,
}

/// The steps that may be taken now.
pub(super) fn plan(market: &Market<'_>, decided: Decided, starts: Starts) -> Plan {
    let ground = market.ground;
    let agents = &ground.agents;
    let mut planner = Planner {
        market,
        ground,
        quanta: &decided.quanta,
        ledger: Ledger::open(market),
        plan: Plan {
            holds: decided.holds,
            memory_bound: decided.memory_bound,
            unmet: decided.unmet,
            ..Plan::default()
        },
        disrupted: (0..agents.len())
            .filter(|i| in_disruption(ground, *i))
            .count(),
        urgent: urgent(agents, &decided.quanta),
        waits: None,
        starts,
    };
    let required = victims::required(market, &decided.quanta);
    let rank = |i: usize| market.shape.agents[i].priority;
    let (mut shrinking, mut swapping, mut growing) = (Vec::new(), Vec::new(), Vec::new());
    for (i, agent) in agents.iter().enumerate() {
        if agent.frozen {
            continue;
        }
        if let Some(restore) = &agent.restore {
            planner.resume(i, restore);
            continue;
        }
        let Some(quantum) = &decided.quanta[i] else {
            continue;
        };
        if quantum.replicas < agent.replicas {
            shrinking.push((i, quantum));
        } else if quantum.replicas > 0 && !runs_on(agent, quantum) {
            swapping.push((i, quantum));
        } else if quantum.replicas > agent.replicas {
            growing.push((i, quantum));
        }
    }
    shrinking.sort_by_key(|(i, _)| (Reverse(rank(*i)), *i));
    for (i, quantum) in shrinking {
        planner.shrink(i, quantum, &required[i]);
    }
    swapping.sort_by_key(|(i, _)| (rank(*i), *i));
    planner.swap(swapping);
    growing.sort_by_key(|(i, quantum)| (Reverse(quantum.count), rank(*i), *i));
    for (i, quantum) in growing {
        planner.grow(i, quantum);
    }
    let mut plan = planner.plan;
    plan.quanta = decided.quanta;
    plan
}

/// What agents at zero replicas wait for, and what those who are to make room for them wait for in turn.
fn urgent(agents: &[AgentObserved], quanta: &[Option<Quantum>]) -> BTreeSet<GpuResource> {
    let mut urgent: BTreeSet<GpuResource> = agents
        .iter()
        .filter(|agent| agent.replicas == 0)
        .filter_map(|agent| GpuResource::parse(&agent.restore.as_ref()?.to).ok())
        .collect();
    loop {
        let before = urgent.len();
        for (agent, quantum) in agents.iter().zip(quanta) {
            if let Some(quantum) = quantum
                && urgent
                    .iter()
                    .any(|resource| agent.template.contains_key(resource))
            {
                urgent.insert(quantum.resource.clone());
            }
        }
        if urgent.len() == before {
            return urgent;
        }
    }
}

/// Whether the template asks for what the quantum needs.
pub(super) fn runs_on(agent: &AgentObserved, quantum: &Quantum) -> bool {
    let wanted = BTreeMap::from([(quantum.resource.clone(), quantum.count)]);
    covers(&agent.template, &wanted)
}

/// Whether the agent is in a change that takes something from it: a swap, pods of another template, or pods on their way out.
fn in_disruption(ground: &Ground<'_>, i: usize) -> bool {
    let agent = &ground.agents[i];
    let mut live = 0;
    let mut outdated = false;
    for pod in &agent.pods {
        if pod.state == PodState::Terminating {
            return true;
        }
        if ground.node_of(pod).is_some() {
            live += 1;
            outdated |= !covers(&pod.requests, &agent.template);
        }
    }
    agent.restore.is_some() || live > agent.replicas || (outdated && agent.rolling)
}

impl Planner<'_> {
    /// Says why a change of agent `i` is not made now.
    pub fn hold(&mut self, i: usize, reason: HoldReason, message: String) {
        self.wait(i, reason, &[], message);
    }

    /// The same, where it is not made before one of these resources is free.
    pub fn wait(
        &mut self,
        i: usize,
        reason: HoldReason,
        resources: &[&GpuResource],
        message: String,
    ) {
        self.plan.holds[i] = Some(Hold {
            reason,
            message,
            resources: resources.iter().copied().cloned().collect(),
        });
    }

    /// Whether agent `i` may begin a change that takes something from it; counts it when it may.
    pub fn may_disrupt(&mut self, i: usize, what: &str) -> bool {
        let leaves_urgent = self.ground.agents[i]
            .template
            .iter()
            .any(|(resource, count)| *count > 0 && self.urgent.contains(resource));
        if in_disruption(self.ground, i) || leaves_urgent {
            return true;
        }
        let most = self.market.shape.max_concurrent.max(1);
        if self.disrupted >= most as usize {
            let message =
                format!("{what}, when fewer than {most} agents are in a disruptive change");
            self.hold(i, HoldReason::DisruptionLimit, message);
            return false;
        }
        self.disrupted += 1;
        true
    }

    fn shrink(&mut self, i: usize, quantum: &Quantum, required: &BTreeMap<usize, u64>) {
        let agent = &self.ground.agents[i];
        let what = format!("{} -> {} replicas", agent.replicas, quantum.replicas);
        self.plan.unfinished = true;
        if agent.rolling {
            let message = format!("{what}, when its own rollout has finished");
            return self.hold(i, HoldReason::WaitingForRollout, message);
        }
        let victims = victims::pick(self.ground, i, quantum.replicas, required);
        let cut: Vec<&Pod> = agent
            .pods
            .iter()
            .filter(|pod| victims.contains(&pod.name))
            .collect();
        if let Some(before) = self.starts.beside(self.ground, &cut) {
            let message = format!(
                "{what}, when {before}: an engine that starts measures the free memory of the whole GPU"
            );
            return self.hold(i, HoldReason::WaitingForStart, message);
        }
        if !self.ledger.may_leave(i, quantum.replicas) {
            let message = format!(
                "{what}, when copies that are on their way have a node: one could land here and not fit"
            );
            return self.hold(i, HoldReason::WaitingForCapacity, message);
        }
        let cuts_running = cut.iter().any(|pod| self.ground.node_of(pod).is_some());
        if cuts_running && !self.may_disrupt(i, &what) {
            return;
        }
        if cuts_running {
            self.starts.end(&self.market.shape.agents[i].name);
        }
        self.plan.steps.push(Step::Scale {
            agent: i,
            from: agent.replicas,
            to: quantum.replicas,
            victims,
        });
    }

    fn grow(&mut self, i: usize, quantum: &Quantum) {
        let agent = &self.ground.agents[i];
        let what = format!("{} -> {} replicas", agent.replicas, quantum.replicas);
        if agent.rolling {
            self.plan.unfinished = true;
            let message = format!("{what}, when its own rollout has finished");
            return self.hold(i, HoldReason::WaitingForRollout, message);
        }
        if let Some(pod) = agent.pods.iter().find(|pod| pod.unschedulable) {
            // Whatever keeps it out (CPU, memory, affinity, a taint) would keep out the next one, too.
            self.plan.unfinished = true;
            let message = format!("{what}, when pod {} finds a node", pod.name);
            return self.hold(i, HoldReason::WaitingForCapacity, message);
        }
        let wanted = u64::from(quantum.replicas - agent.replicas);
        let behind = self
            .waits
            .as_ref()
            .is_some_and(|(resource, size)| *resource == quantum.resource && *size > quantum.count);
        let startable = self.starts.most(wanted);
        let places = if behind {
            0
        } else {
            self.ledger
                .take(i, &quantum.resource, quantum.count, startable)
        };
        if places > 0 {
            self.starts.begin(&self.market.shape.agents[i].name);
            self.plan.steps.push(Step::Scale {
                agent: i,
                from: agent.replicas,
                to: agent
                    .replicas
                    .saturating_add(u32::try_from(places).unwrap_or(0)),
                victims: Vec::new(),
            });
        }
        if places == startable
            && places < wanted
            && let Some(before) = self.starts.before()
        {
            self.plan.unfinished = true;
            let message = format!(
                "{what}, one at a time, the next when {before}: an engine that starts measures the free memory of the whole GPU"
            );
            self.hold(i, HoldReason::WaitingForStart, message);
        } else if places < wanted {
            self.plan.unfinished = true;
            if quantum.count > 1 && self.waits.is_none() {
                self.waits = Some((quantum.resource.clone(), quantum.count));
            }
            let message = format!(
                "{what} of {} {} each: room for {places} more now",
                quantum.count, quantum.resource
            );
            let reason = HoldReason::WaitingForCapacity;
            self.wait(i, reason, &[&quantum.resource], message);
        }
    }
}
