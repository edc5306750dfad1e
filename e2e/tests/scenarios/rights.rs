//! The operator with fewer rights: in one namespace, without sight of nodes; and with a right that is missing.

use crate::sharers;
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::{AGENTS, LIMIT};
use agentpool_e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

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

#[tokio::test(flavor = "multi_thread")]
async fn readyz_names_what_the_operator_may_not_watch() {
    let stage = sharers::stage(|o| o, "rights").await;
    let roles = Api::<ClusterRole>::all(stage.client.clone());
    let mut role = roles.get("agentpool").await.unwrap();
    let all = role.rules.clone();
    let nodes = |rule: &k8s_openapi::api::rbac::v1::PolicyRule| {
        rule.resources.iter().flatten().any(|r| r == "nodes")
    };
    role.rules
        .iter_mut()
        .for_each(|rules| rules.retain(|rule| !nodes(rule)));
    let mut role = roles
        .replace("agentpool", &PostParams::default(), &role)
        .await
        .unwrap();

    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.kill().await;
    let mut said = String::new();
    let named = wait::until(LIMIT, "/readyz names nodes", async || {
        let answer = operator.http_get(8080, "/readyz").await;
        said = answer.map_or_else(|error| error.to_string(), |(_, body)| body);
        let named = said.contains("cannot list or watch nodes") && said.contains("forbidden");
        Ok(named.then_some(()))
    })
    .await;
    assert!(named.is_ok(), "{said}");

    role.rules = all;
    roles
        .replace("agentpool", &PostParams::default(), &role)
        .await
        .unwrap();
    wait::until(LIMIT, "/readyz is content", async || {
        let (status, body) = operator.http_get(8080, "/readyz").await?;
        said = body;
        Ok((status == 200).then_some(()))
    })
    .await
    .unwrap();
    sharers::share(&stage).await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::wait_even(&stage).await;
    even.stop();
    stage.finish().await.unwrap();
}
