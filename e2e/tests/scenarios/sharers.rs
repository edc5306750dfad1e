//! Two agents that share the eight GPUs of one node, under loads that are even: what moves is moved by the load or by a fault, never by chance.

use crate::whole_gpus::pool;
use agentpool_e2e::controlplane::audit::{Record, Records};
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::load::{AgentLoad, Arrivals, Driver, Work};
use agentpool_e2e::operator::Instance;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, SYSTEM, Stage, StageOptions};
use agentpool_e2e::wait;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use std::time::Duration;

const LENGTH: f64 = 1800.0;

/// Both agents equally hungry: four GPUs each.
pub const EVEN: (f64, f64) = (28.0, 28.0);
/// The left one much hungrier.
pub const SHIFTED: (f64, f64) = (45.0, 5.0);

/// A stage with the workloads `left` and `right` on it, one replica each and all ready.
pub async fn stage(options: impl FnOnce(StageOptions) -> StageOptions, name: &str) -> Stage {
    let node = NodeSpec::whole("gpu", A100_80, 8);
    let stage = Stage::start(options(StageOptions::new(name, vec![node])))
        .await
        .unwrap();
    for agent in agents() {
        stage.deploy(&agent).await.unwrap();
    }
    stage
}

fn agents() -> [AgentWorkload; 2] {
    ["left", "right"].map(|name| AgentWorkload::new(name, 10.0))
}

/// Creates the pool.
pub async fn share(stage: &Stage) {
    let agents = agents().map(|agent| agent.agent("Medium", "1", 8));
    stage.apply(&pool(8, &agents)).await.unwrap();
}

/// So many requests a second from now on, until the driver is stopped.
pub fn drive(stage: &Stage, (left, right): (f64, f64)) -> Driver {
    let load = |agent: &str, rate: f64| AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Constant { rate },
        work: Work::Deterministic,
    };
    stage.drive(
        &[load("left", left), load("right", right)],
        Duration::from_secs_f64(LENGTH),
    )
}

/// Replicas of both, as their Deployments ask for.
pub async fn replicas(stage: &Stage) -> (u32, u32) {
    (
        stage.replicas("left").await.unwrap(),
        stage.replicas("right").await.unwrap(),
    )
}

/// Waits until both have four ready pods.
pub async fn wait_even(stage: &Stage) {
    for agent in ["left", "right"] {
        stage.wait_ready(agent, 4).await.unwrap();
    }
}

/// Waits until the left one has grown at the cost of the right one.
pub async fn wait_shifted(stage: &Stage) {
    wait::until(
        LIMIT,
        "left has grown beyond half of the GPUs",
        async || Ok((stage.ready_pods("left").await? > 4).then_some(())),
    )
    .await
    .unwrap();
}

/// Who holds the operator's lease.
pub async fn holder(stage: &Stage) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), SYSTEM);
    let lease = leases.get("agentpool").await.unwrap();
    lease.spec.and_then(|spec| spec.holder_identity)
}

/// Waits until a replica other than `not` holds the lease.
pub async fn leader_other_than(stage: &Stage, not: Option<&str>) -> Instance {
    let what = format!("a replica other than {not:?} holds the lease");
    wait::until(LIMIT, what, async || {
        let holder = holder(stage)
            .await
            .filter(|name| Some(name.as_str()) != not);
        Ok(holder.and_then(|name| stage.runner.instance(&name)))
    })
    .await
    .unwrap()
}

/// What the operator's replicas wrote to workloads since then, or were refused.
pub fn workload_writes(stage: &Stage, since: Timestamp) -> Records {
    let writes = stage.operator_writes().unwrap().since(since);
    writes.workload_writes().namespace(AGENTS)
}

/// Those of them that lower replicas.
pub fn scale_downs(stage: &Stage, since: Timestamp) -> Vec<String> {
    let writes = workload_writes(stage, since).succeeded();
    let lower = |record: &&Record| from_to(record).is_some_and(|(from, to)| to < from);
    writes
        .iter()
        .filter(lower)
        .map(ToString::to_string)
        .collect()
}

/// What a write to a scale subresource replaces by what: the value that it tests for, and the one that it sets.
fn from_to(record: &Record) -> Option<(u64, u64)> {
    (record.subresource == "scale").then_some(())?;
    let operations = record.request.as_ref()?.as_array()?;
    let value = |tests: bool| {
        let mut found = operations.iter().filter(|o| (o["op"] == "test") == tests);
        found.find(|o| o["path"] == "/spec/replicas")?["value"].as_u64()
    };
    Some((value(true)?, value(false)?))
}
