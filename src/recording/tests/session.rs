//! A small cluster in which plans are carried out, and the recording of what was decided for it.

use crate::allocation::Load;
use crate::api::AgentPool;
use crate::recording::{CHECKPOINT, Decision, Head, Inputs, Line, Memory, Pool, decide};
use crate::sharing::{AgentObserved, InstanceFacts, Node, Observed, Pod, PodState, Rollout, Step};
use crate::units::{GpuResource, Mebibytes};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the pool shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    TimeSlicing,
    Mig,
}

/// A recording, line by line.
#[derive(Debug, Clone)]
pub struct Session {
    pub lines: Vec<String>,
    pub steps: usize,
}

pub fn pool(kind: Kind) -> AgentPool {
    let policy = match kind {
        Kind::Mig => "Balanced",
        Kind::Whole | Kind::TimeSlicing => "WaterFilling",
    };
    let (sharing, gpus) = match kind {
        Kind::Whole => (json!({"type": "WholeGPU"}), json!(8)),
        Kind::TimeSlicing => (
            json!({"type": "TimeSlicing", "timeSlicing": {"slicesPerGpu": 10}}),
            json!(1),
        ),
        Kind::Mig => (json!({"type": "MIG"}), json!(2)),
    };
    let agent = |name: &str, rate: &str| {
        json!({
            "name": name, "priority": "Medium", "minShare": "100m", "replicas": {"min": 1, "max": 6},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "model": {"requestsPerSecondPerGpu": rate, "memoryPerReplica": "2Gi"},
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": "team", "namespace": "agents", "uid": "u", "generation": 3},
        "spec": {
            "mode": "Auto",
            "devices": [{"name": "a100", "gpus": gpus, "sharing": sharing}],
            "requests": {"takeOver": "Allowed"},
            "policy": {"type": policy, "interval": "1s", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 20}},
                       "disruption": {"maxConcurrent": 3, "allowDowntime": true}},
            "agents": [agent("vision", "10"), agent("coordinator", "12.5"), agent("nlp", "7.3")],
        },
    }))
    .unwrap()
}

pub fn nodes(kind: Kind) -> Vec<Node> {
    let mig = |profile: &str| GpuResource::parse(&format!("nvidia.com/mig-{profile}")).unwrap();
    let node = |name: &str, gpus: u32, allocatable: BTreeMap<GpuResource, u32>| Node {
        name: name.to_owned(),
        schedulable: true,
        allocatable,
        gpus,
        gpu_memory: Some(Mebibytes(81920)),
        ..Node::default()
    };
    match kind {
        Kind::Whole => ["n1", "n2"]
            .map(|n| node(n, 4, [(GpuResource::whole(), 4)].into()))
            .to_vec(),
        Kind::TimeSlicing => vec![node("n1", 1, [(GpuResource::shared(), 10)].into())],
        Kind::Mig => ["n1", "n2"]
            .map(|n| {
                let layout = [
                    ("1g.10gb", 2, 14, 9728),
                    ("2g.20gb", 1, 28, 19968),
                    ("3g.40gb", 1, 42, 40192),
                ];
                Node {
                    multiprocessors: Some(108),
                    instances: layout
                        .iter()
                        .map(|(p, _, sms, memory)| {
                            let facts = InstanceFacts {
                                multiprocessors: *sms,
                                memory: Mebibytes(*memory),
                            };
                            (mig(p), facts)
                        })
                        .collect(),
                    ..node(
                        n,
                        1,
                        layout
                            .iter()
                            .map(|(p, count, ..)| (mig(p), *count))
                            .collect(),
                    )
                }
            })
            .to_vec(),
    }
}

/// A cluster that does at once what it is told.
struct World {
    observed: Observed,
    made: u32,
}

impl World {
    fn new(kind: Kind) -> Self {
        let resource = match kind {
            Kind::Whole => GpuResource::whole(),
            Kind::TimeSlicing => GpuResource::shared(),
            Kind::Mig => GpuResource::parse("nvidia.com/mig-1g.10gb").unwrap(),
        };
        let agent = AgentObserved {
            replicas: 1,
            template: [(resource, 1)].into(),
            rollout: Rollout::Rolling,
            rolling: false,
            pods: Vec::new(),
            restore: None,
            frozen: false,
            template_locked: false,
        };
        let observed = Observed {
            nodes: nodes(kind),
            agents: vec![agent; 3],
            promised: BTreeMap::new(),
        };
        let mut world = Self { observed, made: 0 };
        world.settle();
        world
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Remember { agent, restore } => {
                self.observed.agents[*agent].restore = Some(restore.clone());
            }
            Step::Forget { agent } => self.observed.agents[*agent].restore = None,
            Step::Scale {
                agent, to, victims, ..
            } => {
                let agent = &mut self.observed.agents[*agent];
                agent.replicas = *to;
                agent.pods.sort_by_key(|pod| victims.contains(&pod.name));
                agent.pods.truncate(*to as usize);
            }
            Step::Retarget {
                agent,
                resource,
                count,
                ..
            } => {
                let agent = &mut self.observed.agents[*agent];
                agent.template = [(resource.clone(), *count)].into();
                agent.pods.clear();
            }
        }
    }

    /// Pods that are missing come, and run where there is room.
    fn settle(&mut self) {
        for i in 0..self.observed.agents.len() {
            while (self.observed.agents[i].pods.len() as u32) < self.observed.agents[i].replicas {
                self.made += 1;
                let pod = Pod {
                    name: format!("pod-{:05}", self.made),
                    node: None,
                    requests: self.observed.agents[i].template.clone(),
                    state: PodState::Pending,
                    unschedulable: false,
                    load: None,
                };
                self.observed.agents[i].pods.push(pod);
            }
            for p in 0..self.observed.agents[i].pods.len() {
                if self.observed.agents[i].pods[p].node.is_some() {
                    continue;
                }
                self.count();
                let requests = self.observed.agents[i].pods[p].requests.clone();
                let fits = |node: &&Node| {
                    requests.iter().all(|(r, n)| {
                        let used = node.used.get(r).copied().unwrap_or(0);
                        node.allocatable.get(r).is_some_and(|all| used + n <= *all)
                    })
                };
                if let Some(node) = self.observed.nodes.iter().find(fits) {
                    let pod = &mut self.observed.agents[i].pods[p];
                    (pod.node, pod.state) = (Some(node.name.clone()), PodState::Ready);
                }
            }
        }
        self.count();
    }

    fn count(&mut self) {
        for node in &mut self.observed.nodes {
            node.used.clear();
            for pod in self.observed.agents.iter().flat_map(|a| &a.pods) {
                if pod.node.as_ref() == Some(&node.name) {
                    for (resource, n) in &pod.requests {
                        *node.used.entry(resource.clone()).or_default() += n;
                    }
                }
            }
        }
    }
}

/// Numbers from 0 to 1 that look like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Session {
    /// So many decisions, one a second, under a load that moves from agent to agent.
    pub fn record(kind: Kind, seed: u64, decisions: u64) -> Self {
        let object = pool(kind);
        let pool = Pool::of(&object, false);
        let valid = pool.admit().unwrap();
        let wall = |second: u64| {
            jiff::Timestamp::from_second(1_767_225_600 + second as i64)
                .unwrap()
                .to_string()
        };
        let mut lines = vec![
            Line::Head(Head::new("1.2.3", wall(0))).write().unwrap(),
            Line::Pool(Box::new(pool)).write().unwrap(),
        ];
        let (mut world, mut memory) = (World::new(kind), Memory::default());
        let (mut chance, mut steps) = (Chance(seed), 0);
        for number in 0..decisions {
            for pod in world.observed.agents.iter_mut().flat_map(|a| &mut a.pods) {
                pod.load = (chance.next() < 0.9).then(|| chance.next() * 10.0);
            }
            let busy = (number / 50) as usize % 3;
            let load = |(i, x): (usize, f64)| match x {
                x if x < 0.01 => Load::Unknown,
                x => Load::Measured {
                    arrivals_per_second: if i == busy { 30.0 } else { 2.0 } * x,
                    backlog: if i == busy { 20.0 } else { 0.5 } * x,
                },
            };
            let drawn = [0, 1, 2].map(|i| (i, chance.next()));
            let inputs = Inputs {
                now: Duration::from_nanos(number * 1_000_000_007),
                lag: Duration::from_secs(30),
                drain: Duration::from_secs(30),
                loads: drawn.map(load).to_vec(),
                raised: drawn.map(|(_, x)| x < 0.005).to_vec(),
                observed: world.observed.clone(),
            };
            let (output, after) = decide(&valid, &inputs, &memory);
            for step in &output.plan.steps {
                world.apply(step);
            }
            steps += output.plan.steps.len();
            world.settle();
            let before = std::mem::replace(&mut memory, after);
            let decision = Decision {
                pool: valid.key(),
                number,
                wall: wall(number),
                inputs,
                memory: number.is_multiple_of(CHECKPOINT).then_some(before),
                output,
            };
            lines.push(Line::Decision(Box::new(decision)).write().unwrap());
        }
        Self { lines, steps }
    }

    /// Where a decision stands.
    pub fn line_of(&self, number: u64) -> usize {
        let is_it =
            |text: &String| matches!(Line::read(text), Ok(Line::Decision(d)) if d.number == number);
        self.lines.iter().position(is_it).unwrap()
    }

    pub fn decision(&self, number: u64) -> Box<Decision> {
        match Line::read(&self.lines[self.line_of(number)]) {
            Ok(Line::Decision(decision)) => decision,
            other => panic!("{other:?}"),
        }
    }

    /// Changes a decision in place.
    pub fn change(&mut self, line: usize, change: impl FnOnce(&mut Decision)) {
        let Ok(Line::Decision(mut decision)) = Line::read(&self.lines[line]) else {
            panic!("line {line} is no decision");
        };
        change(&mut decision);
        self.lines[line] = Line::Decision(decision).write().unwrap();
    }
}
