//! A stage for scenarios: a control plane with GPU nodes, the operator installed from its chart and run as its pods, engines, a witness.

mod chart;
mod largest;
mod look;
mod workload;

pub use largest::largest_pool;
pub use look::{Seen, agent};
pub use workload::AgentWorkload;

use crate::controlplane::BENCH_LABEL;
use crate::controlplane::ControlPlane;
use crate::controlplane::Options;
use crate::controlplane::audit::Records;
use crate::controlplane::nodes::{NodeSpec, Nodes};
use crate::engine::{EngineFleet, EngineOptions};
use crate::load::{AgentLoad, Driven, Driver, DriverOptions, Endpoints, Http};
use crate::operator::{OperatorRunner, RunnerOptions, operator_binary};
use crate::wait;
use crate::witness::{Witness, WitnessRules};
use agentpool::api::AgentPool;
use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Namespace of the operator.
pub const SYSTEM: &str = "agentpool-system";
/// Namespace of the agents.
pub const AGENTS: &str = "agents";
/// What draws the loads of the scenarios.
pub const SEED: u64 = 7;
/// Limit of waits for what takes a moment; generous, because machines are shared.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What a scenario wants.
#[derive(Clone)]
pub struct StageOptions {
    /// Names the folder of the run.
    pub name: String,
    /// GPU nodes.
    pub nodes: Vec<NodeSpec>,
    /// Replicas of the operator.
    pub operators: u32,
    /// A fault proxy between each operator and the API server.
    pub proxies: bool,
    /// More `--set` values of the chart.
    pub values: Vec<String>,
}

impl StageOptions {
    /// One operator, no proxies.
    pub fn new(name: impl Into<String>, nodes: Vec<NodeSpec>) -> Self {
        Self {
            name: name.into(),
            nodes,
            operators: 1,
            proxies: false,
            values: Vec::new(),
        }
    }

    /// So many replicas of the operator.
    #[must_use]
    pub fn operators(mut self, replicas: u32) -> Self {
        self.operators = replicas;
        self
    }

    /// A fault proxy between each operator and the API server.
    #[must_use]
    pub fn with_proxies(mut self) -> Self {
        self.proxies = true;
        self
    }

    /// One more value of the chart, `path=value`.
    #[must_use]
    pub fn value(mut self, set: impl Into<String>) -> Self {
        self.values.push(set.into());
        self
    }
}

/// A running stage. Ends when it is dropped; [`Stage::finish`] also asks the witness.
pub struct Stage {
    /// The API server.
    pub client: Client,
    /// Makes and changes nodes.
    pub nodes: Nodes,
    /// The operator's processes.
    pub runner: OperatorRunner,
    /// The engines.
    pub fleet: EngineFleet,
    /// Watches what must never happen.
    pub witness: Witness,
    /// The control plane; last, so that it outlives what talks to it.
    pub control_plane: ControlPlane,
}

impl Stage {
    /// Starts everything and waits until the operator leads.
    ///
    /// # Errors
    /// What could not be built or started.
    pub async fn start(options: StageOptions) -> Result<Self> {
        let control_plane = ControlPlane::start(Options::new(&options.name)).await?;
        let client = control_plane.client().await?;
        let nodes = Nodes::new(client.clone());
        nodes
            .add(&NodeSpec::new(format!("{}-system", options.name)))
            .await?;
        for node in &options.nodes {
            nodes.add(node).await?;
        }
        for namespace in [SYSTEM, AGENTS] {
            create_namespace(&client, namespace).await?;
        }
        chart::install(&control_plane, &options)?;
        let mut run = RunnerOptions::new(
            SYSTEM,
            "app.kubernetes.io/name=agentpool",
            operator_binary()?,
        );
        run.proxies = options.proxies;
        let runner = OperatorRunner::start(&control_plane, run).await?;
        let replicas = usize::try_from(options.operators)?;
        runner.wait_for(replicas, LIMIT).await?;
        let fleet = EngineFleet::start(client.clone(), EngineOptions::default()).await?;
        let witness =
            Witness::start(client.clone(), WitnessRules::default().namespace(AGENTS)).await?;
        Ok(Self {
            client,
            nodes,
            runner,
            fleet,
            witness,
            control_plane,
        })
    }

    /// Creates an agent's workload and waits until its pods are ready.
    ///
    /// # Errors
    /// When it is refused or does not become ready.
    pub async fn deploy(&self, workload: &AgentWorkload) -> Result<()> {
        self.apply(&workload.object()).await?;
        self.wait_ready(&workload.name, workload.replicas).await
    }

    /// Waits until so many pods of an agent are ready.
    ///
    /// # Errors
    /// When they are not within [`LIMIT`].
    pub async fn wait_ready(&self, app: &str, replicas: u32) -> Result<()> {
        wait::until(
            LIMIT,
            format!("{replicas} pods of {app} are ready"),
            async || Ok((self.ready_pods(app).await? == replicas as usize).then_some(())),
        )
        .await
    }

    /// Ready pods of an agent that are not on their way out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn ready_pods(&self, app: &str) -> Result<usize> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), AGENTS);
        let pods = pods
            .list(&ListParams::default().labels(&format!("app={app}")))
            .await?;
        let ready = |pod: &k8s_openapi::api::core::v1::Pod| {
            let conditions = pod
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten());
            pod.metadata.deletion_timestamp.is_none()
                && conditions
                    .into_iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(pods.items.iter().filter(|pod| ready(pod)).count())
    }

    /// Applies any object of the namespace `agents`, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// The API server's, with its message.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let types = object.types.clone().context("apiVersion and kind")?;
        let kind = kube::discovery::pinned_kind(
            &self.client,
            &kube::core::GroupVersionKind::try_from(&types)?,
        )
        .await?
        .0;
        let name = object.metadata.name.clone().context("metadata.name")?;
        let namespace = object
            .metadata
            .namespace
            .clone()
            .unwrap_or_else(|| AGENTS.to_owned());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &kind);
        api.patch(
            &name,
            &PatchParams::apply("kubectl").force(),
            &Patch::Apply(&object),
        )
        .await?;
        Ok(())
    }

    /// The pools of the namespace `agents`.
    pub fn pools(&self) -> Api<AgentPool> {
        Api::namespaced(self.client.clone(), AGENTS)
    }

    /// Waits until the pool's status is as wanted; says what it was when it never is.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn wait_pool(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        is: impl Fn(&AgentPool) -> bool,
    ) -> Result<AgentPool> {
        let mut last = None;
        let waited = wait::until(limit, what, async || {
            let pool = self.pools().get(name).await?;
            let there = is(&pool);
            last = Some(pool.clone());
            Ok(there.then_some(pool))
        })
        .await;
        if waited.is_err() {
            let status = last.and_then(|p| p.status);
            bail!(
                "not within {limit:?}: {what}; status: {}",
                serde_json::to_string_pretty(&status)?
            );
        }
        waited
    }

    /// Waits until the API server has an event about a pool for this reason whose message has these words.
    ///
    /// # Errors
    /// When there is none within [`LIMIT`]; says which there are.
    pub async fn wait_event(&self, pool: &str, reason: &str, words: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), AGENTS);
        let about = format!("involvedObject.kind=AgentPool,involvedObject.name={pool}");
        let about = ListParams::default().fields(&about);
        let mut told = Vec::new();
        let waited = wait::until(LIMIT, "the event", async || {
            let found = events.list(&about).await?.items.into_iter();
            told = found
                .map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default()))
                .collect();
            let wanted = |(r, message): &(String, String)| r == reason && message.contains(words);
            Ok(told.iter().any(wanted).then_some(()))
        });
        let waited = waited.await;
        waited.with_context(|| format!("{reason} about {pool} with {words:?}; there are {told:#?}"))
    }

    /// Replicas that a Deployment of the namespace `agents` asks for.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn replicas(&self, name: &str) -> Result<u32> {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.client.clone(), AGENTS);
        let replicas = api
            .get(name)
            .await?
            .spec
            .and_then(|s| s.replicas)
            .unwrap_or(1);
        Ok(u32::try_from(replicas)?)
    }

    /// Begins to send requests to the agents' pods.
    pub fn drive(&self, loads: &[AgentLoad], length: Duration) -> Driver {
        let backend = Arc::new(Http::new(Endpoints::follow(self.client.clone(), AGENTS)));
        Driver::start(
            loads,
            SEED,
            vec![Driven {
                backend,
                options: DriverOptions::new(AGENTS),
            }],
            length,
        )
    }

    /// Everything that the operator wrote, from the audit log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn operator_writes(&self) -> Result<Records> {
        Ok(self
            .control_plane
            .audit()?
            .records()?
            .by_service_account(SYSTEM, "agentpool")
            .writes())
    }

    /// Ends the stage; fails when the witness saw what must never happen.
    ///
    /// # Errors
    /// What the witness saw.
    pub async fn finish(self) -> Result<()> {
        let clean = self.witness.check_clean().await;
        self.fleet.stop().await;
        if clean.is_ok() {
            drop(self.runner);
            self.control_plane.finish();
        }
        clean
    }
}

async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            // So that it is removed again from a cluster that is not our own.
            labels: Some([(BENCH_LABEL.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other
            .map(|_| ())
            .with_context(|| format!("namespace {name}")),
    }
}
