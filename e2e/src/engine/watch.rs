//! Keeps the world as the API server describes it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tracing::debug;

use super::fleet::Shared;
use super::placement::NodeView;
use super::view::PodView;

/// Follows the nodes until the fleet stops.
pub(super) async fn nodes(shared: Arc<Shared>, client: Client) {
    let stream = watch(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let listed = &mut BTreeSet::new();
    follow(&shared, stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(node) | Event::Apply(node) => {
            let view = NodeView::of(&node);
            listed.insert(view.name.clone());
            shared.update(|world, now| world.node_applied(now, &view));
        }
        Event::InitDone => shared.update(|world, now| {
            for name in world.nodes() {
                if !listed.contains(&name) {
                    world.node_gone(now, &name);
                }
            }
        }),
        Event::Delete(node) => {
            let name = node.metadata.name.unwrap_or_default();
            listed.remove(&name);
            shared.update(|world, now| world.node_gone(now, &name));
        }
    })
    .await;
}

/// Follows the pods of all namespaces until the fleet stops.
pub(super) async fn pods(shared: Arc<Shared>, client: Client) {
    let stream = watch(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let listed = &mut Vec::new();
    follow(&shared, stream, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => listed.push(PodView::of(&pod)),
        // A list has no order of binding: take that of the pods' own times, then their names.
        Event::InitDone => {
            listed.sort_by(|a, b| (&a.bound_at, &a.name).cmp(&(&b.bound_at, &b.name)));
            shared.update(|world, now| {
                let there: BTreeSet<&str> = listed.iter().map(|view| view.uid.as_str()).collect();
                for uid in world.pods() {
                    if !there.contains(uid.as_str()) {
                        world.pod_gone(now, &uid);
                    }
                }
                for view in listed.iter() {
                    world.pod_applied(now, view.clone());
                }
            });
            listed.clear();
        }
        Event::Apply(pod) => {
            let view = PodView::of(&pod);
            shared.update(|world, now| world.pod_applied(now, view));
        }
        Event::Delete(pod) => {
            let uid = pod.metadata.uid.unwrap_or_default();
            shared.update(|world, now| world.pod_gone(now, &uid));
        }
    })
    .await;
}

async fn follow<K>(
    shared: &Shared,
    stream: impl Stream<Item = watcher::Result<Event<K>>>,
    mut act: impl FnMut(Event<K>),
) {
    let mut stream = pin!(stream);
    loop {
        tokio::select! {
            event = stream.next() => match event {
                Some(Ok(event)) => act(event),
                // The watcher comes back by itself; the engines go on as they were.
                Some(Err(error)) => debug!(%error, "the engines lost sight of the API server"),
                None => return,
            },
            () = shared.stop.cancelled() => return,
        }
    }
}
