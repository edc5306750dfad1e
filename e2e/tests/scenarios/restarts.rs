//! Scenario 8: the API server and what is behind it go away and come back, and watches end with 410 Gone.

use crate::sharers;
use agentpool_e2e::controlplane::{Component, skipped_in_a_foreign_cluster};
use agentpool_e2e::operator::Instance;
use agentpool_e2e::stage::{LIMIT, SYSTEM, Stage};
use agentpool_e2e::wait;
use jiff::Timestamp;

/// Decisions for both agents over twice the pool's windows: time enough for a wrong picture of the world to lead to a write.
const DECISIONS: u32 = 20;

/// Kills a component under an even load, and starts it again when the operator no longer leads.
async fn outage(name: &str, component: Component) {
    if skipped_in_a_foreign_cluster(name) {
        return;
    }
    survives(name, async |stage, operator| {
        stage.control_plane.kill(component).await.unwrap();
        wait::until(LIMIT, "the operator's term ends", async || {
            let leads = operator.metric("agentpool_leader").await;
            Ok((leads == Some(0.0)).then_some(()))
        })
        .await
        .unwrap();
        stage.control_plane.restart(component).await.unwrap();
        wait::until(LIMIT, "the operator leads again", async || {
            let leads = operator.metric("agentpool_leader").await;
            Ok((leads == Some(1.0)).then_some(()))
        })
        .await
        .unwrap();
    })
    .await;
}

/// Nothing is scaled down because of a fault, and afterwards replicas follow the load as before.
async fn survives(name: &str, fault: impl AsyncFn(&Stage, &Instance)) {
    let stage = sharers::stage(|o| o.with_proxies(), name).await;
    let even = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    sharers::wait_even(&stage).await;
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.decides(DECISIONS, LIMIT).await.unwrap();

    let begun = Timestamp::now();
    fault(&stage, &operator).await;
    operator.decides(DECISIONS, LIMIT).await.unwrap();
    let lower = sharers::scale_downs(&stage, begun);
    assert!(lower.is_empty(), "scaled down by {name}: {lower:?}");
    assert_eq!(sharers::replicas(&stage).await, (4, 4));
    assert_eq!(operator.restarts(), 0, "{}", operator.log_text());

    even.stop();
    let shifted = sharers::drive(&stage, sharers::SHIFTED);
    sharers::wait_shifted(&stage).await;
    // The same question has an answer when there is a reason.
    assert!(!sharers::scale_downs(&stage, begun).is_empty());
    shifted.stop();
    stage.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_api_server_scales_nothing_down_and_the_loop_goes_on() {
    outage("apiserver", Component::ApiServer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_etcd_scales_nothing_down_and_the_loop_goes_on() {
    outage("etcd", Component::Etcd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_end_with_410_gone_scale_nothing_down_and_the_loop_goes_on() {
    survives("gone", async |stage, operator| {
        let begun = Timestamp::now();
        let gone = operator.proxy().unwrap().expire_watches(usize::MAX);
        for what in ["pods", "nodes", "deployments", "agentpools"] {
            let listed = format!("{what} are listed anew");
            wait::until(LIMIT, listed, async || {
                let requests = stage.control_plane.audit()?.records()?.since(begun);
                let lists = requests
                    .by_service_account(SYSTEM, "agentpool")
                    .path(what)
                    .filter(|record| record.verb == "list");
                Ok((!lists.is_empty()).then_some(()))
            })
            .await
            .unwrap();
        }
        drop(gone);
    })
    .await;
}
