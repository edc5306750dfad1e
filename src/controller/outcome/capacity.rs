//! Whether the GPUs that the pool may spend are there, and if not, what is in the way.

use super::Outcome;
use crate::api::conditions::{ConditionType, Verdict};
use crate::sharing::Unfit;
use crate::units::MilliGpus;

/// So many nodes are named in a message.
const MOST_NAMED: usize = 5;

/// So many notes are appended to a message.
const MOST_NOTES: usize = 3;

fn verdict(holds: bool, reason: &'static str, message: String) -> Verdict {
    Verdict::new(ConditionType::CapacityAvailable, holds, reason, message)
}

impl Outcome<'_> {
    /// Whether they are there, and what had to be assumed about them.
    pub(super) fn capacity_available(&self) -> Verdict {
        let available = self.availability();
        let closed = self.view.closed.values();
        let notes: Vec<&String> = closed.chain(&self.survey.notes).collect();
        let mut said = vec![available.message.as_str()];
        said.extend(notes.iter().take(MOST_NOTES).map(|note| note.as_str()));
        let more = notes.len().saturating_sub(MOST_NOTES);
        let more = (more > 0).then(|| format!("and {more} more notes of this kind"));
        said.extend(more.as_deref());
        verdict(available.holds, available.reason, said.join("; "))
    }

    fn availability(&self) -> Verdict {
        let usable = self.survey.capacity;
        if self.pool.shape.nodes_hidden {
            let message = format!("{usable} GPUs declared; nodes are not visible to the operator");
            return verdict(true, "AsDeclared", message);
        }
        if self.view.nodes.is_empty() {
            let message = format!(
                "no GPU node has the labels {:?} of devices[0].nodeSelector",
                self.pool.node_selector
            );
            return verdict(false, "NoNodes", message);
        }
        if let Some(unfit) = self.unfit() {
            return unfit;
        }
        let found = self.survey.found.unwrap_or_default();
        let holds = match self.survey.foreign {
            MilliGpus(0) => String::new(),
            foreign => format!(", of which other pods hold {foreign}"),
        };
        if !self.survey.missing.is_empty() {
            let message = format!(
                "pods of the pool hold GPUs that their nodes do not offer now ({}): they go on, and nothing new is placed there; the nodes have {found}{holds}: {usable} usable",
                self.missing()
            );
            return verdict(false, "GpusMissing", message);
        }
        match self.pool.shape.declared_gpus {
            Some(declared) if usable < declared => {
                let message = format!(
                    "devices[0].gpus is {declared}, the nodes have {found}{holds}: {usable} usable"
                );
                if found < declared {
                    verdict(false, "LessThanDeclared", message)
                } else {
                    verdict(false, "HeldByOthers", message)
                }
            }
            _ if usable.0 == 0 => {
                let message =
                    format!("the selected nodes have {found} GPUs that fit sharing type{holds}");
                verdict(false, "NoGpus", message)
            }
            _ => {
                let message = format!("{usable} GPUs usable, {found} found{holds}");
                verdict(true, "Available", message)
            }
        }
    }

    /// `gpu-a: 4, gpu-b: 2`, the first few nodes that do not offer what pods hold there.
    fn missing(&self) -> String {
        let nodes = &self.survey.missing;
        let named: Vec<String> = nodes
            .iter()
            .take(MOST_NAMED)
            .map(|(node, gpus)| format!("{node}: {gpus}"))
            .collect();
        let more = match nodes.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        named.join(", ") + &more
    }

    /// Where nodes that count as none are why there are fewer GPUs than there should be: the first of them, by which label, and what
    /// would be right.
    fn unfit(&self) -> Option<Verdict> {
        let (node, why) = self.survey.unfit.first_key_value()?;
        let usable = self.survey.capacity;
        let offered = usable.saturating_sub(self.survey.missing.values().copied().sum());
        let declared = self.pool.shape.declared_gpus;
        if declared.is_some_and(|declared| offered >= declared) {
            return None;
        }
        let more = match self.survey.unfit.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(match why {
            Unfit::Shared { slices } => verdict(
                false,
                "SharedGpus",
                format!(
                    "node {node}{more}: label nvidia.com/gpu.replicas is {slices}, so an nvidia.com/gpu there is one of {slices} turns on a GPU and counts as none: use sharing type TimeSlicing with resourceName nvidia.com/gpu, or leave the node out by devices[0].nodeSelector; {usable} usable"
                ),
            ),
            Unfit::MigSingle => verdict(
                false,
                "MigSingle",
                format!(
                    "node {node}{more}: label nvidia.com/mig.strategy is single, so an nvidia.com/gpu there is a MIG slice and counts as none: set the device plugin's MIG strategy to mixed and use sharing type MIG, or leave the node out by devices[0].nodeSelector; {usable} usable"
                ),
            ),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::ValidPool;
    use crate::controller::cache::NodeRecord;
    use crate::controller::claims::Claims;
    use crate::controller::fixtures::{caches, deployment, node, object, whole};
    use crate::controller::observe::view;
    use crate::sharing::{self, Plan};
    use serde_json::json;

    fn pool(sharing: &str) -> ValidPool {
        crate::controller::fixtures::pool("p", sharing, &["a"])
    }

    /// What is said of these nodes; the agent has a pod on `gpu-a`.
    fn said(pool: &ValidPool, nodes: &[(&str, NodeRecord)]) -> (&'static str, String) {
        said_beside(pool, nodes, &[("a", "gpu-a")])
    }

    /// The same with these pods; those that are not `a`'s are somebody else's.
    fn said_beside(
        pool: &ValidPool,
        nodes: &[(&str, NodeRecord)],
        pods: &[(&str, &str)],
    ) -> (&'static str, String) {
        let agent = deployment("a", 1, json!([]));
        let caches = caches(nodes, &[("a", agent)], pods);
        let view = view(pool, &caches, &Claims::default());
        let observed = view.observed(pool, &caches, |_| None);
        let outcome = Outcome {
            pool,
            view: &view,
            observed: &observed,
            survey: &sharing::survey(&pool.shape, &observed),
            signals: &[],
            outage: None,
            decision: &[],
            plan: &Plan::default(),
            lag: None,
            failure: None,
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        let said = outcome.capacity_available();
        (said.reason, said.message)
    }

    #[test]
    fn a_node_that_offers_less_than_its_pods_hold_is_named() {
        let (reason, message) = said(&pool("WholeGPU"), &[("gpu-a", whole(0))]);
        assert_eq!(reason, "GpusMissing");
        assert!(message.contains("gpu-a: 1"), "{message}");
        assert!(message.contains("1 usable"), "{message}");
    }

    #[test]
    fn gpus_that_others_hold_are_said_with_what_is_declared_found_and_left() {
        let others = [("a", "gpu-a"), ("other", "gpu-a"), ("other", "gpu-a")];
        let nodes = [("gpu-a", whole(4))];
        let (reason, message) = said_beside(&pool("WholeGPU"), &nodes, &others);
        assert_eq!(reason, "HeldByOthers");
        assert_eq!(
            message,
            "devices[0].gpus is 4, the nodes have 4, of which other pods hold 2: 2 usable"
        );
        let more = [("gpu-a", whole(4)), ("gpu-b", whole(2))];
        let (reason, message) = said_beside(&pool("WholeGPU"), &more, &others);
        assert_eq!(reason, "Available", "{message}");
    }

    #[test]
    fn a_selector_that_no_node_matches_is_said_with_its_labels() {
        let mut object = object("p", "WholeGPU", &["a"]);
        let label = ("nvidia.com/gpu.product".to_owned(), "A100".to_owned());
        object.spec.devices[0].node_selector = [label].into();
        let pool = ValidPool::admit(&object).unwrap();
        let (reason, message) = said_beside(&pool, &[("gpu-a", whole(4))], &[]);
        assert_eq!(reason, "NoNodes");
        for part in ["nvidia.com/gpu.product", "A100", "nodeSelector"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn nodes_with_nothing_to_spend_are_said_where_nothing_is_declared() {
        let mut object = object("p", "WholeGPU", &["a"]);
        object.spec.devices[0].gpus = None;
        let pool = ValidPool::admit(&object).unwrap();
        let (reason, message) = said_beside(&pool, &[("gpu-a", whole(0))], &[]);
        assert_eq!(reason, "NoGpus");
        assert!(message.contains("have 0 GPUs"), "{message}");

        let other = [("other", "gpu-a")];
        let (reason, message) = said_beside(&pool, &[("gpu-a", whole(1))], &other);
        assert_eq!(reason, "NoGpus");
        assert!(message.contains("of which other pods hold 1"), "{message}");
    }

    #[test]
    fn a_taint_that_an_agent_does_not_tolerate_is_said_with_both() {
        let mut drained = whole(4);
        let taint = json!([{ "key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule" }]);
        drained.taints = node(json!({}), json!({ "nvidia.com/gpu": "4" }), taint).taints;
        let (reason, message) = said(&pool("WholeGPU"), &[("gpu-a", drained)]);
        assert_eq!(reason, "LessThanDeclared");
        for part in [
            "node gpu-a",
            "ToBeDeletedByClusterAutoscaler=1:NoSchedule",
            "agent a",
            "1 usable",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn what_is_assumed_because_a_label_is_missing_is_said() {
        let unlabelled = |name: &'static str| {
            let instances = json!({ "nvidia.com/mig-1g.10gb": "2", "nvidia.com/mig-3g.40gb": "1" });
            (name, node(json!({}), instances, json!([])))
        };
        let (reason, message) = said(&pool("MIG"), &[unlabelled("gpu-b"), unlabelled("gpu-c")]);
        assert_eq!(reason, "LessThanDeclared");
        for part in ["its share is taken as 1/7", "and 5 more notes"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn slices_under_the_name_of_whole_gpus_are_said_by_node_and_label_with_what_would_be_right() {
        let single = json!({
            "nvidia.com/mig.strategy": "single", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"
        });
        let shared = json!({ "nvidia.com/gpu.replicas": "10", "nvidia.com/gpu.count": "1" });
        let cases = [
            ("MigSingle", "WholeGPU", &single, "strategy to mixed"),
            ("MigSingle", "MIG", &single, "strategy to mixed"),
            ("SharedGpus", "WholeGPU", &shared, "TimeSlicing"),
        ];
        for (reason, sharing, labels, right) in cases {
            let slices = node(labels.clone(), json!({ "nvidia.com/gpu": "7" }), json!([]));
            let (why, message) = said(
                &pool(sharing),
                &[("gpu-a", whole(1)), ("gpu-b", slices.clone())],
            );
            assert_eq!(why, reason, "{message}");
            for part in ["node gpu-b", right, "nodeSelector"] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
            let (why, _) = said(&pool("WholeGPU"), &[("gpu-a", whole(4)), ("gpu-b", slices)]);
            assert_eq!(why, "Available", "what is declared is there without them");
        }
    }
}
