#![allow(clippy::unwrap_used)]
use super::*;

fn node(labels: &[(&str, &str)], capacity: &[(&str, u64)]) -> NodeView {
    NodeView {
        name: "n".into(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        capacity: capacity
            .iter()
            .map(|(key, n)| ((*key).to_owned(), *n))
            .collect(),
    }
}

fn world(view: &NodeView) -> (Physics, Placement) {
    let mut physics = Physics::new(1.0);
    let mut placement = Placement::default();
    placement.node_applied(&mut physics, view);
    (physics, placement)
}

fn tenant(name: &str, gibibytes: u64) -> Tenant {
    Tenant {
        uid: name.into(),
        name: name.into(),
        memory: gibibytes << 30,
    }
}

#[test]
fn slices_of_a_shared_gpu_are_access_to_one_device() {
    let one = node(
        &[("nvidia.com/gpu.replicas", "10")],
        &[("nvidia.com/gpu.shared", 10)],
    );
    let two = node(
        &[
            ("nvidia.com/gpu.replicas", "10"),
            ("nvidia.com/gpu.count", "2"),
        ],
        &[("nvidia.com/gpu.shared", 20)],
    );
    let not_renamed = node(
        &[("nvidia.com/gpu.replicas", "4")],
        &[("nvidia.com/gpu", 8)],
    );
    let silent = node(&[], &[("nvidia.com/gpu.shared", 10)]);
    for (view, count) in [(one, 1), (two, 2), (not_renamed, 2), (silent, 1)] {
        let devices = view.devices();
        let devices = devices.values().next().unwrap();
        assert_eq!((devices.count, devices.shared), (count, true), "{view:?}");
    }
}

#[test]
fn the_speed_of_a_mig_instance_is_its_part_of_the_multiprocessors() {
    let a100 = node(
        &[
            ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
            ("nvidia.com/mig-3g.40gb.multiprocessors", "42"),
            ("nvidia.com/mig-3g.40gb.memory", "40192"),
        ],
        &[("nvidia.com/mig-3g.40gb", 2), ("nvidia.com/mig-1g.10gb", 1)],
    );
    let devices = a100.devices();
    let large = &devices["nvidia.com/mig-3g.40gb"];
    assert_eq!(large.count, 2);
    assert!((large.fraction - 42.0 / 108.0).abs() < 1e-12);
    assert_eq!(large.memory, Some(40192 << 20));
    // Without the label: the compute slices of its name.
    assert!((devices["nvidia.com/mig-1g.10gb"].fraction - 1.0 / 7.0).abs() < 1e-12);
    assert_eq!(full_multiprocessors("NVIDIA-H200"), 132);
}

#[test]
fn pods_go_to_the_least_used_gpu_then_to_the_lowest() {
    let view = node(
        &[
            ("nvidia.com/gpu.replicas", "10"),
            ("nvidia.com/gpu.count", "2"),
        ],
        &[("nvidia.com/gpu.shared", 20)],
    );
    let (_, mut placement) = world(&view);
    let mut put = |pod: &str| {
        placement
            .place(&tenant(pod, 0), "n", "nvidia.com/gpu.shared", 1)
            .unwrap()
            .names
    };
    assert_eq!(put("a"), ["n/nvidia.com/gpu.shared/0"]);
    assert_eq!(put("b"), ["n/nvidia.com/gpu.shared/1"]);
    assert_eq!(put("c"), ["n/nvidia.com/gpu.shared/0"]);
    placement.free("a");
    placement.free("c");
    let d = placement
        .place(&tenant("d", 0), "n", "nvidia.com/gpu.shared", 1)
        .unwrap();
    assert_eq!(d.names, ["n/nvidia.com/gpu.shared/0"]);
    assert_eq!(d.violations, Vec::<String>::new());
}

#[test]
fn a_tensor_parallel_pod_gets_gpus_of_its_own() {
    let (_, mut placement) = world(&node(&[], &[("nvidia.com/gpu", 4)]));
    let one = placement.place(&tenant("one", 0), "n", GPU, 1).unwrap();
    let two = placement.place(&tenant("two", 0), "n", GPU, 2).unwrap();
    assert_eq!(one.names, ["n/nvidia.com/gpu/0"]);
    assert_eq!(two.names, ["n/nvidia.com/gpu/1", "n/nvidia.com/gpu/2"]);
    assert_eq!(two.devices.len(), 2);
}

#[test]
fn what_no_node_would_allow_is_said() {
    let (_, mut placement) = world(&node(&[], &[("nvidia.com/gpu", 1)]));
    assert_eq!(
        placement
            .place(&tenant("a", 0), "n", GPU, 1)
            .unwrap()
            .violations
            .len(),
        0
    );
    let second = placement.place(&tenant("b", 0), "n", GPU, 1).unwrap();
    assert_eq!(
        second.violations,
        ["n/nvidia.com/gpu/0 is exclusive and held by a"]
    );
    let wide = placement.place(&tenant("c", 0), "n", GPU, 2).unwrap();
    assert!(wide.violations[0].contains("c asks for 2 x nvidia.com/gpu, n has 1"));
    assert_eq!(placement.place(&tenant("d", 0), "elsewhere", GPU, 1), None);
}

#[test]
fn resident_copies_that_do_not_fit_are_said() {
    let view = node(
        &[
            ("nvidia.com/gpu.memory", "16384"),
            ("nvidia.com/gpu.replicas", "10"),
        ],
        &[("nvidia.com/gpu.shared", 10)],
    );
    let (_, mut placement) = world(&view);
    let mut put = |pod: &str| {
        placement
            .place(&tenant(pod, 6), "n", "nvidia.com/gpu.shared", 1)
            .unwrap()
            .violations
    };
    assert_eq!(put("a").len() + put("b").len(), 0);
    assert_eq!(
        put("c"),
        ["n/nvidia.com/gpu.shared/0 would hold 18432 MiB of 16384 MiB with c"]
    );
}

#[test]
fn gpus_that_a_node_lost_take_no_new_pods() {
    let (mut physics, mut placement) = world(&node(&[], &[("nvidia.com/gpu", 2)]));
    placement.node_applied(&mut physics, &node(&[], &[("nvidia.com/gpu", 1)]));
    placement.place(&tenant("a", 0), "n", GPU, 1).unwrap();
    let b = placement.place(&tenant("b", 0), "n", GPU, 1).unwrap();
    assert_eq!(
        b.violations,
        ["n/nvidia.com/gpu/0 is exclusive and held by a"]
    );
    placement.node_applied(&mut physics, &node(&[], &[("nvidia.com/gpu", 2)]));
    let c = placement.place(&tenant("c", 0), "n", GPU, 1).unwrap();
    assert_eq!(c.names, ["n/nvidia.com/gpu/1"]);
}
