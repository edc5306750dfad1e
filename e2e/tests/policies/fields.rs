//! Workloads with something in every part, and one change of each field.

use serde_json::{Value, json};

const C: &str = "/spec/template/spec/containers/0";
const T: &str = "/spec/template";

fn pod_spec() -> Value {
    json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "prepare", "image": "prepare:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        "containers": [
            {
                "name": "server", "image": "server:1", "command": ["run"],
                "env": [{"name": "MODEL", "value": "small"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {
                    "limits": {"nvidia.com/gpu": "1", "cpu": "1"},
                    "requests": {"nvidia.com/gpu": "1", "cpu": "500m", "memory": "1Gi"},
                },
            },
            {"name": "side", "image": "side:1"},
        ],
    })
}

/// A workload named `worker` in the namespace `agents`.
pub fn workload(kind: &str) -> Value {
    let mut spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": {"app": "worker"}},
        "template": {
            "metadata": {"labels": {"app": "worker"}, "annotations": {"user": "1"}},
            "spec": pod_spec(),
        },
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("worker");
    }
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": "worker", "namespace": "agents", "labels": {"user": "1"}, "annotations": {"user": "1"}},
        "spec": spec,
    })
}

/// A pod named `worker` in the namespace `agents`.
pub fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "worker", "namespace": "agents", "labels": {"user": "1"}, "annotations": {"user": "1"}},
        "spec": pod_spec(),
    })
}

/// A pool named `pool` in the namespace `agents`.
pub fn pool() -> Value {
    json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": "pool", "namespace": "agents"},
        "spec": {
            "mode": "Observe",
            "devices": [{"name": "gpu", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [{
                "name": "worker",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"},
                "priority": "High", "minShare": "1", "replicas": {"min": 1, "max": 4},
                "model": {"requestsPerSecondPerGpu": "10"},
            }],
        },
    })
}

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

/// The request of the first container, moved to another resource.
fn moved_to(resource: &str, count: &str) -> Value {
    let key = resource.replace('/', "~1");
    json!([
        {"op": "remove", "path": format!("{C}/resources/limits/nvidia.com~1gpu")},
        {"op": "remove", "path": format!("{C}/resources/requests/nvidia.com~1gpu")},
        {"op": "add", "path": format!("{C}/resources/limits/{key}"), "value": count},
        {"op": "add", "path": format!("{C}/resources/requests/{key}"), "value": count},
    ])
}

/// What the operator does with a workload.
pub fn permitted() -> Vec<(String, Value)> {
    let mut changes: Vec<(String, Value)> = [
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-1g.10gb",
        "nvidia.com/mig-7g.141gb",
        "nvidia.com/mig-1g.10gb.me",
    ]
    .into_iter()
    .map(|resource| (resource.to_owned(), moved_to(resource, "2")))
    .collect();
    let gpu = json!({"nvidia.com/gpu": "1"});
    changes.extend([
        (
            "a first GPU of a container without resources".to_owned(),
            set(
                &format!("{T}/spec/containers/1/resources"),
                json!({"limits": gpu, "requests": gpu}),
            ),
        ),
        (
            "its own annotation".to_owned(),
            set("/metadata/annotations/agentpool.dev~1restore", json!("{}")),
        ),
        (
            "managedFields".to_owned(),
            set("/metadata/managedFields", json!([{}])),
        ),
    ]);
    changes
}

/// What the operator must never do with a workload; each is a legal change of its own.
pub fn forbidden(kind: &str) -> Vec<(String, Value)> {
    let c = |path: &str, value: Value| set(&format!("{C}/{path}"), value);
    let t = |path: &str, value: Value| set(&format!("{T}/{path}"), value);
    let mut changes = vec![
        ("a resource of another maker", moved_to("amd.com/gpu", "1")),
        (
            "a resource whose name only begins like a GPU's",
            moved_to("nvidia.com/gpux", "1"),
        ),
        (
            "a profile that cannot exist",
            moved_to("nvidia.com/mig-0g.10gb", "1"),
        ),
        (
            "a resource with a GPU's name inside",
            moved_to("example.com/nvidia.com-gpu", "1"),
        ),
        (
            "replicas, other than through scale",
            set("/spec/replicas", json!(5)),
        ),
        ("a label", set("/metadata/labels/x", json!("1"))),
        (
            "a user's annotation",
            set("/metadata/annotations/user", json!("2")),
        ),
        (
            "the absence of a user's annotation",
            json!([{"op": "remove", "path": "/metadata/annotations/user"}]),
        ),
        (
            "an annotation that looks like its own",
            set("/metadata/annotations/agentpool.devil~1x", json!("1")),
        ),
        (
            "a finalizer",
            set("/metadata/finalizers", json!(["example.com/x"])),
        ),
        (
            "an owner",
            set(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"}]),
            ),
        ),
        ("minReadySeconds", set("/spec/minReadySeconds", json!(5))),
        (
            "revisionHistoryLimit",
            set("/spec/revisionHistoryLimit", json!(1)),
        ),
        ("a template's label", t("metadata/labels/x", json!("1"))),
        (
            "a template's annotation",
            t("metadata/annotations/x", json!("1")),
        ),
        (
            "a template's annotation of its own prefix",
            t("metadata/annotations/agentpool.dev~1x", json!("1")),
        ),
        (
            "serviceAccountName",
            t("spec/serviceAccountName", json!("x")),
        ),
        ("hostNetwork", t("spec/hostNetwork", json!(true))),
        ("nodeSelector", t("spec/nodeSelector", json!({"a": "b"}))),
        ("affinity", t("spec/affinity", json!({"nodeAffinity": {}}))),
        (
            "tolerations",
            t("spec/tolerations", json!([{"operator": "Exists"}])),
        ),
        (
            "priorityClassName",
            t("spec/priorityClassName", json!("system-node-critical")),
        ),
        ("schedulerName", t("spec/schedulerName", json!("x"))),
        ("runtimeClassName", t("spec/runtimeClassName", json!("x"))),
        (
            "securityContext",
            t("spec/securityContext", json!({"runAsUser": 0})),
        ),
        (
            "a volume",
            t(
                "spec/volumes/-",
                json!({"name": "x", "hostPath": {"path": "/"}}),
            ),
        ),
        (
            "imagePullSecrets",
            t("spec/imagePullSecrets", json!([{"name": "x"}])),
        ),
        (
            "terminationGracePeriodSeconds",
            t("spec/terminationGracePeriodSeconds", json!(1)),
        ),
        (
            "one more container",
            t("spec/containers/-", json!({"name": "x", "image": "x"})),
        ),
        (
            "one container fewer",
            json!([{"op": "remove", "path": format!("{T}/spec/containers/1")}]),
        ),
        (
            "an init container's image",
            t("spec/initContainers/0/image", json!("x")),
        ),
        (
            "an init container's GPUs",
            t("spec/initContainers/0/resources", json!({})),
        ),
        (
            "one more init container",
            t("spec/initContainers/-", json!({"name": "x", "image": "x"})),
        ),
        (
            "another container's image",
            t("spec/containers/1/image", json!("x")),
        ),
        ("image", c("image", json!("x"))),
        ("imagePullPolicy", c("imagePullPolicy", json!("Never"))),
        ("name", c("name", json!("x"))),
        ("command", c("command", json!(["x"]))),
        ("args", c("args", json!(["x"]))),
        ("workingDir", c("workingDir", json!("/x"))),
        ("an env value", c("env/0/value", json!("x"))),
        (
            "one more env",
            c("env/-", json!({"name": "x", "value": "y"})),
        ),
        (
            "envFrom",
            c("envFrom", json!([{"secretRef": {"name": "x"}}])),
        ),
        ("a mount", c("volumeMounts/0/mountPath", json!("/x"))),
        (
            "a container's securityContext",
            c("securityContext", json!({"runAsUser": 0})),
        ),
        (
            "livenessProbe",
            c("livenessProbe", json!({"exec": {"command": ["x"]}})),
        ),
        (
            "readinessProbe",
            c("readinessProbe", json!({"exec": {"command": ["x"]}})),
        ),
        (
            "lifecycle",
            c(
                "lifecycle",
                json!({"preStop": {"exec": {"command": ["x"]}}}),
            ),
        ),
        ("ports", c("ports", json!([{"containerPort": 1}]))),
        ("a CPU limit", c("resources/limits/cpu", json!("2"))),
        (
            "a memory request",
            c("resources/requests/memory", json!("2Gi")),
        ),
        ("one more limit", c("resources/limits/memory", json!("2Gi"))),
        (
            "one request fewer",
            json!([{"op": "remove", "path": format!("{C}/resources/requests/cpu")}]),
        ),
        (
            "claims of devices",
            json!([
                {"op": "add", "path": format!("{T}/spec/resourceClaims"), "value": [{"name": "x", "resourceClaimName": "y"}]},
                {"op": "add", "path": format!("{C}/resources/claims"), "value": [{"name": "x"}]},
            ]),
        ),
        (
            "an image beside a permitted GPU",
            json!([
                {"op": "add", "path": format!("{C}/resources/limits/nvidia.com~1gpu"), "value": "2"},
                {"op": "add", "path": format!("{C}/resources/requests/nvidia.com~1gpu"), "value": "2"},
                {"op": "add", "path": format!("{C}/image"), "value": "x"},
            ]),
        ),
    ];
    changes.extend(if kind == "Deployment" {
        vec![
            (
                "strategy",
                set("/spec/strategy", json!({"type": "Recreate"})),
            ),
            ("paused", set("/spec/paused", json!(true))),
            (
                "progressDeadlineSeconds",
                set("/spec/progressDeadlineSeconds", json!(100)),
            ),
        ]
    } else {
        vec![
            (
                "updateStrategy",
                set("/spec/updateStrategy", json!({"type": "OnDelete"})),
            ),
            ("ordinals", set("/spec/ordinals", json!({"start": 1}))),
            (
                "persistentVolumeClaimRetentionPolicy",
                set(
                    "/spec/persistentVolumeClaimRetentionPolicy",
                    json!({"whenDeleted": "Delete", "whenScaled": "Delete"}),
                ),
            ),
        ]
    });
    changes
        .into_iter()
        .map(|(what, patch)| (what.to_owned(), patch))
        .collect()
}

/// What the operator must never do with a pod.
pub fn forbidden_for_pods() -> Vec<(String, Value)> {
    [
        ("a label", set("/metadata/labels/x", json!("1"))),
        (
            "a user's annotation",
            set("/metadata/annotations/user", json!("2")),
        ),
        (
            "a finalizer",
            set("/metadata/finalizers", json!(["example.com/x"])),
        ),
        ("an image", set("/spec/containers/0/image", json!("x"))),
        (
            "activeDeadlineSeconds",
            set("/spec/activeDeadlineSeconds", json!(1)),
        ),
        (
            "tolerations",
            set("/spec/tolerations/-", json!({"operator": "Exists"})),
        ),
    ]
    .into_iter()
    .map(|(what, patch)| (what.to_owned(), patch))
    .collect()
}
