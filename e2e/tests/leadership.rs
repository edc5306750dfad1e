//! Several replicas of the real operator: one leads, another takes over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes};
use agentpool_e2e::controlplane::process::Signal;
use agentpool_e2e::controlplane::{Component, ControlPlane, Options, skipped_in_a_foreign_cluster};
use agentpool_e2e::operator::{Instance, OperatorRunner, RunnerOptions, operator_binary};
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::{install, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
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
        Self::with(name, replicas, |options| options).await
    }

    async fn with(
        name: &str,
        replicas: u32,
        change: impl FnOnce(RunnerOptions) -> RunnerOptions,
    ) -> Self {
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
        let runner = OperatorRunner::start(&control_plane, change(options))
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
        ready(&instance).await;
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

async fn ready(instance: &Instance) {
    // A watch that was resumed and has nothing to tell is known to work 90 s after its last failure.
    wait::until(
        2 * LIMIT,
        format!("{} is ready", instance.pod()),
        async || {
            let answer = instance.http_get(8080, "/readyz").await;
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        },
    )
    .await
    .unwrap();
}

/// Waits until `/readyz` says this.
async fn readyz_says(instance: &Instance, words: &[&str]) {
    let mut said = String::new();
    let named = wait::until(2 * LIMIT, format!("/readyz says {words:?}"), async || {
        let (_, body) = instance.http_get(8080, "/readyz").await?;
        said = body;
        Ok(words.iter().all(|word| said.contains(word)).then_some(()))
    })
    .await;
    assert!(named.is_ok(), "{words:?} are not in: {said}");
}

#[tokio::test]
async fn a_leader_that_cannot_watch_the_cluster_leaves_the_lease_to_a_replica_that_can() {
    let scene = Scene::with("blind", 2, RunnerOptions::with_proxies).await;
    let leader = scene.leader_other_than(None).await;
    // A replica that has never seen the nodes says so at once; one that has is patient.
    for instance in scene.runner.instances() {
        ready(&instance).await;
    }
    let proxy = leader.proxy().unwrap();
    let away = proxy.answer(Matcher::all().path("/api/v1/nodes"), 503);
    proxy.cut_connections();
    readyz_says(&leader, &["cannot list or watch nodes"]).await;
    let next = scene.leader_other_than(Some(leader.pod())).await;
    wait::until(LIMIT, "the blind one says that it follows", async || {
        Ok((!leads(&leader).await).then_some(()))
    })
    .await
    .unwrap();

    // It does not even take a lease that nobody renews, until it can see.
    next.hold_down(true).await;
    tokio::time::sleep(TAKE_OVER + Duration::from_secs(5)).await;
    assert_eq!(scene.holder().await.as_deref(), Some(next.pod()));
    drop(away);
    ready(&leader).await;
    let seeing = scene.leader_other_than(Some(next.pod())).await;
    assert_eq!(seeing.pod(), leader.pod());
    scene.control_plane.finish();
}

#[tokio::test]
async fn a_leader_whose_watches_get_no_answer_leaves_the_lease_to_a_replica_that_can_see() {
    let scene = Scene::with("silence", 2, RunnerOptions::with_proxies).await;
    let leader = scene.leader_other_than(None).await;
    for instance in scene.runner.instances() {
        ready(&instance).await;
    }
    // The watch is cut once, and from then on nothing fails: it is asked for in vain.
    let proxy = leader.proxy().unwrap();
    let _silence = proxy.blackhole(Matcher::all().path("/api/v1/nodes"));
    readyz_says(&leader, &["cannot list or watch nodes", "no answer"]).await;
    scene.leader_other_than(Some(leader.pod())).await;
    scene.control_plane.finish();
}

#[tokio::test]
async fn a_lease_that_may_not_be_written_is_named_by_readyz_and_nobody_leads_until_it_may() {
    let scene = Scene::set("no-lease", 1).await;
    scene.leader_other_than(None).await;
    let roles: Api<Role> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let role = roles.get("agentpool-election").await.unwrap();
    let mut read_only = role.clone();
    for rule in read_only.rules.iter_mut().flatten() {
        rule.verbs = vec!["get".to_owned()];
    }
    let set = async |role: &Role| {
        let mut role = role.clone();
        role.metadata.resource_version = None;
        roles
            .replace("agentpool-election", &PostParams::default(), &role)
            .await
            .unwrap();
    };
    set(&read_only).await;
    let instance = scene.runner.instances().remove(0);
    readyz_says(
        &instance,
        &["leases: ", "cannot update resource \"leases\""],
    )
    .await;
    assert!(!leads(&instance).await);
    set(&role).await;
    wait::until(LIMIT, "it leads and is ready", async || {
        let (status, _) = instance.http_get(8080, "/readyz").await?;
        Ok((status == 200 && leads(&instance).await).then_some(()))
    })
    .await
    .unwrap();
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
