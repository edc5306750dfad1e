//! Everything that runs during the demonstration: the control plane, the operator as its pod's process, the engines of
//! both lanes, and the witness.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentpool::api::AgentPool;
use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::frame::{self, Frame, Workloads};
use super::scene::{MAX_READY, POOL, Scene, TWIN};
use crate::controlplane::ControlPlane;
use crate::controlplane::binaries::repository;
use crate::controlplane::nodes::{NodeSpec, Nodes};
use crate::engine::{EngineFleet, EngineOptions};
use crate::install;
use crate::load::{Driven, Driver, DriverOptions, Endpoints, Http};
use crate::operator::{OperatorRunner, RunnerOptions, operator_binary};
use crate::stage::{AGENTS, SYSTEM};
use crate::wait;
use crate::witness::{Witness, WitnessRules};

/// For what takes a moment; generous, because machines are slow and shared.
const LIMIT: Duration = Duration::from_secs(180);

/// What runs on a control plane.
pub struct World<'a> {
    client: Client,
    runner: OperatorRunner,
    fleet: EngineFleet,
    witness: Witness,
    control_plane: &'a ControlPlane,
}

impl<'a> World<'a> {
    /// Starts everything, and waits until all pods of both lanes are ready and the pool has decided once.
    ///
    /// # Errors
    /// What did not start, in words.
    pub async fn start(
        control_plane: &'a ControlPlane,
        scene: &Scene,
        step: &Steps,
    ) -> Result<Self> {
        let binary = operator_binary()?;
        let client = control_plane.client().await?;
        let nodes = Nodes::new(client.clone());
        nodes.add(&NodeSpec::new("system")).await?;
        for node in &scene.nodes {
            nodes.add(node).await?;
        }
        install::install(control_plane).await?;
        install::deploy(&client, 1).await?;
        let options = RunnerOptions::new(SYSTEM, install::SELECTOR, binary);
        let runner = OperatorRunner::start(control_plane, options).await?;
        runner.wait_for(1, LIMIT).await?;
        step.done("operator installed from deploy/install.yaml and started as its service account");
        let fleet = EngineFleet::start(client.clone(), EngineOptions::default()).await?;
        let rules = WitnessRules::default().namespace(AGENTS);
        let witness = Witness::start(client.clone(), rules).await?;
        for lane in [AGENTS, TWIN] {
            control_plane.create_namespace(lane).await?;
            for workload in &scene.workloads {
                install::apply(&client, Scene::deployment(workload, lane)).await?;
            }
        }
        let world = Self {
            client,
            runner,
            fleet,
            witness,
            control_plane,
        };
        world.wait_until_ready(scene).await?;
        step.done("both lanes: every pod ready, engines answer on the pods' addresses");
        install::apply(&world.client, scene.pool.clone()).await?;
        world.wait_until_decided().await?;
        step.done("AgentPool created, first decision in its status");
        Ok(world)
    }

    /// Begins to send the scene's requests to both lanes.
    pub fn drive(&self, scene: &Scene) -> Driver {
        let lanes = [AGENTS, TWIN].map(|namespace| Driven {
            backend: Arc::new(Http::new(Endpoints::follow(self.client.clone(), namespace))),
            options: DriverOptions::new(namespace),
        });
        Driver::start(&scene.loads, scene.seed, lanes.into(), scene.length)
    }

    /// What is known now.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn frame(&self, scene: &Scene, driver: &Driver) -> Result<Frame> {
        let pool = self.pools().get(POOL).await?;
        let (mine, twins) = tokio::try_join!(self.workloads(AGENTS), self.workloads(TWIN))?;
        Ok(frame::frame(scene, driver, &pool, [&mine, &twins]))
    }

    /// Says what the witness saw and how often the operator wrote.
    pub async fn print_facts(&self) {
        match self.witness.check_clean().await {
            Ok(()) => println!(
                "watched       independently, from the API server alone: never more placed than there is, no pod left unschedulable"
            ),
            Err(error) => println!("watched       NOT CLEAN: {error:#}"),
        }
        let writes = self.control_plane.audit().and_then(|audit| audit.records());
        if let Ok(records) = writes {
            let writes = records.by_service_account(SYSTEM, "agentpool").writes();
            let scales = writes
                .iter()
                .filter(|record| record.subresource == "scale")
                .count();
            println!(
                "writes        {scales} replica counts written by the operator (from the API server's audit log)"
            );
        }
        println!();
        self.print_kubectl(&["get", "agentpools", "--namespace", AGENTS]);
    }

    /// How to look around.
    pub fn print_look_around(&self) {
        let kubectl = self.control_plane.kubectl();
        let kubectl = kubectl.get_program().display();
        println!("\nLook around:");
        println!(
            "  export KUBECONFIG={}",
            self.control_plane.kubeconfig_path().display()
        );
        println!("  alias k={kubectl}");
        println!(
            "  k describe agentpool {POOL} -n {AGENTS}     # target, in force and the reason, an agent each"
        );
        println!("  k get events -n {AGENTS} --sort-by .lastTimestamp");
        println!("  k get pods -o wide -n {AGENTS}");
        println!("  k explain agentpool.spec.policy");
        println!(
            "  k annotate agentpool {POOL} -n {AGENTS} agentpool.dev/paused=true     # it stops writing and says so"
        );
        for instance in self.runner.instances() {
            println!(
                "  less {}     # the operator's log",
                instance.log().display()
            );
            println!("  curl -s http://{}:8080/metrics", instance.address());
        }
    }

    /// Ends everything but the control plane.
    pub async fn end(self) {
        self.fleet.stop().await;
    }

    fn pools(&self) -> Api<AgentPool> {
        Api::namespaced(self.client.clone(), AGENTS)
    }

    async fn workloads(&self, namespace: &str) -> Result<Workloads> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let list = api.list(&ListParams::default()).await?;
        let counts = |deployment: Deployment| {
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            let ready = deployment
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas);
            (
                deployment.name_any(),
                (wanted.unwrap_or(1), ready.unwrap_or(0)),
            )
        };
        Ok(list
            .items
            .into_iter()
            .map(counts)
            .collect::<BTreeMap<_, _>>())
    }

    async fn wait_until_ready(&self, scene: &Scene) -> Result<()> {
        wait::until(
            LIMIT + MAX_READY,
            "every pod of both lanes is ready",
            async || {
                for lane in [AGENTS, TWIN] {
                    let counts = self.workloads(lane).await?;
                    let ready = |(wanted, ready): &(i32, i32)| wanted == ready;
                    if counts.len() < scene.workloads.len() || !counts.values().all(ready) {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            },
        )
        .await
    }

    async fn wait_until_decided(&self) -> Result<()> {
        let decided = wait::until(LIMIT, "the pool has decided once", async || {
            let status = self.pools().get(POOL).await?.status;
            Ok(status
                .filter(|status| !status.agents.is_empty())
                .map(|_| ()))
        });
        decided.await.with_context(|| {
            let logs: Vec<String> = self
                .runner
                .all_instances()
                .iter()
                .map(|instance| instance.log().display().to_string())
                .collect();
            format!("the operator's log: {}", logs.join(", "))
        })
    }

    fn print_kubectl(&self, arguments: &[&str]) {
        println!("$ kubectl {}", arguments.join(" "));
        let output = self
            .control_plane
            .kubectl()
            .args(arguments)
            .current_dir(repository())
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) => print!("{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => println!("kubectl: {error}"),
        }
        println!();
    }
}

/// Says what was started, and when.
pub struct Steps {
    start: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Steps {
    /// Something was started.
    pub fn done(&self, what: &str) {
        println!("{:5.1} s  {what}", self.start.elapsed().as_secs_f64());
    }
}
