//! The control port: what the stand-in knows, and faults on request, for scripts outside this process.
//!
//! `GET /state` engines, devices, violations and faults; `GET /stats` requests and latencies by agent;
//! `PUT /faults/{namespace}/{pod or agent}` with `{"kind": "nan"}` (see [`Fault`]) and `DELETE` of the same;
//! `POST /reset/{namespace}/{pod or agent}` sets counters back to zero.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::faults::Fault;
use super::fleet::Shared;

/// Opens the port and serves until the fleet stops; returns where.
pub(super) async fn listen(
    shared: Arc<Shared>,
    address: SocketAddr,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let stop = shared.stop.clone().cancelled_owned();
    let tasks = shared.tasks.clone();
    let routes = Router::new()
        .route("/state", get(state))
        .route("/stats", get(stats))
        .route("/faults/{namespace}/{name}", put(set).delete(clear))
        .route("/reset/{namespace}/{name}", post(reset))
        .with_state(shared);
    tasks.spawn(async move {
        let _ = axum::serve(listener, routes)
            .with_graceful_shutdown(stop)
            .await;
    });
    Ok(address)
}

async fn state(State(shared): State<Arc<Shared>>) -> String {
    let faults = shared.faults();
    shared.update(|world, now| {
        world.advance(now);
        let engines: Vec<_> = world.states().into_iter().map(|(_, state)| state).collect();
        pretty(&json!({
            "engines": engines,
            "devices": world.residents(),
            "violations": world.violations(),
            "faults": faults,
        }))
    })
}

async fn stats(State(shared): State<Arc<Shared>>) -> String {
    shared.update(|world, now| {
        world.advance(now);
        let agents: serde_json::Map<String, Value> = world
            .stats()
            .iter()
            .map(|(agent, stats)| {
                let value = json!({
                    "served": stats.served,
                    "cut": stats.cut,
                    "refused": stats.refused,
                    "aborted": stats.aborted,
                    "latencySeconds": stats.latencies.summary(),
                });
                (agent.clone(), value)
            })
            .collect();
        pretty(&Value::Object(agents))
    })
}

async fn set(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> (StatusCode, String) {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => {
            shared.set_fault(&format!("{namespace}/{name}"), fault);
            (StatusCode::OK, String::new())
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("not a fault: {error}\n")),
    }
}

async fn clear(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
) -> StatusCode {
    if shared.clear_fault(&format!("{namespace}/{name}")) {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn reset(State(shared): State<Arc<Shared>>, Path((namespace, name)): Path<(String, String)>) {
    shared.reset_counters(&format!("{namespace}/{name}"));
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
