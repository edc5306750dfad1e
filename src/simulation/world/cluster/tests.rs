#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::allocation::Allotment;
use crate::api::{AgentPool, ValidPool};
use crate::sharing::{Memory, Node};
use crate::simulation::{Elastic, NodeGroup, Nodes};
use crate::units::{GpuResource, MilliGpus};
use std::time::Duration;

fn pool(sharing: &str, agents: &[(&str, u32)]) -> ValidPool {
    let mut manifest = format!(
        "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: p, namespace: n}}\nspec:\n  mode: Auto\n  \
         devices: [{{name: gpu, gpus: 8, sharing: {sharing}}}]\n  agents:\n"
    );
    for (name, max) in agents {
        manifest += &format!(
            "  - name: {name}\n    workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}\n    priority: Medium\n    \
             minShare: 0\n    replicas: {{min: 1, max: {max}}}\n    model: {{requestsPerSecondPerGpu: \"10\", memoryPerReplica: 4Gi}}\n"
        );
    }
    let pool: AgentPool = serde_yaml::from_str(&manifest).unwrap();
    ValidPool::admit(&pool).unwrap()
}

fn services(n: usize) -> Vec<Service> {
    let service = Service {
        throughput: 10.0,
        max_running: 1,
        cold_start: 30.0,
        image_pull: 5.0,
        drain: 10.0,
    };
    vec![service; n]
}

fn group(gpus: u32, count: u32, elastic: Option<Elastic>) -> Nodes {
    let node = Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([(GpuResource::whole(), gpus)]),
        gpus,
        ..Node::default()
    };
    Nodes {
        groups: vec![NodeGroup {
            node,
            count,
            elastic,
        }],
        switching_efficiency: 1.0,
    }
}

fn serving(cluster: &mut Cluster) -> Vec<usize> {
    let serves = |h: Happening| match h {
        Happening::Serves { agent, .. } => Some(agent),
        _ => None,
    };
    cluster.happened().into_iter().filter_map(serves).collect()
}

/// Lets time pass to the next event, at which something must happen.
fn next(cluster: &mut Cluster) -> f64 {
    let at = cluster.next().expect("something is under way");
    cluster.advance(at);
    at
}

#[test]
fn a_run_begins_settled_with_equal_shares() {
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut cluster = Cluster::new(&pool, &services(2), &group(4, 2, None));
    let mut agents = serving(&mut cluster);
    agents.sort_unstable();
    assert_eq!(agents, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!((cluster.replicas(0), cluster.replicas(1)), ((4, 4), (4, 4)));
    assert_eq!(
        (cluster.moves(0), cluster.started(0), cluster.next()),
        (0, 0, None)
    );
    assert_eq!(cluster.paid(), 8.0);
}

#[test]
fn a_pod_serves_after_its_image_and_its_cold_start_and_a_cut_one_goes_after_its_drain() {
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut cluster = Cluster::new(&pool, &services(2), &group(4, 2, None));
    cluster.happened();
    cluster.apply(100.0, &Wish::Replicas(vec![3, 5])).unwrap();
    let told = cluster.happened();
    let [Happening::Retires { pod }] = told[..] else {
        panic!("one retires: {told:?}");
    };
    assert_eq!(
        cluster.replicas(1),
        (5, 4),
        "its GPU is not free before the other is gone"
    );
    assert_eq!(next(&mut cluster), 110.0);
    assert_eq!(cluster.happened(), [Happening::Gone { pod }]);
    // The node may be one where the agent has never been: then its image is pulled first.
    let at = next(&mut cluster);
    assert!(at == 140.0 || at == 145.0, "{at}");
    assert_eq!(serving(&mut cluster), [1]);
    assert_eq!((cluster.moves(0), cluster.moves(1)), (1, 1));
    assert_eq!(cluster.started(1), 1);
}

#[test]
fn a_pod_that_has_finished_goes_before_its_grace_ends() {
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut cluster = Cluster::new(&pool, &services(2), &group(8, 1, None));
    cluster.happened();
    cluster.apply(0.0, &Wish::Replicas(vec![3, 5])).unwrap();
    let told = cluster.happened();
    let [Happening::Retires { pod }] = told[..] else {
        panic!("one retires: {told:?}");
    };
    cluster.drained(2.0, pod);
    assert_eq!(cluster.happened(), [Happening::Gone { pod }]);
    assert_eq!(next(&mut cluster), 32.0, "no image to pull on this node");
}

#[test]
fn pods_that_find_no_room_wait_in_the_order_in_which_they_were_asked_for() {
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut cluster = Cluster::new(&pool, &services(2), &group(8, 1, None));
    cluster.happened();
    cluster.apply(0.0, &Wish::Replicas(vec![4, 6])).unwrap();
    cluster.apply(1.0, &Wish::Replicas(vec![6, 6])).unwrap();
    assert_eq!(cluster.next(), None, "nothing is free");
    cluster.apply(2.0, &Wish::Replicas(vec![6, 5])).unwrap();
    assert_eq!(
        cluster.next(),
        None,
        "a pod without a node was given up first"
    );
    cluster.apply(3.0, &Wish::Replicas(vec![3, 5])).unwrap();
    next(&mut cluster);
    next(&mut cluster);
    assert_eq!(serving(&mut cluster), [1]);
}

#[test]
fn elastic_nodes_come_when_a_pod_needs_them_and_go_when_none_does() {
    let elastic = Elastic {
        min: 1,
        max: 3,
        provision: 60.0,
        idle: 120.0,
    };
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut cluster = Cluster::new(&pool, &services(2), &group(2, 1, Some(elastic)));
    cluster.happened();
    let begun = cluster.replicas(0).0 + cluster.replicas(1).0;
    cluster.apply(1000.0, &Wish::Replicas(vec![1, 1])).unwrap();
    while cluster.next().is_some_and(|at| at < 5000.0) {
        next(&mut cluster);
    }
    assert!(begun >= 2);
    let before = cluster.paid();
    assert_eq!(before, 2.0, "two pods need one node");
    cluster.apply(5000.0, &Wish::Replicas(vec![1, 2])).unwrap();
    assert_eq!(
        cluster.paid(),
        4.0,
        "paid for from the moment it is asked for"
    );
    cluster.happened();
    assert_eq!(next(&mut cluster), 5000.0 + 60.0 + 5.0 + 30.0);
    assert_eq!(serving(&mut cluster), [1]);
    cluster.apply(6000.0, &Wish::Replicas(vec![1, 1])).unwrap();
    assert_eq!(next(&mut cluster), 6010.0);
    assert_eq!(next(&mut cluster), 6130.0);
    assert_eq!((cluster.paid(), cluster.next()), (2.0, None));
}

#[test]
fn pods_never_hold_more_gpus_than_the_pool_declares_whatever_the_nodes_have() {
    let mut pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    pool.shape.declared_gpus = Some(MilliGpus(5500));
    let mut cluster = Cluster::new(&pool, &services(2), &group(8, 1, None));
    let held = |cluster: &Cluster| (cluster.held(0), cluster.held(1));
    assert_eq!(held(&cluster), (3.0, 2.0), "all five of five and a half");
    cluster.apply(0.0, &Wish::Replicas(vec![8, 8])).unwrap();
    assert_eq!(held(&cluster), (3.0, 2.0), "three GPUs stay free");
    cluster.happened();
    cluster.apply(1.0, &Wish::Replicas(vec![1, 8])).unwrap();
    assert_eq!(held(&cluster), (3.0, 2.0), "those that go count");
    next(&mut cluster);
    assert_eq!(held(&cluster), (1.0, 4.0));
}

#[test]
fn nodes_do_not_come_for_pods_beyond_the_declared_gpus() {
    let elastic = Elastic {
        min: 1,
        max: 4,
        provision: 60.0,
        idle: 120.0,
    };
    let mut pool = pool("{type: WholeGPU}", &[("a", 8)]);
    pool.shape.declared_gpus = Some(MilliGpus::whole(3));
    let mut cluster = Cluster::new(&pool, &services(1), &group(1, 1, Some(elastic)));
    cluster.apply(0.0, &Wish::Replicas(vec![8])).unwrap();
    assert_eq!((cluster.held(0), cluster.paid()), (3.0, 3.0));
}

#[test]
fn mig_instances_count_by_their_part_of_a_gpu() {
    let profile = GpuResource::parse("nvidia.com/mig-1g.10gb").unwrap();
    let mut nodes = group(1, 1, None);
    nodes.groups[0].node.allocatable = BTreeMap::from([(profile, 7)]);
    let mut pool = pool("{type: MIG}", &[("a", 7)]);
    pool.shape.declared_gpus = Some(MilliGpus(500));
    let mut cluster = Cluster::new(&pool, &services(1), &nodes);
    cluster.apply(0.0, &Wish::Replicas(vec![7])).unwrap();
    assert!(
        (cluster.held(0) - 3.0 * 0.142).abs() < 1e-9,
        "a fourth would make 568 thousandths"
    );
}

#[test]
fn shares_are_refused_where_there_are_pods() {
    let pool = pool("{type: WholeGPU}", &[("a", 8)]);
    let mut cluster = Cluster::new(&pool, &services(1), &group(2, 1, None));
    let wish = Wish::Shares(vec![MilliGpus::ONE]);
    assert_eq!(cluster.apply(0.0, &wish), Err(WishError::Shares));
}

#[test]
fn the_planner_moves_a_gpu_and_nothing_is_ever_placed_twice() {
    let pool = pool("{type: WholeGPU}", &[("a", 8), ("b", 8)]);
    let mut shape = pool.shape.clone();
    shape.behavior.scale_down_window = Duration::ZERO;
    let mut cluster = Cluster::new(&pool, &services(2), &group(8, 1, None));
    let allot = |milli| Allotment {
        target: MilliGpus(milli),
        demand: MilliGpus(milli),
        ..Allotment::default()
    };
    let decision = [allot(2000), allot(6000)];
    let mut memory = Memory::default();
    for tick in 0..300u32 {
        let now = f64::from(tick);
        while cluster.next().is_some_and(|at| at <= now) {
            next(&mut cluster);
        }
        let observed = cluster.observed(|_| Some(1.0));
        let used: u32 = observed.nodes.iter().flat_map(|n| n.used.values()).sum();
        assert!(used <= 8);
        let waits = |p: &sharing::Pod| p.state == PodState::Pending;
        assert!(
            !observed.agents.iter().flat_map(|a| &a.pods).any(waits),
            "no pod is unschedulable"
        );
        let (plan, next) = sharing::plan(
            &shape,
            &observed,
            &decision,
            &memory,
            Duration::from_secs(tick.into()),
        );
        memory = next;
        cluster.apply(now, &Wish::Steps(plan.steps)).unwrap();
    }
    assert_eq!((cluster.replicas(0), cluster.replicas(1)), ((2, 2), (6, 6)));
}

#[test]
fn mig_agents_begin_on_instances_that_exist_and_hold_them() {
    let profile = |name: &str| GpuResource::parse(&format!("nvidia.com/mig-{name}")).unwrap();
    let node = Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([
            (profile("1g.10gb"), 1),
            (profile("2g.20gb"), 1),
            (profile("4g.40gb"), 1),
        ]),
        gpus: 1,
        ..Node::default()
    };
    let nodes = Nodes {
        groups: vec![NodeGroup {
            node,
            count: 1,
            elastic: None,
        }],
        switching_efficiency: 1.0,
    };
    let pool = pool("{type: MIG}", &[("a", 1), ("b", 1), ("c", 1)]);
    let mut cluster = Cluster::new(&pool, &services(3), &nodes);
    let mut agents = serving(&mut cluster);
    agents.sort_unstable();
    assert_eq!(agents, [0, 1, 2]);
    let shares: Vec<f64> = cluster.devices().iter().map(|d| d.share).collect();
    assert_eq!(shares, [0.142, 0.285, 0.571]);
}
