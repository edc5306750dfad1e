//! Whole runs with pods on nodes.

use super::super::control::{Controller, Operator, Rule, Sight, Wish};
use super::super::load::{Piece, Spacing};
use super::super::{NodeGroup, Nodes, Outcome, run};
use super::*;
use crate::allocation::Policy;
use crate::sharing::{InstanceFacts, Node, Strategy};
use crate::units::{GpuResource, Mebibytes};
use std::collections::BTreeMap;

struct Hold;

impl Controller for Hold {
    fn interval(&self) -> f64 {
        1.0
    }

    fn decide(&mut self, _: &Sight<'_>, _: &mut Wish) {}
}

fn node(resource: GpuResource, count: u32, gpus: u32) -> Node {
    Node {
        name: "node".into(),
        schedulable: true,
        allocatable: BTreeMap::from([(resource, count)]),
        gpus,
        gpu_memory: Some(Mebibytes(80_000)),
        ..Node::default()
    }
}

/// The agents of [`scenario`] on one node of whole GPUs.
pub(super) fn whole(
    names: &[&str],
    gpus: u32,
    throughput: f64,
    rate: f64,
    seconds: f64,
) -> Scenario {
    let mut scenario = scenario(names, throughput, rate, seconds);
    for service in &mut scenario.services {
        service.cold_start = 5.0;
        service.drain = 60.0;
    }
    scenario.pool.shape.behavior.scale_down_window = std::time::Duration::ZERO;
    let groups = vec![NodeGroup {
        node: node(GpuResource::whole(), gpus, gpus),
        count: 1,
        elastic: None,
    }];
    scenario.cluster = Cluster::Nodes(Nodes {
        groups,
        switching_efficiency: 1.0,
    });
    scenario
}

fn under(scenario: &Scenario, controller: &mut dyn Controller) -> Outcome {
    run(scenario, controller, "x", 1, &mut |_| {}).unwrap()
}

fn water(scenario: &Scenario) -> Operator {
    Operator::new(&scenario.pool, Policy::WaterFilling, 0.0)
}

fn mean(outcome: &Outcome) -> f64 {
    let sum: f64 = outcome.agents.iter().map(|a| a.latency.sum()).sum();
    let count: u64 = outcome.agents.iter().map(|a| a.latency.count()).sum();
    sum / count as f64
}

#[test]
fn replicas_follow_a_step_of_load_and_that_pays() {
    let mut scenario = whole(&["a", "b"], 8, 10.0, 10.0, 600.0);
    let step = |first: f64, second: f64| Arrivals::Steps {
        spacing: Spacing::Poisson,
        steps: vec![
            Piece {
                seconds: 300.0,
                rate: first,
            },
            Piece {
                seconds: 300.0,
                rate: second,
            },
        ],
    };
    scenario.loads[0].arrivals = step(55.0, 10.0);
    scenario.loads[1].arrivals = step(10.0, 55.0);
    let (held, moved) = (
        under(&scenario, &mut Hold),
        under(&scenario, &mut water(&scenario)),
    );
    assert!(
        mean(&moved) < 0.3 * mean(&held),
        "{} {}",
        mean(&moved),
        mean(&held)
    );
    let replicas = |agent: usize, at: f64| {
        let point = moved.series.iter().find(|p| p.at >= at).unwrap();
        point.agents[agent].replicas
    };
    assert!(replicas(0, 200.0) >= 6 && replicas(1, 550.0) >= 6);
    assert_eq!((held.moves, held.agents[0].restarts), (0, 0));
    assert!(moved.moves >= 4 && moved.agents[1].restarts >= 2);
    assert_eq!(moved.agents[0].cut, 0, "the grace period is long enough");
    assert!(
        (moved.paid / moved.seconds - 8.0).abs() < 1e-9,
        "the node is paid for"
    );
    assert!(
        moved.stranded.abs() < 1e-9 * moved.paid,
        "a GPU that is free is given away at once: {}",
        moved.stranded
    );
}

#[test]
fn who_wakes_decides_when_a_pod_is_gone_and_when_one_serves_and_who_does_not_at_ticks_alone() {
    struct Diary {
        wakes: bool,
        entries: Vec<(f64, bool)>,
    }
    impl Controller for Diary {
        fn interval(&self) -> f64 {
            20.0
        }

        fn wakes(&self) -> bool {
            self.wakes
        }

        fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
            if self.entries.is_empty() {
                *wish = Wish::Replicas(vec![3, 5]);
            }
            self.entries.push((sight.now, sight.is_tick));
        }
    }
    let scenario = whole(&["a", "b"], 8, 10.0, 10.0, 50.0);
    let entries = |wakes| {
        let entries = Vec::new();
        let mut diary = Diary { wakes, entries };
        under(&scenario, &mut diary);
        diary.entries
    };
    let [
        (20.0, true),
        (gone, false),
        (serves, false),
        (40.0, true),
        ..,
    ] = entries(true)[..]
    else {
        panic!("{:?}", entries(true));
    };
    assert!(gone < 35.0 && (serves - gone - 5.0).abs() < 1e-9);
    assert!(entries(false).iter().all(|(_, is_tick)| *is_tick));
}

#[test]
fn what_a_pod_still_runs_when_its_grace_ends_is_cut_and_served_elsewhere() {
    struct Alternate;
    impl Controller for Alternate {
        fn interval(&self) -> f64 {
            20.0
        }

        fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
            let one = ((sight.now / 20.0) as u64).is_multiple_of(2);
            *wish = Wish::Replicas(vec![if one { 1 } else { 4 }, 1]);
        }
    }
    let mut scenario = whole(&["a", "b"], 5, 10.0, 9.0, 400.0);
    scenario.services[0].drain = 0.0;
    let outcome = under(&scenario, &mut Alternate);
    let a = &outcome.agents[0];
    assert!(a.cut > 0, "pods that serve were taken");
    assert_eq!(a.arrived, a.served, "and nothing is lost");
}

#[test]
fn an_agent_alone_on_a_time_sliced_gpu_has_all_of_it_and_two_that_are_busy_have_half() {
    let mut scenario = whole(&["a", "b"], 1, 10.0, 5.0, 4000.0);
    let shared = GpuResource::shared();
    scenario.pool.shape.strategy = Strategy::TimeSlicing {
        resource: shared.clone(),
        slices_per_gpu: Some(10),
    };
    for agent in &mut scenario.pool.shape.agents {
        agent.memory_per_replica = Some(Mebibytes(1000));
    }
    if let Cluster::Nodes(nodes) = &mut scenario.cluster {
        nodes.groups[0].node = node(shared, 10, 1);
    }
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 1e-6 };
    let alone = under(&scenario, &mut Hold);
    // M/M/1: 1 / (10 - 5).
    let told = alone.agents[0].latency.mean().unwrap();
    assert!((told / 0.2 - 1.0).abs() < 0.1, "{told}");
    // Each of two that are always busy serves half as fast: 5 a second of 8 that arrive.
    scenario.loads[0].arrivals = Arrivals::Poisson { rate: 8.0 };
    scenario.loads[1].arrivals = Arrivals::Poisson { rate: 8.0 };
    scenario.seconds = 400.0;
    let both = under(&scenario, &mut Hold);
    let served: u64 = both.agents.iter().map(|a| a.served).sum();
    assert!(
        (served as f64 / both.seconds / 10.0 - 1.0).abs() < 0.05,
        "{served}"
    );
}

/// One agent on seven 1g.10gb of an A100, each 129 thousandths of its multiprocessors.
fn on_instances(exponent: f64, rate: f64, seconds: f64) -> Scenario {
    let mut scenario = whole(&["a"], 1, 10.0, rate, seconds);
    scenario.pool.shape.strategy = Strategy::Mig;
    scenario.pool.agents[0].speed_exponent = exponent;
    let profile = GpuResource::parse("nvidia.com/mig-1g.10gb").unwrap();
    let facts = InstanceFacts {
        multiprocessors: 14,
        memory: Mebibytes(9856),
    };
    if let Cluster::Nodes(nodes) = &mut scenario.cluster {
        nodes.groups[0].node = Node {
            multiprocessors: Some(108),
            instances: BTreeMap::from([(profile.clone(), facts)]),
            ..node(profile, 7, 1)
        };
    }
    scenario
}

#[test]
fn an_instance_that_is_busy_counts_as_its_part_of_a_gpu_however_fast_it_is() {
    let of = |exponent| {
        let mut outcome = under(&on_instances(exponent, 80.0, 100.0), &mut Hold);
        outcome.agents.remove(0)
    };
    let (linear, fast) = (of(1.0), of(0.5));
    for agent in [&linear, &fast] {
        let busy = agent.busy / agent.granted;
        assert!(
            (busy - 1.0).abs() < 0.01,
            "more arrives than is served: {busy}"
        );
    }
    assert_eq!(linear.busy, linear.work);
    let faster = fast.work / linear.work;
    assert!((faster * 0.129f64.sqrt() - 1.0).abs() < 0.01, "{faster}");
}

/// Eight a second where each instance serves 3.6: three of them are busy for three quarters of the time.
#[test]
fn an_autoscaler_on_utilisation_is_not_told_of_more_than_the_instances_that_there_are() {
    let scenario = on_instances(0.5, 8.0, 1500.0);
    let mut hpa = Rule::parse("hpa").unwrap().build(&scenario).unwrap();
    let outcome = under(&scenario, hpa.as_mut());
    let replicas = outcome.series.last().unwrap().agents[0].replicas;
    assert!((3..=5).contains(&replicas), "{replicas}");
}

#[test]
fn the_operator_runs_the_same_with_pods_to_the_bit_and_differently_with_another_seed() {
    let mut scenario = whole(&["a", "b", "c"], 6, 10.0, 12.0, 300.0);
    scenario.loads[2].arrivals = Arrivals::Poisson { rate: 30.0 };
    let once = under(&scenario, &mut water(&scenario));
    assert_eq!(once, under(&scenario, &mut water(&scenario)));
    let other = run(&scenario, &mut water(&scenario), "x", 2, &mut |_| {}).unwrap();
    assert_ne!(once, other);
}

#[test]
fn shares_where_there_are_pods_and_steps_where_there_are_none_are_refused_in_words() {
    struct Wishes(Wish);
    impl Controller for Wishes {
        fn interval(&self) -> f64 {
            1.0
        }

        fn decide(&mut self, _: &Sight<'_>, wish: &mut Wish) {
            *wish = self.0.clone();
        }
    }
    let pods = whole(&["a"], 1, 10.0, 1.0, 10.0);
    let shares = Wish::Shares(vec![MilliGpus::ONE]);
    let error = run(&pods, &mut Wishes(shares), "x", 1, &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("must ask for replicas or steps"),
        "{error}"
    );
    let fractions = scenario(&["a"], 10.0, 1.0, 10.0);
    let error = run(
        &fractions,
        &mut Wishes(Wish::Replicas(vec![1])),
        "x",
        1,
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("must ask for shares"), "{error}");
}
