//! Quanta -> steps in safe order. Level-triggered: every plan starts from what is observed, so a crash between any two
//! steps is just another starting point.
//!
//! Nothing grows before what it needs is free: a GPU is free when the pod that held it is gone, and what is promised to
//! replicas without a node is not free for anyone else.

use super::decide::Decided;
use super::fit;
use super::ground::Ground;
use super::market::Market;
use super::types::{Hold, HoldReason, Plan, PodState, Quantum, Step};
use super::victims;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// What is free now, and what is promised, per resource; growing takes from it.
pub(super) struct Ledger<'a> {
    ground: &'a Ground<'a>,
    promises: BTreeMap<GpuResource, BTreeMap<u32, u64>>,
}

impl<'a> Ledger<'a> {
    fn open(ground: &'a Ground<'a>) -> Self {
        Self {
            ground,
            promises: BTreeMap::new(),
        }
    }

    fn promised(&mut self, resource: &GpuResource) -> &mut BTreeMap<u32, u64> {
        self.promises
            .entry(resource.clone())
            .or_insert_with(|| self.ground.promises(resource))
    }

    /// Takes places for up to `count` replicas that are sure to be scheduled; returns for how many.
    fn take(&mut self, resource: &GpuResource, size: u32, count: u64) -> u64 {
        let spots = self.ground.spots(resource);
        let promises = self.promised(resource);
        let places = fit::most(&spots, promises, size, count);
        if places > 0 {
            *promises.entry(size).or_insert(0) += places;
        }
        places
    }
}

/// The steps that may be taken now.
pub(super) fn plan(market: &Market<'_>, decided: Decided) -> Plan {
    let ground = market.ground;
    let mut plan = Plan {
        steps: Vec::new(),
        holds: decided.holds,
        memory_bound: decided.memory_bound,
        unmet: decided.unmet,
        quanta: Vec::new(),
        unfinished: false,
    };
    let required = victims::required(market, &decided.quanta);
    let mut ledger = Ledger::open(ground);
    let mut disrupted = ground
        .agents
        .iter()
        .enumerate()
        .filter(|(i, _)| in_disruption(ground, *i))
        .count();
    let (mut shrinking, mut growing) = (Vec::new(), Vec::new());
    for (i, quantum) in decided.quanta.iter().enumerate() {
        let agent = &ground.agents[i];
        let Some(quantum) = quantum.as_ref().filter(|_| !agent.frozen) else {
            continue;
        };
        if !runs_on(ground, i, quantum) {
            continue;
        }
        if quantum.replicas != agent.replicas && agent.rolling {
            plan.unfinished = true;
            plan.holds[i] = Some(Hold {
                reason: HoldReason::WaitingForRollout,
                message: format!(
                    "{} -> {} replicas, when its own rollout has finished",
                    agent.replicas, quantum.replicas
                ),
            });
        } else if quantum.replicas < agent.replicas {
            shrinking.push((i, quantum));
        } else if quantum.replicas > agent.replicas {
            growing.push((i, quantum));
        }
    }
    let rank = |i: usize| market.shape.agents[i].priority;
    shrinking.sort_by_key(|(i, _)| (std::cmp::Reverse(rank(*i)), *i));
    for (i, quantum) in shrinking {
        shrink(market, i, quantum, &required[i], &mut disrupted, &mut plan);
    }
    growing.sort_by_key(|(i, quantum)| (std::cmp::Reverse(quantum.count), rank(*i), *i));
    let mut waits: Option<(GpuResource, u32)> = None;
    for (i, quantum) in growing {
        grow(market, i, quantum, &mut ledger, &mut waits, &mut plan);
    }
    plan.quanta = decided.quanta;
    plan
}

/// Whether the template asks for what the quantum needs.
fn runs_on(ground: &Ground<'_>, i: usize, quantum: &Quantum) -> bool {
    let wanted = BTreeMap::from([(quantum.resource.clone(), quantum.count)]);
    super::ground::covers(&ground.agents[i].template, &wanted)
}

/// Whether the agent is in a change that takes something from it: a swap, pods of another template, or pods on their way out.
fn in_disruption(ground: &Ground<'_>, i: usize) -> bool {
    let agent = &ground.agents[i];
    let live = agent
        .pods
        .iter()
        .filter(|pod| pod.state != PodState::Terminating && ground.node_of(pod).is_some());
    agent.restore.is_some()
        || agent
            .pods
            .iter()
            .any(|pod| pod.state == PodState::Terminating)
        || live.count() > agent.replicas as usize
}

fn shrink(
    market: &Market<'_>,
    i: usize,
    quantum: &Quantum,
    required: &BTreeMap<usize, u64>,
    disrupted: &mut usize,
    plan: &mut Plan,
) {
    let ground = market.ground;
    let agent = &ground.agents[i];
    let victims = victims::pick(ground, i, quantum.replicas, required);
    let cuts_running = agent
        .pods
        .iter()
        .any(|pod| victims.contains(&pod.name) && ground.node_of(pod).is_some());
    plan.unfinished = true;
    if cuts_running && !in_disruption(ground, i) {
        let most = market.shape.max_concurrent.max(1);
        if *disrupted >= most as usize {
            plan.holds[i] = Some(Hold {
                reason: HoldReason::DisruptionLimit,
                message: format!(
                    "{} -> {} replicas, when fewer than {most} agents are being disrupted",
                    agent.replicas, quantum.replicas
                ),
            });
            return;
        }
        *disrupted += 1;
    }
    plan.steps.push(Step::Scale {
        agent: i,
        from: agent.replicas,
        to: quantum.replicas,
        victims,
    });
}

fn grow(
    market: &Market<'_>,
    i: usize,
    quantum: &Quantum,
    ledger: &mut Ledger<'_>,
    waits: &mut Option<(GpuResource, u32)>,
    plan: &mut Plan,
) {
    let agent = &market.ground.agents[i];
    let wanted = u64::from(quantum.replicas - agent.replicas);
    // A smaller replica could land where a larger one is about to find its place.
    let behind = waits
        .as_ref()
        .is_some_and(|(resource, size)| *resource == quantum.resource && *size > quantum.count);
    let places = if behind {
        0
    } else {
        ledger.take(&quantum.resource, quantum.count, wanted)
    };
    if places > 0 {
        let to = agent.replicas + u32::try_from(places).unwrap_or(0);
        plan.steps.push(Step::Scale {
            agent: i,
            from: agent.replicas,
            to,
            victims: Vec::new(),
        });
    }
    if places < wanted {
        plan.unfinished = true;
        if quantum.count > 1 {
            waits.get_or_insert((quantum.resource.clone(), quantum.count));
        }
        plan.holds[i] = Some(Hold {
            reason: HoldReason::WaitingForCapacity,
            message: format!(
                "{} -> {} replicas of {} {}: room for {places} more now",
                agent.replicas, quantum.replicas, quantum.count, quantum.resource
            ),
        });
    }
}
