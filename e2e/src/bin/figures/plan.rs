//! What a plan costs: microseconds for a pool of so many agents, for each sharing strategy.
//!
//! Anew: every agent's target is drawn anew and nothing is remembered, so that the whole pool is packed. Again: the same is asked while the
//! plan before is being carried out. All times are the shortest of several plans of one pool, and the longest of several pools.
#![forbid(unsafe_code)]

use crate::dice::Dice;
use agentpool::allocation::{Allotment, Reason};
use agentpool::sharing::{
    AgentObserved, AgentShape, Behavior, InstanceFacts, Memory, Node, Observed, Pod, PodState,
    PoolShape, Rollout, Strategy, plan,
};
use agentpool::units::{GpuResource, Mebibytes, MilliGpus, Priority};
use agentpool_e2e::figures::{Figure, publish};
use anyhow::Result;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [usize; 4] = [4, 8, 16, 64];
const POOLS: u64 = 20;
const SAMPLES: usize = 10;
/// Microseconds that a plan may take.
const AIM: f64 = 1000.0;

/// What one node offers, for how many agents, and what each of their pods asks for at first.
struct Ground {
    case: &'static str,
    strategy: Strategy,
    offers: Vec<(GpuResource, u32)>,
    gpus: u32,
    agents_per_node: usize,
    asks: GpuResource,
}

fn grounds() -> Vec<Ground> {
    let mig = |profile: &str| {
        let name = format!("nvidia.com/mig-{profile}");
        GpuResource::parse(&name).unwrap_or_else(|_| GpuResource::whole())
    };
    vec![
        Ground {
            case: "WholeGPU",
            strategy: Strategy::WholeGpu,
            offers: vec![(GpuResource::whole(), 8)],
            gpus: 8,
            agents_per_node: 4,
            asks: GpuResource::whole(),
        },
        Ground {
            case: "MIG",
            strategy: Strategy::Mig,
            offers: vec![
                (mig("1g.10gb"), 4),
                (mig("2g.20gb"), 4),
                (mig("3g.40gb"), 4),
            ],
            gpus: 4,
            agents_per_node: 4,
            asks: mig("1g.10gb"),
        },
        Ground {
            case: "TimeSlicing",
            strategy: Strategy::TimeSlicing {
                resource: GpuResource::shared(),
                slices_per_gpu: Some(10),
            },
            offers: vec![(GpuResource::shared(), 10)],
            gpus: 1,
            agents_per_node: 4,
            asks: GpuResource::shared(),
        },
    ]
}

fn node(ground: &Ground, name: String, held: u32) -> Node {
    let facts = |resource: &GpuResource| {
        let (multiprocessors, memory) = match resource.mig_profile()? {
            "1g.10gb" => (14, 9728),
            "2g.20gb" => (28, 19_968),
            _ => (42, 40_192),
        };
        let memory = Mebibytes(memory);
        Some(InstanceFacts {
            multiprocessors,
            memory,
        })
    };
    Node {
        name,
        schedulable: true,
        allocatable: ground.offers.iter().cloned().collect(),
        used: BTreeMap::from([(ground.asks.clone(), held)]),
        gpus: ground.gpus,
        gpu_memory: Some(Mebibytes(81_920)),
        multiprocessors: Some(108),
        instances: ground
            .offers
            .iter()
            .filter_map(|(r, _)| Some((r.clone(), facts(r)?)))
            .collect(),
        ..Node::default()
    }
}

/// A pool of `n` agents with a ready replica each.
fn pool(ground: &Ground, n: usize, dice: &mut Dice) -> (PoolShape, Observed) {
    let shape = |i: usize, dice: &mut Dice| AgentShape {
        name: format!("agent-{i:03}"),
        priority: [Priority::High, Priority::Medium, Priority::Low][dice.below(3) as usize],
        min_replicas: 1,
        max_replicas: 8,
        gpus_per_replica: 1,
        memory_per_replica: Some(Mebibytes(500 + dice.below(8000))),
    };
    let nodes = n.div_ceil(ground.agents_per_node);
    let requests = BTreeMap::from([(ground.asks.clone(), 1)]);
    let agent = |i: usize| AgentObserved {
        replicas: 1,
        template: requests.clone(),
        rollout: Rollout::Rolling,
        rolling: false,
        pods: vec![Pod {
            name: format!("pod-{i:03}"),
            node: Some(format!("node-{:03}", i / ground.agents_per_node)),
            requests: requests.clone(),
            state: PodState::Ready,
            unschedulable: false,
            load: Some(1.0),
        }],
        restore: None,
        frozen: false,
        template_locked: false,
    };
    let held = |node: usize| (n - node * ground.agents_per_node).min(ground.agents_per_node) as u32;
    let shape = PoolShape {
        strategy: ground.strategy.clone(),
        declared_gpus: None,
        nodes_hidden: false,
        allow_downtime: false,
        max_concurrent: 4,
        behavior: Behavior {
            tolerance: 0.1,
            scale_up_window: Duration::ZERO,
            scale_down_window: Duration::ZERO,
        },
        agents: (0..n).map(|i| shape(i, dice)).collect(),
    };
    let observed = Observed {
        nodes: (0..nodes)
            .map(|at| node(ground, format!("node-{at:03}"), held(at)))
            .collect(),
        agents: (0..n).map(agent).collect(),
        ..Observed::default()
    };
    (shape, observed)
}

/// Targets that ask for one and a half times what there is.
fn decision(capacity: u64, n: usize, dice: &mut Dice) -> Vec<Allotment> {
    let mut target = || MilliGpus(dice.below(3 * capacity / n as u64));
    let allotment = |target| Allotment {
        target,
        demand: target,
        reason: Reason::CapacityShared,
        minimum_unmet: false,
    };
    (0..n).map(|_| allotment(target())).collect()
}

/// Shortest of several, in microseconds.
fn shortest(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_nanos() as f64 / 1e3);
    }
    best
}

/// Measures and publishes.
///
/// # Errors
/// The report cannot be written.
pub fn run() -> Result<()> {
    let mut figures = Vec::new();
    for ground in grounds() {
        for n in SIZES {
            let (mut anew, mut again) = (0.0f64, 0.0f64);
            for seed in 1..=POOLS {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let (shape, observed) = pool(&ground, n, &mut dice);
                let capacity = observed.nodes.len() as u64 * u64::from(ground.gpus) * 1000;
                let decision = decision(capacity, n, &mut dice);
                let ask = |memory: &Memory| {
                    let observed = black_box(&observed);
                    plan(&shape, observed, &decision, memory, Duration::ZERO)
                };
                let nothing = Memory::default();
                anew = anew.max(shortest(|| drop(black_box(ask(&nothing)))));
                let (_, memory) = ask(&nothing);
                again = again.max(shortest(|| drop(black_box(ask(&memory)))));
            }
            let name = |what: &str| format!("{}, {n} agents, {what}", ground.case);
            figures.push(Figure::new(name("anew"), anew, "us a plan").at_most(AIM));
            figures.push(Figure::new(name("again"), again, "us a plan").at_most(AIM));
        }
    }
    publish("plan", figures)
}
