//! StatefulSets whose pods are not created. A Deployment says so in its condition ReplicaFailure; a StatefulSet has none, and only events
//! of it say that a quota or an admission policy refuses its pods.

use super::cache::WorkloadRecord;
use super::observe::View;
use super::standing::describe;
use crate::api::ValidPool;
use std::collections::BTreeMap;
use std::time::Duration;

/// A controller that is well creates a pod within seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Since when an agent's StatefulSet has fewer pods than it should, and how many.
#[derive(Debug, Default)]
pub struct Short {
    since: BTreeMap<String, (u32, Duration)>,
}

impl Short {
    /// Looks at the agents' workloads, and says of those that are short for too long that they are.
    pub fn note(&mut self, pool: &ValidPool, view: &mut View, now: Duration) {
        for (agent, view) in pool.agents.iter().zip(&mut view.agents) {
            let workload = view.workload.as_deref();
            let Some((there, wanted)) = workload.and_then(short) else {
                self.since.remove(&agent.name);
                continue;
            };
            let since = self.since.entry(agent.name.clone()).or_insert((there, now));
            if since.0 != there {
                *since = (there, now);
            }
            if now.saturating_sub(since.1) >= PATIENCE {
                view.short = Some(format!(
                    "{} has {there} of {wanted} pods for over {} minutes and its controller creates no more; `kubectl describe statefulset {}` says why (a quota, an admission policy)",
                    describe(agent),
                    PATIENCE.as_secs() / 60,
                    agent.workload,
                ));
            }
        }
        let named = |name: &String| pool.agents.iter().any(|agent| agent.name == *name);
        self.since.retain(|name, _| named(name));
    }
}

/// Pods that there are and pods that there should be, when there are too few.
fn short(workload: &WorkloadRecord) -> Option<(u32, u32)> {
    let there = workload.short_at?;
    (there < workload.replicas).then_some((there, workload.replicas))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::cache::Record;
    use super::super::claims::Claims;
    use super::super::fixtures::{caches, deployment, pool, whole};
    use super::super::observe::view;
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::json;

    fn set(policy: &str, there: u32, ready: u32, observed: u32) -> WorkloadRecord {
        let containers =
            json!([{ "name": "server", "resources": { "limits": { "nvidia.com/gpu": "1" } } }]);
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "a", "generation": 3 },
            "spec": {
                "replicas": 3, "serviceName": "a", "podManagementPolicy": policy,
                "selector": { "matchLabels": { "app": "a" } }, "template": { "spec": { "containers": containers } }
            },
            "status": { "observedGeneration": observed, "replicas": there, "readyReplicas": ready }
        }))
        .unwrap();
        WorkloadRecord::of(set).unwrap()
    }

    #[test]
    fn a_set_that_waits_for_nothing_and_has_too_few_pods_is_short() {
        for (policy, there, ready, observed, is) in [
            ("Parallel", 1, 0, 3, Some((1, 3))),
            ("OrderedReady", 1, 1, 3, Some((1, 3))),
            ("OrderedReady", 0, 0, 3, Some((0, 3))),
            ("OrderedReady", 1, 0, 3, None), // its first pod loads the model
            ("Parallel", 3, 0, 3, None),
            ("Parallel", 1, 1, 2, None), // the controller has not seen the change
        ] {
            assert_eq!(
                short(&set(policy, there, ready, observed)),
                is,
                "{policy} {there} {ready}"
            );
        }
    }

    #[test]
    fn it_is_said_when_it_lasts_with_what_to_look_at_and_begins_anew_with_each_pod() {
        let pool = pool("p", "WholeGPU", &["a"]);
        let mut memory = Short::default();
        let mut said = |record: &WorkloadRecord, seconds| {
            let caches = caches(&[("gpu", whole(4))], &[("a", record.clone())], &[]);
            let mut view = view(&pool, &caches, &Claims::default());
            memory.note(&pool, &mut view, Duration::from_secs(seconds));
            view.agents[0].short.clone()
        };
        let refused = set("Parallel", 1, 1, 3);
        assert_eq!(said(&refused, 0), None);
        assert_eq!(said(&refused, 119), None);
        let why = said(&refused, 120).unwrap();
        for word in ["1 of 3 pods", "kubectl describe statefulset a", "quota"] {
            assert!(why.contains(word), "{word} is not in: {why}");
        }
        assert_eq!(said(&set("Parallel", 2, 1, 3), 121), None, "another came");
        assert_eq!(said(&deployment("a", 3, json!([])), 500), None);
        assert_eq!(said(&refused, 501), None);
    }
}
