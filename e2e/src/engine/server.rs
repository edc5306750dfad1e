//! One engine's HTTP server, on its pod's address.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::faults::{Answer, Body, text};
use super::fleet::{Failure, Shared};
use super::world::Demand;

/// The request header that states a request's work as a multiple of its agent's mean.
pub const DEMAND_HEADER: &str = "x-bench-demand";
/// Largest request body, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// How long an address that is still in use is tried again.
const BIND_FOR: Duration = Duration::from_secs(10);

/// A listener and its connections.
pub(super) struct Server {
    accept: CancellationToken,
    live: CancellationToken,
}

impl Server {
    /// No new connections; the open ones end when they have answered what they are at.
    pub(super) fn close(&self) {
        self.accept.cancel();
    }

    /// The listener and all connections end now.
    pub(super) fn kill(&self) {
        self.live.cancel();
    }
}

/// Listens on a pod's address.
pub(super) fn listen(shared: Arc<Shared>, uid: String, address: SocketAddr) -> Server {
    let live = shared.stop.child_token();
    let accept = live.child_token();
    let server = Server {
        accept: accept.clone(),
        live: live.clone(),
    };
    let tasks = shared.tasks.clone();
    tasks.spawn(accept_all(shared, uid, address, accept, live));
    server
}

async fn accept_all(
    shared: Arc<Shared>,
    uid: String,
    address: SocketAddr,
    accept: CancellationToken,
    live: CancellationToken,
) {
    let listener = tokio::select! {
        bound = bind(address) => match bound {
            Ok(listener) => listener,
            Err(error) => return warn!(%address, %error, "an engine cannot listen on its pod's address"),
        },
        () = accept.cancelled() => return,
    };
    loop {
        tokio::select! {
            connection = listener.accept() => match connection {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let serving = serve(shared.clone(), uid.clone(), stream, accept.clone(), live.clone());
                    shared.tasks.spawn(serving);
                }
                // Out of file descriptors, or a connection that was gone again: neither must end the engine.
                Err(error) => {
                    warn!(%address, %error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            () = accept.cancelled() => return,
        }
    }
}

/// The address of a pod that has just gone may still be held by it: try again for a while.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let give_up = tokio::time::Instant::now() + BIND_FOR;
    loop {
        match TcpListener::bind(address).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < give_up =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    uid: String,
    stream: TcpStream,
    accept: CancellationToken,
    live: CancellationToken,
) {
    let service = service_fn(|request| answer(shared.clone(), uid.clone(), request));
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = live.cancelled() => return,
        () = accept.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = live.cancelled() => {}
    }
}

/// The engine died over a request: the connection is dropped without an answer, as a killed process would.
#[derive(Debug, thiserror::Error)]
#[error("the engine died")]
struct Died;

async fn answer(
    shared: Arc<Shared>,
    uid: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Died> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match shared.scrape(&uid) {
            None => Err(Died),
            Some(Answer::Now(response)) => Ok(response),
            Some(Answer::After(delay, response)) => {
                tokio::time::sleep(delay).await;
                Ok(response)
            }
        },
        (&Method::GET, "/health" | "/ping") => Ok(text(StatusCode::OK, String::new())),
        (&Method::POST, "/v1/completions") => {
            complete(&shared, &uid, request, "text_completion").await
        }
        (&Method::POST, "/v1/chat/completions") => {
            complete(&shared, &uid, request, "chat.completion").await
        }
        _ => Ok(text(
            StatusCode::NOT_FOUND,
            "{\"detail\":\"Not Found\"}".into(),
        )),
    }
}

/// What the stand-in reads of an OpenAI request; everything else in it is accepted and ignored.
#[derive(Deserialize, Default)]
struct Wanted {
    #[serde(default)]
    model: String,
    max_tokens: Option<u64>,
}

async fn complete(
    shared: &Arc<Shared>,
    uid: &str,
    request: Request<Incoming>,
    object: &str,
) -> Result<Response<Body>, Died> {
    let factor = stated_factor(request.headers());
    let body = match Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await
    {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "{\"detail\":\"too large\"}".into(),
            ));
        }
    };
    let Ok(wanted) = serde_json::from_slice::<Wanted>(&body) else {
        return Ok(text(
            StatusCode::BAD_REQUEST,
            "{\"detail\":\"not a completion request\"}".into(),
        ));
    };
    let demand = Demand {
        factor,
        // About four characters a token.
        prompt_tokens: (body.len() as u64).div_ceil(4),
        generation_tokens: wanted.max_tokens.unwrap_or(16),
    };
    match shared.request(uid, demand).await {
        Ok(finished) => {
            let answer = json!({
                "id": format!("cmpl-{:?}", finished.request),
                "object": object,
                "model": wanted.model,
                "choices": [{"index": 0, "text": "", "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": demand.prompt_tokens,
                    "completion_tokens": demand.generation_tokens,
                    "total_tokens": demand.prompt_tokens + demand.generation_tokens,
                },
            });
            Ok(text(StatusCode::OK, answer.to_string()))
        }
        Err(Failure::Refused) => Ok(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "{\"detail\":\"not ready\"}".into(),
        )),
        Err(Failure::Cut) => Err(Died),
    }
}

fn stated_factor(headers: &HeaderMap) -> Option<f64> {
    let factor: f64 = headers.get(DEMAND_HEADER)?.to_str().ok()?.parse().ok()?;
    (factor.is_finite() && factor >= 0.0).then_some(factor)
}
