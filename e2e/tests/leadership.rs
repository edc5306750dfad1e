//! Several replicas of the real operator: one leads, another takes over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes};
use agentpool_e2e::controlplane::process::Signal;
use agentpool_e2e::controlplane::{Component, ControlPlane, Options, skipped_in_a_foreign_cluster};
use agentpool_e2e::operator::{Instance, OperatorRunner, RunnerOptions, operator_binary};
use agentpool_e2e::{install, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
/// The lease's duration (15 s), two looks at it, and room for a loaded machine.
const TAKE_OVER: Duration = Duration::from_secs(20);

struct Scene {
    control_plane: ControlPlane,
    client: Client,
    runner: OperatorRunner,
}

impl Scene {
    async fn set(name: &str, replicas: u32) -> Self {
        let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
        let client = control_plane.client().await.unwrap();
        Nodes::new(client.clone())
            .add(&NodeSpec::whole("node", A100_80, 1))
            .await
            .unwrap();
        install::install(&control_plane).await.unwrap();
        let options = RunnerOptions::new(
            install::NAMESPACE,
            install::SELECTOR,
            operator_binary().unwrap(),
        );
        let runner = OperatorRunner::start(&control_plane, options)
            .await
            .unwrap();
        install::deploy(&client, replicas).await.unwrap();
        runner
            .wait_for(usize::try_from(replicas).unwrap(), LIMIT)
            .await
            .unwrap();
        Self {
            control_plane,
            client,
            runner,
        }
    }

    async fn holder(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        let lease = leases.get(install::NAME).await.unwrap();
        lease.spec.and_then(|spec| spec.holder_identity)
    }

    /// Waits until a replica other than `not` holds the lease and says so in its metrics.
    async fn leader_other_than(&self, not: Option<&str>) -> Instance {
        wait::until(
            LIMIT,
            format!("a replica other than {not:?} leads"),
            async || {
                let Some(holder) = self
                    .holder()
                    .await
                    .filter(|holder| Some(holder.as_str()) != not)
                else {
                    return Ok(None);
                };
                let Some(instance) = self.runner.instance(&holder) else {
                    return Ok(None);
                };
                Ok(leads(&instance).await.then_some(instance))
            },
        )
        .await
        .unwrap()
    }
}

async fn leads(instance: &Instance) -> bool {
    let answer = instance.http_get(8080, "/metrics").await;
    answer.is_ok_and(|(_, text)| text.lines().any(|line| line == "agentpool_leader 1"))
}

#[tokio::test]
async fn every_replica_is_ready_and_one_leads() {
    let scene = Scene::set("ready", 3).await;
    let leader = scene.leader_other_than(None).await;
    for instance in scene.runner.instances() {
        wait::until(LIMIT, format!("{} is ready", instance.pod()), async || {
            let answer = instance.http_get(8080, "/readyz").await;
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        })
        .await
        .unwrap();
        let (status, body) = instance.http_get(8080, "/healthz").await.unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            leads(&instance).await,
            instance.pod() == leader.pod(),
            "{}",
            instance.pod()
        );
    }
    scene.control_plane.finish();
}

#[tokio::test]
async fn when_the_leader_is_killed_another_leads_within_20_seconds() {
    let scene = Scene::set("killed", 2).await;
    let leader = scene.leader_other_than(None).await;
    let killed = Instant::now();
    leader.hold_down(true).await;
    let next = scene.leader_other_than(Some(leader.pod())).await;
    let took = killed.elapsed();
    assert!(took < TAKE_OVER, "{} took over after {took:?}", next.pod());
    scene.control_plane.finish();
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_gives_the_lease_back_at_once() {
    let scene = Scene::set("told", 2).await;
    let leader = scene.leader_other_than(None).await;
    let told = Instant::now();
    // As a rollout does: the pod is deleted, its process gets SIGTERM and time to end.
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let slowly = json!({"metadata": {"annotations": {"bench.agentpool.dev/drain-delay": "20s"}}});
    pods.patch(leader.pod(), &PatchParams::default(), &Patch::Merge(slowly))
        .await
        .unwrap();
    pods.delete(leader.pod(), &DeleteParams::default())
        .await
        .unwrap();
    scene.leader_other_than(Some(leader.pod())).await;
    let took = told.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "after {took:?}: the lease ran out instead"
    );
    assert!(
        leader.log_text().contains("the lease is given back"),
        "{}",
        leader.log_text()
    );
    scene.control_plane.finish();
}

#[tokio::test]
async fn a_leader_that_was_stopped_follows_when_it_wakes() {
    let scene = Scene::set("stopped", 2).await;
    let leader = scene.leader_other_than(None).await;
    leader.signal(Signal::STOP).unwrap();
    let next = scene.leader_other_than(Some(leader.pod())).await;
    leader.signal(Signal::CONT).unwrap();
    wait::until(LIMIT, "the one that wakes follows", async || {
        let answer = leader.http_get(8080, "/metrics").await;
        Ok(answer
            .is_ok_and(|(_, text)| text.lines().any(|line| line == "agentpool_leader 0"))
            .then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(scene.holder().await.as_deref(), Some(next.pod()));
    assert!(leads(&next).await);
    scene.control_plane.finish();
}

#[tokio::test]
async fn while_the_api_server_is_away_nobody_leads_and_afterwards_one_does() {
    if skipped_in_a_foreign_cluster("while_the_api_server_is_away") {
        return;
    }
    let scene = Scene::set("away", 2).await;
    scene.leader_other_than(None).await;
    scene
        .control_plane
        .kill(Component::ApiServer)
        .await
        .unwrap();
    wait::until(LIMIT, "the leader's term ends", async || {
        for instance in scene.runner.instances() {
            if leads(&instance).await {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
    for instance in scene.runner.instances() {
        let (status, _) = instance.http_get(8080, "/healthz").await.unwrap();
        assert_eq!(status, 200, "a restart would not bring the API server back");
    }
    scene
        .control_plane
        .restart(Component::ApiServer)
        .await
        .unwrap();
    scene.leader_other_than(None).await;
    scene.control_plane.finish();
}
