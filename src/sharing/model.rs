//! A small model of a cluster for tests: nodes, a scheduler, and the Deployment and StatefulSet controllers, moved in any order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// A deterministic source of choices (xorshift64*).
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below.max(1)
    }
}

#[derive(Clone)]
pub(super) struct ModelPod {
    pub pod: Pod,
    owner: usize,
    revision: usize,
    ordinal: u32,
}

#[derive(Clone)]
pub(super) struct Workload {
    pub replicas: u32,
    pub template: BTreeMap<GpuResource, u32>,
    pub rollout: Rollout,
    pub restore: Option<Restore>,
    pub frozen: bool,
    pub template_locked: bool,
    revision: usize,
    revisions: Vec<BTreeMap<GpuResource, u32>>,
    victims: Vec<String>,
    made: u32,
}

/// The cluster. Every change of state is one `turn`, so that any interleaving can be had.
#[derive(Clone)]
pub(super) struct Cluster {
    pub nodes: Vec<Node>,
    pub workloads: Vec<Workload>,
    pub pods: Vec<ModelPod>,
    /// Nodes that do not answer: nothing starts there, and nothing ends.
    dark: Vec<String>,
    /// Pods for which the scheduler found no node, as `owner: requests`.
    pub unschedulable: Vec<String>,
    /// Pods that were created, for counting restarts.
    pub created: usize,
}

impl Cluster {
    pub fn new(nodes: Vec<Node>, agents: Vec<AgentObserved>) -> Self {
        let mut cluster = Self {
            nodes,
            workloads: Vec::new(),
            pods: Vec::new(),
            dark: Vec::new(),
            unschedulable: Vec::new(),
            created: 0,
        };
        for (owner, agent) in agents.into_iter().enumerate() {
            for (ordinal, mut pod) in agent.pods.into_iter().enumerate() {
                pod.name = format!("w{owner}-{ordinal}");
                cluster.pods.push(ModelPod {
                    pod,
                    owner,
                    revision: 0,
                    ordinal: ordinal as u32,
                });
            }
            cluster.workloads.push(Workload {
                replicas: agent.replicas,
                revisions: vec![agent.template.clone()],
                template: agent.template,
                rollout: agent.rollout,
                restore: agent.restore,
                frozen: agent.frozen,
                template_locked: agent.template_locked,
                revision: 0,
                victims: Vec::new(),
                made: 1000,
            });
        }
        cluster
    }

    /// What the operator sees.
    pub fn observed(&self) -> Observed {
        let agents = self
            .workloads
            .iter()
            .enumerate()
            .map(|(i, w)| AgentObserved {
                replicas: w.replicas,
                template: w.template.clone(),
                rollout: w.rollout,
                rolling: self.rolling(i),
                pods: self.of(i).map(|p| self.seen(p)).collect(),
                restore: w.restore.clone(),
                frozen: w.frozen,
                template_locked: w.template_locked,
            })
            .collect();
        super::fixtures::world(self.nodes.clone(), agents)
    }

    fn seen(&self, pod: &ModelPod) -> Pod {
        let mut pod = pod.pod.clone();
        if pod.state == PodState::Terminating && self.is_dark(&pod) {
            pod.state = PodState::Stranded;
        }
        pod
    }

    fn is_dark(&self, pod: &Pod) -> bool {
        pod.node.as_ref().is_some_and(|n| self.dark.contains(n))
    }

    /// A node stops to answer for good: its pods are deleted, and their objects stay.
    pub fn lose(&mut self, name: &str) {
        self.dark.push(name.to_owned());
        for node in self.nodes.iter_mut().filter(|node| node.name == name) {
            node.schedulable = false;
        }
        for p in &mut self.pods {
            if p.pod.node.as_deref() == Some(name) {
                p.pod.state = PodState::Terminating;
            }
        }
    }

    /// Ready pods of a workload.
    pub fn ready(&self, owner: usize) -> usize {
        let ready = |p: &&ModelPod| p.pod.state == PodState::Ready;
        self.of(owner).filter(ready).count()
    }

    fn of(&self, owner: usize) -> impl Iterator<Item = &ModelPod> {
        self.pods.iter().filter(move |p| p.owner == owner)
    }

    fn rolling(&self, owner: usize) -> bool {
        let current = self.workloads[owner].revision;
        self.of(owner).any(|p| p.revision != current)
    }

    /// The operator's write.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Remember { agent, restore } => {
                self.workloads[*agent].restore = Some(restore.clone());
            }
            Step::Forget { agent } => self.workloads[*agent].restore = None,
            Step::Scale {
                agent,
                from,
                to,
                victims,
            } => {
                let w = &mut self.workloads[*agent];
                assert_eq!(w.replicas, *from, "a scale from what was observed");
                w.replicas = *to;
                w.victims = victims.clone();
            }
            Step::Retarget {
                agent,
                remove,
                resource,
                count,
            } => {
                let w = &mut self.workloads[*agent];
                assert_eq!(w.template, *remove, "a retarget from what was observed");
                w.template = BTreeMap::from([(resource.clone(), *count)]);
                // A template that was there before gets its old ReplicaSet (or revision) back.
                let known = w.revisions.iter().position(|t| *t == w.template);
                w.revision = known.unwrap_or(w.revisions.len());
                if known.is_none() {
                    w.revisions.push(w.template.clone());
                }
            }
        }
    }

    /// Lets one thing happen, chosen by the dice; false when nothing can.
    pub fn turn(&mut self, dice: &mut Dice) -> bool {
        let mut turns: Vec<Turn> = Vec::new();
        for owner in 0..self.workloads.len() {
            turns.extend(self.control(owner));
        }
        for (at, p) in self.pods.iter().enumerate() {
            match p.pod.state {
                _ if self.is_dark(&p.pod) => {}
                PodState::Pending => turns.push(Turn::Schedule(at)),
                PodState::Loading => turns.push(Turn::Ready(at)),
                PodState::Terminating => turns.push(Turn::Gone(at)),
                PodState::Ready | PodState::Stranded | PodState::Lost => {}
            }
        }
        while !turns.is_empty() {
            let turn = turns.swap_remove(dice.roll(turns.len()));
            if self.take(turn, dice) {
                return true;
            }
        }
        false
    }

    fn take(&mut self, turn: Turn, dice: &mut Dice) -> bool {
        match turn {
            Turn::Create(owner, ordinal) => {
                let w = &mut self.workloads[owner];
                w.made += 1;
                self.created += 1;
                let name = format!("w{owner}-{}", ordinal.unwrap_or(w.made));
                self.pods.push(ModelPod {
                    pod: Pod {
                        name,
                        node: None,
                        requests: w.template.clone(),
                        state: PodState::Pending,
                        unschedulable: false,
                        load: None,
                    },
                    owner,
                    revision: w.revision,
                    ordinal: ordinal.unwrap_or(w.made),
                });
            }
            Turn::Delete(name) => {
                let at = self.pods.iter().position(|p| p.pod.name == name).unwrap();
                if self.pods[at].pod.node.is_none() {
                    self.pods.remove(at);
                } else {
                    self.pods[at].pod.state = PodState::Terminating;
                }
            }
            Turn::Schedule(at) => {
                let observed = self.observed();
                let asks = self.pods[at].pod.requests.clone();
                let fitting: Vec<String> = observed
                    .nodes
                    .iter()
                    .filter(|node| {
                        node.schedulable
                            && asks.iter().all(|(resource, count)| {
                                let of = |m: &BTreeMap<GpuResource, u32>| {
                                    m.get(resource).copied().unwrap_or(0)
                                };
                                of(&node.allocatable) >= of(&node.used) + count
                            })
                    })
                    .map(|node| node.name.clone())
                    .collect();
                if fitting.is_empty() {
                    let why = format!("agent {}: {asks:?}", self.pods[at].owner);
                    if !self.unschedulable.contains(&why) {
                        self.unschedulable.push(why);
                    }
                    return false;
                }
                let pod = &mut self.pods[at].pod;
                pod.node = Some(fitting[dice.roll(fitting.len())].clone());
                pod.state = PodState::Loading;
            }
            Turn::Ready(at) => {
                self.pods[at].pod.state = PodState::Ready;
                self.pods[at].pod.load = Some(dice.roll(10) as f64);
            }
            Turn::Gone(at) => {
                self.pods.remove(at);
            }
        }
        true
    }

    /// What the workload's controller would do next.
    fn control(&self, owner: usize) -> Vec<Turn> {
        let w = &self.workloads[owner];
        match w.rollout {
            Rollout::Ordered => self.stateful(owner),
            Rollout::Rolling | Rollout::Recreate => self.deployment(owner),
        }
    }

    fn deployment(&self, owner: usize) -> Vec<Turn> {
        let w = &self.workloads[owner];
        let wanted = w.replicas as usize;
        let live = |p: &&ModelPod| p.pod.state != PodState::Terminating;
        let ready = |p: &&ModelPod| p.pod.state == PodState::Ready;
        let pods: Vec<&ModelPod> = self.of(owner).filter(live).collect();
        let (new, old): (Vec<&ModelPod>, Vec<&ModelPod>) =
            pods.iter().copied().partition(|p| p.revision == w.revision);
        let mut turns = Vec::new();
        if new.len() > wanted {
            turns.push(Turn::Delete(self.first_to_go(&new, &w.victims)));
            return turns;
        }
        if w.rollout == Rollout::Recreate {
            let any_old = self.of(owner).any(|p| p.revision != w.revision);
            if let Some(p) = old.first() {
                turns.push(Turn::Delete(p.pod.name.clone()));
            } else if !any_old && new.len() < wanted {
                turns.push(Turn::Create(owner, None));
            }
            return turns;
        }
        let surge = if old.is_empty() {
            0
        } else {
            wanted.div_ceil(4)
        };
        let unavailable = wanted / 4;
        if new.len() < wanted && pods.len() < wanted + surge {
            turns.push(Turn::Create(owner, None));
        }
        // While rolling out, the total may be above what is wanted because it was scaled in.
        let able = pods.iter().copied().filter(ready_ref).count();
        for p in &old {
            let spare = able > wanted.saturating_sub(unavailable);
            if !ready(p) || spare || pods.len() > wanted + surge || wanted == 0 {
                turns.push(Turn::Delete(p.pod.name.clone()));
            }
        }
        turns
    }

    fn first_to_go(&self, pods: &[&ModelPod], victims: &[String]) -> String {
        let class = |p: &ModelPod| {
            let bound = p.pod.node.is_some();
            let ready = p.pod.state == PodState::Ready;
            (
                bound,
                ready,
                !victims.contains(&p.pod.name),
                p.pod.name.clone(),
            )
        };
        pods.iter()
            .map(|p| (class(p), p))
            .min_by_key(|(c, _)| c.clone())
            .unwrap()
            .1
            .pod
            .name
            .clone()
    }

    fn stateful(&self, owner: usize) -> Vec<Turn> {
        let w = &self.workloads[owner];
        let mut pods: Vec<&ModelPod> = self.of(owner).collect();
        pods.sort_by_key(|p| p.ordinal);
        // One thing at a time: whatever is terminating or not ready is waited for.
        let terminating = pods.iter().any(|p| p.pod.state == PodState::Terminating);
        if let Some(last) = pods.last().filter(|p| p.ordinal >= w.replicas) {
            return if terminating {
                Vec::new()
            } else {
                vec![Turn::Delete(last.pod.name.clone())]
            };
        }
        for ordinal in 0..w.replicas {
            match pods.iter().find(|p| p.ordinal == ordinal) {
                None => return vec![Turn::Create(owner, Some(ordinal))],
                Some(p) if p.pod.state != PodState::Ready => return Vec::new(),
                Some(_) => {}
            }
        }
        let outdated = pods.iter().rev().find(|p| p.revision != w.revision);
        outdated
            .map(|p| Turn::Delete(p.pod.name.clone()))
            .into_iter()
            .collect()
    }
}

fn ready_ref(p: &&ModelPod) -> bool {
    p.pod.state == PodState::Ready
}

enum Turn {
    Create(usize, Option<u32>),
    Delete(String),
    Schedule(usize),
    Ready(usize),
    Gone(usize),
}

/// How a run ended.
pub(super) struct Outcome {
    /// The last plan, which has no steps.
    pub plan: Plan,
    /// Whether some agent that ran was at zero replicas at some time.
    pub downtime: Vec<usize>,
}

/// Lets the operator and the cluster take turns in any order until nothing moves any more. The operator dies so many times between two of
/// its writes and forgets everything.
pub(super) fn run(
    cluster: &mut Cluster,
    shape: &PoolShape,
    decision: &[Allotment],
    dice: &mut Dice,
    crashes: usize,
) -> Outcome {
    match turns(cluster, shape, decision, dice, crashes, 4_000) {
        Some(outcome) => outcome,
        None => panic!("it never settles: {:?}", cluster.observed()),
    }
}

/// As [`run`], for at most so many turns; `None` when it has not settled by then.
pub(super) fn turns(
    cluster: &mut Cluster,
    shape: &PoolShape,
    decision: &[Allotment],
    dice: &mut Dice,
    crashes: usize,
    most: usize,
) -> Option<Outcome> {
    let mut crashes = crashes;
    let mut memory = Memory::default();
    let mut now = Duration::ZERO;
    let mut downtime = Vec::new();
    for _ in 0..most {
        for (i, w) in cluster.workloads.iter().enumerate() {
            if w.replicas == 0 && !downtime.contains(&i) {
                downtime.push(i);
            }
        }
        let operator = dice.roll(3) == 0;
        if !operator && cluster.turn(dice) {
            continue;
        }
        now += Duration::from_secs(1);
        let (plan, next) = plan(shape, &cluster.observed(), decision, &memory, now);
        memory = next;
        for step in &plan.steps {
            cluster.apply(step);
            if crashes > 0 && dice.roll(3) == 0 {
                crashes -= 1;
                memory = Memory::default();
                break;
            }
        }
        if plan.steps.is_empty() && !cluster.turn(dice) {
            return Some(Outcome { plan, downtime });
        }
    }
    None
}
