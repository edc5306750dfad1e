//! Scenario 14: one pool among many does its worst.

use crate::whole_gpus::pool;
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::engine::faults::Fault;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Pools that do no harm.
const ORDINARY: usize = 49;
/// Pods that match the selector of the hostile pool's workload.
const PODS: usize = 1000;
/// Nodes that they are bound to.
const NODES: usize = 5;
/// Places for scrapes, and how long one may be held. Without a bound on a pool's share of the places the hostile pool would hold all of
/// them nearly all the time; with the defaults, 900 ms, the others would hardly notice.
const PLACES: [&str; 2] = ["scrape.concurrency=64", "scrape.timeout=10s"];
/// What the others' latency may grow by. The machine shares its cores with the control plane and a thousand pods.
const FACTOR: u32 = 4;

fn is(pool: &AgentPool, kind: &str, status: &str) -> bool {
    pool.status
        .iter()
        .flat_map(|s| &s.conditions)
        .any(|c| c.type_ == kind && c.status == status)
}

/// The largest object that is legal: 64 agents with the longest names; the first one has a thousand pods that match, none
/// of which answers in time, the others do not exist.
fn hostile() -> Value {
    let mut agents = vec![AgentWorkload::new("hostile", 1.0).agent("High", "1", 8)];
    for i in 1..64 {
        let name = format!("unknown-{i:02}-{}", "x".repeat(52));
        agents.push(AgentWorkload::new(name, 1.0).agent("High", "1", 8));
    }
    let mut object = pool(64, &agents);
    object["metadata"]["name"] = json!("hostile");
    object
}

fn matching_pod(i: usize) -> Pod {
    let mut template = AgentWorkload::new("hostile", 1.0).object()["spec"]["template"].take();
    template["metadata"]["name"] = json!(format!("hostile-{i}"));
    template["metadata"]["annotations"]["bench.agentpool.dev/ready-delay"] = json!("0s");
    template["spec"]["nodeName"] = json!(format!("many-{}", i % NODES));
    serde_json::from_value(template).unwrap()
}

/// How long the operator takes to answer an edit of an ordinary pool: the median over every third of them.
async fn reaction(stage: &Stage, drain: &str) -> Duration {
    let patch = json!({ "spec": { "policy": { "drain": drain } } });
    let mut took = Vec::new();
    for i in (0..ORDINARY).step_by(3) {
        let name = format!("pool-{i}");
        let start = Instant::now();
        let edited = stage
            .pools()
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        let generation = edited.metadata.generation;
        stage
            .wait_pool(&name, "the edit is seen", LIMIT, |p| {
                p.status.iter().any(|s| s.observed_generation == generation)
            })
            .await
            .unwrap();
        took.push(start.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

/// The age of the ordinary pools' signals, in seconds: the mean over the pools, and over ten looks a second apart.
async fn signal_age(stage: &Stage) -> f64 {
    let mut ages = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..10 {
        looks.tick().await;
        let (_, text) = stage.runner.instances()[0]
            .http_get(8080, "/metrics")
            .await
            .unwrap();
        let lines = text
            .lines()
            .filter(|l| l.starts_with("agentpool_signal_age_seconds{"));
        let ordinary = lines.filter(|l| !l.contains("\"hostile\""));
        ages.extend(
            ordinary
                .filter_map(|l| l.rsplit_once(' '))
                .map(|(_, age)| age.parse::<f64>().unwrap()),
        );
    }
    assert!(ages.len() >= 10 * ORDINARY, "only {} ages", ages.len());
    ages.iter().sum::<f64>() / f64::from(u32::try_from(ages.len()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_pool_with_a_thousand_pods_that_hang_does_not_slow_49_others_down() {
    let mut nodes = vec![NodeSpec::whole("gpu", A100_80, 64)];
    nodes.extend((0..NODES).map(|i| NodeSpec::whole(format!("many-{i}"), A100_80, 240)));
    // The ordinary pods are scheduled where the ordinary pools look.
    for (i, node) in nodes.iter_mut().enumerate() {
        let kind = if i == 0 { "ordinary" } else { "many" };
        *node = node.clone().label("kind", kind);
        if i > 0 {
            *node = node.clone().taint("kind", kind);
        }
    }
    let options = PLACES
        .iter()
        .fold(StageOptions::new("hostile", nodes), |options, place| {
            options.value(*place)
        });
    let stage = Stage::start(options).await.unwrap();
    let agents: Vec<AgentWorkload> = (0..ORDINARY)
        .map(|i| AgentWorkload::new(format!("agent-{i}"), 10.0))
        .collect();
    for agent in &agents {
        stage.apply(&agent.object()).await.unwrap();
    }
    for (i, agent) in agents.iter().enumerate() {
        let mut object = pool(1, &[agent.agent("Medium", "1", 1)]);
        object["metadata"]["name"] = json!(format!("pool-{i}"));
        object["spec"]["devices"][0]["nodeSelector"] = json!({ "kind": "ordinary" });
        stage.apply(&object).await.unwrap();
    }
    let all_fresh = async || {
        let pools = stage.pools().list(&ListParams::default()).await?;
        let fresh = pools
            .iter()
            .filter(|p| is(p, "SignalsFresh", "True"))
            .count();
        Ok((fresh == ORDINARY).then_some(()))
    };
    wait::until(LIMIT, "every ordinary pool is fresh", all_fresh)
        .await
        .unwrap();
    let (reaction_before, age_before) = (reaction(&stage, "6s").await, signal_age(&stage).await);

    stage
        .fleet
        .set_fault(&format!("{AGENTS}/hostile"), Fault::Slow { seconds: 30.0 });
    stage
        .apply(&AgentWorkload::new("hostile", 1.0).object())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), AGENTS);
    let params = PostParams::default();
    stream::iter(0..PODS)
        .map(|i| {
            let (pods, params) = (&pods, &params);
            async move { pods.create(params, &matching_pod(i)).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<Pod>>()
        .await
        .unwrap();
    stage.apply(&hostile()).await.unwrap();
    let serving = async || {
        let target = format!("{AGENTS}/hostile");
        Ok((stage.fleet.serving(&target).len() >= PODS).then_some(()))
    };
    wait::until(LIMIT * 2, "a thousand matching pods run", serving)
        .await
        .unwrap();
    let said = |p: &AgentPool| is(p, "Stalled", "True") && is(p, "SignalsFresh", "False");
    stage
        .wait_pool(
            "hostile",
            "the hostile pool is told what is wrong",
            LIMIT,
            said,
        )
        .await
        .unwrap();

    let (reaction_after, age_after) = (reaction(&stage, "7s").await, signal_age(&stage).await);
    println!("edit to status: {reaction_before:?}, then {reaction_after:?}");
    println!("age of a signal: {age_before:.2} s, then {age_after:.2} s");
    assert!(
        reaction_after <= FACTOR * reaction_before.max(Duration::from_millis(250)),
        "edit to status took {reaction_before:?} before, {reaction_after:?} beside the hostile pool"
    );
    // A look finds a signal between fresh and one interval old.
    assert!(
        age_after <= f64::from(FACTOR) * age_before.max(0.5),
        "a signal was {age_before:.2} s old before, {age_after:.2} s beside the hostile pool"
    );
    wait::until(LIMIT, "the ordinary pools are fresh", all_fresh)
        .await
        .unwrap();
    stage.finish().await.unwrap();
}
