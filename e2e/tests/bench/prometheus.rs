//! A real Prometheus beside a control plane.

use super::*;
use agentpool_e2e::prometheus::{Prometheus, PrometheusOptions};
use axum::Router;
use axum::routing::get;
use kube::api::PostParams;

#[tokio::test]
async fn prometheus_scrapes_a_pod_on_its_own_address_and_answers_again_after_a_kill() {
    let (control_plane, client) = with_gpus("prometheus", 1).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pods.create(&PostParams::default(), &pod("server", &json!({})))
        .await
        .unwrap();
    wait_for_pod(&client, "server", "is ready", is_ready).await;
    let address = pods
        .get("server")
        .await
        .unwrap()
        .status
        .unwrap()
        .pod_ip
        .unwrap();
    let page = Router::new().route("/metrics", get(|| async { "requests_total 42\n" }));
    let listener = tokio::net::TcpListener::bind(format!("{address}:8000"))
        .await
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, page).await });

    let mut prometheus = Prometheus::start(&control_plane, &PrometheusOptions::new([NAMESPACE]))
        .await
        .unwrap();
    let query = r#"requests_total{namespace="bench-tests", pod="server"}"#;
    let scraped = wait::until(LIMIT, "the pod was scraped", async || {
        Ok(prometheus.query(query).await.ok())
    })
    .await
    .unwrap();
    assert!((scraped - 42.0).abs() < f64::EPSILON);
    prometheus.kill().await;
    assert!(prometheus.query(query).await.is_err());
    prometheus.restart().await.unwrap();
    wait::until(LIMIT, "it answers again", async || {
        Ok(prometheus.query(query).await.ok())
    })
    .await
    .unwrap();
    control_plane.finish();
}
