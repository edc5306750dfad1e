//! A proxy between the operator and the API server, for the faults that no process of the control plane can be made to have at the right moment.
//!
//! Plain HTTP on loopback towards the operator, HTTPS towards the API server; the caller's token passes through, so the API server sees the
//! same user as without it. Nothing in the operator knows of it: only its kubeconfig does.

mod rules;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body as KubeBody;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use rules::{Action, Rules};
pub use rules::{Callback, Matcher, Request};

use crate::controlplane::{ControlPlane, config_of};
use crate::wait;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The proxy. It ends when it is dropped; so do the connections through it.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    upstream: Client,
    rules: Mutex<Rules>,
    log: Mutex<Vec<Passed>>,
    /// Replaced when all connections are to be cut.
    connections: Mutex<CancellationToken>,
}

/// A write that came through.
#[derive(Debug, Clone)]
pub struct Passed {
    /// When it came.
    pub time: Timestamp,
    /// What it was.
    pub request: Request,
    /// The status that the API server answered; `None` when it never got there.
    pub status: Option<u16>,
}

impl FaultProxy {
    /// Starts a proxy before the API server of `control_plane`.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        Self::before(control_plane.kubeconfig_path()).await
    }

    /// Starts a proxy before the API server that a kubeconfig names; of its credentials nothing is used.
    pub async fn before(kubeconfig: &Path) -> Result<Self> {
        let upstream = anonymous_client(kubeconfig).await?;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for the operator")?;
        let address = listener.local_addr().context("the proxy's address")?;
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            log: Mutex::default(),
            connections: Mutex::new(end.child_token()),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared), end.clone()));
        Ok(Self {
            address,
            shared,
            _end: end.drop_guard(),
        })
    }

    /// Where it listens, for a kubeconfig: `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The writes so far, leader election and events included.
    pub fn writes(&self) -> Vec<Passed> {
        lock(&self.shared.log).clone()
    }

    /// Waits until `n` writes that `matcher` accepts have been answered by the API server.
    pub async fn wait_for_writes(
        &self,
        n: usize,
        limit: Duration,
        test: impl Fn(&Request) -> bool,
    ) -> Result<()> {
        wait::until(
            limit,
            format!("{n} such writes through the proxy"),
            async || {
                let seen = self
                    .writes()
                    .iter()
                    .filter(|passed| passed.status.is_some() && test(&passed.request))
                    .count();
                Ok((seen >= n).then_some(()))
            },
        )
        .await
    }

    /// Just before a matching request would be forwarded, runs `callback` (to kill the operator, say) and cuts the connection: the API server
    /// never sees it.
    pub fn cut_before(
        &self,
        matcher: Matcher,
        callback: impl Fn(Request) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> RuleGuard {
        self.add(matcher, Action::CutBefore(Arc::new(callback)))
    }

    /// Just after the API server has answered a matching request, runs `callback` and cuts the connection: the operator never sees the answer.
    pub fn cut_after(
        &self,
        matcher: Matcher,
        callback: impl Fn(Request) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> RuleGuard {
        self.add(matcher, Action::CutAfter(Arc::new(callback)))
    }

    /// Holds matching requests on their way to the API server until [`Held::release`]: between a check of the operator and the write it leads to.
    pub fn hold(&self, matcher: Matcher) -> Held {
        let (arrived, _) = watch::channel(0);
        let (release, released) = watch::channel(false);
        let arrived = Arc::new(arrived);
        let guard = self.add(matcher, Action::Hold(Arc::clone(&arrived), released));
        Held {
            arrived,
            release,
            _guard: guard,
        }
    }

    /// Delays matching requests.
    pub fn delay(&self, matcher: Matcher, by: Duration) -> RuleGuard {
        self.add(matcher, Action::Delay(by))
    }

    /// Answers matching requests with an error of the API server: 429, 500, 503, ...
    pub fn answer(&self, matcher: Matcher, status: u16) -> RuleGuard {
        let reason = match status {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        let text = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "code": status, "message": format!("the bench's fault proxy answers {status} on purpose"),
        });
        let text = text.to_string();
        self.add(matcher, Action::Answer { status, text })
    }

    /// Answers matching requests with this instead of what the API server would say.
    pub fn say(&self, matcher: Matcher, answer: &serde_json::Value) -> RuleGuard {
        let text = answer.to_string();
        self.add(matcher, Action::Answer { status: 200, text })
    }

    /// Answers new watches by an event that says 410 Gone, and cuts those that are open, so that every watcher has to list anew.
    pub fn expire_watches(&self, times: usize) -> RuleGuard {
        let guard = self.add(Matcher::watches().times(times), Action::Gone);
        self.cut_connections();
        guard
    }

    /// Resets the connection of matching requests.
    pub fn reset(&self, matcher: Matcher) -> RuleGuard {
        self.add(matcher, Action::Reset)
    }

    /// Lets matching requests wait for ever, and cuts what is open: the API server is out of reach, and nobody says so.
    pub fn blackhole(&self, matcher: Matcher) -> RuleGuard {
        let guard = self.add(matcher, Action::Blackhole);
        self.cut_connections();
        guard
    }

    /// Cuts all open connections, watches included. New ones are accepted.
    pub fn cut_connections(&self) {
        let mut connections = lock(&self.shared.connections);
        let next = CancellationToken::new();
        std::mem::replace(&mut *connections, next).cancel();
    }

    fn add(&self, matcher: Matcher, action: Action) -> RuleGuard {
        let id = lock(&self.shared.rules).add(matcher, action);
        RuleGuard {
            id,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Keeps a rule in force until it is dropped.
#[must_use = "the rule ends when this is dropped"]
pub struct RuleGuard {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        lock(&self.shared.rules).remove(self.id);
    }
}

/// Requests that are held. Dropping it releases them.
#[must_use = "the requests are released when this is dropped"]
pub struct Held {
    arrived: Arc<watch::Sender<usize>>,
    release: watch::Sender<bool>,
    _guard: RuleGuard,
}

impl Held {
    /// Waits until a request is held.
    pub async fn arrived(&self, limit: Duration) -> Result<()> {
        let mut arrived = self.arrived.subscribe();
        let waiting = tokio::time::timeout(limit, arrived.wait_for(|count| *count > 0));
        waiting
            .await
            .map_err(|_| anyhow!("no request to hold came within {limit:?}"))?
            .context("the proxy has ended")?;
        Ok(())
    }

    /// Lets the held requests go on to the API server; later ones pass.
    pub fn release(self) {
        self.release.send_replace(true);
    }
}

async fn anonymous_client(kubeconfig: &Path) -> Result<Client> {
    let mut config = config_of(kubeconfig).await?;
    // The operator's own token passes through, and it alone decides about retries.
    config.auth_info = kube::config::AuthInfo::default();
    config.default_retry = false;
    config.read_timeout = None;
    Client::try_from(config).context("a client for the proxy")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let cut = lock(&shared.connections).clone();
        tokio::spawn(serve(stream, Arc::clone(&shared), cut, end.clone()));
    }
}

async fn serve(
    stream: TcpStream,
    shared: Arc<Shared>,
    cut: CancellationToken,
    end: CancellationToken,
) {
    let reset = CancellationToken::new();
    let service = {
        let reset = reset.clone();
        service_fn(move |request| {
            let (shared, reset) = (Arc::clone(&shared), reset.clone());
            // In a task of its own: what was begun for an operator that is killed meanwhile still reaches the API server, as on a real network.
            let handling = tokio::spawn(async move { handle(&shared, request).await });
            async move {
                match handling.await {
                    Ok(Some(response)) => Ok::<_, Infallible>(response),
                    _ => {
                        reset.cancel();
                        std::future::pending().await
                    }
                }
            }
        })
    };
    // Answers must not wait for a full segment.
    let _ = stream.set_nodelay(true);
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = reset.cancelled() => {}
        () = cut.cancelled() => {}
        () = end.cancelled() => {}
    }
}

/// The answer, or `None` to reset the connection.
async fn handle(shared: &Shared, request: http::Request<Incoming>) -> Option<http::Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let uri = parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    let seen = Request {
        method: parts.method.clone(),
        uri,
        body: body.clone(),
    };
    let entry = seen.is_write().then(|| record(shared, &seen));
    let actions = lock(&shared.rules).actions(&seen);

    let mut after = Vec::new();
    for action in actions {
        match action {
            Action::CutAfter(callback) => after.push(callback),
            Action::CutBefore(callback) => {
                callback(seen).await;
                return None;
            }
            Action::Hold(arrived, mut released) => {
                arrived.send_modify(|count| *count += 1);
                // An error means that the holder is gone, which releases too.
                let _ = released.wait_for(|released| *released).await;
            }
            Action::Delay(by) => tokio::time::sleep(by).await,
            Action::Answer { status, text } => return answer(status, text),
            Action::Gone => return gone(),
            Action::Reset => return None,
            Action::Blackhole => std::future::pending().await,
        }
    }

    let mut onward = http::Request::from_parts(parts, KubeBody::from(body));
    // The client sets its own.
    onward.headers_mut().remove(http::header::HOST);
    let answer = shared.upstream.send(onward).await;
    let answer = match answer {
        Ok(answer) => answer,
        // The API server is down: the operator sees its connection end, as it would without us.
        Err(_) => return None,
    };
    if let Some(entry) = entry
        && let Some(passed) = lock(&shared.log).get_mut(entry)
    {
        passed.status = Some(answer.status().as_u16());
    }
    if !after.is_empty() {
        for callback in after {
            callback(seen.clone()).await;
        }
        return None;
    }
    Some(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
}

fn record(shared: &Shared, request: &Request) -> usize {
    let mut log = lock(&shared.log);
    log.push(Passed {
        time: Timestamp::now(),
        request: request.clone(),
        status: None,
    });
    log.len() - 1
}

fn gone() -> Option<http::Response<Body>> {
    let event = serde_json::json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "Expired", "code": 410, "message": "too old resource version (the bench's fault proxy says so on purpose)",
    }});
    answer(200, format!("{event}\n"))
}

fn answer(status: u16, text: String) -> Option<http::Response<Body>> {
    let body = Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync();
    http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)
        .ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
