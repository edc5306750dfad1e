#![allow(clippy::unwrap_used)]
use super::report::EngineState;
use super::*;
use crate::engine::profile::EngineProfile;
use crate::engine::profile::{Dialect, PREFIX};
use std::collections::BTreeMap;

fn node(gpus: u64) -> NodeView {
    NodeView {
        name: "n".into(),
        labels: [("nvidia.com/gpu.memory".to_owned(), "16384".to_owned())].into(),
        capacity: [("nvidia.com/gpu".to_owned(), gpus)].into(),
    }
}

/// A Ready pod on one GPU, whose mean request takes one second there, one after the other.
fn pod(uid: &str) -> PodView {
    let annotations: BTreeMap<String, String> = [
        ("engine", "vllm"),
        ("requests-per-second-per-gpu", "1"),
        ("max-concurrency", "1"),
        ("memory", "7Gi"),
    ]
    .map(|(key, value)| (format!("{PREFIX}{key}"), value.to_owned()))
    .into();
    PodView {
        uid: uid.into(),
        namespace: "ns".into(),
        name: uid.into(),
        node: Some("n".into()),
        bound_at: String::new(),
        ip: Some("127.100.0.2".parse().unwrap()),
        port: 8000,
        ready: true,
        restarts: 0,
        deleting: None,
        ended: false,
        gpus: Some(("nvidia.com/gpu".into(), 1)),
        profile: EngineProfile::parse(&annotations, "a"),
    }
}

fn mean() -> Demand {
    Demand {
        factor: Some(1.0),
        ..Demand::default()
    }
}

fn world() -> World {
    let mut world = World::new(1.0, 1, 0.0);
    world.node_applied(0.0, &node(2));
    world
}

fn state(world: &World, uid: &str) -> EngineState {
    let states = world.states();
    states
        .into_iter()
        .find(|(id, _)| id == uid)
        .map(|(_, state)| state)
        .unwrap()
}

fn open() -> Effect {
    Effect::Open("a".into(), "127.100.0.2:8000".parse().unwrap())
}

#[test]
fn a_pod_serves_only_from_its_first_ready_on() {
    let mut world = world();
    world.pod_applied(
        0.0,
        PodView {
            ready: false,
            ..pod("a")
        },
    );
    assert_eq!(state(&world, "a").phase, Phase::Loading);
    assert_eq!(world.submit(1.0, "a", mean()), None);
    assert_eq!(world.page(1.0, "a"), None);
    assert_eq!(world.take_effects(), []);
    world.pod_applied(2.0, pod("a"));
    assert_eq!(world.take_effects(), [open()]);
    world.submit(3.0, "a", mean()).unwrap();
    assert!(
        world
            .page(3.0, "a")
            .unwrap()
            .contains("vllm:num_requests_running{engine=\"0\",model_name=\"a\"} 1.0")
    );
    assert_eq!(world.next_event(), Some(4.0));
    world.advance(4.0);
    assert!(matches!(world.take_effects()[..], [Effect::Served(done)] if done.at == 4.0));
    assert!(
        world
            .page(4.0, "a")
            .unwrap()
            .contains("finished_reason=\"stop\",model_name=\"a\"} 1.0")
    );
    let stats = &world.stats()["ns/a"];
    assert_eq!(
        (stats.served, stats.refused, stats.latencies.count()),
        (1, 1, 1)
    );
}

#[test]
fn an_unready_pod_shows_its_metrics_and_refuses_requests() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    world.submit(0.0, "a", mean()).unwrap();
    world.pod_applied(
        0.5,
        PodView {
            ready: false,
            ..pod("a")
        },
    );
    assert_eq!(world.submit(0.6, "a", mean()), None);
    assert!(world.page(0.6, "a").is_some());
    world.pod_applied(0.7, pod("a"));
    assert!(world.submit(0.8, "a", mean()).is_some());
    world.advance(2.0);
    assert_eq!(
        world
            .take_effects()
            .iter()
            .filter(|e| matches!(e, Effect::Served(_)))
            .count(),
        2
    );
}

#[test]
fn a_deleted_pod_finishes_what_it_has_and_then_exits() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    world.submit(0.0, "a", mean()).unwrap();
    world.take_effects();
    world.pod_applied(
        0.5,
        PodView {
            deleting: Some(30.0),
            ready: false,
            ..pod("a")
        },
    );
    assert_eq!(world.take_effects(), [Effect::Close("a".into())]);
    assert_eq!(world.submit(0.6, "a", mean()), None);
    world.advance(1.0);
    let effects = world.take_effects();
    assert!(
        matches!(effects[..], [Effect::Served(_)]),
        "the answer is on its way: {effects:?}"
    );
    assert_eq!(state(&world, "a").phase, Phase::Dead);
    assert_eq!(world.page(1.0, "a"), None);
    assert_eq!(world.next_event(), None);
    world.pod_gone(2.0, "a");
    assert_eq!(world.take_effects(), [Effect::Kill("a".into())]);
}

#[test]
fn what_is_not_done_by_the_end_of_the_grace_period_is_cut_and_counted() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    let first = world.submit(0.0, "a", mean()).unwrap();
    let second = world.submit(0.0, "a", mean()).unwrap();
    world.pod_applied(
        0.5,
        PodView {
            deleting: Some(1.0),
            ..pod("a")
        },
    );
    assert_eq!(world.next_event(), Some(1.0));
    world.take_effects();
    world.advance(10.0);
    let effects = world.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Served(done), Effect::Cut(cut), Effect::Kill(_)]
        if done.request == first && *cut == second)
    );
    assert_eq!(world.stats()["ns/a"].cut, 1);
}

#[test]
fn a_killed_pod_cuts_its_requests_and_keeps_its_gpu_until_its_object_is_gone() {
    let mut world = world();
    world.node_applied(0.0, &node(1));
    world.pod_applied(0.0, pod("a"));
    let request = world.submit(0.0, "a", mean()).unwrap();
    world.take_effects();
    world.pod_gone(0.5, "a");
    assert_eq!(
        world.take_effects(),
        [Effect::Cut(request), Effect::Kill("a".into())]
    );
    world.pod_applied(0.5, pod("b"));
    assert!(world.violations().is_empty(), "{:?}", world.violations());
    assert_eq!(state(&world, "b").devices, ["n/nvidia.com/gpu/0"]);
}

#[test]
fn a_restarted_container_counts_from_zero() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    world.submit(0.0, "a", mean()).unwrap();
    world.advance(5.0);
    world.submit(5.0, "a", mean()).unwrap();
    world.take_effects();
    world.pod_applied(
        5.5,
        PodView {
            restarts: 1,
            ready: false,
            ..pod("a")
        },
    );
    assert!(matches!(
        world.take_effects()[..],
        [Effect::Cut(_), Effect::Kill(_)]
    ));
    assert_eq!(world.page(6.0, "a"), None);
    world.pod_applied(
        7.0,
        PodView {
            restarts: 1,
            ..pod("a")
        },
    );
    assert_eq!(world.take_effects(), [open()]);
    let page = world.page(7.0, "a").unwrap();
    assert!(page.contains("finished_reason=\"stop\",model_name=\"a\"} 0.0"));
}

#[test]
fn a_lost_node_takes_its_engines_with_it() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    world.submit(0.0, "a", mean()).unwrap();
    world.node_gone(0.5, "n");
    assert_eq!(state(&world, "a").phase, Phase::Dead);
    assert_eq!(world.stats()["ns/a"].cut, 1);
}

#[test]
fn a_pod_that_was_seen_before_its_node_is_placed_when_the_node_appears() {
    let mut world = World::new(1.0, 1, 0.0);
    world.pod_applied(0.0, pod("b"));
    world.pod_applied(0.0, pod("a"));
    assert_eq!(world.take_effects(), []);
    world.node_applied(1.0, &node(2));
    assert_eq!(state(&world, "b").devices, ["n/nvidia.com/gpu/0"]);
    assert_eq!(state(&world, "a").devices, ["n/nvidia.com/gpu/1"]);
    assert_eq!(state(&world, "a").phase, Phase::Serving);
}

#[test]
fn an_engine_that_does_not_fit_never_starts_and_is_reported() {
    let mut world = World::new(1.0, 1, 0.0);
    world.node_applied(
        0.0,
        &NodeView {
            capacity: [("nvidia.com/gpu.shared".to_owned(), 10)].into(),
            ..node(0)
        },
    );
    for uid in ["a", "b", "c"] {
        world.pod_applied(
            0.0,
            PodView {
                gpus: Some(("nvidia.com/gpu.shared".into(), 1)),
                ..pod(uid)
            },
        );
    }
    assert_eq!(state(&world, "b").phase, Phase::Serving);
    assert_eq!(state(&world, "c").phase, Phase::Rejected);
    assert_eq!(
        world.violations(),
        ["n/nvidia.com/gpu.shared/0 would hold 21504 MiB of 16384 MiB with ns/c"]
    );
}

#[test]
fn foreign_pods_hold_gpus_but_do_not_serve() {
    let mut world = world();
    world.pod_applied(
        0.0,
        PodView {
            profile: None,
            ..pod("foreign")
        },
    );
    world.pod_applied(0.0, pod("a"));
    assert_eq!(state(&world, "a").devices, ["n/nvidia.com/gpu/1"]);
    assert_eq!(world.submit(0.0, "foreign", mean()), None);
    assert_eq!(world.residents()["n/nvidia.com/gpu/0"], ["ns/foreign"]);
}

#[test]
fn a_client_that_went_away_is_an_abort() {
    let mut world = world();
    world.pod_applied(0.0, pod("a"));
    let request = world.submit(0.0, "a", mean()).unwrap();
    world.abort(0.5, "a", request);
    assert_eq!(world.queue("a"), Queue::default());
    assert_eq!(world.stats()["ns/a"].aborted, 1);
    assert!(
        world
            .page(0.5, "a")
            .unwrap()
            .contains("finished_reason=\"abort\",model_name=\"a\"} 1.0")
    );
}

#[test]
fn a_wrong_annotation_is_reported_once_and_nothing_is_served() {
    let mut world = world();
    for _ in 0..2 {
        world.pod_applied(
            0.0,
            PodView {
                profile: Some(Err("speed is wrong".into())),
                ..pod("a")
            },
        );
    }
    assert_eq!(world.violations(), ["pod ns/a: speed is wrong"]);
    assert_eq!(world.states(), []);
}

#[test]
fn work_that_is_not_stated_is_drawn_as_the_profile_says() {
    let mut world = world();
    let profile = |service| {
        let base = pod("a").profile.unwrap().unwrap();
        Some(Ok(EngineProfile {
            service,
            dialect: Dialect::Vllm,
            ..base
        }))
    };
    world.pod_applied(
        0.0,
        PodView {
            profile: profile(Service::Deterministic),
            ..pod("a")
        },
    );
    world.pod_applied(
        0.0,
        PodView {
            profile: profile(Service::Exponential),
            ..pod("b")
        },
    );
    let mut took = BTreeMap::from([("a", Vec::new()), ("b", Vec::new())]);
    for i in 0..4000 {
        let at = f64::from(i) * 1000.0;
        let uid = if i % 2 == 0 { "a" } else { "b" };
        world.submit(at, uid, Demand::default()).unwrap();
        took.get_mut(uid)
            .unwrap()
            .push(world.next_event().unwrap() - at);
    }
    assert!(took["a"].iter().all(|seconds| (seconds - 1.0).abs() < 1e-6));
    let exponential = &took["b"];
    let mean = exponential.iter().sum::<f64>() / 2000.0;
    let beyond = exponential.iter().filter(|seconds| **seconds > 2.0).count() as f64 / 2000.0;
    assert!(
        (mean - 1.0).abs() < 0.08 && (beyond - (-2.0_f64).exp()).abs() < 0.03,
        "{mean} {beyond}"
    );
}
