//! Real sockets on loopback addresses, without a cluster.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::engine::profile::{Dialect, EngineProfile, PREFIX};
use crate::engine::server::DEMAND_HEADER;
use crate::engine::world::Phase;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use std::net::{IpAddr, TcpListener};

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

fn client() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// An address of this machine that nobody listens on.
fn free(host: &str) -> SocketAddr {
    let ip: IpAddr = host.parse().unwrap();
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

fn pod(uid: &str, address: SocketAddr, rate: &str) -> PodView {
    let annotations: BTreeMap<String, String> = [
        ("engine", "vllm"),
        ("requests-per-second-per-gpu", rate),
        ("agent", "a"),
    ]
    .map(|(key, value)| (format!("{PREFIX}{key}"), value.to_owned()))
    .into();
    PodView {
        uid: uid.into(),
        namespace: "ns".into(),
        name: uid.into(),
        node: Some("n".into()),
        bound_at: String::new(),
        ip: Some(address.ip()),
        port: address.port(),
        ready: true,
        restarts: 0,
        deleting: None,
        ended: false,
        gpus: Some(("nvidia.com/gpu".into(), 1)),
        profile: EngineProfile::parse(&annotations, "a"),
    }
}

async fn fleet() -> EngineFleet {
    let control = Some("127.0.0.1:0".parse().unwrap());
    let fleet = EngineFleet::without_cluster(EngineOptions {
        control,
        ..EngineOptions::default()
    })
    .await
    .unwrap();
    fleet.apply_node(&NodeView {
        name: "n".into(),
        capacity: [("nvidia.com/gpu".to_owned(), 8)].into(),
        ..NodeView::default()
    });
    fleet
}

async fn get(http: &Http, address: SocketAddr, path: &str) -> Result<(StatusCode, String), Error> {
    let response = http
        .get(format!("http://{address}{path}").parse().unwrap())
        .await?;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// A request of `factor` times the mean work.
async fn complete(http: &Http, address: SocketAddr, factor: f64) -> Result<StatusCode, Error> {
    let body = Bytes::from_static(b"{\"model\":\"a\",\"prompt\":\"x\",\"max_tokens\":5}");
    let request = Request::post(format!("http://{address}/v1/completions"))
        .header(DEMAND_HEADER, factor.to_string())
        .body(Full::new(body))
        .unwrap();
    let response = http.request(request).await?;
    let status = response.status();
    response.into_body().collect().await.unwrap();
    Ok(status)
}

/// How many requests the only engine has.
fn open(fleet: &EngineFleet) -> usize {
    let state = &fleet.states()[0].1;
    state.running + state.waiting
}

/// Waits until a condition holds; generous, because the machine may be busy.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < limit, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn up(http: &Http, address: SocketAddr) {
    until("an engine that listens", async || {
        get(http, address, "/health").await.is_ok()
    })
    .await;
}

mod operator;

#[tokio::test]
async fn a_request_over_http_takes_the_time_that_the_gpu_needs_and_is_counted() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.1"));
    fleet.apply_pod(pod("p", address, "10"));
    up(&http, address).await;
    let began = Instant::now();
    // Two at once share the GPU: 0.1 s each takes 0.2 s.
    let both =
        futures::future::join(complete(&http, address, 1.0), complete(&http, address, 1.0)).await;
    assert_eq!(
        (both.0.unwrap(), both.1.unwrap()),
        (StatusCode::OK, StatusCode::OK)
    );
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(180), "{took:?}");
    let (status, page) = get(&http, address, "/metrics").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("finished_reason=\"stop\",model_name=\"a\"} 2.0"),
        "{page}"
    );
    // Two mean requests' worth of work.
    assert!(page.contains("vllm:generation_tokens_total{engine=\"0\",model_name=\"a\"} 40"));
    let stats = &fleet.stats()["ns/a"];
    assert_eq!((stats.served, stats.cut), (2, 0));
    fleet.stop().await;
    assert!(get(&http, address, "/health").await.is_err(), "stopped");
}

#[tokio::test]
async fn a_killed_pod_drops_its_connections_and_the_address_can_be_used_again() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.2"));
    fleet.apply_pod(pod("p", address, "0.001"));
    up(&http, address).await;
    let request = tokio::spawn({
        let http = http.clone();
        async move { complete(&http, address, 1.0).await }
    });
    until("a request in the engine", async || open(&fleet) == 1).await;
    fleet.remove_pod("p");
    assert!(request.await.unwrap().is_err(), "cut");
    assert_eq!(fleet.stats()["ns/a"].cut, 1);
    fleet.apply_pod(pod("q", address, "100"));
    up(&http, address).await;
    assert_eq!(complete(&http, address, 1.0).await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_draining_pod_takes_no_new_connection_and_answers_what_it_has() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.3"));
    fleet.apply_pod(pod("p", address, "2"));
    up(&http, address).await;
    let request = tokio::spawn({
        let http = client();
        async move { complete(&http, address, 1.0).await }
    });
    until("a request in the engine", async || open(&fleet) == 1).await;
    fleet.apply_pod(PodView {
        deleting: Some(30.0),
        ..pod("p", address, "2")
    });
    until("a closed port", async || {
        get(&client(), address, "/health").await.is_err()
    })
    .await;
    assert_eq!(request.await.unwrap().unwrap(), StatusCode::OK);
    until("an engine that has exited", async || {
        fleet.states()[0].1.phase == Phase::Dead
    })
    .await;
    assert_eq!(fleet.stats()["ns/a"].cut, 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_the_engine() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.4"));
    fleet.apply_pod(pod("p", address, "0.001"));
    up(&http, address).await;
    let request = tokio::spawn(async move { complete(&http, address, 1.0).await });
    until("a request in the engine", async || open(&fleet) == 1).await;
    request.abort();
    until("an idle engine", async || open(&fleet) == 0).await;
    assert_eq!(fleet.stats()["ns/a"].aborted, 1);
}

#[tokio::test]
async fn an_unready_pod_answers_503_to_requests() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.5"));
    fleet.apply_pod(pod("p", address, "10"));
    up(&http, address).await;
    fleet.apply_pod(PodView {
        ready: false,
        ..pod("p", address, "10")
    });
    assert_eq!(
        complete(&http, address, 1.0).await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        get(&http, address, "/metrics").await.unwrap().0,
        StatusCode::OK
    );
    assert_eq!(fleet.stats()["ns/a"].refused, 1);
}

#[tokio::test]
async fn a_closed_port_is_a_fault_that_comes_and_goes() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.6"));
    fleet.apply_pod(pod("p", address, "10"));
    up(&http, address).await;
    fleet.set_fault("ns/a", Fault::Refuse);
    until("a closed port", async || {
        get(&http, address, "/metrics").await.is_err()
    })
    .await;
    assert!(fleet.clear_fault("ns/a"));
    up(&http, address).await;
    assert_eq!(
        get(&http, address, "/metrics").await.unwrap().0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_control_port_breaks_and_mends_metrics_and_shows_the_state() {
    let (fleet, http, address) = (fleet().await, client(), free("127.88.0.7"));
    let control = fleet.control().unwrap();
    fleet.apply_pod(pod("p", address, "10"));
    up(&http, address).await;
    complete(&http, address, 0.1).await.unwrap();
    let send = async |method: &str, path: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{control}{path}"))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        client().request(request).await.unwrap().status()
    };
    assert_eq!(
        send("PUT", "/faults/ns/a", "{\"kind\":\"nan\"}").await,
        StatusCode::OK
    );
    let page = get(&http, address, "/metrics").await.unwrap().1;
    assert!(page.contains("vllm:num_requests_running{engine=\"0\",model_name=\"a\"} NaN"));
    assert_eq!(
        send("PUT", "/faults/ns/a", "{\"kind\":\"bad\"}").await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(send("DELETE", "/faults/ns/a", "").await, StatusCode::OK);
    assert_eq!(
        send("DELETE", "/faults/ns/a", "").await,
        StatusCode::NOT_FOUND
    );
    let page = get(&http, address, "/metrics").await.unwrap().1;
    assert!(page.contains("finished_reason=\"stop\",model_name=\"a\"} 1.0"));
    assert_eq!(send("POST", "/reset/ns/a", "").await, StatusCode::OK);
    let page = get(&http, address, "/metrics").await.unwrap().1;
    assert!(page.contains("finished_reason=\"stop\",model_name=\"a\"} 0.0"));
    let state = get(&http, control, "/state").await.unwrap().1;
    assert!(state.contains("\"phase\": \"serving\"") && state.contains("n/nvidia.com/gpu/0"));
    let stats: serde_json::Value =
        serde_json::from_str(&get(&http, control, "/stats").await.unwrap().1).unwrap();
    assert_eq!(stats["ns/a"]["served"], 1);
}

#[tokio::test]
async fn requests_without_sockets_have_the_same_physics() {
    let (fleet, address) = (fleet().await, free("127.88.0.8"));
    assert_eq!(
        fleet.request("p", Demand::default()).await,
        Err(Failure::Refused)
    );
    fleet.apply_pod(pod("p", address, "20"));
    let demand = Demand {
        factor: Some(1.0),
        ..Demand::default()
    };
    let served = futures::future::join_all((0..4).map(|_| fleet.request("p", demand))).await;
    let last = served
        .into_iter()
        .map(|done| done.unwrap())
        .map(|done| done.at - done.submitted);
    let last = last.fold(0.0, f64::max);
    assert!(
        (0.15..0.21).contains(&last),
        "four times 0.05 s on one GPU: {last}"
    );
}
