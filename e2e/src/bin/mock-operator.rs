//! Not the operator: a stand-in that the bench's own tests run in its place, to see as whom it reaches the API server and how often it is started.
//!
//! Listens on `AGENTPOOL_LISTEN`. `GET /whoami`: the API server's answer to a SelfSubjectReview. `GET /write/NAME`: creates the ConfigMap NAME in
//! its namespace, and answers 200 or the error.
#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Arc::new(
        Client::try_default()
            .await
            .context("no access to a cluster")?,
    );
    let address = std::env::var("AGENTPOOL_LISTEN").context("AGENTPOOL_LISTEN")?;
    let router = Router::new()
        .route("/whoami", get(whoami))
        .route("/write/{name}", get(write))
        .with_state(client);
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    println!(
        "mock operator {:?} listens on {address}",
        std::env::args().skip(1).collect::<Vec<_>>()
    );
    axum::serve(listener, router).await.context("serve")
}

async fn whoami(State(client): State<Arc<Client>>) -> Result<String, (StatusCode, String)> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.as_ref().clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(failed)?;
    serde_json::to_string(&review.status).map_err(failed)
}

async fn write(
    State(client): State<Arc<Client>>,
    Path(name): Path<String>,
) -> Result<String, (StatusCode, String)> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.as_ref().clone());
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name);
    let created = maps
        .create(&PostParams::default(), &map)
        .await
        .map_err(failed)?;
    serde_json::to_string(&created.metadata).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, error.to_string())
}
