//! A pool that names no policy: it moves when that pays, and a change of the operator's replicas is no reason to.

use crate::sharers;
use crate::whole_gpus::{load, pool};
use agentpool::api::PolicyType;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::stage::{AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_an_uneven_load_is_followed_and_whoever_takes_the_lead_keeps_what_was_found()
 {
    let node = NodeSpec::whole("gpu", A100_80, 8);
    let stage = Stage::start(StageOptions::new("default-policy", vec![node]).operators(2))
        .await
        .unwrap();
    let agents = ["chat", "code"].map(|name| AgentWorkload::new(name, 10.0).replicas(4));
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    // Five and a half GPUs of load for the one, half a GPU for the other.
    let driver = stage.drive(
        &[
            load("chat", &[(1800.0, 55.0)]),
            load("code", &[(1800.0, 5.0)]),
        ],
        Duration::from_secs(1800),
    );
    let mut object = pool(8, &agents.map(|agent| agent.agent("Medium", "1", 7)));
    // Without a window that keeps what an agent has, so that nothing but the policy does.
    object["spec"]["policy"] = json!({
        "actuationLag": "5s", "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } }
    });
    stage.apply(&object).await.unwrap();
    let applied = stage.pools().get("team").await.unwrap();
    assert_eq!(applied.spec.policy.kind, PolicyType::Balanced);
    wait::until(LIMIT, "chat serves with 6 replicas", async || {
        Ok((stage.ready_pods("chat").await? >= 6).then_some(()))
    })
    .await
    .unwrap();

    // First the replica that has followed takes over, which has learned by itself; then the one that was killed, which knows nothing.
    for _ in 0..2 {
        let leader = sharers::leader_other_than(&stage, None).await;
        stage.witness.catch_up().await.unwrap();
        stage.witness.mark();
        leader.hold_down(true).await;
        let next = sharers::leader_other_than(&stage, Some(leader.pod())).await;
        leader.hold_down(false).await;
        // Of two agents, once a second: a minute.
        next.decides(120, LIMIT).await.unwrap();
        stage.witness.catch_up().await.unwrap();
        let least = stage.witness.counts("agents", "chat").min_ready;
        assert!(least >= Some(6), "chat had {least:?} ready");
    }
    driver.stop();
    stage.finish().await.unwrap();
}
