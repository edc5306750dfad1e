//! Two pools on the GPUs of one node.

use crate::sharers;
use crate::whole_gpus::pool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::stage::{AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::json;

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
