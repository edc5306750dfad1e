use super::{Health, Metrics};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Connections served at once; the next waits.
const MAX_CONNECTIONS: usize = 64;
/// Time a client has to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Time a connection lives, however slowly it reads.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop` is cancelled. No route reads a body.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = converse(stream, metrics.clone(), health.clone(), stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // A client that went away, or no file descriptors left for now: neither ends the server.
            Err(error) => {
                tracing::debug!(%error, "a connection is not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    let _ = timeout(HEAD_WITHIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    Ok(())
}

async fn converse(stream: TcpStream, metrics: Metrics, health: Health, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &metrics, &health);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = timeout(CONNECTION_LIFETIME, async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    })
    .await;
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn answer(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    health: &Health,
) -> Response<Full<Bytes>> {
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        );
    }
    if method != Method::GET {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refused
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET"));
        return refused;
    }
    match path {
        "/healthz" => verdict(health.live()),
        "/readyz" => verdict(health.ready()),
        _ => match metrics.encode() {
            Ok(body) => {
                let mut answer = text(StatusCode::OK, body);
                answer.headers_mut().insert(
                    header::CONTENT_TYPE,
                    header::HeaderValue::from_static(
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    ),
                );
                answer
            }
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written\n",
            ),
        },
    }
}

fn verdict(verdict: Result<(), String>) -> Response<Full<Bytes>> {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(method: &str, path: &str, health: &Health) -> (u16, String) {
        let method = method.parse().unwrap();
        let response = answer(&method, path, &Metrics::new(), health);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_get_and_only_the_three_paths_are_answered() {
        let health = Health::new();
        assert_eq!(ask("GET", "/healthz", &health).await.0, 200);
        assert_eq!(ask("GET", "/metrics", &health).await.0, 200);
        assert_eq!(ask("GET", "/", &health).await.0, 404);
        assert_eq!(ask("GET", "/metrics/../healthz", &health).await.0, 404);
        for method in ["POST", "HEAD", "DELETE", "TRACE"] {
            assert_eq!(ask(method, "/metrics", &health).await.0, 405, "{method}");
        }
    }

    #[tokio::test]
    async fn readyz_says_what_is_missing() {
        let health = Health::new();
        let (status, body) = ask("GET", "/readyz", &health).await;
        assert_eq!(status, 503);
        assert!(body.contains("API server"), "{body}");
        health.set_server(Ok(()));
        health.set_synced(true);
        assert_eq!(ask("GET", "/readyz", &health).await.0, 200);
    }

    /// Starts a server, sends `request`, and reads until the server closes.
    async fn raw(request: &[u8], stop: &CancellationToken) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Metrics::new(), Health::new(), stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // The server may reset the connection on a request it refuses to read to the end.
        let _ = stream.read_to_end(&mut answer).await;
        stop.cancel();
        server.await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn metrics_are_served_over_http() {
        let answer = raw(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            &CancellationToken::new(),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("openmetrics-text"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let mut request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
        request.extend(vec![b'a'; 2 * MAX_HEAD]);
        let answer = raw(&request, &CancellationToken::new()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_a_stop() {
        let stop = CancellationToken::new();
        let (answer, ()) = tokio::join!(raw(b"", &stop), async {
            tokio::task::yield_now().await;
            stop.cancel();
        });
        assert_eq!(answer, "");
    }
}
