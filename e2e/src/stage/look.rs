//! What a scenario looks at: a workload as far as the operator may have touched it, and an empty namespace again.

use super::{AGENTS, LIMIT, Stage};
use crate::wait;
use agentpool::api::AgentPool;
use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A Deployment or StatefulSet, as far as the operator may touch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `spec.replicas`.
    pub replicas: u32,
    /// GPU resources in the limits of the pod template's first container.
    pub gpus: BTreeMap<String, String>,
    /// Annotations of ours, `agentpool.dev/...`.
    pub notes: BTreeMap<String, String>,
    /// Field managers of ours, `agentpool/...`.
    pub managers: BTreeSet<String>,
    /// `metadata.generation`: counts every change of the spec.
    pub generation: i64,
    /// The workload's controller has rolled the latest template out, and every replica is ready.
    pub settled: bool,
}

impl Seen {
    /// Whether the template asks for exactly one of this MIG profile and nothing else.
    pub fn is_on(&self, profile: &str) -> bool {
        let wanted = (format!("nvidia.com/mig-{profile}"), "1".to_owned());
        self.gpus == BTreeMap::from([wanted])
    }
}

impl Stage {
    /// A workload of the namespace `agents`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn look(&self, kind: &str, name: &str) -> Result<Seen> {
        let (meta, spec, status) = if kind == "StatefulSet" {
            let object = Api::<StatefulSet>::namespaced(self.client.clone(), AGENTS)
                .get(name)
                .await?;
            parts(object.metadata, &object.spec, &object.status)?
        } else {
            let object = Api::<Deployment>::namespaced(self.client.clone(), AGENTS)
                .get(name)
                .await?;
            parts(object.metadata, &object.spec, &object.status)?
        };
        let replicas = spec["replicas"].as_u64().unwrap_or(1);
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let fully = ["replicas", "readyReplicas", "updatedReplicas"];
        let limits = &spec["template"]["spec"]["containers"][0]["resources"]["limits"];
        Ok(Seen {
            replicas: u32::try_from(replicas)?,
            gpus: serde_json::from_value(limits.clone()).unwrap_or_default(),
            notes: ours(meta.annotations.unwrap_or_default(), "agentpool.dev/"),
            managers: meta
                .managed_fields
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.manager)
                .filter(|manager| manager.starts_with("agentpool/"))
                .collect(),
            settled: status["observedGeneration"].as_i64() == meta.generation
                && fully.iter().all(|field| count(field) == replicas),
            generation: meta.generation.unwrap_or(0),
        })
    }

    /// Waits until exactly so many pods of an agent exist, those on their way out included.
    ///
    /// # Errors
    /// When it is not so within [`LIMIT`].
    pub async fn wait_gone(&self, app: &str, left: usize) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), AGENTS);
        let of = ListParams::default().labels(&format!("app={app}"));
        wait::until(
            LIMIT,
            format!("{left} pods of {app} are left"),
            async || Ok((pods.list(&of).await?.items.len() == left).then_some(())),
        )
        .await
    }

    /// Removes all pools and workloads of the namespace `agents`, and waits until their pods are gone.
    ///
    /// # Errors
    /// When something cannot be removed, or is there after [`LIMIT`].
    pub async fn clear(&self) -> Result<()> {
        let (how, all) = (DeleteParams::background(), ListParams::default());
        let (client, pools) = (self.client.clone(), self.pools());
        pools.delete_collection(&how, &all).await?;
        wait::until(LIMIT, "all pools are gone", async || {
            Ok(pools.list(&all).await?.items.is_empty().then_some::<()>(()))
        })
        .await?;
        Api::<Deployment>::namespaced(client.clone(), AGENTS)
            .delete_collection(&how, &all)
            .await?;
        Api::<StatefulSet>::namespaced(client.clone(), AGENTS)
            .delete_collection(&how, &all)
            .await?;
        let pods = Api::<Pod>::namespaced(client, AGENTS);
        wait::until(LIMIT, "all pods are gone", async || {
            Ok(pods.list(&all).await?.items.is_empty().then_some::<()>(()))
        })
        .await
    }
}

/// What status says of one agent.
pub fn agent<'a>(pool: &'a AgentPool, name: &str) -> Option<&'a agentpool::api::AgentStatus> {
    let agents = pool.status.iter().flat_map(|status| &status.agents);
    agents.into_iter().find(|agent| agent.name == name)
}

fn parts(
    meta: ObjectMeta,
    spec: &impl serde::Serialize,
    status: &impl serde::Serialize,
) -> Result<(ObjectMeta, Value, Value)> {
    let value = |part: serde_json::Result<Value>| part.context("not JSON");
    Ok((
        meta,
        value(serde_json::to_value(spec))?,
        value(serde_json::to_value(status))?,
    ))
}

fn ours(all: BTreeMap<String, String>, prefix: &str) -> BTreeMap<String, String> {
    all.into_iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .collect()
}
