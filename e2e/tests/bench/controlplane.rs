//! The control plane: processes, nodes, delays, audit log.

use super::*;
use agentpool_e2e::controlplane::Component;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};

#[tokio::test]
async fn a_pod_loads_drains_and_goes_when_its_annotations_say() {
    if skipped_in_a_foreign_cluster("a_pod_loads_drains") {
        return;
    }
    let (control_plane, client) = with_gpus("delays", 3).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let note = Patch::Merge(json!({"metadata": {"annotations": {"note": "written meanwhile"}}}));

    let delays =
        json!({"bench.agentpool.dev/ready-delay": "3s", "bench.agentpool.dev/drain-delay": "3s"});
    pods.create(&PostParams::default(), &pod("slow", &delays))
        .await
        .unwrap();
    let start = Instant::now();
    wait_for_pod(&client, "slow", "has its address", |pod| {
        pod.unwrap().status.as_ref().unwrap().pod_ip.is_some()
    })
    .await;
    let running = pods.get("slow").await.unwrap();
    assert_eq!(
        running.status.as_ref().unwrap().phase.as_deref(),
        Some("Running")
    );
    assert!(!is_ready(Some(&running)), "it loads its model");
    let address = running.status.unwrap().pod_ip.unwrap().parse().unwrap();
    assert!(
        control_plane.network().unwrap().is_pod_address(address),
        "{address}"
    );

    // A write in the middle must not lengthen the delay.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    pods.patch("slow", &PatchParams::default(), &note)
        .await
        .unwrap();
    wait_for_pod(&client, "slow", "is ready", is_ready).await;
    assert_took("loading", start.elapsed(), 3);

    let start = Instant::now();
    pods.delete("slow", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let draining = pods
        .patch("slow", &PatchParams::default(), &note)
        .await
        .unwrap();
    assert!(draining.metadata.deletion_timestamp.is_some());
    wait_for_pod(&client, "slow", "is gone", |pod| pod.is_none()).await;
    assert_took("draining", start.elapsed(), 3);
    control_plane.finish();
}

/// Not shorter, and less than a second longer than twice: a machine may be loaded.
fn assert_took(what: &str, took: Duration, seconds: u64) {
    let expected = Duration::from_secs(seconds);
    assert!(
        took > expected.mul_f64(0.95) && took < expected.mul_f64(1.45),
        "{what} took {took:?}, not {expected:?}"
    );
}

#[tokio::test]
async fn the_grace_period_cuts_a_longer_drain_and_a_plain_pod_goes_at_once() {
    let (control_plane, client) = with_gpus("grace", 2).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.create(
        &PostParams::default(),
        &pod(
            "endless",
            &json!({"bench.agentpool.dev/drain-delay": "10m"}),
        ),
    )
    .await
    .unwrap();
    pods.create(&PostParams::default(), &pod("plain", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "endless", "is ready", is_ready).await;
    wait_for_pod(&client, "plain", "is ready", is_ready).await;

    pods.delete("endless", &DeleteParams::default().grace_period(3))
        .await
        .unwrap();
    pods.delete("plain", &DeleteParams::default())
        .await
        .unwrap();
    let plain = wait_for_pod(&client, "plain", "is gone", |pod| pod.is_none()).await;
    assert!(plain < Duration::from_secs(2), "{plain:?}");
    assert!(
        pods.get_opt("endless").await.unwrap().is_some(),
        "it drains"
    );
    // The end of the grace period is a whole second in the API.
    let endless = wait_for_pod(&client, "endless", "is gone", |pod| pod.is_none()).await;
    assert!(endless < Duration::from_secs(5), "{endless:?}");
    control_plane.finish();
}

#[tokio::test]
async fn readiness_can_be_taken_from_a_running_pod_and_given_back() {
    let (control_plane, client) = with_gpus("unready", 1).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let unready = |value: Value| {
        Patch::Merge(json!({"metadata": {"annotations": {"bench.agentpool.dev/unready": value}}}))
    };
    pods.create(&PostParams::default(), &pod("a", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "a", "is ready", is_ready).await;
    pods.patch("a", &PatchParams::default(), &unready(json!("true")))
        .await
        .unwrap();
    wait_for_pod(&client, "a", "is unready", |pod| !is_ready(pod)).await;
    pods.patch("a", &PatchParams::default(), &unready(json!(null)))
        .await
        .unwrap();
    wait_for_pod(&client, "a", "is ready again", is_ready).await;
    control_plane.finish();
}

#[tokio::test]
async fn a_node_that_loses_its_gpus_takes_no_more_pods_and_a_drained_one_has_none() {
    let (control_plane, client) = with_gpus("nodes", 1).await;
    let nodes = Nodes::new(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.create(&PostParams::default(), &pod("first", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "first", "is ready", is_ready).await;
    nodes.drain("gpu-0", LIMIT).await.unwrap();
    nodes.cordon("gpu-0", false).await.unwrap();

    nodes
        .set_resource("gpu-0", "nvidia.com/gpu", 0)
        .await
        .unwrap();
    pods.create(&PostParams::default(), &pod("second", &json!({})))
        .await
        .unwrap();
    let unschedulable =
        |pod: Option<&Pod>| condition(pod, "PodScheduled").as_deref() == Some("False");
    wait_for_pod(&client, "second", "is unschedulable", unschedulable).await;
    nodes
        .set_resource("gpu-0", "nvidia.com/gpu", 1)
        .await
        .unwrap();
    wait_for_pod(&client, "second", "is ready", is_ready).await;
    control_plane.finish();
}

#[tokio::test]
async fn restarts_of_etcd_and_of_the_api_server_lose_nothing() {
    if skipped_in_a_foreign_cluster("restarts_of_etcd") {
        return;
    }
    let (control_plane, client) = with_gpus("restarts", 1).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    for component in [Component::ApiServer, Component::Etcd] {
        control_plane.kill(component).await.unwrap();
        assert!(
            control_plane
                .process(component)
                .unwrap()
                .exit_status()
                .is_some()
        );
        control_plane.restart(component).await.unwrap();
        let kept = maps.get("kept").await;
        kept.unwrap_or_else(|error| panic!("after the restart of {}: {error}", component.name()));
    }
    // The controllers and KWOK have come back too.
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(&PostParams::default(), &deployment("after", 1))
        .await
        .unwrap();
    wait_for_ready(&client, "after", 1).await;
    control_plane.finish();
}

#[tokio::test]
async fn a_stopped_api_server_answers_nothing_until_it_is_resumed() {
    if skipped_in_a_foreign_cluster("a_stopped_api_server") {
        return;
    }
    let control_plane = ControlPlane::start(Options::new("stopped")).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(control_plane.client().await.unwrap());
    control_plane.stop(Component::ApiServer).unwrap();
    let answer =
        tokio::time::timeout(Duration::from_secs(1), maps.list(&ListParams::default())).await;
    assert!(answer.is_err(), "a stopped server answered");
    control_plane.resume(Component::ApiServer).unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    control_plane.finish();
}

#[tokio::test]
async fn the_audit_log_tells_who_wrote_what_and_two_control_planes_do_not_mix() {
    if skipped_in_a_foreign_cluster("the_audit_log_tells") {
        return;
    }
    let (one, two) = tokio::join!(
        ControlPlane::start(Options::new("audit")),
        ControlPlane::start(Options::new("audit"))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.folder(), two.folder());
    let deployments: Api<Deployment> = Api::default_namespaced(one.client().await.unwrap());
    deployments
        .create(&PostParams::default(), &deployment("written", 0))
        .await
        .unwrap();
    let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
    deployments
        .patch_scale("written", &PatchParams::apply("by-hand"), &scale)
        .await
        .unwrap();

    let written = one
        .audit()
        .unwrap()
        .records()
        .unwrap()
        .by_user("bench")
        .workload_writes()
        .succeeded();
    assert_eq!(written.len(), 2, "{written}");
    let scaled = written.path("deployments/scale");
    assert_eq!(
        scaled.0[0].request.as_ref().unwrap()["spec"]["replicas"],
        2,
        "{scaled}"
    );
    assert_eq!(scaled.0[0].field_manager(), Some("by-hand"));
    assert!(
        two.audit()
            .unwrap()
            .records()
            .unwrap()
            .by_user("bench")
            .workload_writes()
            .is_empty()
    );
    assert_eq!(
        deployments.get("written").await.unwrap().name_any(),
        "written"
    );
    one.finish();
    two.finish();
}

#[tokio::test]
async fn a_run_that_did_not_finish_leaves_its_logs_and_objects() {
    if skipped_in_a_foreign_cluster("a_run_that_did_not_finish") {
        return;
    }
    let (control_plane, client) = with_gpus("kept", 1).await;
    let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    deployments
        .create(&PostParams::default(), &deployment("evidence", 0))
        .await
        .unwrap();
    let folder = control_plane.folder().to_owned();
    drop(control_plane);
    let objects = std::fs::read_to_string(folder.join("objects/deployments.yaml")).unwrap();
    assert!(objects.contains("name: evidence"), "{objects}");
    assert!(folder.join("audit.log").is_file() && folder.join("kube-apiserver.log").is_file());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_skipped_in_a_foreign_cluster_is_said_past_the_harness_and_fails_in_ci() {
    // A test of this file that is skipped there, in a process of its own: the environment belongs to a process.
    let skipping = "controlplane::a_run_that_did_not_finish_leaves_its_logs_and_objects";
    let run = |ci: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", skipping])
            .env("KUBECONFIG", "/somebody/else's")
            .env("CI", ci)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (passed, stdout, stderr) = run("");
    assert!(passed && stdout.contains("1 passed"), "{stdout}");
    for part in ["skipped: a_run_that_did_not_finish", "unset KUBECONFIG"] {
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
    }
    let (passed, stdout, _) = run("true");
    assert!(!passed, "{stdout}");
    assert!(
        stdout.contains("nothing is skipped with CI=true"),
        "{stdout}"
    );
}
