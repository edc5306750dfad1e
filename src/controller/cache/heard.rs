//! A client for a watch: its calls are bounded, and it says whenever the API server tells something.
//!
//! What a watcher passes on does not say that: bookmarks, and the end of a watch of which nothing was to be told, are all that a settled cluster
//! sends. Who waits for events alone takes a connection that was lost for a cluster in which nothing happens.

use crate::telemetry::{Health, Watched};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use kube::Client;
use kube::client::Body;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// Seconds after which a watch ends and is resumed: one that works tells something at least this often, its end if nothing else.
pub const WATCH_SECONDS: u32 = 30;

/// A page of a list, or the beginning of a watch, comes within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// So many watches in a row that begin are believed although they told nothing: API servers are replaced, and the picture is as new as a watch
/// that goes on from it. More of them may be cut before they tell anything for as long as one likes.
const TRUST: u32 = 3;

/// The client with which to watch this.
pub fn heard(client: &Client, watched: &Watched, health: &Health) -> Client {
    // Its silence counts from now on.
    health.watches(watched, Ok(()));
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let listener = Listener {
        watched: watched.clone(),
        health: health.clone(),
        trust: Arc::new(AtomicU32::new(TRUST)),
        failed: false,
    };
    let serve = move |request: Request<Body>| {
        let (client, listener) = (client.clone(), listener.clone());
        async move {
            match timeout(ANSWER_WITHIN, answer(&client, request, listener)).await {
                Ok(answer) => answer,
                Err(_) => Err(kube::Error::Service(
                    format!("no answer from the API server within {ANSWER_WITHIN:?}").into(),
                )),
            }
        }
    };
    Client::new(tower::service_fn(serve), namespace)
}

async fn answer(
    client: &Client,
    request: Request<Body>,
    listener: Listener,
) -> Result<Response<Heard>, kube::Error> {
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query.split('&').any(|part| part == "watch=true");
    let (head, body) = client.send(request).await?.into_parts();
    if is_watch && head.status.is_success() {
        listener.begins();
        let to = Some(listener);
        return Ok(Response::from_parts(head, Heard { body, to }));
    }
    let body = Body::from(body.collect_bytes().await?);
    Ok(Response::from_parts(head, Heard { body, to: None }))
}

/// What the API server answers, and who hears that it tells something.
struct Heard {
    body: Body,
    to: Option<Listener>,
}

#[derive(Clone)]
struct Listener {
    watched: Watched,
    health: Health,
    /// How many more watches are believed when they begin.
    trust: Arc<AtomicU32>,
    /// The watch told that it cannot go on: that it ends now means nothing.
    failed: bool,
}

impl Listener {
    fn begins(&self) {
        let less = |trust: u32| trust.checked_sub(1);
        let trusted = self
            .trust
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if trusted.is_ok() {
            self.health.watches(&self.watched, Ok(()));
        }
    }

    fn hear(&mut self, told: Option<&Bytes>) {
        if told.is_some_and(|told| tells_failure(told)) {
            self.failed = true;
            self.trust.store(0, Ordering::Release);
        }
        if !self.failed {
            self.trust.store(TRUST, Ordering::Release);
            self.health.watches(&self.watched, Ok(()));
        }
    }
}

/// The API server sends each event by itself.
fn tells_failure(told: &[u8]) -> bool {
    told.starts_with(br#"{"type":"ERROR""#)
}

impl hyper::body::Body for Heard {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(listener) = &mut self.to {
            match &frame {
                Some(Ok(frame)) => listener.hear(frame.data_ref()),
                None => listener.hear(None),
                Some(Err(_)) => listener.failed = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // A watch is asked for its end, or nobody would hear of it.
        self.to.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
