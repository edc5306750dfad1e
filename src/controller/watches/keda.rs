//! KEDA may not be installed, be installed later, or be uninstalled: its kind is watched while it is there.

use crate::controller::cache::{Caches, Source, Wake, follow};
use crate::telemetry::{Health, Watched};
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::watcher;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the kind has been installed.
const EVERY: Duration = Duration::from_secs(300);

/// How soon an answer that says nothing, or is not believed yet, is asked for again.
const SOON: Duration = Duration::from_secs(2);

/// So often it must be said that a kind is gone that was there: where it is still there its objects must not be forgotten.
const DOUBTS: u32 = 3;

/// The ScaledObjects of a namespace, or of all.
pub(super) struct Keda {
    pub(super) api: Api<DynamicObject>,
    pub(super) config: watcher::Config,
    pub(super) namespace: Option<String>,
    pub(super) watched: Watched,
    pub(super) caches: Arc<Caches>,
    pub(super) wake: Wake,
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
}

impl Keda {
    /// Until stopped.
    pub(super) async fn run(self) {
        // Until it is known that there is none, nothing is decided; that there is no such kind is knowledge.
        let mut doubts = 1;
        while self.appears(doubts).await {
            let source = Source {
                watched: self.watched.clone(),
                api: self.api.clone(),
                config: self.config.clone(),
                namespace: self.namespace.clone(),
                optional: true,
            };
            let (caches, wake) = (self.caches.clone(), self.wake.clone());
            follow(
                source,
                caches,
                |caches: &Caches| &caches.scaled_objects,
                wake,
                self.health.clone(),
                self.stop.clone(),
            )
            .await;
            doubts = DOUBTS;
        }
    }

    /// Waits until the kind is there; not, when stopped before.
    async fn appears(&self, mut doubts: u32) -> bool {
        let mut complained = false;
        while !self.stop.is_cancelled() {
            let pause = match self.api.list(&ListParams::default().limit(1)).await {
                Ok(_) => return true,
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    complained = false;
                    doubts = doubts.saturating_sub(1);
                    if doubts == 0 {
                        self.is_away();
                        EVERY
                    } else {
                        SOON
                    }
                }
                Err(error) => {
                    self.health.watches(&self.watched, Err(error.to_string()));
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, what = %self.watched, "cannot list; trying again until it works");
                    }
                    SOON
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        false
    }

    /// There is no such kind: nothing of it is to be seen.
    fn is_away(&self) {
        let store = &self.caches.scaled_objects;
        store.replace(self.namespace.as_deref(), BTreeMap::new());
        store.listed(self.namespace.as_deref());
        self.health.forget(&self.watched);
        (self.wake)(self.namespace.as_deref().unwrap_or_default());
    }
}
