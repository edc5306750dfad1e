use super::*;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

/// What an API server does with a request.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Lists what there is; a watch has nothing to tell, and ends when it was to.
    Works,
    /// Refuses with this code.
    Refuses(u16),
    /// Begins a watch and tells nothing any more, not even its end. Lists.
    FallsSilent,
    /// Lists; a watch tells that it failed.
    BreaksWatches,
    /// Lists; a watch is cut as soon as it has begun.
    CutsWatches,
    /// Gives no answer.
    Hangs,
}

type Told = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

async fn answer(does: Does, uri: &http::Uri, cut: CancellationToken) -> Result<Told, Infallible> {
    let query = uri.query().unwrap_or_default();
    let watch = query.contains("watch=true");
    match does {
        Does::Hangs => std::future::pending().await,
        Does::Refuses(code) => {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "refused", "reason": "x", "code": code });
            Ok(told(code, &status))
        }
        _ if !watch => Ok(told(200, &list(uri.path()))),
        Does::BreaksWatches => {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "broken", "reason": "x", "code": 500 });
            let event = format!("{{\"type\":\"ERROR\",\"object\":{status}}}");
            Ok(told(200, &event))
        }
        Does::Works => {
            let seconds = query
                .split('&')
                .find_map(|part| part.strip_prefix("timeoutSeconds="))
                .map_or(290, |seconds| seconds.parse().unwrap());
            Ok(silence(Duration::from_secs(seconds), cut))
        }
        Does::FallsSilent => Ok(silence(Duration::MAX, cut)),
        Does::CutsWatches => {
            let cut = stream::iter([Err(std::io::Error::other("cut"))]);
            Ok(Response::new(StreamBody::new(cut).boxed_unsync()))
        }
    }
}

fn told(code: u16, body: &impl Display) -> Told {
    let body = Full::new(Bytes::from(format!("{body}\n")));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

/// A watch that tells nothing until it ends, or is cut.
fn silence(time: Duration, cut: CancellationToken) -> Told {
    let end = stream::once(async move {
        tokio::select! {
            () = tokio::time::sleep(time) => None,
            () = cut.cancelled() => Some(Err(std::io::Error::other("cut"))),
        }
    });
    let end = end.filter_map(async |end: Option<Result<Frame<Bytes>, _>>| end);
    Response::new(StreamBody::new(end).boxed_unsync())
}

fn list(path: &str) -> Value {
    let items = match path.ends_with("/scaledobjects") {
        true => json!([{
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": { "name": "s", "namespace": "a", "resourceVersion": "3" },
            "spec": { "scaleTargetRef": { "name": "coder" } }
        }]),
        false => json!([]),
    };
    json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "3" }, "items": items })
}

/// An operator that watches a cluster whose API server does with each path what it was told last.
struct Scene {
    caches: Arc<Caches>,
    health: Health,
    does: Arc<Mutex<Vec<(&'static str, Does)>>>,
    /// Cuts the watches that are open.
    cut: Arc<Mutex<CancellationToken>>,
    stop: CancellationToken,
}

impl Scene {
    async fn begin(scope: Scope, does: &[(&'static str, Does)]) -> Self {
        let scene = Self {
            caches: Arc::default(),
            health: Health::new(),
            does: Arc::new(Mutex::new(does.to_vec())),
            cut: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (does, cut) = (scene.does.clone(), scene.cut.clone());
        let serve = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let does = does.lock().unwrap();
            let told = does.iter().rev().find(|(part, _)| path.contains(part));
            let told = told.map_or(Does::Works, |(_, does)| *does);
            let cut = cut.lock().unwrap().clone();
            async move { answer(told, request.uri(), cut).await }
        };
        let client = Client::new(tower::service_fn(serve), "default");
        let wake: Wake = Arc::new(|_| ());
        let watches = Watches {
            client: &client,
            scope: &scope,
            caches: &scene.caches,
            wake: &wake,
            health: &scene.health,
            stop: &scene.stop,
        };
        watches.all().into_iter().for_each(|watch| {
            tokio::spawn(watch);
        });
        scene.seconds(10).await;
        scene
    }

    fn now(&self, part: &'static str, does: Does) {
        self.does.lock().unwrap().push((part, does));
    }

    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    async fn seconds(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn keda_knows(&self) -> bool {
        !self.caches.scaled_objects.all().is_empty()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn two() -> Scope {
    Scope::Namespaces(BTreeSet::from(["a".to_owned(), "b".to_owned()]))
}

#[tokio::test(start_paused = true)]
async fn a_cluster_in_which_nothing_happens_is_seen() {
    let scene = Scene::begin(Scope::Cluster, &[]).await;
    for _ in 0..120 {
        assert!(!scene.health.is_blind());
        scene.seconds(5).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_keda_is_uninstalled_nobody_goes_blind_and_where_it_comes_back_it_is_seen() {
    let scene = Scene::begin(Scope::Cluster, &[]).await;
    assert!(scene.keda_knows());
    scene.now("/scaledobjects", Does::Refuses(404));
    for _ in 0..240 {
        scene.seconds(5).await;
        assert!(!scene.health.is_blind());
    }
    assert!(!scene.keda_knows(), "nothing there scales any more");
    scene.now("/scaledobjects", Does::Works);
    scene.seconds(301).await;
    assert!(scene.keda_knows());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_makes_blind_and_one_that_tells_again_does_not() {
    for does in [
        Does::FallsSilent,
        Does::Hangs,
        Does::BreaksWatches,
        Does::CutsWatches,
    ] {
        // A watch that begins is believed, three in a row.
        let scene = Scene::begin(Scope::Cluster, &[]).await;
        scene.now("/pods", does);
        scene.seconds(300).await;
        assert!(scene.health.is_blind(), "{does:?}");
        scene.now("/pods", Does::Works);
        scene.seconds(200).await;
        assert!(!scene.health.is_blind(), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_was_away_for_half_a_minute_makes_nobody_blind() {
    for before in 10..40 {
        let scene = Scene::begin(Scope::Cluster, &[]).await;
        scene.seconds(before).await;
        scene.now("/", Does::Refuses(503));
        scene.cut();
        for _ in 0..30 {
            scene.seconds(1).await;
            assert!(!scene.health.is_blind(), "{before}");
        }
        scene.now("/", Does::Works);
        for _ in 0..120 {
            scene.seconds(1).await;
            assert!(
                !scene.health.is_blind(),
                "{before}: {:?}",
                scene.health.unseen()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_watched_blinds_no_other() {
    let scene = Scene::begin(two(), &[]).await;
    scene.now("/namespaces/b/", Does::Refuses(403));
    scene.seconds(200).await;
    for _ in 0..40 {
        scene.seconds(5).await;
        assert!(!scene.health.is_blind() && !scene.health.is_blind_in("a"));
        assert!(scene.health.is_blind_in("b"));
    }
    let unseen = scene.health.unseen();
    assert!(unseen.len() > 1 && unseen.iter().all(|said| said.contains(" in b: ")));
    scene.now("/namespaces/a/", Does::Refuses(403));
    scene.seconds(200).await;
    assert!(scene.health.is_blind());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_decided_on_when_its_own_lists_are_in() {
    let scene = Scene::begin(two(), &[("/namespaces/b/pods", Does::Refuses(403))]).await;
    assert!(scene.caches.synced_in("a"));
    assert!(!scene.caches.synced_in("b"));
    scene.now("/namespaces/b/pods", Does::Works);
    scene.seconds(60).await;
    assert!(scene.caches.synced_in("b"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_keda_is_decided_on_and_one_of_which_it_is_not_known_is_not() {
    let scene = Scene::begin(Scope::Cluster, &[("/scaledobjects", Does::Hangs)]).await;
    scene.seconds(100).await;
    assert!(!scene.caches.synced_in("a") && scene.health.is_blind());
    scene.now("/scaledobjects", Does::Refuses(404));
    scene.seconds(60).await;
    assert!(scene.caches.synced_in("a") && !scene.health.is_blind());
}
