use super::Rule;

impl Rule {
    /// From what it was written: the document or the file, whose, and which version. What differs from it stands beside the code.
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Hold | Self::StaticProportional { .. } => "of our own, as a yardstick",
            Self::WaterFilling => "the operator's code, `src/allocation/water_filling.rs`",
            Self::Balanced { .. } => "the operator's code, `src/allocation/balanced`",
            Self::Adaptive => {
                "the operator's code, `src/allocation/adaptive.rs`, after arXiv 2512.22149"
            }
            Self::StaticEqual { .. } | Self::RoundRobin => "arXiv 2512.22149",
            Self::Hpa { .. } => {
                "Kubernetes 1.36, `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go`; \
                 kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale"
            }
            Self::Keda { .. } => {
                "KEDA 2.21, `pkg/scaling/executor/scale_scaledobjects.go`; keda.sh/docs/2.21/reference/scaledobject-spec; its \
                 autoscaler as `hpa` (`GetExternalPerPodMetricReplicas`); target of the vLLM production stack's KEDA example"
            }
            Self::Knative { .. } => {
                "knative/serving, read August 2026, `pkg/autoscaler/scaling/autoscaler.go`; \
                 knative.dev/docs/serving/autoscaling/kpa-specific"
            }
            Self::Wva { .. } => {
                "llm-d-workload-variant-autoscaler v0.9.0, `internal/engines/pipeline/{greedy_score_optimizer,rescale}.go`; its \
                 autoscaler as `hpa`"
            }
            Self::Dynamo { .. } => {
                "ai-dynamo/dynamo, read August 2026, `components/src/dynamo/planner/core/load_scaling.py` and \
                 `global_planner/orchestrator.py`"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_of_others_names_a_version_or_a_date() {
        for rule in Rule::ALL {
            let others = ["hpa", "keda", "knative", "wva", "dynamo"].contains(&rule.name());
            let source = rule.source();
            assert!(
                !others || source.chars().any(|c| c.is_ascii_digit()),
                "{source}"
            );
            assert!(!source.contains("://"), "{source}");
        }
    }
}
