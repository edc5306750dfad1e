//! Two pools on the GPUs of one node.

use crate::pair::{HIGH, LOW, POOL, Pair, RESTORE, hold_of};
use crate::sharers;
use crate::whole_gpus::pool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::load::{AgentLoad, Arrivals, Work};
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pods of nobody's pool that hold one GPU each.
const FOREIGN: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn two_pools_on_one_node_never_take_the_same_free_gpu() {
    let node = NodeSpec::whole("gpu", A100_80, 8);
    let stage = Stage::start(StageOptions::new("neighbours", vec![node]))
        .await
        .unwrap();
    let names = ["left", "right"];
    for name in names {
        stage.deploy(&AgentWorkload::new(name, 10.0)).await.unwrap();
    }
    for i in 0..FOREIGN {
        let foreign = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("notebook-{i}"), "namespace": "default" },
            "spec": { "containers": [{ "name": "n", "image": "notebook", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] }
        });
        stage.apply(&foreign).await.unwrap();
    }
    let foreign: Api<Pod> = Api::namespaced(stage.client.clone(), "default");
    wait::until(LIMIT, "the node is full", async || {
        let pods = foreign.list(&Default::default()).await?;
        let bound = pods.iter().filter(|p| {
            let node = p.spec.as_ref().and_then(|s| s.node_name.as_ref());
            node.is_some()
        });
        Ok((bound.count() == FOREIGN).then_some(()))
    })
    .await
    .unwrap();

    // Each pool has an agent that could use the whole node.
    let driver = sharers::drive(&stage, (100.0, 100.0));
    for name in names {
        let agent = AgentWorkload::new(name, 10.0).agent("Medium", "1", 8);
        let mut pool = pool(8, &[agent]);
        pool["metadata"]["name"] = json!(name);
        stage.apply(&pool).await.unwrap();
    }
    for name in names {
        stage
            .wait_pool(name, "it wants more than there is", LIMIT, |p| {
                let mut agents = p.status.iter().flat_map(|s| &s.agents);
                agents.any(|a| a.reason == "AtCeiling")
            })
            .await
            .unwrap();
    }
    // Both see each GPU that becomes free, in the same moment.
    for i in 0..FOREIGN {
        let at_once = DeleteParams::default().grace_period(0);
        foreign
            .delete(&format!("notebook-{i}"), &at_once)
            .await
            .unwrap();
        wait::until(LIMIT, "one of them has taken it", async || {
            let left = stage.ready_pods("left").await?;
            let ready = left + stage.ready_pods("right").await?;
            Ok((ready == names.len() + i + 1).then_some(()))
        })
        .await
        .unwrap();
    }
    driver.stop();
    stage.finish().await.unwrap();
}

/// Name of the second pool, of its agent and of its workload.
const HUNGRY: &str = "hungry";

/// A second pool on the same GPU: its agent has the smallest instance and could use a larger one.
async fn hungry(stage: &Stage) {
    let agent = AgentWorkload::new(HUNGRY, 40.0)
        .gpus("nvidia.com/mig-1g.10gb", 1)
        .memory("8Gi");
    stage.deploy(&agent).await.unwrap();
    let mut object = pool(1, &[agent.agent("High", "100m", 1)]);
    object["metadata"]["name"] = json!(HUNGRY);
    object["spec"]["devices"][0]["sharing"] = json!({ "type": "MIG" });
    object["spec"]["requests"] = json!({ "via": "Template", "takeOver": "Allowed" });
    stage.apply(&object).await.unwrap();
}

async fn pause(pools: Api<agentpool::api::AgentPool>, value: Value) {
    let change = json!({ "metadata": { "annotations": { "agentpool.dev/paused": value } } });
    let (params, change) = (PatchParams::default(), Patch::Merge(change));
    pools.patch(POOL, &params, &change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_swap_has_freed_is_not_taken_by_a_hungry_neighbour_while_its_pool_is_paused() {
    let node = Pair::node(&[("1g.10gb", 1), ("2g.20gb", 1), ("3g.40gb", 1)]);
    let options = StageOptions::new("neighbours-swap", vec![node]);
    let stage = Stage::start(options.with_proxies()).await.unwrap();
    let mut pair = Pair::new("2g.20gb", "3g.40gb");
    pair.deploy(&stage).await.unwrap();
    hungry(&stage).await;
    pair.pool(&stage).await.unwrap();
    let load = AgentLoad {
        agent: HUNGRY.to_owned(),
        arrivals: Arrivals::Constant { rate: 13.0 },
        work: Work::Deterministic,
    };
    let driver = stage.drive(&[load], Duration::from_secs(1800));
    let wants = "the second pool wants more than there is";
    stage
        .wait_pool(HUNGRY, wants, LIMIT, |p| {
            let agent = agentpool_e2e::stage::agent(p, HUNGRY);
            agent.is_some_and(|a| a.signals == "Fresh" && a.reason != "Idle")
        })
        .await
        .unwrap();

    // The pool is paused when low has just been stopped, and low is kept from coming up.
    let operator = stage.runner.all_instances().into_iter().next().unwrap();
    let proxy = operator.proxy().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stopped);
    let held = proxy.hold(Matcher::new(move |request| {
        let of_low = request.uri.contains(&format!("/deployments/{LOW}"));
        request.is_write() && of_low && seen.load(Ordering::SeqCst)
    }));
    let pools = stage.pools();
    let second = Matcher::workload_writes().path(format!("/deployments/{LOW}"));
    let cut = proxy.cut_after(second.nth(2), move |_| {
        let (stopped, pools) = (Arc::clone(&stopped), pools.clone());
        async move {
            stopped.store(true, Ordering::SeqCst);
            pause(pools, json!("true")).await;
        }
        .boxed()
    });
    pair.busy(&stage, HIGH);
    held.arrived(LIMIT).await.unwrap();
    stage.wait_gone(LOW, 0).await.unwrap();
    let [_, low] = pair.look(&stage).await.unwrap();
    assert!(
        low.replicas == 0 && low.notes.contains_key(RESTORE),
        "{low:?}"
    );
    let waits = "the second pool says to whom what it waits for is promised";
    stage
        .wait_pool(HUNGRY, waits, LIMIT, |p| {
            hold_of(p, HUNGRY).is_some_and(|(_, message)| message.contains("to agents/pair/low"))
        })
        .await
        .unwrap();
    let took = stage.look("Deployment", HUNGRY).await.unwrap();
    assert!(took.is_on("1g.10gb") && took.generation == 1, "{took:?}");
    held.release();
    drop(cut);
    pair.wait_on(&stage, "2g.20gb", "3g.40gb").await.unwrap();
    pause(stage.pools(), Value::Null).await;
    pair.wait_on(&stage, "3g.40gb", "2g.20gb").await.unwrap();
    let took = stage.look("Deployment", HUNGRY).await.unwrap();
    assert!(took.is_on("1g.10gb") && took.generation == 1, "{took:?}");
    pair.quiet();
    driver.stop();
    stage.finish().await.unwrap();
}
