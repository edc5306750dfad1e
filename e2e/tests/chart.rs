//! The Helm chart and the plain manifests, with the real Helm, API server and operator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use agentpool_e2e::controlplane::binaries::{self, BinaryGroup};
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec, Nodes};
use agentpool_e2e::controlplane::{ControlPlane, Options};
use agentpool_e2e::operator::{OperatorRunner, RunnerOptions, operator_binary};
use agentpool_e2e::{install, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

fn helm() -> Command {
    let folder = binaries::ensure(BinaryGroup::Helm).unwrap();
    Command::new(folder.join("helm"))
}

fn chart() -> PathBuf {
    binaries::repository().join("charts/agentpool")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    let folder = binaries::ensure(BinaryGroup::Helm).unwrap();
    let repository = binaries::repository();
    let rendered = Command::new(repository.join("deploy/render.sh"))
        .env("HELM", folder.join("helm"))
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", text(&rendered));
    let written = std::fs::read(repository.join("deploy/install.yaml")).unwrap();
    assert!(
        rendered.stdout == written,
        "deploy/install.yaml is not what the chart says: run `make generate`"
    );
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for value in [
        "replicaCount=0",
        "leaseDuration=15",
        "scrape.concurrency=0",
        "scrape.maxBytes=4MB",
        "record.maxBytes=1Ti",
        "record.folder=decisions",
        "metricSources.prom=https://prometheus",
        "metricSources.prom=http://user:secret@prometheus",
        "metricSources.prom=http://prometheus#part",
        "namespaces={Agents}",
        "logging.format=xml",
        "image.digest=latest",
        "replicas=2",
    ] {
        let output = helm()
            .args(["template", "x"])
            .arg(chart())
            .args(["--set", value])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{value} is accepted");
        let key = value.split(['.', '=']).next().unwrap();
        assert!(text(&output).contains(key), "{value}: {}", text(&output));
    }
    let lint = helm()
        .args(["lint", "--strict"])
        .arg(chart())
        .output()
        .unwrap();
    assert!(lint.status.success(), "{}", text(&lint));
}

struct Scene {
    control_plane: ControlPlane,
    client: Client,
    runner: OperatorRunner,
}

impl Scene {
    /// Installs the chart with Helm into a namespace that refuses every pod that is not `restricted`.
    async fn install(name: &str, values: &[&str]) -> Self {
        let control_plane = ControlPlane::start(Options::new(name)).await.unwrap();
        let client = control_plane.client().await.unwrap();
        Nodes::new(client.clone())
            .add(&NodeSpec::whole("node", A100_80, 4))
            .await
            .unwrap();
        for (name, level) in [(install::NAMESPACE, "restricted"), ("agents", "privileged")] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": name, "labels": {"pod-security.kubernetes.io/enforce": level}}});
            install::apply(&client, namespace).await.unwrap();
        }
        let options = RunnerOptions::new(
            install::NAMESPACE,
            install::SELECTOR,
            operator_binary().unwrap(),
        );
        let runner = OperatorRunner::start(&control_plane, options)
            .await
            .unwrap();
        let scene = Self {
            control_plane,
            client,
            runner,
        };
        let mut arguments = vec!["install", "agentpool", "CHART", "--wait", "--timeout=2m"];
        for value in values {
            arguments.extend(["--set", value]);
        }
        let output = scene.helm(&arguments).await;
        assert!(output.status.success(), "{}", text(&output));
        scene
    }

    /// Runs Helm off this thread: the bench must go on meanwhile.
    async fn helm(&self, arguments: &[&str]) -> Output {
        let mut command = helm();
        command.env("KUBECONFIG", self.control_plane.kubeconfig_path());
        command.args(["--namespace", install::NAMESPACE]);
        for argument in arguments {
            match *argument {
                "CHART" => command.arg(chart()),
                other => command.arg(other),
            };
        }
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn all_ready(&self, replicas: usize) {
        for instance in self.runner.wait_for(replicas, LIMIT).await.unwrap() {
            let mut last = String::new();
            let ready = wait::until(LIMIT, format!("{} is ready", instance.pod()), async || {
                let answer = instance.http_get(8080, "/readyz").await;
                last = format!("{answer:?}");
                Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
            })
            .await;
            assert!(ready.is_ok(), "{last}\n{}", instance.log_text());
        }
    }
}

/// A workload that the operator has written to, as far as its marks show, and a pool that names it, so that the operator itself keeps it.
async fn marked_workload(client: &Client) -> Api<Deployment> {
    let workload = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker", "namespace": "agents"},
        "spec": {"selector": {"matchLabels": {"app": "worker"}}, "template": {
            "metadata": {"labels": {"app": "worker"}},
            "spec": {"containers": [{"name": "server", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}},
    });
    install::apply(client, workload).await.unwrap();
    let pool = json!({
        "apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "pool", "namespace": "agents"},
        "spec": {
            "mode": "Observe",
            "devices": [{"name": "gpu", "gpus": 4, "sharing": {"type": "WholeGPU"}}],
            "agents": [{
                "name": "worker", "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"},
                "priority": "High", "minShare": "1", "replicas": {"min": 1, "max": 4}, "model": {"requestsPerSecondPerGpu": "10"},
            }, {
                "name": "cut", "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cut"},
                "priority": "Low", "minShare": "0", "replicas": {"min": 1, "max": 4}, "model": {"requestsPerSecondPerGpu": "10"},
            }],
        },
    });
    install::apply(client, pool).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "agents");
    let by = |manager: &str| PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let replicas = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments
        .patch_scale("worker", &by("agentpool/replicas"), &replicas)
        .await
        .unwrap();
    let note =
        Patch::Merge(json!({"metadata": {"annotations": {"agentpool.dev/pool": "agents/pool"}}}));
    deployments
        .patch("worker", &by("agentpool/gpu"), &note)
        .await
        .unwrap();
    deployments
}

/// What the swap of Deployment `cut` was to leave and to go to.
const SWAP: (&str, &str) = ("nvidia.com/mig-3g.40gb", "nvidia.com/mig-2g.20gb");

/// A workload as the middle of a swap leaves it: at no replicas, asking for what it had, which a stranger has taken since.
async fn cut_workload(client: &Client) {
    let node = NodeSpec::mig("mig", A100_80, 1, &[("3g.40gb", 1), ("2g.20gb", 1)]).unwrap();
    Nodes::new(client.clone()).add(&node).await.unwrap();
    let (from, to) = SWAP;
    let restore = json!({"replicas": 1, "from": from, "to": to, "toReplicas": 1}).to_string();
    let notes = json!({"agentpool.dev/restore": restore, "agentpool.dev/pool": "agents/pool"});
    for (name, replicas) in [("stranger", 1), ("cut", 0)] {
        let workload = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "agents"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "server", "image": "none", "resources": {"limits": {from: "1"}}}]}}},
        });
        install::apply(client, workload).await.unwrap();
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "agents");
    // Notes are the operator's by its field manager: what others write under such names it leaves alone.
    let by = PatchParams {
        field_manager: Some("agentpool/gpu".to_owned()),
        ..PatchParams::default()
    };
    let notes = Patch::Merge(json!({"metadata": {"annotations": notes}}));
    deployments.patch("cut", &by, &notes).await.unwrap();
    let taken = wait::until(LIMIT, "a stranger has what it had", async || {
        let status = deployments.get("stranger").await?.status;
        Ok(status.and_then(|s| s.ready_replicas).filter(|n| *n == 1))
    });
    taken.await.unwrap();
}

/// Marks a pod of Deployment `worker` as a scale-in does that then never came.
async fn marked_pod(client: &Client) -> (Api<Pod>, String) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "agents");
    let first = wait::until(LIMIT, "worker has a pod", async || {
        let pods = pods
            .list(&ListParams::default().labels("app=worker"))
            .await?;
        Ok(pods.items.first().map(ResourceExt::name_any))
    });
    let name = first.await.unwrap();
    let by = PatchParams {
        field_manager: Some("agentpool/pods".to_owned()),
        ..PatchParams::default()
    };
    let cost = Patch::Merge(json!({"metadata": {"annotations": {COST: "-1000"}}}));
    pods.patch(&name, &by, &cost).await.unwrap();
    (pods, name)
}

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn marks(workload: &Deployment) -> Vec<String> {
    let managers = workload
        .managed_fields()
        .iter()
        .filter_map(|entry| entry.manager.clone());
    let annotations = workload.annotations().keys().cloned();
    managers
        .chain(annotations)
        .filter(|mark| mark.starts_with("agentpool"))
        .collect()
}

/// What there is of these kinds, those with a namespace in the release's: `kind/name`.
fn names(control_plane: &ControlPlane, kinds: &str) -> Vec<String> {
    let namespace = ["--namespace", install::NAMESPACE];
    let mut kubectl = control_plane.kubectl();
    kubectl.args(namespace).args(["get", kinds, "-o", "name"]);
    let listed = kubectl.output().unwrap();
    assert!(listed.status.success(), "{}", text(&listed));
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn helm_installs_it_into_a_restricted_namespace_and_all_replicas_are_ready() {
    let scene = Scene::install("helm", &[]).await;
    scene.all_ready(2).await;
    let again = scene
        .helm(&["upgrade", "agentpool", "CHART", "--wait", "--timeout=2m"])
        .await;
    assert!(
        again.status.success(),
        "an upgrade of what runs meets no conflict: {}",
        text(&again)
    );
    scene.control_plane.finish();
}

#[tokio::test]
async fn served_namespaces_need_no_cluster_role() {
    let scene = Scene::install(
        "namespaced",
        &["namespaces={agents}", "handBack.enabled=false"],
    )
    .await;
    scene.all_ready(2).await;
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(scene.client.clone());
    assert!(roles.get_opt("agentpool").await.unwrap().is_none());
    // Releases of this name in other namespaces bring policies of their own.
    let policies = names(
        &scene.control_plane,
        "validatingadmissionpolicy,validatingadmissionpolicybinding",
    );
    for policy in ["fence", "jail"] {
        let own = format!("{}.agentpool-{policy}", install::NAMESPACE);
        let found = policies.iter().filter(|name| name.ends_with(&own)).count();
        assert_eq!(found, 2, "policy and binding {own}: {policies:?}");
    }
    scene.control_plane.finish();
}

#[tokio::test]
async fn an_uninstall_takes_our_marks_off_and_restarts_nothing() {
    // The bench's nodes end a job's pod after its delay, whatever its process does: time enough for it.
    let delay = r"podAnnotations.bench\.agentpool\.dev/ready-delay=15s";
    let scene = Scene::install("uninstall", &["replicaCount=1", delay]).await;
    let deployments = marked_workload(&scene.client).await;
    cut_workload(&scene.client).await;
    let (pods, marked) = marked_pod(&scene.client).await;
    let before = deployments.get("worker").await.unwrap();
    assert!(!marks(&before).is_empty());

    let options = RunnerOptions::new(
        install::NAMESPACE,
        "app.kubernetes.io/name=agentpool-hand-back",
        operator_binary().unwrap(),
    );
    let job = OperatorRunner::start(&scene.control_plane, options)
        .await
        .unwrap();
    let returned = async {
        let bare = wait::until(LIMIT * 2, "the workload bears no marks", async || {
            let workload = deployments.get("worker").await?;
            let cut = deployments.get("cut").await?;
            let bare = marks(&workload).is_empty() && marks(&cut).is_empty();
            Ok(bare.then_some((workload, cut)))
        })
        .await;
        bare.unwrap_or_else(|error| {
            let logs: Vec<String> = job.all_instances().iter().map(|i| i.log_text()).collect();
            panic!("{error}\n{}", logs.join("\n"));
        })
    };
    let (output, (bare, cut)) = tokio::join!(
        scene.helm(&["uninstall", "agentpool", "--timeout=2m"]),
        returned
    );
    assert!(output.status.success(), "{}", text(&output));

    assert_eq!(bare.spec.as_ref().unwrap().replicas, Some(3), "values stay");
    let template = |workload: &Deployment| workload.spec.as_ref().unwrap().template.clone();
    assert_eq!(template(&bare), template(&before), "nothing restarts");
    let pod = pods.get(&marked).await.unwrap();
    assert!(
        !pod.annotations().contains_key(COST),
        "a stale mark would steer the next scale-in"
    );
    let spec = cut.spec.unwrap();
    assert_eq!(spec.replicas, Some(1), "no agent is left at zero");
    let asks = spec.template.spec.unwrap().containers.remove(0).resources;
    let asks: Vec<String> = asks.unwrap().limits.unwrap().into_keys().collect();
    assert_eq!(asks, [SWAP.1], "what it had is taken: it gets what is free");
    let by_the_job = job
        .all_instances()
        .iter()
        .any(|instance| instance.log_text().contains("handed back"));
    assert!(by_the_job, "it was the job, not the operator");
    let crds: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    assert!(
        crds.get_opt("agentpools.agentpool.dev")
            .await
            .unwrap()
            .is_some(),
        "pools are kept"
    );
    let left = names(
        &scene.control_plane,
        "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding",
    );
    assert!(
        !left.iter().any(|name| name.contains("agentpool")),
        "{left:?}"
    );
    // All that is in the release's namespace is of the release, but for the account that every namespace has.
    let mut left = names(
        &scene.control_plane,
        "lease,role,rolebinding,serviceaccount,service,deployment,job",
    );
    left.retain(|name| name != "serviceaccount/default");
    assert!(left.is_empty(), "{left:?}");
    scene.control_plane.finish();
}
