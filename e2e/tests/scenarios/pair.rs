//! Two agents, one of them important, whose load changes sides: on the MIG instances of one GPU, or on whole GPUs.

use agentpool::api::AgentPool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::load::{AgentLoad, Arrivals, Driver, Work};
use agentpool_e2e::stage::{AgentWorkload, LIMIT, Seen, Stage};
use agentpool_e2e::wait;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// The important agent.
pub const HIGH: &str = "high";
/// The other one: the one that yields.
pub const LOW: &str = "low";
/// Name of the pool.
pub const POOL: &str = "pair";
/// Annotation with what is to be put back when a swap is interrupted.
pub const RESTORE: &str = "agentpool.dev/restore";

/// Requests a second that a whole GPU serves; 10.4 on a 2g.20gb, 15.6 on a 3g.40gb, 5.2 on a 1g.10gb of an A100.
const SPEED: f64 = 40.0;
/// Requests a second of a busy agent: more than a 2g.20gb serves, less than a 3g.40gb.
const BUSY: f64 = 13.0;
/// Requests a second of a quiet agent: less than any instance serves.
const QUIET: f64 = 2.0;
/// Requests a second that a whole GPU serves of agents that have several: a busy one needs more than two of them.
const SLOW: f64 = 5.0;

/// Workloads, pool and load of the two agents.
pub struct Pair {
    agents: [AgentWorkload; 2],
    /// Whether the pool may stop an agent for a moment.
    pub downtime: bool,
    /// Whether the pool may take GPU requests over.
    pub take_over: &'static str,
    sharing: &'static str,
    gpus: u32,
    max_replicas: u32,
    driver: Option<Driver>,
}

impl Pair {
    /// Two Deployments with the default strategy; `high` on one profile, `low` on another.
    pub fn new(high: &str, low: &str) -> Self {
        let agent = |name: &str, profile: &str| AgentWorkload {
            ready_delay: "1s".to_owned(),
            ..AgentWorkload::new(name, SPEED)
                .gpus(&format!("nvidia.com/mig-{profile}"), 1)
                .memory("8Gi")
        };
        Self {
            sharing: "MIG",
            gpus: 1,
            max_replicas: 1,
            ..Self::with([agent(HIGH, high), agent(LOW, low)])
        }
    }

    /// Two Deployments with two replicas each on the four whole GPUs of [`Pair::whole_node`]; the busy one needs three.
    pub fn whole() -> Self {
        let agent = |name: &str| AgentWorkload {
            ready_delay: "1s".to_owned(),
            ..AgentWorkload::new(name, SLOW).replicas(2)
        };
        Self::with([agent(HIGH), agent(LOW)])
    }

    fn with(agents: [AgentWorkload; 2]) -> Self {
        Self {
            agents,
            downtime: true,
            take_over: "Allowed",
            sharing: "WholeGPU",
            gpus: 4,
            max_replicas: 3,
            driver: None,
        }
    }

    /// Of this kind and strategy instead.
    pub fn of(mut self, kind: &'static str, strategy: &Value) -> Self {
        for agent in &mut self.agents {
            agent.kind = kind;
            agent.strategy = strategy.clone();
        }
        self
    }

    /// With the pods of StatefulSets one after the other, as is Kubernetes' default.
    pub fn ordered(mut self) -> Self {
        for agent in &mut self.agents {
            agent.pod_management = "OrderedReady";
        }
        self
    }

    /// With pods that may take an hour to end.
    pub fn patient(mut self) -> Self {
        for agent in &mut self.agents {
            agent.grace_period = Some(3600);
        }
        self
    }

    /// One A100 with these instances.
    pub fn node(instances: &[(&str, u32)]) -> NodeSpec {
        NodeSpec::mig("gpu-a", A100_80, 1, instances).unwrap()
    }

    /// Four whole A100s.
    pub fn whole_node() -> NodeSpec {
        NodeSpec::whole("gpu-a", A100_80, 4)
    }

    /// Creates both workloads, and waits until they are ready.
    pub async fn deploy(&self, stage: &Stage) -> Result<()> {
        for agent in &self.agents {
            stage.apply(&agent.object()).await?;
        }
        for agent in &self.agents {
            stage.wait_ready(&agent.name, agent.replicas).await?;
        }
        Ok(())
    }

    /// Creates or changes the pool.
    pub async fn pool(&self, stage: &Stage) -> Result<()> {
        let [high, low] = &self.agents;
        let pool = json!({
            "apiVersion": "agentpool.dev/v1alpha1",
            "kind": "AgentPool",
            "metadata": { "name": POOL, "namespace": "agents" },
            "spec": {
                "mode": "Auto",
                "devices": [{ "name": "a100", "gpus": self.gpus, "sharing": { "type": self.sharing } }],
                "requests": { "via": "Template", "takeOver": self.take_over },
                "policy": {
                    "type": "WaterFilling", "interval": "1s", "demandWindow": "3s", "drain": "5s", "actuationLag": "0s",
                    "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
                    "disruption": { "maxConcurrent": 2, "allowDowntime": self.downtime }
                },
                "agents": [high.agent("High", "100m", self.max_replicas), low.agent("Low", "100m", self.max_replicas)],
            }
        });
        stage.apply(&pool).await
    }

    /// From now on one agent is busy and the other quiet.
    pub fn busy(&mut self, stage: &Stage, name: &str) {
        if let Some(before) = self.driver.take() {
            before.stop();
        }
        let load = |agent: &AgentWorkload| AgentLoad {
            agent: agent.name.clone(),
            arrivals: Arrivals::Constant {
                rate: if agent.name == name { BUSY } else { QUIET },
            },
            work: Work::Deterministic,
        };
        let loads: Vec<AgentLoad> = self.agents.iter().map(load).collect();
        self.driver = Some(stage.drive(&loads, Duration::from_secs(1800)));
    }

    /// No more requests.
    pub fn quiet(&mut self) {
        if let Some(before) = self.driver.take() {
            before.stop();
        }
    }

    /// Both workloads, `high` first.
    pub async fn look(&self, stage: &Stage) -> Result<[Seen; 2]> {
        let [high, low] = &self.agents;
        Ok([
            stage.look(high.kind, &high.name).await?,
            stage.look(low.kind, &low.name).await?,
        ])
    }

    /// Waits until both workloads are as wanted; says how they and the pool were when they never are.
    pub async fn wait(
        &self,
        stage: &Stage,
        what: &str,
        is: impl Fn(&[Seen; 2]) -> bool,
    ) -> Result<[Seen; 2]> {
        let mut last = None;
        let waited = wait::until(LIMIT, what, async || {
            let seen = self.look(stage).await?;
            last = Some(seen.clone());
            Ok(is(&seen).then_some(seen))
        })
        .await;
        if waited.is_err() {
            let status = stage.pools().get(POOL).await.ok().and_then(|p| p.status);
            let history = stage.witness.history();
            let from = history.len().saturating_sub(30);
            bail!(
                "not within {LIMIT:?}: {what}; workloads: {last:#?}; status: {}; pods:\n{}",
                serde_json::to_string_pretty(&status)?,
                history[from..].join("\n")
            );
        }
        waited
    }

    /// Waits until so many replicas of each are ready, and the pods of others are gone.
    pub async fn wait_replicas(&self, stage: &Stage, high: u32, low: u32) -> Result<()> {
        let what = format!("high has {high} replicas and low {low}");
        let rests = |seen: &Seen, replicas| seen.replicas == replicas && seen.settled;
        self.wait(stage, &what, |[h, l]| rests(h, high) && rests(l, low))
            .await?;
        stage.wait_gone(HIGH, high as usize).await?;
        stage.wait_gone(LOW, low as usize).await
    }

    /// Waits until both agents run on these profiles, and nothing of a swap is left.
    pub async fn wait_on(&self, stage: &Stage, high: &str, low: &str) -> Result<[Seen; 2]> {
        let what = format!("high runs on {high}, low on {low}, and no swap is under way");
        let seen = self
            .wait(stage, &what, |[h, l]| {
                let at_rest = |seen: &Seen| {
                    seen.replicas == 1 && seen.settled && !seen.notes.contains_key(RESTORE)
                };
                h.is_on(high) && l.is_on(low) && at_rest(h) && at_rest(l)
            })
            .await?;
        for agent in &self.agents {
            stage.wait_gone(&agent.name, 1).await?;
        }
        Ok(seen)
    }
}

/// The hold of an agent, as status says it, with its message.
pub fn hold_of(pool: &AgentPool, name: &str) -> Option<(String, String)> {
    let agent = agentpool_e2e::stage::agent(pool, name)?;
    Some((agent.hold.clone()?, agent.message.clone()))
}
