//! One test for each thing that `admit` can find wrong, and for what it makes of what is right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::{Value, json};

/// A legal pool of two agents on four whole GPUs, written out of order.
fn pool() -> Value {
    let agent = |name: &str| {
        json!({
            "name": name,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minShare": "500m",
            "replicas": {"max": 4},
            "model": {"requestsPerSecondPerGpu": 30, "memoryPerReplica": "8Gi"},
        })
    };
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 7},
        "spec": {
            "mode": "Auto",
            "devices": [{"name": "gpu", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [agent("b"), agent("a")],
        },
    })
}

/// The pool with values set by JSON pointer below `/spec`; missing members of objects are made.
fn with(changes: &[(&str, Value)]) -> AgentPool {
    let mut pool = pool();
    for (pointer, value) in changes {
        let mut at = &mut pool["spec"];
        for step in pointer.split('/') {
            at = match step.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[step],
            };
        }
        *at = value.clone();
    }
    serde_json::from_value(pool).unwrap()
}

fn admitted(changes: &[(&str, Value)]) -> ValidPool {
    ValidPool::admit(&with(changes)).unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[track_caller]
fn refused(changes: &[(&str, Value)], field: &str, value: &str, expected: &str) {
    let invalid = ValidPool::admit(&with(changes)).expect_err("refused");
    assert_eq!(invalid.field, field, "{invalid}");
    assert_eq!(invalid.value, value, "{invalid}");
    assert!(invalid.expected.contains(expected), "{invalid}");
}

#[test]
fn agents_and_their_shapes_are_in_the_order_of_their_names() {
    let pool = admitted(&[]);
    let agents: Vec<_> = pool.agents.iter().map(|a| a.name.as_str()).collect();
    let shapes: Vec<_> = pool.shape.agents.iter().map(|a| a.name.as_str()).collect();
    assert_eq!((agents, shapes), (vec!["a", "b"], vec!["a", "b"]));
}

#[test]
fn a_pool_is_read_in_its_units_and_with_safe_defaults() {
    let pool = admitted(&[]);
    assert_eq!(pool.key(), "ns/p");
    assert_eq!((pool.uid.as_str(), pool.generation), ("u", Some(7)));
    assert_eq!(pool.policy, Policy::Balanced(Spare::Lend));
    assert!(!pool.take_over && !pool.shape.allow_downtime && pool.may_write());
    assert_eq!(pool.interval, Duration::from_secs(1));
    assert_eq!(pool.hold_for, Duration::from_secs(300));
    assert_eq!(pool.then, StaleAction::Hold);
    assert_eq!(pool.shape.declared_gpus, Some(MilliGpus::whole(4)));
    assert_eq!(
        pool.shape.behavior.scale_down_window,
        Duration::from_secs(300)
    );
    assert_eq!(pool.shape.agents[0].min_replicas, 1);
    let agent = &pool.agents[0];
    assert_eq!(agent.min_share, MilliGpus(500));
    assert!((agent.base_throughput - 30.0).abs() < f64::EPSILON);
    assert_eq!(
        (agent.metrics.port, agent.metrics.path.as_str()),
        (8000, "/metrics")
    );
}

#[test]
fn an_integer_and_its_text_mean_the_same() {
    let numbers = admitted(&[
        ("devices/0/gpus", json!(4)),
        ("agents/0/minShare", json!(1)),
        ("agents/0/model/speedExponent", json!(1)),
        ("agents/0/model/memoryPerReplica", json!(1_073_741_824)),
        ("policy/behavior/tolerance", json!(0)),
    ]);
    let texts = admitted(&[
        ("devices/0/gpus", json!("4000m")),
        ("agents/0/minShare", json!("1.000")),
        ("agents/0/model/speedExponent", json!("1.0")),
        ("agents/0/model/memoryPerReplica", json!("1Gi")),
        ("policy/behavior/tolerance", json!("0.0")),
    ]);
    assert_eq!(numbers, texts);
}

#[test]
fn only_auto_without_the_pause_annotation_may_write() {
    assert!(!admitted(&[("mode", json!("Observe"))]).may_write());
    let mut pool = with(&[]);
    let mut pause = |value: &str| {
        let annotations = [(annotations::PAUSED.to_owned(), value.to_owned())];
        pool.metadata.annotations = Some(annotations.into());
        ValidPool::admit(&pool).unwrap()
    };
    assert!(pause("true").paused && !pause("true").may_write());
    assert!(pause("false").may_write());
}

#[test]
fn an_agent_has_the_pools_metrics_where_it_says_nothing_else() {
    let names = json!({"finished": "f_total", "running": "r", "waiting": "w"});
    let pool = admitted(&[
        ("metrics/port", json!(9000)),
        ("metrics/engine", json!("Custom")),
        ("metrics/custom", names),
        ("agents/0/metrics/engine", json!("SGLang")),
        ("agents/0/metrics/path", json!("/m")),
    ]);
    let [a, b] = &pool.agents[..] else {
        panic!("two agents");
    };
    assert_eq!(
        (a.metrics.engine, b.metrics.engine),
        (Engine::Custom, Engine::SGLang)
    );
    assert_eq!(a.metrics.custom.as_ref().unwrap().finished, "f_total");
    assert_eq!(b.metrics.custom, None);
    assert_eq!((a.metrics.port, b.metrics.port), (9000, 9000));
    assert_eq!(
        (a.metrics.path.as_str(), b.metrics.path.as_str()),
        ("/metrics", "/m")
    );
}

#[test]
fn a_strategy_has_what_belongs_to_it() {
    use crate::sharing::Strategy;
    use crate::units::GpuResource;
    let kind = |kind: &str| ("devices/0/sharing/type", json!(kind));
    assert_eq!(admitted(&[kind("MIG")]).shape.strategy, Strategy::Mig);
    let sliced = admitted(&[
        kind("TimeSlicing"),
        (
            "devices/0/sharing/timeSlicing/resourceName",
            json!("nvidia.com/gpu"),
        ),
        ("devices/0/sharing/timeSlicing/slicesPerGpu", json!(10)),
    ]);
    let expected = Strategy::TimeSlicing {
        resource: GpuResource::whole(),
        slices_per_gpu: Some(10),
    };
    assert_eq!(sliced.shape.strategy, expected);
    let slicing = ("devices/0/sharing/timeSlicing", json!({}));
    let field = "spec.devices[0].sharing.timeSlicing";
    refused(
        &[slicing],
        field,
        "set",
        "absent unless sharing.type is TimeSlicing",
    );
    let slices = ("devices/0/sharing/timeSlicing/slicesPerGpu", json!(1));
    let field = "spec.devices[0].sharing.timeSlicing.slicesPerGpu";
    refused(&[kind("TimeSlicing"), slices], field, "1", "2 to 48");
}

#[test]
fn the_message_of_a_refusal_has_field_value_and_what_would_be_right() {
    let invalid = ValidPool::admit(&with(&[("agents/1/minShare", json!("-1"))])).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "spec.agents[1].minShare: \"-1\" is not valid: must be a number of GPUs such as 4, \"0.35\" or \"350m\" (whole milli-GPUs, at most 65536 GPUs)"
    );
}

#[test]
fn lists_of_the_wrong_length_are_refused() {
    refused(
        &[("devices", json!([]))],
        "spec.devices",
        "0",
        "exactly one",
    );
    refused(&[("agents", json!([]))], "spec.agents", "0", "1 to 64");
}

#[test]
fn a_name_or_a_workload_that_two_agents_have_is_refused() {
    let name = ("agents/1/name", json!("b"));
    refused(&[name], "spec.agents[1].name", "b", "unique");
    let workload = ("agents/0/workloadRef/name", json!("a"));
    let field = "spec.agents[0].workloadRef.name";
    refused(
        std::slice::from_ref(&workload),
        field,
        "a",
        "no other agent",
    );
    // A StatefulSet of the same name is another workload.
    admitted(&[
        workload,
        ("agents/0/workloadRef/kind", json!("StatefulSet")),
    ]);
}

#[test]
fn minimum_shares_above_the_declared_gpus_are_refused_to_the_milli_gpu() {
    let shares = |gpus: &str, a: &str, b: &str| {
        [
            ("devices/0/gpus", json!(gpus)),
            ("agents/0/minShare", json!(a)),
            ("agents/1/minShare", json!(b)),
        ]
    };
    admitted(&shares("600m", "0.4", "0.2"));
    let field = "spec.agents[].minShare";
    refused(
        &shares("600m", "0.4", "201m"),
        field,
        "601m",
        "(600m) in sum",
    );
    admitted(&[
        ("devices/0/gpus", Value::Null),
        ("agents/0/minShare", json!(65536)),
    ]);
}

#[test]
fn quantities_that_are_zero_negative_or_absurd_are_refused() {
    for (pointer, field, wrong) in [
        (
            "devices/0/gpus",
            "spec.devices[0].gpus",
            vec!["0", "-4", "70000", "x", ""],
        ),
        (
            "devices/0/pricePerGpuHour",
            "spec.devices[0].pricePerGpuHour",
            vec!["-1", "NaN", "20000"],
        ),
        (
            "agents/0/minShare",
            "spec.agents[0].minShare",
            vec!["-1", "0.0001", "1e3"],
        ),
        (
            "agents/0/model/requestsPerSecondPerGpu",
            "spec.agents[0].model.requestsPerSecondPerGpu",
            vec!["0", "-5", "NaN", "inf", "1e3", "2000000", "+1"],
        ),
        (
            "agents/0/model/memoryPerReplica",
            "spec.agents[0].model.memoryPerReplica",
            vec!["0", "-1Gi", "17Ti", "16GB"],
        ),
        (
            "policy/behavior/tolerance",
            "spec.policy.behavior.tolerance",
            vec!["1.5", "-0.1", "x"],
        ),
        (
            "policy/headroom",
            "spec.policy.headroom",
            vec!["10.5", "-1", "x", "NaN", "1e1"],
        ),
        (
            "agents/0/model/speedExponent",
            "spec.agents[0].model.speedExponent",
            vec!["0.05", "2", "0"],
        ),
    ] {
        for value in wrong {
            refused(&[(pointer, json!(value))], field, value, "");
        }
    }
}

#[test]
fn headroom_is_read_to_the_thousandth_where_it_is_used_and_refused_everywhere() {
    let balanced = ("policy/type", json!("Balanced"));
    let save = ("policy/spare", json!("Save"));
    let policy = |headroom: &str| {
        let headroom = ("policy/headroom", json!(headroom));
        admitted(&[balanced.clone(), save.clone(), headroom]).policy
    };
    let saving = |headroom_milli| Policy::Balanced(Spare::Save { headroom_milli });
    assert_eq!(policy("0"), saving(0));
    assert_eq!(policy("2.345"), saving(2345));
    assert_eq!(policy("10"), saving(10_000));
    let lending = admitted(std::slice::from_ref(&balanced)).policy;
    assert_eq!(lending, Policy::Balanced(Spare::Lend));
    let field = "spec.policy.headroom";
    let wrong = ("policy/headroom", json!("11"));
    refused(&[balanced, save, wrong], field, "11", "\"0\" to \"10\"");
}

#[test]
fn durations_outside_their_range_are_refused() {
    for (pointer, field, wrong, right) in [
        (
            "policy/interval",
            "spec.policy.interval",
            "500ms",
            "1s to 3600s",
        ),
        (
            "policy/demandWindow",
            "spec.policy.demandWindow",
            "0s",
            "1s to 86400s",
        ),
        (
            "policy/drain",
            "spec.policy.drain",
            "x",
            "a duration such as",
        ),
        (
            "policy/actuationLag",
            "spec.policy.actuationLag",
            "2h",
            "0s to 3600s",
        ),
        (
            "metrics/onStale/holdFor",
            "spec.metrics.onStale.holdFor",
            "0s",
            "1s to 86400s",
        ),
    ] {
        refused(&[(pointer, json!(wrong))], field, wrong, right);
    }
}

#[test]
fn integers_outside_their_range_are_refused() {
    let window = "spec.policy.behavior.scaleDown.stabilizationWindowSeconds";
    let pointer = "policy/behavior/scaleDown/stabilizationWindowSeconds";
    refused(&[(pointer, json!(3601))], window, "3601", "0 to 3600");
    let pointer = "policy/disruption/maxConcurrent";
    refused(
        &[(pointer, json!(0))],
        "spec.policy.disruption.maxConcurrent",
        "0",
        "1 to 64",
    );
    refused(
        &[("metrics/port", json!(0))],
        "spec.metrics.port",
        "0",
        "1 to 65535",
    );
    let pointer = "agents/0/model/gpusPerReplica";
    let field = "spec.agents[0].model.gpusPerReplica";
    refused(&[(pointer, json!(17))], field, "17", "1 to 16");
    for (replicas, value) in [
        (json!({"min": 0, "max": 1}), "0..1"),
        (json!({"min": 3, "max": 2}), "3..2"),
        (json!({"max": 1001}), "1..1001"),
    ] {
        let change = ("agents/0/replicas", replicas);
        refused(
            &[change],
            "spec.agents[0].replicas",
            value,
            "1 <= min <= max <= 1000",
        );
    }
}

#[test]
fn what_a_shared_gpu_needs_or_cannot_do_is_refused() {
    let kind = |kind: &str| ("devices/0/sharing/type", json!(kind));
    for strategy in ["MIG", "TimeSlicing"] {
        let memory = ("agents/0/model/memoryPerReplica", Value::Null);
        let field = "spec.agents[0].model.memoryPerReplica";
        refused(&[kind(strategy), memory], field, "absent", "16Gi");
        let gpus = ("agents/0/model/gpusPerReplica", json!(2));
        let field = "spec.agents[0].model.gpusPerReplica";
        refused(&[kind(strategy), gpus], field, "2", "WholeGPU");
    }
    let exponent = ("agents/0/model/speedExponent", json!("0.5"));
    let field = "spec.agents[0].model.speedExponent";
    refused(std::slice::from_ref(&exponent), field, "0.5", "MIG");
    admitted(&[kind("MIG"), exponent]);
    admitted(&[("agents/0/model/memoryPerReplica", Value::Null)]);
}

#[test]
fn unions_of_metrics_are_whole() {
    let prometheus = ("metrics/prometheus/name", json!("main"));
    let source = ("metrics/source", json!("Prometheus"));
    let field = "spec.metrics.prometheus";
    refused(
        std::slice::from_ref(&source),
        field,
        "absent",
        "name of a metric source",
    );
    refused(
        std::slice::from_ref(&prometheus),
        field,
        "set",
        "absent unless",
    );
    let pool = admitted(&[source, prometheus]);
    assert_eq!(pool.prometheus.as_deref(), Some("main"));
    let names = json!({"finished": "f", "running": "r", "waiting": "w"});
    for (pointer, field) in [
        ("metrics", "spec.metrics.custom"),
        ("agents/0/metrics", "spec.agents[0].metrics.custom"),
    ] {
        let engine = (&*format!("{pointer}/engine"), json!("Custom"));
        refused(&[engine], field, "absent", "set when engine is Custom");
        let custom = (&*format!("{pointer}/custom"), names.clone());
        refused(&[custom], field, "set", "absent unless engine is Custom");
    }
}

#[test]
fn texts_of_the_wrong_shape_are_refused() {
    let long = "a".repeat(64);
    for (pointer, field, wrong, right) in [
        ("agents/0/name", "spec.agents[0].name", "B", "a DNS label"),
        ("agents/0/name", "spec.agents[0].name", &long, "a DNS label"),
        (
            "agents/0/container",
            "spec.agents[0].container",
            "a_b",
            "a DNS label",
        ),
        ("devices/0/name", "spec.devices[0].name", "", "a DNS label"),
        (
            "agents/0/workloadRef/name",
            "spec.agents[0].workloadRef.name",
            "a/b",
            "name of a workload",
        ),
        (
            "agents/0/workloadRef/apiVersion",
            "spec.agents[0].workloadRef.apiVersion",
            "batch/v1",
            "apps/v1",
        ),
        (
            "metrics/path",
            "spec.metrics.path",
            "/m?x=1",
            "an absolute path",
        ),
        (
            "agents/0/metrics/path",
            "spec.agents[0].metrics.path",
            "m",
            "an absolute path",
        ),
        (
            "devices/0/nodeSelector/a b",
            "spec.devices[0].nodeSelector",
            "a b",
            "label keys",
        ),
    ] {
        let value = if pointer.contains("nodeSelector") {
            "v"
        } else {
            wrong
        };
        refused(&[(pointer, json!(value))], field, wrong, right);
    }
    let value = ("devices/0/nodeSelector", json!({"k": "-"}));
    refused(
        &[value],
        "spec.devices[0].nodeSelector",
        "-",
        "label values",
    );
    let labels: BTreeMap<String, &str> = (0..17).map(|i| (format!("k{i}"), "")).collect();
    let labels = ("devices/0/nodeSelector", json!(labels));
    refused(
        &[labels],
        "spec.devices[0].nodeSelector",
        "17",
        "at most 16",
    );
    let custom = json!({"finished": "f", "running": "1r", "waiting": "w"});
    let changes = [
        ("metrics/engine", json!("Custom")),
        ("metrics/custom", custom),
    ];
    refused(
        &changes,
        "spec.metrics.custom.running",
        "1r",
        "name of a metric",
    );
}
