//! Scenario 1: whole GPUs.

use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::load::{AgentLoad, Arrivals, Piece, Spacing, Work};
use agentpool_e2e::operator::operator_binary;
use agentpool_e2e::stage::{AgentWorkload, LIMIT, Stage, StageOptions, agent as status_of};
use agentpool_e2e::witness::WitnessRules;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Over how many seconds, hence decisions, the pool averages its load.
const WINDOW: u32 = 5;

/// A pool on whole GPUs that reacts as fast as it may: the default policy waits until it is sure that a move pays.
pub fn pool(gpus: u32, agents: &[Value]) -> Value {
    json!({
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": { "name": "team", "namespace": "agents" },
        "spec": {
            "mode": "Auto",
            "devices": [{ "name": "a100", "gpus": gpus, "sharing": { "type": "WholeGPU" } }],
            "policy": {
                "type": "WaterFilling", "interval": "1s", "demandWindow": format!("{WINDOW}s"), "drain": "5s", "actuationLag": "0s",
                "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
                "disruption": { "maxConcurrent": 4 }
            },
            "agents": agents,
        }
    })
}

pub fn load(agent: &str, steps: &[(f64, f64)]) -> AgentLoad {
    let steps = steps
        .iter()
        .map(|&(seconds, rate)| Piece { seconds, rate })
        .collect();
    AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Steps {
            steps,
            spacing: Spacing::Poisson,
        },
        work: Work::Exponential,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_follow_a_load_that_drifts_between_four_agents_and_minimum_shares_hold() {
    // Two GPUs more than the pool declares: nothing but the operator keeps them free.
    let nodes = vec![
        NodeSpec::whole("gpu-a", A100_80, 5),
        NodeSpec::whole("gpu-b", A100_80, 5),
    ];
    let decisions = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole-decisions");
    let _ = std::fs::remove_dir_all(&decisions);
    let options = StageOptions::new("whole", nodes)
        .value("record.enabled=true")
        .value(format!("record.folder={}", decisions.display()));
    let stage = Stage::start(options).await.unwrap();
    let rules = WitnessRules::default().namespace("agents");
    stage.witness.set_rules(rules.declared("nvidia.com/gpu", 8));
    let names = ["coordinator", "nlp", "vision", "reasoning"];
    let agents: Vec<AgentWorkload> = names
        .iter()
        .map(|name| AgentWorkload::new(*name, 10.0))
        .collect();
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    // By priority and load alone coordinator would be left with one GPU while three others are hungry: its minimum share gives it two.
    let entitled = [("Low", "2"), ("High", "2"), ("High", "2"), ("Medium", "1")];
    let items: Vec<Value> = agents
        .iter()
        .zip(entitled)
        .map(|(agent, (priority, minimum))| agent.agent(priority, minimum, 8))
        .collect();
    // First nlp is hungry, then vision; coordinator uses its minimum share all the time, reasoning a little.
    let driver = stage.drive(
        &[
            load("coordinator", &[(600.0, 18.0)]),
            load("nlp", &[(45.0, 35.0), (600.0, 2.0)]),
            load("vision", &[(45.0, 2.0), (600.0, 35.0)]),
            load("reasoning", &[(600.0, 2.0)]),
        ],
        Duration::from_secs(600),
    );
    stage.apply(&pool(8, &items)).await.unwrap();
    let replicas =
        |pool: &AgentPool, name: &str| status_of(pool, name).map_or(0, |agent| agent.replicas);
    stage.wait_ready("coordinator", 2).await.unwrap();
    stage.witness.catch_up().await.unwrap();
    stage.witness.mark();
    stage
        .wait_pool("team", "nlp has at least 4 replicas", LIMIT, |p| {
            replicas(p, "nlp") >= 4
        })
        .await
        .unwrap();
    stage.wait_event("team", "Scaled", "nlp: ").await.unwrap();
    let moved = stage
        .wait_pool("team", "vision has at least 4 replicas", LIMIT, |p| {
            replicas(p, "vision") >= 4
        })
        .await
        .unwrap();
    for name in names {
        assert!(
            replicas(&moved, name) >= 1,
            "{name} lost its only replica, and replicas.min is one"
        );
    }
    stage
        .wait_ready("vision", stage.replicas("vision").await.unwrap())
        .await
        .unwrap();

    // Then all want more, 16 GPUs in sum.
    let hungry = stage.drive(
        &["nlp", "vision", "reasoning"].map(|name| load(name, &[(600.0, 35.0)])),
        Duration::from_secs(600),
    );
    let want_more = |pool: &AgentPool| {
        names[1..].iter().all(|name| {
            let agent = status_of(pool, name);
            agent.is_some_and(|agent| ["AtMinimum", "CapacityShared"].contains(&&*agent.reason))
        })
    };
    let what = "nlp, vision and reasoning want more than they get";
    stage
        .wait_pool("team", what, LIMIT, want_more)
        .await
        .unwrap();
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.decides(3 * WINDOW * 4, LIMIT).await.unwrap();
    let crowded = stage.pools().get("team").await.unwrap();
    assert!(want_more(&crowded), "{:#?}", crowded.status);
    let all = names.map(|name| replicas(&crowded, name));
    assert_eq!((all[0], all.iter().sum()), (2, 8), "{all:?}");
    stage.witness.catch_up().await.unwrap();
    let held = stage.witness.counts("agents", "coordinator").min_ready;
    assert!(
        held >= Some(2),
        "coordinator, whose minimum share is two, had {held:?} ready"
    );
    hungry.stop();
    driver.stop();
    stage.finish().await.unwrap();
    let recomputed = replay(&decisions);
    assert!(
        recomputed >= 40,
        "only {recomputed} decisions were recorded"
    );
}

/// Computes what the operator recorded again; every decision must come to the same. Returns how many there were.
fn replay(folder: &Path) -> u64 {
    let replayed = Command::new(operator_binary().unwrap())
        .arg("replay")
        .arg(folder)
        .output()
        .unwrap();
    let said = String::from_utf8([replayed.stdout, replayed.stderr].concat()).unwrap();
    println!("{said}");
    assert!(replayed.status.success(), "{said}");
    let figure = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse::<u64>().ok())
            .unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    assert_eq!((figure("different"), figure("missing")), (0, 0));
    figure("equal")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_parallel_agent_of_two_gpus_finds_two_free_ones_on_one_node() {
    let nodes = vec![
        NodeSpec::whole("gpu-a", A100_80, 4),
        NodeSpec::whole("gpu-b", A100_80, 4),
    ];
    let stage = Stage::start(StageOptions::new("tensor", nodes))
        .await
        .unwrap();
    let large = AgentWorkload::new("large", 10.0).gpus("nvidia.com/gpu", 2);
    let small: Vec<AgentWorkload> = ["chat", "code"]
        .iter()
        .map(|name| AgentWorkload::new(*name, 10.0))
        .collect();
    stage.deploy(&large).await.unwrap();
    for agent in &small {
        stage.deploy(agent).await.unwrap();
    }
    // First the small ones are hungry and spread over both nodes, then the large one wants pairs back.
    let driver = stage.drive(
        &[
            load("chat", &[(40.0, 28.0), (600.0, 2.0)]),
            load("code", &[(40.0, 28.0), (600.0, 2.0)]),
            load("large", &[(40.0, 2.0), (600.0, 70.0)]),
        ],
        Duration::from_secs(640),
    );
    let items = [
        large.agent("High", "2", 4),
        small[0].agent("Medium", "1", 6),
        small[1].agent("Medium", "1", 6),
    ];
    stage.apply(&pool(8, &items)).await.unwrap();
    let replicas = |pool: &agentpool::api::AgentPool, name: &str| {
        pool.status
            .iter()
            .flat_map(|s| &s.agents)
            .find(|a| a.name == name)
            .map_or(0, |a| a.replicas)
    };
    stage
        .wait_pool("team", "the small agents have 6 GPUs", LIMIT, |p| {
            replicas(p, "chat") + replicas(p, "code") == 6
        })
        .await
        .unwrap();
    stage
        .wait_pool(
            "team",
            "the large agent has 3 replicas of 2 GPUs",
            LIMIT,
            |p| replicas(p, "large") == 3,
        )
        .await
        .unwrap();
    stage.wait_ready("large", 3).await.unwrap();
    driver.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_applied_at_zero_replicas_comes_up_although_it_has_no_metrics() {
    let node = NodeSpec::whole("gpu", A100_80, 4);
    let stage = Stage::start(StageOptions::new("zero", vec![node]))
        .await
        .unwrap();
    let agents = [
        AgentWorkload::new("runs", 10.0),
        AgentWorkload::new("stopped", 10.0).replicas(0),
    ];
    for agent in &agents {
        stage.deploy(agent).await.unwrap();
    }
    let items = agents.map(|agent| agent.agent("Medium", "0", 1));
    stage.apply(&pool(4, &items)).await.unwrap();
    stage.wait_ready("stopped", 1).await.unwrap();
    stage.finish().await.unwrap();
}
