//! Scenario 2: the paper's four agents on one time-sliced 16 GiB GPU.

use crate::whole_gpus::load;
use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{NodeSpec, T4};
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use serde_json::json;
use std::time::Duration;

/// Over how many seconds, hence decisions, the pool averages its load.
const WINDOW: u32 = 5;

fn copies(pool: &AgentPool) -> Vec<u32> {
    pool.status
        .iter()
        .flat_map(|s| &s.agents)
        .map(|a| a.replicas)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_papers_agents_keep_one_copy_each_until_lasting_overload_adds_copies_as_far_as_memory_goes()
 {
    let stage = Stage::start(StageOptions::new(
        "slicing",
        vec![NodeSpec::time_sliced("t4", T4, 1, 10)],
    ))
    .await
    .unwrap();
    // arXiv 2512.22149: throughput, memory, minimum share and priority of each agent.
    let paper = [
        ("coordinator", 100.0, "500Mi", "100m", "High"),
        ("nlp", 50.0, "2000Mi", "300m", "Medium"),
        ("reasoning", 30.0, "3000Mi", "350m", "High"),
        ("vision", 60.0, "1500Mi", "250m", "Medium"),
    ];
    let mut agents = Vec::new();
    for (name, throughput, memory, minimum, priority) in paper {
        let workload = AgentWorkload::new(name, throughput)
            .gpus("nvidia.com/gpu.shared", 1)
            .memory(memory);
        stage.deploy(&workload).await.unwrap();
        agents.push(workload.agent(priority, minimum, 8));
    }
    // A fifth of the GPU each: 1, 1, 1, 1 is right, and stays.
    let light = [
        load("coordinator", &[(900.0, 10.0)]),
        load("nlp", &[(900.0, 5.0)]),
        load("reasoning", &[(900.0, 3.0)]),
        load("vision", &[(900.0, 6.0)]),
    ];
    let driver = stage.drive(&light, Duration::from_secs(900));
    let pool = json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": { "name": "team", "namespace": AGENTS },
        "spec": {
            "mode": "Auto",
            "devices": [{ "name": "t4", "gpus": 1, "sharing": { "type": "TimeSlicing", "timeSlicing": { "slicesPerGpu": 10 } } }],
            "policy": { "type": "WaterFilling", "interval": "1s", "demandWindow": format!("{WINDOW}s"), "drain": "5s", "actuationLag": "0s" },
            "agents": agents,
        }
    });
    stage.apply(&pool).await.unwrap();
    let settled = |p: &AgentPool| {
        let conditions: Vec<_> = p.status.iter().flat_map(|s| &s.conditions).collect();
        ["Ready", "SignalsFresh"].iter().all(|kind| {
            conditions
                .iter()
                .any(|c| c.type_ == *kind && c.status == "True")
        })
    };
    let light_pool = stage
        .wait_pool(
            "team",
            "the pool is settled under a light load",
            LIMIT,
            settled,
        )
        .await
        .unwrap();
    assert_eq!(copies(&light_pool), [1, 1, 1, 1]);
    // And stays so over three windows of the load.
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.decides(3 * WINDOW * 4, LIMIT).await.unwrap();
    let light_pool = stage.pools().get("team").await.unwrap();
    assert_eq!(copies(&light_pool), [1, 1, 1, 1]);
    assert!(
        stage
            .operator_writes()
            .unwrap()
            .succeeded()
            .workload_writes()
            .namespace(AGENTS)
            .is_empty(),
        "one copy each was right, and something moved"
    );

    // Reasoning alone wants more than the GPU can do: copies are its weight against the others, and memory is the bound.
    let overload = stage.drive(
        &[load("reasoning", &[(900.0, 60.0)])],
        Duration::from_secs(900),
    );
    let grown = |p: &AgentPool| copies(p).get(2).is_some_and(|n| *n >= 2);
    stage
        .wait_pool(
            "team",
            "lasting overload adds copies of reasoning",
            LIMIT,
            grown,
        )
        .await
        .unwrap();
    let bound = |p: &AgentPool| {
        p.status.iter().flat_map(|s| &s.conditions).any(|c| {
            c.type_ == "MemoryBound"
                && c.status == "True"
                && c.message.contains("reasoning")
                && c.message.contains("need 16000Mi of its 15Gi")
        })
    };
    // Three of 3000Mi fit beside the others' 4000Mi, a fourth does not; nobody else has more copies.
    let full = |p: &AgentPool| bound(p) && copies(p) == [1, 1, 3, 1];
    stage
        .wait_pool("team", "MemoryBound says the numbers", LIMIT, full)
        .await
        .unwrap();
    // The witness has declared memory per pod and would have seen more than the GPU has.
    overload.stop();
    driver.stop();
    stage.finish().await.unwrap();
}
