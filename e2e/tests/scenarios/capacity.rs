//! Scenario 9: nodes are drained, do not answer any more, lose GPUs, have fewer than declared; a foreign pod takes one.

use crate::sharers;
use crate::whole_gpus::{load, pool};
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use agentpool_e2e::witness::{WitnessRules, WorkloadCounts};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;
use std::time::Duration;

/// The demand window of [`pool`], in seconds and hence in decisions.
const WINDOW: u32 = 5;

fn usable(pool: &AgentPool) -> Option<&str> {
    pool.status
        .as_ref()
        .and_then(|s| s.capacity.as_ref())
        .map(|c| c.usable.as_str())
}

fn says(pool: &AgentPool, reason: &str, part: &str) -> bool {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == "CapacityAvailable" && c.reason == reason && c.message.contains(part))
}

fn replicas(pool: &AgentPool) -> u32 {
    pool.status
        .iter()
        .flat_map(|s| &s.agents)
        .map(|a| a.replicas)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_that_comes_and_goes_is_planned_anew_and_the_condition_says_the_numbers() {
    let nodes = vec![
        NodeSpec::whole("gpu-a", A100_80, 4),
        NodeSpec::whole("gpu-b", A100_80, 4),
    ];
    let stage = Stage::start(StageOptions::new("capacity", nodes))
        .await
        .unwrap();
    let agents: Vec<AgentWorkload> = ["busy", "calm"]
        .iter()
        .map(|name| AgentWorkload::new(*name, 10.0))
        .collect();
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    let driver = stage.drive(
        &[
            load("busy", &[(900.0, 120.0)]),
            load("calm", &[(900.0, 2.0)]),
        ],
        Duration::from_secs(900),
    );

    // More declared than there is: what there is counts, and the condition says both numbers.
    let items: Vec<_> = agents
        .iter()
        .map(|agent| agent.agent("Medium", "1", 12))
        .collect();
    stage.apply(&pool(10, &items)).await.unwrap();
    let less = |p: &AgentPool| {
        says(p, "LessThanDeclared", "devices[0].gpus is 10")
            && usable(p) == Some("8")
            && replicas(p) == 8
    };
    stage
        .wait_pool("team", "8 of the 10 declared GPUs are used", LIMIT, less)
        .await
        .unwrap();

    // A node is drained. Its pods come back where there is room; those for which there is none are the drain's doing, not ours,
    // until the pool has given way.
    stage.witness.set_rules(
        WitnessRules::default()
            .namespace("agents")
            .unschedulable_grace(Duration::from_secs(60)),
    );
    stage.nodes.cordon("gpu-b", true).await.unwrap();
    stage.nodes.drain("gpu-b", LIMIT).await.unwrap();
    let half = |p: &AgentPool| usable(p) == Some("4") && replicas(p) == 4;
    stage
        .wait_pool("team", "the pool lives on 4 GPUs", LIMIT, half)
        .await
        .unwrap();
    let lives = |p: &AgentPool| {
        p.status
            .iter()
            .flat_map(|s| &s.agents)
            .all(|a| a.replicas >= 1)
    };
    stage
        .wait_pool("team", "both agents have a replica", LIMIT, lives)
        .await
        .unwrap();
    stage.nodes.cordon("gpu-b", false).await.unwrap();
    stage
        .wait_pool("team", "the pool uses 8 GPUs again", LIMIT, |p| {
            usable(p) == Some("8") && replicas(p) == 8
        })
        .await
        .unwrap();

    // The agents are bounded to 5 GPUs in sum; foreign pods take the 3 that are left.
    let bounded = vec![
        agents[0].agent("Medium", "1", 3),
        agents[1].agent("Medium", "1", 2),
    ];
    stage.apply(&pool(10, &bounded)).await.unwrap();
    stage
        .wait_pool(
            "team",
            "the agents give back what they may no longer use",
            LIMIT,
            |p| replicas(p) == 5,
        )
        .await
        .unwrap();
    stage
        .witness
        .set_rules(WitnessRules::default().namespace("agents"));
    // One GPU each, so that they find room however the pool's pods are spread over the nodes.
    for i in 0..3 {
        let foreign = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("notebook-{i}"), "namespace": "default" },
            "spec": { "containers": [{ "name": "n", "image": "notebook", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] }
        });
        stage.apply(&foreign).await.unwrap();
    }
    let taken =
        |p: &AgentPool| usable(p) == Some("5") && says(p, "LessThanDeclared", "other pods hold 3");
    stage
        .wait_pool(
            "team",
            "CapacityAvailable names the 3 GPUs of others",
            LIMIT,
            taken,
        )
        .await
        .unwrap();
    // Allowed more again, the hungry agent gets what is left and no more: the foreign GPUs are not ours.
    stage.apply(&pool(10, &items)).await.unwrap();
    wait::until(LIMIT, "busy has what calm can spare", async || {
        Ok((stage.replicas("busy").await? >= 4).then_some(()))
    })
    .await
    .unwrap();
    stage.wait_ready("busy", 4).await.unwrap();
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.decides(3 * WINDOW * 2, LIMIT).await.unwrap();
    let asked = (
        stage.replicas("busy").await.unwrap(),
        stage.replicas("calm").await.unwrap(),
    );
    assert_eq!(asked, (4, 1), "the pool does not keep to its 5 GPUs");
    let kept = stage.pools().get("team").await.unwrap();
    let status = kept.status.as_ref().unwrap();
    assert_eq!(status.observed_generation, kept.metadata.generation);
    assert_eq!((usable(&kept), replicas(&kept)), (Some("5"), 5));
    driver.stop();
    stage.finish().await.unwrap();
}

/// What became of the pods of the two sharers.
fn pods(stage: &Stage) -> [WorkloadCounts; 2] {
    ["left", "right"].map(|name| stage.witness.counts(AGENTS, name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_plugin_that_is_away_for_a_while_costs_no_pod_and_a_node_that_is_lost_is_planned_anew()
 {
    let nodes = ["gpu-a", "gpu-b"].map(|name| NodeSpec::whole(name, A100_80, 4));
    let options = StageOptions::new("plugin", nodes.to_vec());
    let stage = Stage::start(options).await.unwrap();
    for name in ["left", "right"] {
        stage.deploy(&AgentWorkload::new(name, 10.0)).await.unwrap();
    }
    let driver = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;

    // The node stays Ready and announces no GPU; its four pods go on.
    let (since, before) = (Timestamp::now(), pods(&stage));
    let gpus = "nvidia.com/gpu";
    stage.nodes.set_resource("gpu-b", gpus, 0).await.unwrap();
    stage
        .wait_pool("team", "status names the node", LIMIT, |p| {
            says(p, "GpusMissing", "gpu-b: 4") && usable(p) == Some("8")
        })
        .await
        .unwrap();
    // A loop that gave pods up would do it within a second.
    tokio::time::sleep(Duration::from_secs(20)).await;
    stage.nodes.set_resource("gpu-b", gpus, 4).await.unwrap();
    stage
        .wait_pool("team", "all GPUs are there again", LIMIT, |p| {
            says(p, "Available", "8 GPUs usable")
        })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.witness.catch_up().await.unwrap();
    assert_eq!(sharers::scale_downs(&stage, since), [""; 0]);
    assert_eq!(pods(&stage), before, "no pod went or came");

    // The node is lost with its pods: what is left is shared. Pods that find no node until then are the loss's doing.
    let rules = WitnessRules::default().namespace(AGENTS);
    stage
        .witness
        .set_rules(rules.unschedulable_grace(Duration::from_secs(60)));
    stage.nodes.remove("gpu-b").await.unwrap();
    stage
        .wait_pool("team", "the pool lives on 4 GPUs", LIMIT, |p| {
            usable(p) == Some("4") && replicas(p) == 4
        })
        .await
        .unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_any_more_is_planned_anew_and_its_pods_hold_up_nobody() {
    let nodes = ["gpu-a", "gpu-b"].map(|name| NodeSpec::whole(name, A100_80, 4));
    let options = StageOptions::new("silent", nodes.to_vec());
    let stage = Stage::start(options).await.unwrap();
    // The left agent runs on the node that will be lost, the right one on the other, which it fills.
    let agents = [("left", 2), ("right", 4)].map(|(name, replicas)| AgentWorkload {
        grace_period: Some(3600),
        ..AgentWorkload::new(name, 10.0).replicas(replicas)
    });
    let soon = json!([{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1
    }]);
    for (agent, closed) in agents.iter().zip(["gpu-a", "gpu-b"]) {
        stage.nodes.cordon(closed, true).await.unwrap();
        let mut object = agent.object();
        object["spec"]["template"]["spec"]["tolerations"] = soon.clone();
        stage.apply(&object).await.unwrap();
        let ready = stage.wait_ready(&agent.name, agent.replicas).await;
        ready.unwrap();
        stage.nodes.cordon(closed, false).await.unwrap();
    }
    let driver = sharers::drive(&stage, (16.0, 36.0));
    let items = agents.each_ref().map(|agent| agent.agent("Medium", "1", 4));
    let mut team = pool(8, &items);
    team["spec"]["policy"]["disruption"] = json!({ "maxConcurrent": 1 });
    stage.apply(&team).await.unwrap();
    stage
        .wait_pool("team", "the pool uses both nodes", LIMIT, |p| {
            usable(p) == Some("8") && replicas(p) >= 6
        })
        .await
        .unwrap();

    // Pods that find no node until the pool has given way are the loss's doing.
    let rules = WitnessRules::default().namespace(AGENTS);
    stage
        .witness
        .set_rules(rules.unschedulable_grace(Duration::from_secs(60)));
    stage.nodes.silence("gpu-b").await.unwrap();
    stage
        .wait_pool("team", "the pool lives on 4 GPUs", LIMIT, |p| {
            usable(p) == Some("4") && replicas(p) == 4 && says(p, "LessThanDeclared", "gpu-b")
        })
        .await
        .unwrap();
    for agent in ["left", "right"] {
        let served = async || Ok((stage.ready_pods(agent).await? > 0).then_some(()));
        let what = format!("{agent} serves on the node that is left");
        wait::until(LIMIT, what, served).await.unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), AGENTS);
    let on_node = ListParams::default().fields("spec.nodeName=gpu-b");
    let stay = pods.list(&on_node).await.unwrap().items;
    assert!(stay.len() >= 2, "the pods of the lost node are gone");
    driver.stop();
    stage.finish().await.unwrap();
}
