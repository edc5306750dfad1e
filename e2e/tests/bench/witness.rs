//! The witness: silent when all is well, and not to be fooled when it is not.

use super::*;
use agentpool_e2e::witness::{Witness, WitnessRules};
use kube::api::{Patch, PatchParams, PostParams};

#[tokio::test]
async fn the_witness_is_silent_while_the_scheduler_places_and_counts_what_happens() {
    let (control_plane, client) = with_gpus("witness", 4).await;
    let witness = Witness::start(client.clone(), WitnessRules::default())
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(&PostParams::default(), &deployment("coder", 3))
        .await
        .unwrap();
    wait_for_ready(&client, "coder", 3).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments
        .patch_scale("coder", &PatchParams::default(), &scale)
        .await
        .unwrap();
    wait::until(LIMIT, "two pods are gone", async || {
        Ok((witness.counts(NAMESPACE, "coder").gone == 2).then_some(()))
    })
    .await
    .unwrap();
    witness.assert_clean().await;
    let counts = witness.counts(NAMESPACE, "coder");
    assert_eq!(
        (
            counts.created,
            counts.present,
            counts.max_present,
            counts.restarts
        ),
        (3, 1, 3, 0)
    );
    control_plane.finish();
}

#[tokio::test]
async fn the_witness_catches_a_pod_placed_over_capacity_behind_the_schedulers_back() {
    let (control_plane, client) = with_gpus("overplaced", 1).await;
    let witness = Witness::start(client.clone(), WitnessRules::default())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.create(&PostParams::default(), &pod("first", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "first", "is ready", is_ready).await;
    witness.assert_clean().await;
    let mut second = pod("second", &json!({}));
    second.spec.as_mut().unwrap().node_name = Some("gpu-0".to_owned());
    pods.create(&PostParams::default(), &second).await.unwrap();
    let why = format!("{:#}", witness.check_clean().await.unwrap_err());
    assert!(
        why.contains("gpu-0 has 1 nvidia.com/gpu, its pods ask for 2"),
        "{why}"
    );
    control_plane.finish();
}

#[tokio::test]
async fn the_witness_catches_a_pod_that_no_node_can_take() {
    let (control_plane, client) = with_gpus("unplaced", 1).await;
    let witness = Witness::start(client.clone(), WitnessRules::default().namespace(NAMESPACE))
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(&PostParams::default(), &deployment("greedy", 2))
        .await
        .unwrap();
    wait::until(LIMIT, "the witness sees a violation", async || {
        Ok((!witness.violations().is_empty()).then_some(()))
    })
    .await
    .unwrap();
    let why = format!("{:#}", witness.check_clean().await.unwrap_err());
    assert!(why.contains("cannot be scheduled (greedy"), "{why}");
    control_plane.finish();
}
