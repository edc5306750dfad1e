use super::*;
use crate::api::{AgentPool, ValidPool};
use crate::sharing::{AgentShape, Behavior, Node, PoolShape, Strategy};
use crate::simulation::control::{AgentSight, Sight, Wish};
use crate::simulation::load::{AgentLoad, Arrivals, Work};
use crate::simulation::{Cluster, Dispatch, Fractions, NodeGroup, Nodes, Service, Sharing};
use crate::units::{GpuResource, Priority};
use std::collections::BTreeMap;
use std::time::Duration;

/// A pool with whole GPUs: by agent the fewest and most replicas and the GPUs of one.
pub fn shape(agents: &[(u32, u32, u32)]) -> PoolShape {
    let agents: Vec<_> = agents
        .iter()
        .map(|&(min, max, gpus)| (Priority::Medium, min, max, gpus))
        .collect();
    prioritised(&agents)
}

/// The same with priorities.
pub fn prioritised(agents: &[(Priority, u32, u32, u32)]) -> PoolShape {
    let agent =
        |(i, &(priority, min, max, gpus)): (usize, &(Priority, u32, u32, u32))| AgentShape {
            name: format!("agent-{i}"),
            priority,
            min_replicas: min,
            max_replicas: max,
            gpus_per_replica: gpus,
            memory_per_replica: None,
        };
    PoolShape {
        strategy: Strategy::WholeGpu,
        declared_gpus: None,
        nodes_hidden: false,
        allow_downtime: false,
        max_concurrent: 1,
        behavior: Behavior {
            tolerance: 0.1,
            scale_up_window: Duration::ZERO,
            scale_down_window: Duration::ZERO,
        },
        agents: agents.iter().enumerate().map(agent).collect(),
    }
}

/// What a rule sees at `now` of agents under this many GPUs.
pub fn sight(now: f64, gpus: u64, agents: &[AgentSight]) -> Sight<'_> {
    Sight {
        is_tick: true,
        now,
        capacity: MilliGpus::whole(gpus),
        lag: 30.0,
        agents,
        observed: None,
    }
}

/// A scenario of agents with these arrivals a second, each 10 a second on a GPU.
pub fn scenario(sharing: &str, rates: &[f64], cluster: Cluster) -> Scenario {
    let name = |i: usize| format!("agent-{i}");
    let mut manifest = format!(
        "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: p, namespace: n}}\nspec:\n  mode: Auto\n  \
         devices: [{{name: gpu, sharing: {sharing}}}]\n  agents:\n"
    );
    for i in 0..rates.len() {
        manifest += &format!(
            "  - name: {0}\n    workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {0}}}\n    minShare: 0\n    \
             replicas: {{min: 1, max: 16}}\n    model: {{requestsPerSecondPerGpu: \"10\", memoryPerReplica: 1Gi}}\n",
            name(i)
        );
    }
    let pool: AgentPool = serde_yaml::from_str(&manifest).unwrap();
    let service = Service {
        throughput: 10.0,
        max_running: 1,
        cold_start: 30.0,
        image_pull: 0.0,
        drain: 0.0,
    };
    let load = |(i, rate): (usize, &f64)| AgentLoad {
        agent: name(i),
        arrivals: Arrivals::Poisson { rate: *rate },
        work: Work::Exponential,
    };
    Scenario {
        pool: ValidPool::admit(&pool).unwrap(),
        services: vec![service; rates.len()],
        loads: rates.iter().enumerate().map(load).collect(),
        cluster,
        dispatch: None,
        seconds: 1000.0,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    }
}

pub fn fractions(milli: u64) -> Cluster {
    Cluster::Fractions(Fractions {
        gpus: MilliGpus(milli),
        lag: 0.0,
        sharing: Sharing::Partition,
    })
}

pub fn nodes() -> Cluster {
    let node = Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::whole(), 8)]),
        gpus: 8,
        ..Node::default()
    };
    Cluster::Nodes(Nodes {
        groups: vec![NodeGroup {
            node,
            count: 1,
            elastic: None,
        }],
        switching_efficiency: 1.0,
    })
}

const SLICED: &str =
    "{type: TimeSlicing, timeSlicing: {resourceName: nvidia.com/gpu.shared, slicesPerGpu: 4}}";

fn first(rule: &str, scenario: &Scenario, gpus: u64) -> Wish {
    let mut controller = Rule::parse(rule).unwrap().build(scenario).unwrap();
    let agents = vec![AgentSight::default(); scenario.loads.len()];
    let mut wish = Wish::Nothing;
    controller.decide(&sight(0.0, gpus, &agents), &mut wish);
    wish
}

#[test]
fn every_rule_is_named_once_and_read_back() {
    for (i, rule) in Rule::ALL.iter().enumerate() {
        assert_eq!(Rule::parse(rule.name()), Ok(*rule));
        assert_eq!(rule.to_string(), rule.name());
        assert!(
            Rule::ALL[..i]
                .iter()
                .all(|other| other.name() != rule.name())
        );
        assert!(rule.describe().ends_with('.'));
    }
    for text in [
        "hpa:0.5",
        "keda:2",
        "knative:0.9",
        "wva:0.5",
        "dynamo:0.7",
        "hpa:0.909",
        "knative:1",
        "keda:100",
        "wva:4",
        "dynamo:4",
        "static-equal:3",
        "static-proportional:2500m",
    ] {
        assert_eq!(Rule::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_rule_is_refused_with_what_would_be_right() {
    for (text, right) in [
        ("hpq", "one of hold, water-filling,"),
        ("", "one of hold"),
        ("hold:1", "it has no target"),
        ("hpa:", "utilisation"),
        ("hpa:0", "above 0"),
        ("hpa:NaN", "above 0"),
        ("hpa:inf", "above 0"),
        ("keda:-5", "waiting requests"),
        ("hpa:5", "at most 0.909"),
        ("hpa:0.91", "never adds a replica"),
        ("hpa:80", "utilisation of an agent's GPUs"),
        ("knative:70", "at most 1 (Knative refuses"),
        ("balanced:11", "at most 10"),
        ("static-equal:0", "GPUs that are split"),
        ("static-equal:0.0001", "GPUs that are split"),
    ] {
        let error = Rule::parse(text).unwrap_err().to_string();
        assert!(error.contains(right), "{text}: {error}");
    }
}

#[test]
fn a_rule_that_makes_no_sense_in_a_scenario_is_refused_in_words() {
    let whole = scenario("{type: WholeGPU}", &[1.0, 2.0], fractions(1000));
    let pods = scenario("{type: WholeGPU}", &[1.0, 2.0], nodes());
    let sliced = scenario(SLICED, &[1.0, 2.0], nodes());
    let mut endless = pods.clone();
    endless.services[1].max_running = u32::MAX;
    let refused = |rule: &str, scenario: &Scenario| {
        let refusal = Rule::parse(rule).unwrap().build(scenario).err();
        refusal.map(|r| r.to_string()).unwrap_or_default()
    };
    for rule in ["hpa", "keda", "knative", "wva", "dynamo"] {
        assert!(refused(rule, &whole).contains("without pods"), "{rule}");
        assert_eq!(refused(rule, &pods), "", "{rule}");
    }
    assert!(refused("round-robin", &pods).contains("every second"));
    assert!(refused("hpa:0.5", &sliced).starts_with("rule hpa:0.5: "));
    assert!(refused("static-proportional", &sliced).contains("`hold`"));
    assert!(refused("static-equal:1", &sliced).contains("fewer"));
    assert_eq!(refused("static-equal", &sliced), "");
    for rule in ["wva", "dynamo"] {
        assert!(refused(rule, &sliced).contains("WholeGPU"), "{rule}");
        assert!(refused(rule, &endless).contains("maxRunning"), "{rule}");
    }
    assert_eq!(refused("knative", &endless), "");
}

#[test]
fn static_splits_are_decided_once() {
    let whole = scenario("{type: WholeGPU}", &[1.0, 3.0], fractions(1000));
    let shares = |a, b| Wish::Shares(vec![MilliGpus(a), MilliGpus(b)]);
    assert_eq!(first("hold", &whole, 1), Wish::Nothing);
    assert_eq!(first("static-equal", &whole, 1), shares(500, 500));
    assert_eq!(first("static-proportional", &whole, 1), shares(250, 750));
    assert_eq!(first("static-equal:0.6", &whole, 1), shares(300, 300));
    let pods = scenario("{type: WholeGPU}", &[1.0, 3.0], nodes());
    assert_eq!(first("static-equal", &pods, 8), Wish::Nothing);
    assert_eq!(
        first("static-equal:6", &pods, 8),
        Wish::Replicas(vec![3, 3])
    );
    assert_eq!(
        first("static-proportional", &pods, 8),
        Wish::Replicas(vec![2, 6])
    );
    let mut controller = Rule::parse("static-proportional")
        .unwrap()
        .build(&pods)
        .unwrap();
    let seen = [AgentSight::default(); 2];
    let mut wish = Wish::Nothing;
    controller.decide(&sight(0.0, 8, &seen), &mut wish);
    wish = Wish::Nothing;
    controller.decide(&sight(1.0, 4, &seen), &mut wish);
    assert_eq!(wish, Wish::Nothing);
}

#[test]
fn round_robin_gives_all_to_one_after_the_other() {
    let whole = scenario("{type: WholeGPU}", &[1.0, 3.0, 1.0], fractions(2000));
    let mut controller = Rule::RoundRobin.build(&whole).unwrap();
    let seen = [AgentSight::default(); 3];
    for turn in 0..7 {
        let mut wish = Wish::Nothing;
        controller.decide(&sight(f64::from(turn), 2, &seen), &mut wish);
        let share = |i: i32| MilliGpus(if i == turn % 3 { 2000 } else { 0 });
        assert_eq!(wish, Wish::Shares((0..3).map(share).collect()));
    }
}

/// Two agents with four GPUs each, of which one needs six: whoever watches moves them, wherever requests wait, and also where engines
/// run eight at once.
#[test]
fn every_rule_for_replicas_moves_gpus_to_the_agent_that_needs_them() {
    let mut pods = scenario("{type: WholeGPU}", &[52.0, 8.0], nodes());
    pods.seconds = 2000.0;
    for (dispatch, at_once) in [
        (Dispatch::FewestRequests, 1),
        (Dispatch::OneQueue, 1),
        (Dispatch::FewestRequests, 8),
        (Dispatch::OneQueue, 8),
    ] {
        pods.dispatch = Some(dispatch);
        for service in &mut pods.services {
            service.max_running = at_once;
        }
        let mean = |rule: &Rule| {
            let mut controller = rule.build(&pods).unwrap();
            let outcome =
                crate::simulation::run(&pods, controller.as_mut(), rule.name(), 1, &mut |_| {});
            let outcome = outcome.unwrap_or_else(|e| panic!("{rule}: {e}"));
            (outcome.agents[0].latency.mean().unwrap(), outcome.moves)
        };
        let (held, moves) = mean(&Rule::Hold);
        assert_eq!(moves, 0);
        for rule in [
            "static-proportional",
            "hpa",
            "keda",
            "knative",
            "wva",
            "dynamo",
        ] {
            let (moved, moves) = mean(&Rule::parse(rule).unwrap());
            assert!(
                moved < held / 2.0 && moves > 0,
                "{rule}, {dispatch:?}, {at_once}: {moved} of {held}"
            );
        }
    }
}

#[test]
fn knative_alone_brings_a_queue_in_front_of_its_pods_along() {
    let pods = scenario("{type: WholeGPU}", &[1.0, 1.0], nodes());
    for rule in Rule::ALL {
        let Ok(controller) = rule.build(&pods) else {
            continue;
        };
        let expected = match rule {
            Rule::Knative { .. } => Dispatch::OneQueue,
            _ => Dispatch::FewestRequests,
        };
        assert_eq!(controller.dispatch(), expected, "{rule}");
    }
}

/// Both agents need all eight GPUs of the node, and the pool declares six.
#[test]
fn no_rule_goes_beyond_the_gpus_that_the_pool_declares() {
    let mut pods = scenario("{type: WholeGPU}", &[90.0, 90.0], nodes());
    pods.seconds = 600.0;
    pods.pool.shape.declared_gpus = Some(MilliGpus::whole(6));
    for rule in Rule::ALL {
        let Ok(mut controller) = rule.build(&pods) else {
            continue;
        };
        let outcome =
            crate::simulation::run(&pods, controller.as_mut(), rule.name(), 1, &mut |_| {});
        let outcome = outcome.unwrap_or_else(|e| panic!("{rule}: {e}"));
        let most = |agents: &[crate::simulation::PointOfAgent]| {
            agents.iter().map(|agent| agent.share).sum::<f64>()
        };
        let held = outcome.series.iter().map(|point| most(&point.agents));
        let held = held.fold(0.0, f64::max);
        assert!((5.0..=6.0).contains(&held), "{rule}: {held}");
    }
}
