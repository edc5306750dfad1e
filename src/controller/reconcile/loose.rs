//! Loose ends: what the operator has begun at a workload for which nothing is written any more. They are tied up, and nothing else is done.

use crate::api::{ValidPool, WorkloadKind};
use crate::controller::apply::Done;
use crate::controller::backoff::Backoff;
use crate::controller::cache::Workload;
use crate::controller::observe::{AgentView, View};
use crate::controller::request;
use crate::controller::reverts;
use crate::controller::shared::Shared;
use crate::controller::write::{GPU_MANAGER, WriteError};
use crate::telemetry::WriteKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::Api;
use serde_json::Value;
use std::time::Duration;

/// What is to be tied up at one workload.
#[derive(Debug)]
pub(super) struct LooseEnd {
    /// Index of the agent.
    index: usize,
    /// Name of the agent.
    pub(super) agent: String,
    kind: WorkloadKind,
    name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Our GPU key goes, because a manager keeps putting its own beside it: with both no node takes a pod.
    GiveWay(Vec<Value>),
}

/// The loose ends of a pool.
pub(super) fn of(pool: &ValidPool, view: &View) -> Vec<LooseEnd> {
    let agents = pool.agents.iter().zip(&view.agents).enumerate();
    agents
        .filter_map(|(index, (agent, view))| {
            Some(LooseEnd {
                index,
                agent: agent.name.clone(),
                kind: agent.kind,
                name: agent.workload.clone(),
                what: what(view, pool.may_write())?,
            })
        })
        .collect()
}

fn what(view: &AgentView, may_write: bool) -> Option<What> {
    view.refusal
        .as_ref()
        .filter(|r| may_write && reverts::gave_up(r))?;
    request::give_way(view.workload.as_ref()?, view.container?).map(What::GiveWay)
}

/// Ties them up, each by at most one write; says what was done.
pub(super) async fn tie(
    shared: &Shared,
    namespace: &str,
    ends: &[LooseEnd],
    backoff: &mut Backoff,
    now: Duration,
) -> Vec<Done> {
    let mut all = Vec::new();
    for end in ends.iter().filter(|end| !backoff.holds(&end.agent, now)) {
        let done = match end.kind {
            WorkloadKind::Deployment => one::<Deployment>(shared, namespace, end).await,
            WorkloadKind::StatefulSet => one::<StatefulSet>(shared, namespace, end).await,
        };
        match done {
            Ok(done) => {
                backoff.clear(&end.agent);
                all.extend(done);
            }
            Err(WriteError::NotLeading) => break,
            Err(error) => super::act::failed(shared, backoff, &end.agent, end, &error, now),
        }
    }
    all
}

async fn one<K: Workload>(
    shared: &Shared,
    namespace: &str,
    end: &LooseEnd,
) -> Result<Option<Done>, WriteError> {
    let api = Api::<K>::namespaced(shared.writer.client().clone(), namespace);
    let name = end.name.as_str();
    let done = |reason, message| {
        Some(Done {
            agent: end.index,
            reason,
            message,
        })
    };
    match &end.what {
        What::GiveWay(operations) => {
            let kind = WriteKind::GpuRequest;
            let object = shared
                .writer
                .json_patch(kind, GPU_MANAGER, &api, name, operations.clone())
                .await?;
            shared.caches.remember(object);
            let message =
                format!("{name}: our GPU request is taken back, the other manager's stays");
            Ok(done("GpuRequestChanged", message))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::cache::{Record, WorkloadRecord};
    use crate::controller::standing::Refusal;
    use serde_json::json;
    use std::sync::Arc;

    const SMALL: &str = "nvidia.com/mig-1g.10gb";
    const LARGE: &str = "nvidia.com/mig-3g.40gb";

    /// An agent that asks for `limits`, of which the large instance is ours.
    fn agent(limits: &Value, refusal: Option<&'static str>) -> AgentView {
        let fields = json!({ "k:{\"name\":\"server\"}": { "f:resources": { "f:limits": { format!("f:{LARGE}"): {} } } } });
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "chat", "managedFields": [{
                "manager": GPU_MANAGER, "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": fields } } } }
            }] },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "app": "chat" } },
                "template": { "spec": { "containers": [{ "name": "server", "resources": { "limits": limits } }] } }
            }
        }))
        .unwrap();
        AgentView {
            workload: Some(Arc::new(WorkloadRecord::of(deployment).unwrap())),
            container: Some(0),
            pods: Vec::new(),
            refusal: refusal.map(|reason| Refusal {
                reason,
                message: String::new(),
                conflict: true,
            }),
        }
    }

    #[test]
    fn who_has_given_up_takes_its_key_away_from_beside_the_other_managers() {
        let both = json!({ SMALL: "1", LARGE: "1" });
        assert!(matches!(
            what(&agent(&both, Some("Reverted")), true),
            Some(What::GiveWay(_))
        ));
        assert!(what(&agent(&both, None), true).is_none());
        assert!(what(&agent(&both, Some("Autoscaled")), true).is_none());
        assert!(what(&agent(&both, Some("Reverted")), false).is_none());
        let alone = json!({ LARGE: "1" });
        assert!(what(&agent(&alone, Some("Reverted")), true).is_none());
    }
}
