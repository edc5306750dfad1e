//! Scenario 3: MIG instances of one A100 with 80 GB.

use crate::pair::{HIGH, LOW, POOL, Pair, RESTORE, hold_of};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::audit::Records;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::stage::{LIMIT, Seen, Stage, StageOptions};
use agentpool_e2e::wait;
use agentpool_e2e::witness::WitnessRules;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

const PREVIOUS: &str = "agentpool.dev/previous-gpu-request";
const EXCHANGE: [(&str, u32); 2] = [("2g.20gb", 1), ("3g.40gb", 1)];

async fn stage(name: &str, instances: &[(&str, u32)]) -> Stage {
    Stage::start(StageOptions::new(name, vec![Pair::node(instances)]))
        .await
        .unwrap()
}

fn workload_writes(stage: &Stage) -> Records {
    stage.operator_writes().unwrap().workload_writes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_grows_by_a_swap_into_a_spare_instance_once_the_request_may_be_taken_over() {
    let stage = stage("mig-spare", &[("1g.10gb", 2), ("3g.40gb", 1)]).await;
    let mut pair = Pair::new("1g.10gb", "1g.10gb");
    pair.deploy(&stage).await.unwrap();
    pair.busy(&stage, HIGH);

    pair.take_over = "Refused";
    pair.pool(&stage).await.unwrap();
    stage
        .wait_pool(POOL, "status says that takeOver is refused", LIMIT, |p| {
            hold_of(p, HIGH).is_some_and(|(_, message)| message.contains("takeOver"))
        })
        .await
        .unwrap();
    let before = pair.look(&stage).await.unwrap();
    assert!(
        before[0].is_on("1g.10gb") && before[0].generation == 1,
        "{before:#?}"
    );
    assert_eq!(workload_writes(&stage).len(), 0, "refused, yet written");

    stage.witness.mark();
    pair.take_over = "Allowed";
    pair.pool(&stage).await.unwrap();
    let after = pair.wait_on(&stage, "3g.40gb", "1g.10gb").await.unwrap();
    assert_eq!(
        after[0].notes.get(PREVIOUS).map(String::as_str),
        Some(r#"{"nvidia.com/mig-1g.10gb":1}"#)
    );
    assert_eq!(after[1], before[1], "low was touched");
    stage.witness.catch_up().await.unwrap();
    let high = stage.witness.counts("agents", HIGH);
    assert_eq!(
        (high.created, high.max_present, high.min_ready),
        (2, 2, Some(1)),
        "the default RollingUpdate takes the old pod only when the new one is ready"
    );
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_swap_without_a_spare_only_when_downtime_is_allowed() {
    let stage = stage("mig-exchange", &EXCHANGE).await;
    let mut pair = Pair::new("2g.20gb", "3g.40gb");
    pair.downtime = false;
    pair.deploy(&stage).await.unwrap();
    pair.busy(&stage, HIGH);
    pair.pool(&stage).await.unwrap();
    let held = stage
        .wait_pool(POOL, "the swap is held", LIMIT, |p| {
            hold_of(p, HIGH).is_some_and(|(reason, _)| reason == "SwapNeedsDowntime")
        })
        .await
        .unwrap();
    let (_, message) = hold_of(&held, HIGH).unwrap();
    assert!(message.contains("allowDowntime"), "{message}");
    assert_eq!(workload_writes(&stage).len(), 0, "held, yet written");

    stage.witness.mark();
    pair.downtime = true;
    pair.pool(&stage).await.unwrap();
    pair.wait_on(&stage, "3g.40gb", "2g.20gb").await.unwrap();
    assert_eq!(
        kinds_of_writes(&workload_writes(&stage).succeeded()),
        [
            "remember low",
            "scale low to 0",
            "template of low",
            "template of high",
            "scale low to 1",
            "forget low"
        ]
    );
    for (reason, words) in [
        ("SwapStarted", "low: swap nvidia.com/mig-3g.40gb"),
        ("Scaled", "low: 1 -> 0 replicas"),
        ("SwapFinished", "low: swap finished"),
    ] {
        stage.wait_event(POOL, reason, words).await.unwrap();
    }
    stage.witness.catch_up().await.unwrap();
    let (high, low) = (
        stage.witness.counts("agents", HIGH),
        stage.witness.counts("agents", LOW),
    );
    assert_eq!(
        (high.created, high.min_ready),
        (2, Some(1)),
        "high always serves"
    );
    assert_eq!(
        (low.created, low.min_ready),
        (2, Some(0)),
        "low stops for a moment"
    );
    pair.quiet();
    stage.finish().await.unwrap();
}

/// Lets a swap begin, until low is told to stop: its pod, which is named, takes so long.
async fn stop_low(stage: &Stage, pair: &mut Pair, drain: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "agents");
    let of_low = ListParams::default().labels("app=low");
    let pod = pods.list(&of_low).await.unwrap().items.remove(0).name_any();
    let slow =
        json!({ "metadata": { "annotations": { "bench.agentpool.dev/drain-delay": drain } } });
    let slow = Patch::Merge(slow);
    let patched = pods.patch(&pod, &PatchParams::default(), &slow).await;
    patched.unwrap();
    pair.busy(stage, HIGH);
    pair.wait(stage, "low is stopped", |[_, low]| low.replicas == 0)
        .await
        .unwrap();
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_a_swap_has_stopped_comes_up_when_its_pool_is_given_other_nodes() {
    let stage = stage("mig-displaced", &EXCHANGE).await;
    let other = NodeSpec::whole("gpu-z", A100_80, 1).label("zone", "z");
    stage.nodes.add(&other).await.unwrap();
    let mut pair = Pair::new("2g.20gb", "3g.40gb");
    pair.deploy(&stage).await.unwrap();
    pair.pool(&stage).await.unwrap();
    stop_low(&stage, &mut pair, "10s").await;
    let devices = json!([{
        "name": "a100", "gpus": 1, "sharing": { "type": "MIG" }, "nodeSelector": { "zone": "z" }
    }]);
    let moved = Patch::Merge(json!({ "spec": { "devices": devices } }));
    let pools = stage.pools();
    let patched = pools.patch(POOL, &PatchParams::default(), &moved).await;
    patched.unwrap();
    pair.wait_on(&stage, "2g.20gb", "3g.40gb").await.unwrap();
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_a_swap_has_stopped_comes_up_when_its_pool_cannot_be_read_any_more() {
    let stage = stage("mig-unreadable", &EXCHANGE).await;
    let mut pair = Pair::new("2g.20gb", "3g.40gb");
    pair.deploy(&stage).await.unwrap();
    pair.pool(&stage).await.unwrap();
    // As with the CRD of a later version, which knows a mode that this one does not.
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let modes = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum";
    let any_mode = json!([{ "op": "remove", "path": modes }]);
    let any_mode: Patch<()> = Patch::Json(serde_json::from_value(any_mode).unwrap());
    let name = "agentpools.agentpool.dev";
    definitions
        .patch(name, &PatchParams::default(), &any_mode)
        .await
        .unwrap();
    stop_low(&stage, &mut pair, "10s").await;
    let unheard = Patch::Merge(json!({ "spec": { "mode": "Unheard" } }));
    let kind = ApiResource::erase::<AgentPool>(&());
    let pools: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), "agents", &kind);
    let what = "the pool has a mode of a later version";
    wait::until(LIMIT, what, async || {
        let patched = pools.patch(POOL, &PatchParams::default(), &unheard).await;
        Ok(patched.ok())
    })
    .await
    .unwrap();
    let up = |[_, low]: &[Seen; 2]| low.replicas == 1 && low.settled && low.is_on("3g.40gb");
    let both = pair.wait(&stage, "low serves again", up).await.unwrap();
    assert!(
        both[1].notes.contains_key(RESTORE),
        "a pool that cannot be read may still name it: nothing is handed back"
    );
    let says = async || {
        let pool = pools.get(POOL).await?;
        let conditions = pool.data["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        Ok(conditions
            .any(|c| {
                let is = |field: &str, value: &str| c[field] == value;
                let named = c["message"].as_str().is_some_and(|m| m.contains("Unheard"));
                is("type", "Stalled") && is("status", "True") && is("reason", "Unreadable") && named
            })
            .then_some(()))
    };
    wait::until(LIMIT, "status says that the pool cannot be read", says)
        .await
        .unwrap();
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_goes_on_when_the_node_of_the_agent_that_was_stopped_does_not_answer_any_more() {
    let named =
        |name: &str, instances: &[(&str, u32)]| NodeSpec::mig(name, A100_80, 1, instances).unwrap();
    let nodes = vec![
        named("gpu-a", &[("2g.20gb", 1)]),
        named("gpu-b", &[("3g.40gb", 1)]),
    ];
    let options = StageOptions::new("mig-silent", nodes);
    let stage = Stage::start(options).await.unwrap();
    let mut pair = Pair::new("2g.20gb", "3g.40gb").patient();
    pair.deploy(&stage).await.unwrap();
    pair.pool(&stage).await.unwrap();
    // The node of low dies a moment after low was told to stop: its pod is deleted, and stays.
    let pod = stop_low(&stage, &mut pair, "1h").await;
    stage.nodes.silence("gpu-b").await.unwrap();
    let spare = named("gpu-c", &[("3g.40gb", 1)]);
    stage.nodes.add(&spare).await.unwrap();
    pair.wait(&stage, "both serve on the nodes that are left", |both| {
        let rests = |seen: &Seen| seen.replicas == 1 && seen.settled;
        both.iter()
            .all(|seen| rests(seen) && !seen.notes.contains_key(RESTORE))
    })
    .await
    .unwrap();
    for agent in [HIGH, LOW] {
        stage.wait_ready(agent, 1).await.unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "agents");
    let dead = pods.get(&pod).await.unwrap();
    assert!(dead.metadata.deletion_timestamp.is_some(), "it stays");
    pair.quiet();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_without_a_spare_ends_whatever_the_rollout_strategy_is() {
    let stage = stage("mig-strategies", &EXCHANGE).await;
    let pair = |kind, strategy| Pair::new("2g.20gb", "3g.40gb").of(kind, &strategy);
    let no_surge = json!({
        "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 }
    });
    for mut pair in [
        pair("Deployment", json!({ "type": "Recreate" })),
        pair("Deployment", no_surge),
        pair("StatefulSet", Value::Null),
        pair("StatefulSet", Value::Null).ordered(),
    ] {
        pair.deploy(&stage).await.unwrap();
        pair.pool(&stage).await.unwrap();
        pair.busy(&stage, HIGH);
        pair.wait_on(&stage, "3g.40gb", "2g.20gb").await.unwrap();
        pair.busy(&stage, LOW);
        pair.wait_on(&stage, "2g.20gb", "3g.40gb").await.unwrap();
        pair.quiet();
        stage.clear().await.unwrap();
    }
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_a_request_that_is_put_back_three_times_leaves_the_other_managers_alone() {
    let stage = stage("mig-reverts", &[("1g.10gb", 2), ("3g.40gb", 1)]).await;
    // Beside each other both keys fit no node: it is the other manager that puts them there.
    let rules = WitnessRules::default().unschedulable_grace(Duration::MAX);
    stage.witness.set_rules(rules);
    let mut pair = Pair::new("1g.10gb", "1g.10gb");
    pair.deploy(&stage).await.unwrap();
    pair.busy(&stage, HIGH);
    pair.pool(&stage).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), "agents");
    let original = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": HIGH },
        "spec": { "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": { "nvidia.com/mig-1g.10gb": "1" } } }] } } }
    });
    for _ in 0..3 {
        pair.wait_on(&stage, "3g.40gb", "1g.10gb").await.unwrap();
        let gitops = PatchParams::apply("gitops").force();
        deployments
            .patch(HIGH, &gitops, &Patch::Apply(&original))
            .await
            .unwrap();
    }
    stage
        .wait_pool(POOL, "Conflicted names the manager", LIMIT, |p| {
            let conditions = p.status.iter().flat_map(|s| &s.conditions);
            conditions.into_iter().any(|c| {
                c.type_ == "Conflicted" && c.reason == "Reverted" && c.message.contains("gitops")
            })
        })
        .await
        .unwrap();
    pair.wait(
        &stage,
        "high runs on what the other manager wants",
        |[h, _]| h.is_on("1g.10gb") && h.replicas == 1 && h.settled,
    )
    .await
    .unwrap();
    stage.wait_gone(HIGH, 1).await.unwrap();
    pair.quiet();
    stage.finish().await.unwrap();
}

/// The writes in order, in words.
fn kinds_of_writes(writes: &Records) -> Vec<String> {
    let word = |record: &agentpool_e2e::controlplane::audit::Record| {
        let (name, body) = (&record.name, record.request.clone().unwrap_or_default());
        let to = || body[1]["value"].to_string();
        match (record.subresource.as_str(), body.is_array()) {
            ("scale", _) => format!("scale {name} to {}", to()),
            (_, true) => format!("template of {name}"),
            (_, false) if body["metadata"]["annotations"][RESTORE].is_null() => {
                format!("forget {name}")
            }
            (_, false) => format!("remember {name}"),
        }
    };
    writes.iter().map(word).collect()
}
