//! One row for each thing that keeps the operator from a workload: the object, the reason, and the words that the message must have.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::{AgentPool, ValidPool};
use crate::controller::cache::{Caches, Record};
use crate::controller::claims::Claims;
use crate::controller::observe::view;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use serde_json::{Value, json};

const WHOLE: &str = "nvidia.com/gpu";

/// A pool whose one agent has this workload, with these members added to the agent.
fn pool(kind: &str, sharing: &Value, more: &Value) -> ValidPool {
    let mut agent = json!({
        "name": "chat", "workloadRef": { "apiVersion": "apps/v1", "kind": kind, "name": "chat" },
        "replicas": { "max": 4 },
        "model": { "requestsPerSecondPerGpu": "10", "memoryPerReplica": "1Gi" }
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        agent[key] = value.clone();
    }
    let pool: AgentPool = serde_json::from_value(json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": { "name": "p", "namespace": "n" },
        "spec": { "mode": "Auto", "devices": [{ "name": "gpu", "sharing": sharing }], "agents": [agent] }
    }))
    .unwrap();
    ValidPool::admit(&pool).unwrap()
}

fn whole() -> Value {
    json!({ "type": "WholeGPU" })
}

fn server(resource: &str, count: &str) -> Value {
    json!({ "name": "server", "resources": { "limits": { resource: count } } })
}

/// A workload with these containers, and these members added to its spec.
fn object(containers: &Value, more: &Value) -> Value {
    let mut spec = json!({
        "replicas": 1, "serviceName": "chat", "selector": { "matchLabels": { "app": "chat" } },
        "template": { "spec": { "containers": containers } }
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({ "metadata": { "name": "chat" }, "spec": spec })
}

fn deployment(object: Value) -> WorkloadRecord {
    WorkloadRecord::of(serde_json::from_value::<Deployment>(object).unwrap()).unwrap()
}

fn stateful_set(object: Value) -> WorkloadRecord {
    WorkloadRecord::of(serde_json::from_value::<StatefulSet>(object).unwrap()).unwrap()
}

/// Why nothing is written for the pool's agent.
fn why(pool: &ValidPool, workload: &WorkloadRecord) -> Option<Refusal> {
    let around = Surroundings {
        autoscalers: &[],
        claimed_by: None,
    };
    let (agent, shape) = (&pool.agents[0], &pool.shape.agents[0]);
    refusal(
        agent,
        shape,
        &pool.shape.strategy,
        pool.take_over,
        workload,
        around,
    )
}

#[track_caller]
fn refuses(pool: &ValidPool, workload: &WorkloadRecord, reason: &str, words: &[&str]) {
    let refusal = why(pool, workload).unwrap();
    assert_eq!(refusal.reason, reason, "{}", refusal.message);
    assert!(!refusal.conflict, "{reason} is nobody's conflict");
    for word in words {
        let message = &refusal.message;
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

#[test]
fn a_workload_as_the_sharing_type_wants_it_is_not_refused() {
    let fits = |sharing: &Value, resource: &str| {
        let workload = deployment(object(&json!([server(resource, "1")]), &json!({})));
        why(&pool("Deployment", sharing, &json!({})), &workload)
    };
    let sliced = json!({ "type": "TimeSlicing", "timeSlicing": { "resourceName": "nvidia.com/gpu.shared" } });
    assert_eq!(fits(&whole(), WHOLE), None);
    assert_eq!(fits(&sliced, "nvidia.com/gpu.shared"), None);
    assert_eq!(
        fits(&json!({ "type": "MIG" }), "nvidia.com/mig-1g.10gb"),
        None
    );
}

#[test]
fn a_workload_that_rolls_nothing_out_is_refused() {
    let containers = json!([server(WHOLE, "1")]);
    let of_deployment = pool("Deployment", &whole(), &json!({}));
    let paused = deployment(object(&containers, &json!({ "paused": true })));
    refuses(
        &of_deployment,
        &paused,
        "DeploymentPaused",
        &["Deployment chat", "spec.paused"],
    );

    let of_set = pool("StatefulSet", &whole(), &json!({}));
    let on_delete = json!({ "updateStrategy": { "type": "OnDelete" } });
    let partition = json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } });
    for update in [on_delete, partition] {
        let set = stateful_set(object(&containers, &update));
        refuses(
            &of_set,
            &set,
            "UpdateStrategyOnDelete",
            &["StatefulSet chat", "RollingUpdate without partition"],
        );
    }
    let rolling = json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } } });
    assert_eq!(
        why(&of_set, &stateful_set(object(&containers, &rolling))),
        None
    );
}

#[test]
fn a_template_in_which_it_is_not_clear_who_gets_the_gpu_is_refused() {
    let unnamed = pool("Deployment", &whole(), &json!({}));
    let named = |name: &str| pool("Deployment", &whole(), &json!({ "container": name }));
    let record = |containers: Value| deployment(object(&containers, &json!({})));
    let (server, proxy) = (server(WHOLE, "1"), json!({ "name": "proxy" }));

    let mut warm = object(&json!([server]), &json!({}));
    warm["spec"]["template"]["spec"]["initContainers"] =
        json!([{ "name": "warm", "resources": { "limits": { WHOLE: "1" } } }]);
    refuses(
        &unnamed,
        &deployment(warm),
        "GpuInitContainer",
        &["init container \"warm\""],
    );

    let mut second = server.clone();
    second["name"] = json!("draft");
    let several = record(json!([server, second]));
    refuses(
        &named("server"),
        &several,
        "SeveralGpuContainers",
        &["\"server\"", "\"draft\""],
    );

    let both = record(json!([server, proxy]));
    refuses(
        &named("model"),
        &both,
        "ContainerNotFound",
        &["\"model\"", "\"server\"", "\"proxy\""],
    );
    refuses(
        &unnamed,
        &both,
        "ContainerAmbiguous",
        &["\"server\"", "\"proxy\"", "agents[].container"],
    );
    refuses(
        &named("proxy"),
        &both,
        "ContainerAsksForNoGpu",
        &["\"server\" asks", "is \"proxy\""],
    );
    assert_eq!(why(&named("server"), &both), None);
}

#[test]
fn a_request_that_does_not_fit_the_sharing_type_is_refused_with_what_would() {
    let asks = |resource: &str, count: &str| {
        deployment(object(&json!([server(resource, count)]), &json!({})))
    };
    let of = |sharing: Value, more: Value| pool("Deployment", &sharing, &more);

    let whole_gpus = of(whole(), json!({}));
    refuses(
        &whole_gpus,
        &asks("nvidia.com/gpu-memory", "1"),
        "UnknownGpuResource",
        &["nvidia.com/gpu-memory"],
    );
    refuses(
        &whole_gpus,
        &asks(WHOLE, "2"),
        "WrongGpuRequest",
        &["nvidia.com/gpu: 2", "must be nvidia.com/gpu: 1"],
    );
    refuses(
        &whole_gpus,
        &asks("nvidia.com/mig-1g.10gb", "1"),
        "WrongGpuRequest",
        &["must be nvidia.com/gpu: 1"],
    );
    let pairs = json!({ "model": { "requestsPerSecondPerGpu": "10", "memoryPerReplica": "1Gi", "gpusPerReplica": 2 } });
    assert_eq!(why(&of(whole(), pairs), &asks(WHOLE, "2")), None);

    let shared = "nvidia.com/gpu.shared";
    let sliced = json!({ "type": "TimeSlicing", "timeSlicing": { "resourceName": shared } });
    refuses(
        &of(sliced, json!({})),
        &asks(shared, "2"),
        "WrongGpuRequest",
        &["nvidia.com/gpu.shared: 1", "access token"],
    );

    let mig = of(json!({ "type": "MIG" }), json!({}));
    refuses(
        &mig,
        &asks(WHOLE, "1"),
        "WrongGpuRequest",
        &["nvidia.com/mig-<profile>: 1", "requests.takeOver"],
    );
    refuses(
        &mig,
        &asks("nvidia.com/mig-1g.10gb", "2"),
        "WrongGpuRequest",
        &["nvidia.com/mig-1g.10gb: 2"],
    );
    let taking = ValidPool {
        take_over: true,
        ..mig
    };
    assert_eq!(why(&taking, &asks(WHOLE, "1")), None);
}

#[test]
fn a_workload_that_is_not_there_or_asks_for_no_gpu_is_named() {
    let pool = pool("Deployment", &whole(), &json!({}));
    let seen = view(&pool, &Caches::default(), &Claims::default());
    let refusal = seen.agents[0].refusal.as_ref().unwrap();
    assert_eq!(
        (refusal.reason, refusal.conflict),
        ("WorkloadNotFound", false)
    );
    for word in ["Deployment chat", "namespace n"] {
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }
    let without = object(&json!([{ "name": "server" }]), &json!({}));
    let none = WorkloadRecord::of(serde_json::from_value::<Deployment>(without).unwrap());
    assert_eq!(none, None);
}
