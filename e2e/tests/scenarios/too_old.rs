//! A cluster that is too old for the policies that bound the operator.

use crate::sharers;
use agentpool_e2e::proxy::Matcher;
use agentpool_e2e::stage::LIMIT;
use agentpool_e2e::wait;
use jiff::Timestamp;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn on_kubernetes_1_32_the_operator_ends_with_what_it_needs_and_writes_to_no_workload() {
    let stage = sharers::stage(|o| o.with_proxies(), "too-old").await;
    let operator = stage.runner.wait_for(1, LIMIT).await.unwrap().remove(0);
    operator.hold_down(true).await;
    let version = json!({
        "major": "1", "minor": "32", "gitVersion": "v1.32.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2024-12-11T18:00:00Z", "goVersion": "go1.23.3", "compiler": "gc", "platform": "linux/amd64",
    });
    let old = operator
        .proxy()
        .unwrap()
        .say(Matcher::new(|request| request.uri == "/version"), &version);
    // A pool that has every reason to be written to.
    let driver = sharers::drive(&stage, sharers::EVEN);
    sharers::share(&stage).await;
    let (begun, starts) = (Timestamp::now(), operator.restarts());
    operator.hold_down(false).await;
    let ended = wait::until(LIMIT, "it ends, is started again, and ends", async || {
        Ok((operator.restarts() >= starts + 3).then_some(()))
    });
    ended.await.unwrap();
    let said = operator.log_text();
    let words = "this is Kubernetes 1.32; AgentPool needs 1.33 or newer";
    assert!(said.matches(words).count() >= 2, "{said}");
    let written = sharers::workload_writes(&stage, begun);
    assert!(written.is_empty(), "{written}");

    // After an upgrade of the cluster the same pod does its work.
    drop(old);
    sharers::wait_even(&stage).await;
    driver.stop();
    stage.finish().await.unwrap();
}
