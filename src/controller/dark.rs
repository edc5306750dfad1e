//! Nodes that are not as they should be, and what that makes of the pods on them: it is said in sharing what follows from it.

use super::cache::{Caches, PATIENCE, PodRecord};
use super::observe::AgentView;
use crate::sharing::PodState;
use crate::units::GpuResource;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Nodes of a pool's pods that are not as they should be.
#[derive(Debug, Default)]
pub struct Dark {
    /// They are gone, or do not answer: no pod ends there.
    silent: BTreeSet<String>,
    /// They have not offered for long what pods hold there.
    short: BTreeSet<String>,
}

impl Dark {
    /// Looks at the nodes of the agents' pods. `usage`: what all pods hold, by node.
    pub fn look(
        agents: &[AgentView],
        caches: &Caches,
        usage: &BTreeMap<String, BTreeMap<GpuResource, u32>>,
        now: Instant,
    ) -> Self {
        let mut dark = Self::default();
        let pods = agents.iter().flat_map(|agent| &agent.pods);
        let names: BTreeSet<&str> = pods.filter_map(|(_, pod)| pod.node.as_deref()).collect();
        for name in names {
            let node = caches.nodes.get("", name);
            if node.as_ref().is_none_or(|node| !node.ready) {
                dark.silent.insert(name.to_owned());
            }
            if let Some(held) = usage.get(name)
                && caches.absences.is_long(name, node.as_deref(), held, now)
            {
                dark.short.insert(name.to_owned());
            }
        }
        caches.absences.keep(|name| usage.contains_key(name));
        dark
    }

    /// Where a pod is in its life.
    pub fn state(&self, pod: &PodRecord, now: Timestamp) -> PodState {
        let on = |nodes: &BTreeSet<String>| pod.node.as_ref().is_some_and(|n| nodes.contains(n));
        let patience = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
        let long = |since: Timestamp| now.duration_since(since).as_secs() >= patience;
        match (pod.deleting, &pod.node, pod.ready) {
            (true, ..) if on(&self.silent) || pod.hangs(now) => PodState::Stranded,
            (true, ..) => PodState::Terminating,
            (_, None, _) => PodState::Pending,
            (_, Some(_), true) => PodState::Ready,
            _ if on(&self.short) && pod.unready_since.is_some_and(long) => PodState::Lost,
            _ => PodState::Loading,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::cache::{NodeRecord, Record};
    use super::super::claims::Claims;
    use super::super::fixtures::{caches, deployment, pod, pool, whole};
    use super::super::observe::view;
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;
    use std::time::Duration;

    /// What is made of pods of a Deployment on a node, `long` after that was first looked at: deleted, not ready for an hour, not ready
    /// for a minute.
    fn states(node: NodeRecord, long: Duration) -> [PodState; 3] {
        let ago = |minutes: i64| Some(Timestamp::now() - Duration::from_secs(60 * minutes as u64));
        let unready = |minutes| PodRecord {
            unready_since: ago(minutes),
            ..pod("a", "gpu-a")
        };
        let deleted = PodRecord {
            deleting: true,
            ..pod("a", "gpu-a")
        };
        let agent = deployment("a", 3, json!([]));
        let caches = caches(&[("gpu-a", node)], &[("a", agent)], &[]);
        let pods = [deleted, unready(60), unready(1)];
        for (i, pod) in pods.iter().enumerate() {
            let key = ("n".to_owned(), format!("a-{i}"));
            caches.pods.put(key, 1, pod.clone());
        }
        let pool = pool("p", "WholeGPU", &["a"]);
        let view = view(&pool, &caches, &Claims::default());
        let usage = caches.usage.by_node(&caches.pods);
        let start = Instant::now();
        Dark::look(&view.agents, &caches, &usage, start);
        let dark = Dark::look(&view.agents, &caches, &usage, start + long);
        pods.map(|pod| dark.state(&pod, Timestamp::now()))
    }

    #[test]
    fn a_pod_that_is_deleted_on_a_node_that_does_not_answer_is_stranded_and_on_a_cordoned_one_not()
    {
        let deleted = |ready: bool| {
            let schedulable = false;
            let node = NodeRecord {
                ready,
                schedulable,
                ..whole(4)
            };
            states(node, Duration::ZERO)[0]
        };
        assert_eq!(deleted(true), PodState::Terminating);
        assert_eq!(deleted(false), PodState::Stranded);
    }

    #[test]
    fn a_pod_that_was_to_be_gone_ten_minutes_ago_is_stranded_wherever_it_is() {
        let state = |minutes: i64| {
            let end = Timestamp::now() - Duration::from_secs(60 * minutes as u64);
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "a-0", "namespace": "n", "deletionTimestamp": end.to_string() },
                "spec": { "nodeName": "gpu-a", "containers": [
                    { "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }
                ] }
            }))
            .unwrap();
            Dark::default().state(&PodRecord::of(pod).unwrap(), Timestamp::now())
        };
        assert_eq!(state(9), PodState::Terminating);
        assert_eq!(state(11), PodState::Stranded);
    }

    #[test]
    fn a_pod_is_lost_when_it_and_its_gpus_have_been_away_for_ten_minutes() {
        use PodState::{Loading, Lost};
        let (long, short) = (Duration::from_secs(600), Duration::from_secs(599));
        assert_eq!(states(whole(0), long)[1..], [Lost, Loading]);
        assert_eq!(states(whole(0), short)[1..], [Loading; 2]);
        assert_eq!(states(whole(4), long)[1..], [Loading; 2], "a slow start");
    }
}
