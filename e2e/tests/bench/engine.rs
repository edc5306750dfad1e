//! The engine stand-in and the loads, on pods of a real control plane.

use super::*;
use agentpool_e2e::controlplane::Component;
use agentpool_e2e::controlplane::nodes::T4;
use agentpool_e2e::engine::{EngineFleet, EngineOptions, Fault};
use agentpool_e2e::load::recorder::Counts;
use agentpool_e2e::load::{
    AgentLoad, Arrivals, Driven, Driver, DriverOptions, Endpoints, Http, Work,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use std::sync::Arc;

/// A Deployment of engines that serve `rate` requests a second on a whole GPU.
fn engines(name: &str, replicas: u32, resource: &str, rate: &str, memory: &str) -> Deployment {
    let mut deployment = serde_json::to_value(deployment(name, replicas)).unwrap();
    let template = &mut deployment["spec"]["template"];
    template["metadata"]["annotations"] = json!({
        "bench.agentpool.dev/engine": "vllm",
        "bench.agentpool.dev/requests-per-second-per-gpu": rate,
        "bench.agentpool.dev/memory": memory,
        "bench.agentpool.dev/drain-delay": "2s",
    });
    template["spec"]["containers"][0]["resources"]["limits"] = json!({resource: "1"});
    serde_json::from_value(deployment).unwrap()
}

async fn create(client: &Client, deployment: &Deployment) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(&PostParams::default(), deployment)
        .await
        .unwrap();
}

async fn scale(client: &Client, name: &str, replicas: u32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments
        .patch_scale(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn fleet(client: &Client) -> EngineFleet {
    EngineFleet::start(client.clone(), EngineOptions::default())
        .await
        .unwrap()
}

async fn wait_for_serving(fleet: &EngineFleet, agent: &str, pods: usize) {
    wait::until(
        LIMIT,
        format!("{pods} engines of {agent} serve"),
        async || Ok((fleet.serving(agent).len() == pods).then_some(())),
    )
    .await
    .unwrap();
}

/// Sends Poisson requests over HTTP to the ready pods of an agent.
async fn drive(client: &Client, agent: &str, rate: f64, seconds: u64) -> Driver {
    let endpoints = Endpoints::follow(client.clone(), NAMESPACE);
    wait::until(LIMIT, format!("endpoints of {agent}"), async || {
        let ready = endpoints.ready(&format!("bench-tests/{agent}"));
        Ok((!ready.is_empty()).then_some(()))
    })
    .await
    .unwrap();
    let load = AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Poisson { rate },
        work: Work::Exponential,
    };
    let driven = Driven {
        backend: Arc::new(Http::new(endpoints)),
        options: DriverOptions::new(NAMESPACE),
    };
    Driver::start(&[load], 3, vec![driven], Duration::from_secs(seconds))
}

/// Every request is in exactly one place.
fn conserved(counts: Counts) {
    assert_eq!(
        counts.offered,
        counts.served + counts.lost + counts.shed + counts.open,
        "{counts:?}"
    );
}

async fn page(fleet: &EngineFleet, agent: &str) -> String {
    let (_, address) = fleet.serving(agent)[0].clone();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_follow_the_pods_and_a_scale_in_under_load_loses_no_request() {
    let (control_plane, client) = with_gpus("engines", 4).await;
    let fleet = fleet(&client).await;
    create(&client, &engines("nlp", 3, "nvidia.com/gpu", "30", "3Gi")).await;
    wait_for_serving(&fleet, "bench-tests/nlp", 3).await;
    let driver = drive(&client, "nlp", 40.0, 12).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    scale(&client, "nlp", 2).await;
    driver.finish(LIMIT).await;
    let counts = driver.records(0)["nlp"].counts();
    conserved(counts);
    assert!(
        counts.offered > 300 && counts.served == counts.offered,
        "{counts:?}"
    );
    assert_eq!(counts.cut, 0, "a drain finishes what it has: {counts:?}");
    let mean = driver.records(0)["nlp"].latencies().mean().unwrap();
    assert!(
        (0.03..0.3).contains(&mean),
        "mean latency {mean} s at 44 % and 67 % load"
    );
    wait_for_serving(&fleet, "bench-tests/nlp", 2).await;
    assert_eq!(fleet.stats()["bench-tests/nlp"].served, counts.served);
    assert_eq!(fleet.violations(), Vec::<String>::new());

    // The page is real, and can be broken.
    assert!(
        page(&fleet, "bench-tests/nlp")
            .await
            .contains("vllm:request_success_total{engine=\"0\"")
    );
    fleet.set_fault("bench-tests/nlp", Fault::NotFound);
    assert!(
        page(&fleet, "bench-tests/nlp")
            .await
            .starts_with("HTTP/1.1 404")
    );
    fleet.stop().await;
    control_plane.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_killed_pod_are_counted_as_cut_and_tried_again() {
    let (control_plane, client) = with_gpus("killed", 2).await;
    let fleet = fleet(&client).await;
    // Slow enough that a request is always open.
    create(&client, &engines("vision", 2, "nvidia.com/gpu", "2", "3Gi")).await;
    wait_for_serving(&fleet, "bench-tests/vision", 2).await;
    let driver = drive(&client, "vision", 3.0, 8).await;
    wait::until(LIMIT, "open requests at both pods", async || {
        Ok(fleet
            .states()
            .iter()
            .all(|(_, state)| state.running > 0)
            .then_some(()))
    })
    .await
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let first = pods.list(&ListParams::default()).await.unwrap().items[0]
        .metadata
        .name
        .clone()
        .unwrap();
    pods.delete(&first, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    driver.finish(LIMIT).await;
    let counts = driver.records(0)["vision"].counts();
    conserved(counts);
    assert!(counts.cut > 0, "{counts:?}");
    assert_eq!(
        (counts.served, counts.lost),
        (counts.offered, 0),
        "{counts:?}"
    );
    assert!(counts.served_after_retry > 0, "{counts:?}");
    fleet.stop().await;
    control_plane.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_one_shared_gpu_share_it_and_those_that_do_not_fit_are_seen() {
    let control_plane = ControlPlane::start(Options::new("shared")).await.unwrap();
    control_plane.create_namespace(NAMESPACE).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let node = NodeSpec::time_sliced("t4", T4, 1, 10);
    Nodes::new(client.clone()).add(&node).await.unwrap();
    let fleet = fleet(&client).await;
    create(
        &client,
        &engines("one", 1, "nvidia.com/gpu.shared", "0.1", "7Gi"),
    )
    .await;
    create(
        &client,
        &engines("two", 1, "nvidia.com/gpu.shared", "0.1", "7Gi"),
    )
    .await;
    wait_for_serving(&fleet, "bench-tests/one", 1).await;
    wait_for_serving(&fleet, "bench-tests/two", 1).await;
    let busy: Vec<_> = ["one", "two"]
        .map(|agent| fleet.serving(&format!("bench-tests/{agent}"))[0].0.clone())
        .into();
    let requests = busy
        .iter()
        .map(|uid| fleet.request(uid, agentpool_e2e::engine::Demand::default()));
    let both = futures::future::join_all(requests);
    // Half of what the switching between two busy processes leaves of the GPU.
    let shared = wait::until(LIMIT, "both engines at 0.45 of the GPU", async || {
        let states = fleet.states();
        let half = |rate: f64| (rate - 0.45).abs() < 1e-9;
        Ok(states
            .iter()
            .all(|(_, state)| half(state.rate))
            .then_some(()))
    });
    tokio::select! {
        _ = both => panic!("a request of 10 s is done at once"),
        shared = shared => shared.unwrap(),
    }
    // Idle again: the requests above were given up. A third copy does not fit into 15 GiB.
    wait::until(LIMIT, "idle engines", async || {
        Ok(fleet
            .states()
            .iter()
            .all(|(_, state)| state.rate == 0.0)
            .then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(fleet.violations(), Vec::<String>::new());
    create(
        &client,
        &engines("three", 1, "nvidia.com/gpu.shared", "0.1", "7Gi"),
    )
    .await;
    wait::until(LIMIT, "a violation", async || {
        Ok(fleet.violations().first().cloned())
    })
    .await
    .map(|violation| {
        assert!(
            violation.contains("would hold 21504 MiB of 15360 MiB"),
            "{violation}"
        )
    })
    .unwrap();
    assert_eq!(fleet.serving("bench-tests/three"), []);
    fleet.stop().await;
    control_plane.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mig_instance_serves_at_its_part_of_the_gpu() {
    let control_plane = ControlPlane::start(Options::new("mig")).await.unwrap();
    control_plane.create_namespace(NAMESPACE).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let node = NodeSpec::mig("a100", A100_80, 1, &[("3g.40gb", 1), ("1g.10gb", 2)]).unwrap();
    Nodes::new(client.clone()).add(&node).await.unwrap();
    let fleet = fleet(&client).await;
    create(
        &client,
        &engines("large", 1, "nvidia.com/mig-3g.40gb", "0.01", "7Gi"),
    )
    .await;
    create(
        &client,
        &engines("small", 1, "nvidia.com/mig-1g.10gb", "0.01", "7Gi"),
    )
    .await;
    for (agent, fraction) in [
        ("bench-tests/large", 42.0 / 108.0),
        ("bench-tests/small", 14.0 / 108.0),
    ] {
        wait_for_serving(&fleet, agent, 1).await;
        let uid = fleet.serving(agent)[0].0.clone();
        let endless = agentpool_e2e::engine::Demand {
            factor: Some(1e6),
            ..agentpool_e2e::engine::Demand::default()
        };
        let rate = wait::until(LIMIT, "a busy engine", async || {
            let states = fleet.states();
            let state = states
                .iter()
                .find(|(id, _)| *id == uid)
                .map(|(_, state)| state.rate);
            Ok(state.filter(|rate| *rate > 0.0))
        });
        let rate = tokio::select! {
            rate = rate => rate.unwrap(),
            _ = fleet.request(&uid, endless) => panic!("served"),
        };
        assert!((rate - fraction).abs() < 1e-9, "{agent}: {rate}");
    }
    fleet.stop().await;
    control_plane.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_serve_on_while_the_api_server_is_away() {
    if skipped_in_a_foreign_cluster("engines_serve_on") {
        return;
    }
    let (control_plane, client) = with_gpus("away", 2).await;
    let fleet = fleet(&client).await;
    create(&client, &engines("nlp", 2, "nvidia.com/gpu", "30", "3Gi")).await;
    wait_for_serving(&fleet, "bench-tests/nlp", 2).await;
    let driver = drive(&client, "nlp", 20.0, 15).await;
    control_plane.kill(Component::ApiServer).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    control_plane.restart(Component::ApiServer).await.unwrap();
    driver.finish(LIMIT).await;
    let counts = driver.records(0)["nlp"].counts();
    assert_eq!(
        (counts.served, counts.cut + counts.refused),
        (counts.offered, 0),
        "{counts:?}"
    );
    // Afterwards pods are followed again.
    scale(&client, "nlp", 1).await;
    wait_for_serving(&fleet, "bench-tests/nlp", 1).await;
    fleet.stop().await;
    control_plane.finish();
}
