//! A pool that cannot be read, as one of a later version may be: its status says so, or it would go on saying what it said before.

use super::cache::Key;
use super::shared::Shared;
use crate::api::AgentPool;
use crate::api::conditions::{ConditionType, Verdict, merge};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Pause before the status is tried again, or before it is looked whether this replica leads now.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a pool cannot be read, and who tells it.
pub struct Complaint {
    why: String,
    /// The version of the object that cannot be read.
    version: watch::Sender<Option<String>>,
    told: JoinHandle<()>,
}

impl Complaint {
    /// Begins to tell it.
    pub fn new(shared: &Arc<Shared>, key: Key, why: String, version: Option<String>) -> Self {
        let (sender, receiver) = watch::channel(version);
        let told = tokio::spawn(tell(shared.clone(), key, why.clone(), receiver));
        Self {
            why,
            version: sender,
            told,
        }
    }

    /// The object has another version now. Says whether what is wrong is the same.
    pub fn is_still(&self, why: &str, version: Option<String>) -> bool {
        self.version.send_replace(version);
        self.why == why
    }
}

impl Drop for Complaint {
    fn drop(&mut self) {
        self.told.abort();
    }
}

/// Tells it, once this process may write. Ends when that is done.
async fn tell(
    shared: Arc<Shared>,
    key: Key,
    why: String,
    version: watch::Receiver<Option<String>>,
) {
    let (namespace, name) = key;
    // Not as an AgentPool: the answer is no more readable than the object is.
    let kind = ApiResource::erase::<AgentPool>(&());
    let client = shared.writer.client().clone();
    let pools = Api::<DynamicObject>::namespaced_with(client, &namespace, &kind);
    loop {
        if shared.ready_to_decide(&namespace) && shared.writer.leads_in(&namespace) {
            // Only of this version: a write that is late must not undo what is said of a pool that was mended meanwhile.
            let mut body = status(&why);
            body["metadata"] = json!({ "resourceVersion": *version.borrow() });
            match shared.writer.status(&pools, &name, body).await {
                Ok(_) => return,
                Err(error) if error.is_race() => {}
                Err(error) => tracing::warn!(namespace, name, %error, "status was not written"),
            }
        }
        sleep(AGAIN).await;
    }
}

/// Nothing of what is shown of its agents still holds.
fn status(why: &str) -> Value {
    let message = format!(
        "this version of the operator cannot read the pool, and leaves its workloads as they are: {why}"
    );
    let verdict = |kind, holds| Verdict::new(kind, holds, "Unreadable", message.clone());
    let verdicts = [
        verdict(ConditionType::Ready, false),
        verdict(ConditionType::Reconciling, false),
        verdict(ConditionType::Stalled, true),
    ];
    let conditions = merge(&[], &verdicts, None, Timestamp::now());
    json!({ "status": { "conditions": conditions, "capacity": null, "agents": null } })
}
