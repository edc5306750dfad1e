//! A pool that cannot be read, as one of a later version may be: its status says so, or it would go on saying what it said before.

use super::cache::Key;
use super::shared::Shared;
use super::write::WriteError;
use crate::api::AgentPool;
use crate::api::conditions::{ConditionType, Verdict, merge};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Pause before the status is tried again, or before it is looked whether this replica leads now.
const AGAIN: Duration = Duration::from_secs(5);

/// Tells it, once this process may write. Ends when that is done, or when the pool can be read again.
pub async fn tell(shared: Arc<Shared>, key: Key, why: String) {
    let (namespace, name) = key;
    // Not as an AgentPool: the answer is no more readable than the object is.
    let kind = ApiResource::erase::<AgentPool>(&());
    let client = shared.writer.client().clone();
    let pools = Api::<DynamicObject>::namespaced_with(client, &namespace, &kind);
    loop {
        if shared.ready_to_decide(&namespace) && shared.writer.leads_in(&namespace) {
            match told(&shared, &pools, &name, &why).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(namespace, name, %error, "status was not written"),
            }
        }
        sleep(AGAIN).await;
    }
}

async fn told(
    shared: &Shared,
    pools: &Api<DynamicObject>,
    name: &str,
    why: &str,
) -> Result<(), WriteError> {
    let pool = shared.writer.read(pools.get(name)).await?;
    let version = pool.metadata.resource_version.clone();
    let readable = serde_json::to_value(pool).and_then(serde_json::from_value::<AgentPool>);
    if readable.is_ok() {
        return Ok(());
    }
    // Only of this version: a write that is late must not undo what is said of a pool that was mended meanwhile.
    let mut body = status(why);
    body["metadata"] = json!({ "resourceVersion": version });
    shared.writer.status(pools, name, body).await?;
    Ok(())
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
