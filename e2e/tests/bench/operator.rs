//! The runner of operator pods, with a mock in the operator's place.

use super::*;
use agentpool_e2e::controlplane::process::Signal;
use agentpool_e2e::operator::{Instance, OperatorPods, OperatorRunner, RunnerOptions};
use kube::api::DeleteParams;

/// The mock, not the operator.
pub const MOCK: &str = env!("CARGO_BIN_EXE_mock-operator");

/// What the API server says who the process of a pod is.
async fn whoami(instance: &Instance) -> Value {
    let answer = wait::until(LIMIT, "the process answers", async || {
        Ok(instance.http_get(8080, "/whoami").await.ok())
    })
    .await
    .unwrap();
    assert_eq!(answer.0, 200, "{}", answer.1);
    serde_json::from_str(&answer.1).unwrap()
}

#[tokio::test]
async fn every_pod_of_the_operator_is_a_process_under_its_own_bound_identity() {
    let (control_plane, client) = with_gpus("identity", 1).await;
    let pods = OperatorPods::new("agentpool", "agentpool");
    pods.create(&client, 2).await.unwrap();
    let runner = OperatorRunner::start(
        &control_plane,
        RunnerOptions::new("agentpool", pods.selector(), MOCK),
    )
    .await
    .unwrap();
    let instances = runner.wait_for(2, LIMIT).await.unwrap();
    assert_ne!(instances[0].address(), instances[1].address());
    for instance in &instances {
        let user = &whoami(instance).await["userInfo"];
        assert_eq!(
            user["username"],
            "system:serviceaccount:agentpool:agentpool"
        );
        assert_eq!(
            user["extra"]["authentication.kubernetes.io/pod-name"][0],
            instance.pod()
        );
    }

    // Ended from within or by the system, it is started again; the pod, its address and its identity stay.
    instances[0].kill().await;
    let again = wait::until(LIMIT, "the process runs again", async || {
        Ok(
            (instances[0].process().is_some() && instances[0].restarts() == 1)
                .then_some(instances[0].clone()),
        )
    });
    let again = again.await.unwrap();
    assert_eq!(
        whoami(&again).await["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"][0],
        again.pod()
    );
    assert!(
        again.log_text().contains(r#"mock operator ["run"]"#),
        "{}",
        again.log_text()
    );

    // Paused, it answers nothing; held down, it stays dead.
    again.signal(Signal::STOP).unwrap();
    let silent =
        tokio::time::timeout(Duration::from_secs(1), again.http_get(8080, "/whoami")).await;
    assert!(silent.is_err(), "a stopped process answered");
    again.signal(Signal::CONT).unwrap();
    whoami(&again).await;
    again.hold_down(true).await;
    assert_eq!(
        runner.wait_for(1, LIMIT).await.unwrap()[0].pod(),
        instances[1].pod()
    );
    again.hold_down(false).await;
    runner.wait_for(2, LIMIT).await.unwrap();

    // When the pod goes, so does its process, and its token is worth nothing.
    let api: Api<Pod> = Api::namespaced(client, "agentpool");
    api.delete(instances[1].pod(), &DeleteParams::default())
        .await
        .unwrap();
    runner.wait_for(1, LIMIT).await.unwrap();
    control_plane.finish();
}

#[tokio::test]
async fn a_process_that_ends_at_once_is_started_again_with_growing_pauses() {
    let (control_plane, client) = with_gpus("crashing", 1).await;
    let pods = OperatorPods::new("agentpool", "agentpool");
    pods.create(&client, 1).await.unwrap();
    let options = RunnerOptions::new("agentpool", pods.selector(), "/bin/false");
    let runner = OperatorRunner::start(&control_plane, options)
        .await
        .unwrap();
    let start = Instant::now();
    wait::until(LIMIT, "three restarts", async || {
        Ok((runner.restarts() >= 3).then_some(()))
    })
    .await
    .unwrap();
    // 0.2 + 0.4 + 0.8 s.
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    control_plane.finish();
}
