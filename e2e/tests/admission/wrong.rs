//! Pools that must be refused, and what the refusal must say.

use crate::objects::{ABSENT, agent, pool, with};
use serde_json::{Value, json};

/// A pool that is wrong.
pub struct Case {
    /// What is wrong with it.
    pub what: String,
    /// The pool.
    pub pool: Value,
    /// Words of the refusal: the field, its value where the server shows it, what would be right.
    pub says: Vec<&'static str>,
}

fn case(what: &str, changes: &[(&str, Value)], says: &[&'static str]) -> Case {
    Case {
        what: what.into(),
        pool: with(changes),
        says: says.to_vec(),
    }
}

/// One case for each wrong value of one field.
fn values(field: &'static str, right: &'static str, wrong: &[Value]) -> Vec<Case> {
    let one = |value: &Value| {
        let what = format!("{field} is {value}");
        case(&what, &[(field, value.clone())], &[field, right])
    };
    wrong.iter().map(one).collect()
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = unknown_fields();
    cases.extend(strategies());
    cases.extend(lists());
    cases.extend(minimum_above_capacity());
    cases.extend(quantities());
    cases.extend(durations());
    cases.extend(texts());
    cases.extend(not_built());
    cases.extend(unions());
    cases.extend(integers());
    cases
}

fn unknown_fields() -> Vec<Case> {
    vec![
        case(
            "a field that does not exist",
            &[("replicaz", json!(3))],
            &["unknown field \"spec.replicaz\""],
        ),
        case(
            "a misspelt field of an agent",
            &[("agents[0].minShares", json!("100m"))],
            &["unknown field \"spec.agents[0].minShares\""],
        ),
        case(
            "a workload of another namespace",
            &[("agents[0].workloadRef.namespace", json!("other"))],
            &["unknown field \"spec.agents[0].workloadRef.namespace\""],
        ),
        case(
            "a URL",
            &[
                ("metrics.source", json!("Prometheus")),
                (
                    "metrics.prometheus",
                    json!({"name": "main", "url": "http://x"}),
                ),
            ],
            &["unknown field \"spec.metrics.prometheus.url\""],
        ),
        case(
            "a MIG profile, which the operator chooses",
            &[("devices[0].sharing.profile", json!("9g.99gb"))],
            &["unknown field \"spec.devices[0].sharing.profile\""],
        ),
        case(
            "slices a container",
            &[("agents[0].model.slicesPerReplica", json!(2))],
            &["unknown field \"spec.agents[0].model.slicesPerReplica\""],
        ),
    ]
}

fn strategies() -> Vec<Case> {
    let absent = json!(ABSENT);
    let mut cases = vec![
        case(
            "two strategies",
            &[
                ("devices[0].sharing.type", json!("MIG")),
                ("devices[0].sharing.timeSlicing", json!({})),
            ],
            &[
                "spec.devices[0].sharing.timeSlicing",
                "may be set only when type is TimeSlicing",
            ],
        ),
        case(
            "no strategy",
            &[("devices[0].sharing", absent.clone())],
            &["spec.devices[0].sharing: Required value"],
        ),
        case(
            "a strategy without type",
            &[("devices[0].sharing", json!({"timeSlicing": {}}))],
            &["spec.devices[0].sharing.type: Required value"],
        ),
        case(
            "a replica of two GPUs on shared GPUs",
            &[
                ("devices[0].sharing.type", json!("MIG")),
                ("agents[1].model.gpusPerReplica", json!(2)),
            ],
            &[
                "spec.agents",
                "gpusPerReplica above 1 needs sharing type WholeGPU",
            ],
        ),
        case(
            "a curved speed on whole GPUs",
            &[("agents[0].model.speedExponent", json!("0.7"))],
            &[
                "spec.agents",
                "speedExponent below 1 needs sharing type MIG",
            ],
        ),
    ];
    for strategy in ["MIG", "TimeSlicing"] {
        cases.push(case(
            &format!("no memory with {strategy}"),
            &[
                ("devices[0].sharing.type", json!(strategy)),
                ("agents[1].model.memoryPerReplica", absent.clone()),
            ],
            &["spec.agents", "memoryPerReplica, such as 16Gi, is required"],
        ));
    }
    cases
}

fn lists() -> Vec<Case> {
    let many: Vec<Value> = (0..65).map(|i| agent(&format!("a{i}"))).collect();
    let device = pool()["spec"]["devices"][0].clone();
    let mut second = device.clone();
    second["name"] = json!("other");
    let labels: serde_json::Map<String, Value> =
        (0..17).map(|i| (format!("k{i}"), json!("v"))).collect();
    vec![
        case(
            "two agents of one name",
            &[("agents[1].name", json!("a"))],
            &["spec.agents[1]: Duplicate value", "{\"name\":\"a\"}"],
        ),
        case(
            "two agents on one workload",
            &[("agents[1].workloadRef.name", json!("a"))],
            &[
                "spec.agents",
                "must be unique: each workload may belong to one agent only",
            ],
        ),
        case(
            "no agents",
            &[("agents", json!([]))],
            &["spec.agents", "should have at least 1 items"],
        ),
        case(
            "no list of agents",
            &[("agents", json!(ABSENT))],
            &["spec.agents: Required value"],
        ),
        case(
            "65 agents",
            &[("agents", json!(many))],
            &["spec.agents: Too many: 65: must have at most 64 items"],
        ),
        case(
            "two kinds of GPU",
            &[("devices", json!([device, second]))],
            &["spec.devices: Too many: 2: must have at most 1 item"],
        ),
        case(
            "no kind of GPU",
            &[("devices", json!([]))],
            &["spec.devices", "should have at least 1 items"],
        ),
        case(
            "17 labels",
            &[("devices[0].nodeSelector", Value::Object(labels))],
            &["spec.devices[0].nodeSelector: Too many: 17: must have at most 16 items"],
        ),
    ]
}

fn minimum_above_capacity() -> Vec<Case> {
    let over = |gpus: Value, shares: [Value; 2]| {
        let [a, b] = shares;
        case(
            &format!("minimum shares of {a} and {b} on {gpus} GPUs"),
            &[
                ("devices[0].gpus", gpus),
                ("agents[0].minShare", a),
                ("agents[1].minShare", b),
            ],
            &[
                "spec.agents",
                "the sum of agents[].minShare must be at most devices[0].gpus",
            ],
        )
    };
    vec![
        over(json!(1), [json!("0.6"), json!("401m")]),
        over(json!("600m"), [json!("0.3"), json!("301m")]),
        over(json!(4), [json!(4), json!("1m")]),
        over(json!("1"), [json!(1), json!(1)]),
        over(json!("65536"), [json!(65536), json!(65536)]),
    ]
}

fn quantities() -> Vec<Case> {
    let mut cases = values(
        "agents[0].minShare",
        "must be a share from 0 to 65536 GPUs in whole milli-GPUs, such as 1, \"0.1\" or \"100m\"",
        &[
            json!(-1),
            json!("-1"),
            json!("abc"),
            json!(""),
            json!("0.0001"),
            json!("0.5m"),
            json!("1e3"),
            json!("NaN"),
            json!("Infinity"),
            json!("1k"),
            json!(65537),
            json!("70000"),
            json!(i64::MAX),
        ],
    );
    cases.extend(values(
        "devices[0].gpus",
        "must be a number of GPUs above 0 and at most 65536 in whole milli-GPUs",
        &[
            json!(0),
            json!("0"),
            json!("0m"),
            json!("0.000"),
            json!(-4),
            json!("-4"),
            json!("four"),
            json!(65537),
            json!("65537"),
        ],
    ));
    cases.extend(values(
        "devices[0].pricePerGpuHour",
        "must be USD for one GPU for one hour, from 0 to 10000",
        &[
            json!(-1),
            json!("-0.1"),
            json!("$2"),
            json!("NaN"),
            json!(10001),
        ],
    ));
    cases.extend(values(
        "agents[0].model.requestsPerSecondPerGpu",
        "must be the requests per second that one whole GPU serves, above 0 and at most 1000000",
        &[
            json!(0),
            json!("0"),
            json!("0.0"),
            json!(-5),
            json!("-5"),
            json!("NaN"),
            json!("inf"),
            json!("1e3"),
            json!(1_000_001),
        ],
    ));
    cases.extend(values(
        "agents[0].model.memoryPerReplica",
        "must be an amount of GPU memory above 0 and at most 16Ti, such as \"500Mi\" or \"16Gi\"",
        &[
            json!(0),
            json!("0"),
            json!("0Gi"),
            json!("-1Gi"),
            json!(-1),
            json!("17Ti"),
            json!("16GB"),
            json!("lots"),
            json!("1Pi"),
            json!(i64::MAX),
        ],
    ));
    cases.extend(values(
        "policy.behavior.tolerance",
        "must be a fraction from 0 to 1, such as \"0.1\"",
        &[
            json!(2),
            json!(-1),
            json!("1.5"),
            json!("-0.1"),
            json!("10%"),
        ],
    ));
    cases.extend(values(
        "policy.headroom",
        "must be standard deviations from 0 to 10, such as \"2\"",
        &[
            json!(-1),
            json!(11),
            json!("-1"),
            json!("10.001"),
            json!("NaN"),
            json!("two"),
            json!(""),
        ],
    ));
    cases.extend(values(
        "policy.headroom",
        "must be of type integer,string: \"number\"",
        &[json!(1.5)],
    ));
    cases.extend(values(
        "agents[0].model.speedExponent",
        "must be a number from \"0.1\" to 1, such as \"0.7\"",
        &[json!(0), json!(2), json!("0.05"), json!("1.1"), json!("x")],
    ));
    // A bare fraction is no integer and no string; Kubernetes' own words.
    cases.extend(values(
        "agents[0].minShare",
        "must be of type integer,string: \"number\"",
        &[json!(0.5)],
    ));
    cases.extend(values(
        "devices[0].gpus",
        "Too long: may not be more than 16 bytes",
        &[json!("0".repeat(17))],
    ));
    cases.push(case(
        "no base throughput",
        &[("agents[0].model.requestsPerSecondPerGpu", json!(ABSENT))],
        &["spec.agents[0].model.requestsPerSecondPerGpu: Required value"],
    ));
    cases
}

fn durations() -> Vec<Case> {
    let mut cases = values(
        "policy.interval",
        "must be a duration from 1s to 1h, such as 1s, 90s or 2m30s",
        &[
            json!("500ms"),
            json!("0s"),
            json!("-1s"),
            json!("61m"),
            json!("1"),
            json!(""),
            json!("1.5s"),
            json!("1 s"),
            json!("soon"),
        ],
    );
    for field in [
        "policy.demandWindow",
        "policy.drain",
        "metrics.onStale.holdFor",
    ] {
        cases.extend(values(
            field,
            "must be a duration from 1s to 24h",
            &[json!("0s"), json!("25h"), json!("1d")],
        ));
    }
    cases.extend(values(
        "policy.actuationLag",
        "must be a duration from 0s to 1h",
        &[json!("61m"), json!("-1s")],
    ));
    cases.extend(values(
        "policy.interval",
        "must be of type string: \"integer\"",
        &[json!(1)],
    ));
    cases
}

fn texts() -> Vec<Case> {
    let label = "must be a DNS label: lower-case letters, digits and '-', such as coordinator";
    let wrong = [
        json!(""),
        json!("B"),
        json!("a_b"),
        json!("-a"),
        json!("a.b"),
    ];
    let mut cases = Vec::new();
    for field in ["agents[0].name", "agents[0].container", "devices[0].name"] {
        cases.extend(values(field, label, &wrong));
        cases.extend(values(
            field,
            "Too long: may not be more than 63 bytes",
            &[json!("a".repeat(64))],
        ));
    }
    cases.extend(values(
        "agents[0].workloadRef.name",
        "must be the name of a workload",
        &[json!(""), json!("Server"), json!("a/b")],
    ));
    cases.extend(values(
        "agents[0].workloadRef.name",
        "Too long: may not be more than 253 bytes",
        &[json!("a".repeat(254))],
    ));
    for field in ["metrics.path", "agents[0].metrics.path"] {
        cases.extend(values(
            field,
            "must be an absolute path without query or escapes, such as /metrics",
            &[
                json!(""),
                json!("metrics"),
                json!("/m?x=1"),
                json!("/a b"),
                json!("http://x/"),
            ],
        ));
    }
    cases.extend(values(
        "devices[0].nodeSelector",
        "keys must be label keys, such as nvidia.com/gpu.product",
        &[json!({"": "v"}), json!({"a b": "v"}), json!({"a/b/c": "v"})],
    ));
    cases.extend(values(
        "devices[0].nodeSelector",
        "values must be label values",
        &[json!({"k": "a b"}), json!({"k": "-"})],
    ));
    cases.push(case(
        "the name of a metric with a selector",
        &[
            ("metrics.engine", json!("Custom")),
            (
                "metrics.custom",
                json!({"finished": "f_total{job=\"x\"}", "running": "r", "waiting": "w"}),
            ),
        ],
        &[
            "spec.metrics.custom.finished",
            "must be the name of a metric without labels",
        ],
    ));
    cases
}

/// Values of enums that exist elsewhere or will exist later: refused, not ignored.
fn not_built() -> Vec<Case> {
    [
        (
            "requests.via",
            "Admission",
            "supported values: \"Template\"",
        ),
        ("requests.takeOver", "Always", "\"Allowed\""),
        ("devices[0].sharing.type", "MPS", "\"WholeGPU\""),
        ("devices[0].sharing.type", "DRA", "\"MIG\""),
        ("policy.type", "BestEffort", "\"WaterFilling\""),
        ("policy.spare", "Borrow", "\"Save\""),
        ("mode", "Off", "\"Observe\""),
        ("agents[0].workloadRef.kind", "Job", "\"StatefulSet\""),
        ("agents[0].workloadRef.kind", "Rollout", "\"Deployment\""),
        (
            "agents[0].workloadRef.apiVersion",
            "batch/v1",
            "\"apps/v1\"",
        ),
        ("agents[0].priority", "Critical", "\"High\""),
        ("metrics.source", "Push", "\"Pods\""),
        ("metrics.engine", "Triton", "\"VLLM\""),
        ("metrics.onStale.then", "Zero", "\"Hold\""),
        (
            "devices[0].sharing.timeSlicing.resourceName",
            "nvidia.com/mig-1g.10gb",
            "\"nvidia.com/gpu.shared\"",
        ),
        (
            "devices[0].sharing.timeSlicing.resourceName",
            "cpu",
            "\"nvidia.com/gpu\"",
        ),
    ]
    .into_iter()
    .flat_map(|(field, value, right)| {
        let mut cases = values(field, right, &[json!(value)]);
        for case in &mut cases {
            case.says.extend(["Unsupported value", value]);
        }
        cases
    })
    .collect()
}

fn unions() -> Vec<Case> {
    let names = json!({"finished": "f", "running": "r", "waiting": "w"});
    let custom = "custom is required when engine is Custom, and may be set only then";
    let prometheus =
        "prometheus.name is required when source is Prometheus, and may be set only then";
    vec![
        case(
            "engine Custom without names",
            &[("metrics.engine", json!("Custom"))],
            &["spec.metrics", custom],
        ),
        case(
            "names of metrics without engine Custom",
            &[("metrics.custom", names.clone())],
            &["spec.metrics", custom],
        ),
        case(
            "an agent's engine Custom without names",
            &[("agents[1].metrics.engine", json!("Custom"))],
            &["spec.agents[1].metrics", custom],
        ),
        case(
            "an agent's names of metrics without engine Custom",
            &[("agents[1].metrics.custom", names)],
            &["spec.agents[1].metrics", custom],
        ),
        case(
            "two of three names",
            &[
                ("metrics.engine", json!("Custom")),
                ("metrics.custom", json!({"finished": "f", "running": "r"})),
            ],
            &["spec.metrics.custom.waiting: Required value"],
        ),
        case(
            "source Prometheus without name",
            &[("metrics.source", json!("Prometheus"))],
            &["spec.metrics", prometheus],
        ),
        case(
            "the name of a Prometheus and source Pods",
            &[("metrics.prometheus.name", json!("main"))],
            &["spec.metrics", prometheus],
        ),
    ]
}

fn integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (field, least, most) in [
        ("agents[0].replicas.min", 1, 1000),
        ("agents[0].replicas.max", 1, 1000),
        ("agents[0].model.gpusPerReplica", 1, 16),
        ("devices[0].sharing.timeSlicing.slicesPerGpu", 2, 48),
        ("metrics.port", 1, 65535),
        ("agents[0].metrics.port", 1, 65535),
        (
            "policy.behavior.scaleUp.stabilizationWindowSeconds",
            0,
            3600,
        ),
        (
            "policy.behavior.scaleDown.stabilizationWindowSeconds",
            0,
            3600,
        ),
        ("policy.disruption.maxConcurrent", 1, 64),
    ] {
        let bounds: [(i64, &str); 2] = [
            (least - 1, "should be greater than or equal to"),
            (most + 1, "should be less than or equal to"),
        ];
        for (value, right) in bounds {
            cases.extend(values(field, right, &[json!(value)]));
        }
    }
    cases.push(case(
        "fewer replicas at most than at least",
        &[("agents[0].replicas", json!({"min": 3, "max": 2}))],
        &[
            "spec.agents[0].replicas.min",
            "must be at most replicas.max",
        ],
    ));
    cases.push(case(
        "no bound on replicas",
        &[("agents[0].replicas", json!({"min": 1}))],
        &["spec.agents[0].replicas.max: Required value"],
    ));
    cases
}
