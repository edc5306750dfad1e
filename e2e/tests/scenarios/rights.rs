//! The operator with fewer rights: in one namespace, without sight of nodes; and with a right or its kind missing.

use crate::refusals::says;
use crate::sharers;
use crate::whole_gpus::pool;
use agentpool_e2e::controlplane::nodes::{A100_80, NodeSpec};
use agentpool_e2e::install;
use agentpool_e2e::operator::Instance;
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{AGENTS, AgentWorkload, LIMIT, Stage, StageOptions};
use agentpool_e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use std::path::Path;

/// Field managers and annotations of ours on the workloads.
async fn marks(deployments: &Api<Deployment>) -> anyhow::Result<Vec<String>> {
    let items = deployments.list(&ListParams::default()).await?.items;
    let of = |d: Deployment| {
        let managers = d.metadata.managed_fields.unwrap_or_default().into_iter();
        let notes = d.metadata.annotations.unwrap_or_default().into_keys();
        managers
            .filter_map(|entry| entry.manager)
            .chain(notes)
            .filter(|mark| mark.starts_with("agentpool"))
            .collect::<Vec<_>>()
    };
    Ok(items.into_iter().flat_map(of).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_rights_in_one_namespace_gpus_move_and_a_pool_that_went_unseen_is_handed_back() {
    let stage = sharers::stage(
        |o| o.with_proxies().value(format!("namespaces={{{AGENTS}}}")),
        "namespaced",
    )
    .await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;
    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    sharers::wait_shifted(&stage).await;
    let deployments = Api::<Deployment>::namespaced(stage.client.clone(), AGENTS);
    assert!(!marks(&deployments).await.unwrap().is_empty());

    // No event tells of a pool that goes while nobody watches; the next list does.
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    let proxy = operator.proxy().unwrap();
    let away = proxy.answer(Matcher::watches().path("/agentpools"), 503);
    proxy.cut_connections();
    let pools = stage.pools();
    pools
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    wait::until(LIMIT, "the pool is gone", async || {
        Ok(pools.get_opt("team").await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    let _gone = proxy.expire_watches(20);
    drop(away);
    proxy.cut_connections();
    let mut left = Vec::new();
    let clean = wait::until(LIMIT, "nothing of ours is left", async || {
        left = marks(&deployments).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await;
    assert!(clean.is_ok(), "{left:?}\n{}", operator.log_text());
    shifted.stop();
    stage.finish().await.unwrap();
}

/// Takes a resource out of the operator's role; gives the rules as they were.
async fn forbid(stage: &Stage, resource: &str) -> Vec<PolicyRule> {
    let roles = Api::<ClusterRole>::all(stage.client.clone());
    let before = roles.get("agentpool").await.unwrap().rules.unwrap();
    let mut rules = before.clone();
    for rule in &mut rules {
        let resources = rule.resources.iter_mut();
        resources.for_each(|all| all.retain(|r| r != resource));
    }
    rules.retain(|rule| rule.resources.iter().flatten().next().is_some());
    assert_ne!(rules, before);
    permit(stage, rules).await;
    before
}

/// Sets the rules of the operator's role.
async fn permit(stage: &Stage, rules: Vec<PolicyRule>) {
    let roles = Api::<ClusterRole>::all(stage.client.clone());
    let mut role = roles.get("agentpool").await.unwrap();
    role.rules = Some(rules);
    let how = PostParams::default();
    roles.replace("agentpool", &how, &role).await.unwrap();
}

async fn the_operator(stage: &Stage) -> Instance {
    stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0)
}

/// Waits until `/readyz` fails and says all of this.
async fn readyz_says(operator: &Instance, words: &[&str]) {
    let mut said = String::new();
    let named = wait::until(LIMIT, format!("/readyz says {words:?}"), async || {
        let answer = operator.http_get(8080, "/readyz").await;
        let (status, body) = answer.unwrap_or_default();
        said = format!("{status}: {body}");
        let named = status != 200 && words.iter().all(|word| said.contains(word));
        Ok(named.then_some(()))
    })
    .await;
    assert!(named.is_ok(), "{words:?} are not in: {said}");
}

async fn readyz_is_content(operator: &Instance) {
    wait::until(LIMIT, "/readyz is content", async || {
        let (status, _) = operator.http_get(8080, "/readyz").await?;
        Ok((status == 200).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_names_what_the_operator_may_not_watch() {
    let stage = sharers::stage(|o| o, "rights").await;
    let all = forbid(&stage, "nodes").await;
    let operator = the_operator(&stage).await;
    operator.kill().await;
    readyz_says(&operator, &["cannot list or watch nodes", "forbidden"]).await;
    permit(&stage, all).await;
    readyz_is_content(&operator).await;
    sharers::share(&stage).await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::wait_even(&stage).await;
    even.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_forbidden_is_said_by_verb_and_resource_while_the_other_agents_go_on() {
    let node = NodeSpec::whole("gpu", A100_80, 8);
    let stage = Stage::start(StageOptions::new("forbidden", vec![node]))
        .await
        .unwrap();
    let left = AgentWorkload::new("left", 10.0);
    let right = AgentWorkload {
        kind: "StatefulSet",
        ..AgentWorkload::new("right", 10.0)
    };
    for agent in [&left, &right] {
        stage.deploy(agent).await.unwrap();
    }
    let all = forbid(&stage, "deployments/scale").await;
    let even = sharers::drive(&stage, sharers::EVEN);
    let agents = [&left, &right].map(|agent| agent.agent("Medium", "1", 8));
    stage.apply(&pool(8, &agents)).await.unwrap();
    let words = ["agent left", "cannot patch resource \"deployments/scale\""];
    let what = "Reconciling has the verb and the resource";
    stage
        .wait_pool("team", what, LIMIT, |p| {
            says(p, "Reconciling", "WriteFailed", &words)
        })
        .await
        .unwrap();
    stage.wait_ready("right", 4).await.unwrap();
    assert_eq!(stage.replicas("left").await.unwrap(), 1);
    permit(&stage, all).await;
    stage.wait_ready("left", 4).await.unwrap();
    let what = "it is over with the right";
    stage
        .wait_pool("team", what, LIMIT, |p| {
            !says(p, "Reconciling", "WriteFailed", &[])
        })
        .await
        .unwrap();

    // Of a status that cannot be written only the operator itself can tell.
    let all = forbid(&stage, "agentpools/status").await;
    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    let operator = the_operator(&stage).await;
    let words = [
        "status of agentpools in agents",
        "cannot patch resource \"agentpools/status\"",
    ];
    readyz_says(&operator, &words).await;
    sharers::wait_shifted(&stage).await;
    permit(&stage, all).await;
    readyz_is_content(&operator).await;
    shifted.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_crd_the_operator_says_which_and_how_to_install_it_and_works_once_it_is_there()
{
    let stage = sharers::stage(|o| o, "no-crd").await;
    let name = "agentpools.agentpool.dev";
    let kinds: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    kinds.delete(name, &DeleteParams::default()).await.unwrap();
    wait::until(LIMIT, "the CRD is gone", async || {
        Ok(kinds.get_opt(name).await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    let operator = the_operator(&stage).await;
    operator.kill().await;
    let missing = "the CustomResourceDefinition agentpools.agentpool.dev is not installed";
    let how = "kubectl apply --server-side -f crds/agentpools.agentpool.dev.yaml";
    readyz_says(&operator, &[missing, how]).await;
    let log = operator.log_text();
    assert!(log.contains(missing) && log.contains(how), "{log}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for object in install::objects(&root.join("crds/agentpools.agentpool.dev.yaml")).unwrap() {
        install::apply(&stage.client, object).await.unwrap();
    }
    readyz_is_content(&operator).await;
    sharers::share(&stage).await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::wait_even(&stage).await;
    even.stop();
    stage.finish().await.unwrap();
}
