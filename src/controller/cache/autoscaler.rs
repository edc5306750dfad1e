use super::{Filed, Record};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

/// A HorizontalPodAutoscaler or KEDA ScaledObject, and what it scales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoscalerRecord {
    /// Kind and name, as a message says it: `HorizontalPodAutoscaler chat`.
    pub who: String,
    /// Kind of what it scales.
    pub target_kind: String,
    /// Name of what it scales.
    pub target: String,
}

impl Filed for AutoscalerRecord {}

impl Record<HorizontalPodAutoscaler> for AutoscalerRecord {
    fn of(hpa: HorizontalPodAutoscaler) -> Option<Self> {
        let target = hpa.spec?.scale_target_ref;
        let name = hpa.metadata.name.unwrap_or_default();
        let above = hpa
            .metadata
            .owner_references
            .into_iter()
            .flatten()
            .find(|o| o.controller == Some(true));
        let who = match above {
            Some(owner) => format!(
                "HorizontalPodAutoscaler {name} (of {} {})",
                owner.kind, owner.name
            ),
            None => format!("HorizontalPodAutoscaler {name}"),
        };
        Some(Self {
            who,
            target_kind: target.kind,
            target: target.name,
        })
    }
}

/// KEDA's kind, which may not be installed.
pub fn scaled_objects() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"),
        "scaledobjects",
    )
}

impl Record<DynamicObject> for AutoscalerRecord {
    /// Of a KEDA ScaledObject; its target's kind is Deployment unless it says otherwise.
    fn of(object: DynamicObject) -> Option<Self> {
        let target = object.data.get("spec")?.get("scaleTargetRef")?;
        let text = |field: &str| {
            target
                .get(field)
                .and_then(|v| v.as_str())
                .map(str::to_owned)
        };
        Some(Self {
            who: format!("ScaledObject {}", object.metadata.name.unwrap_or_default()),
            target_kind: text("kind").unwrap_or_else(|| "Deployment".to_owned()),
            target: text("name")?,
        })
    }
}
