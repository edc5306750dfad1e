use k8s_openapi::api::core::v1::{Taint, Toleration};

/// A taint that keeps new pods away, or drives pods out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaintRecord {
    /// Its key.
    pub key: String,
    /// Its value, empty where there is none.
    pub value: String,
    /// `NoSchedule` or `NoExecute`.
    pub effect: String,
}

impl TaintRecord {
    /// `None` for a taint that only asks the scheduler to prefer other nodes.
    pub(super) fn of(taint: Taint) -> Option<Self> {
        (taint.effect != "PreferNoSchedule").then(|| Self {
            key: taint.key,
            value: taint.value.unwrap_or_default(),
            effect: taint.effect,
        })
    }
}

impl std::fmt::Display for TaintRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect),
            value => write!(f, "{}={value}:{}", self.key, self.effect),
        }
    }
}

/// Which taints a pod of a template tolerates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TolerationRecord {
    /// `None`: any key.
    key: Option<String>,
    /// `None`: any value.
    value: Option<String>,
    /// `None`: any effect.
    effect: Option<String>,
}

impl TolerationRecord {
    /// `None` for an operator that is not known: it is taken to tolerate nothing.
    pub(super) fn of(toleration: &Toleration) -> Option<Self> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let key = filled(&toleration.key);
        let value = match toleration.operator.as_deref().unwrap_or_default() {
            "Exists" => None,
            "" | "Equal" => Some(toleration.value.clone().unwrap_or_default()),
            _ => return None,
        };
        // An empty key stands for all keys with the operator Exists, and is not permitted with another.
        (key.is_some() || value.is_none()).then(|| Self {
            key,
            value,
            effect: filled(&toleration.effect),
        })
    }

    /// Whether a pod with it may come to a node with this taint.
    pub fn tolerates(&self, taint: &TaintRecord) -> bool {
        let is = |mine: &Option<String>, theirs: &str| mine.as_deref().is_none_or(|m| m == theirs);
        is(&self.key, &taint.key)
            && is(&self.value, &taint.value)
            && is(&self.effect, &taint.effect)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tolerates(toleration: serde_json::Value) -> bool {
        let taint =
            serde_json::from_value(json!({ "key": "team", "value": "a", "effect": "NoSchedule" }));
        let taint = TaintRecord::of(taint.unwrap()).unwrap();
        let record = TolerationRecord::of(&serde_json::from_value(toleration).unwrap());
        record.is_some_and(|record| record.tolerates(&taint))
    }

    #[test]
    fn a_toleration_covers_what_kubernetes_says_it_covers() {
        for covers in [
            json!({ "operator": "Exists" }),
            json!({ "key": "team", "operator": "Exists", "effect": "NoSchedule" }),
            json!({ "key": "team", "value": "a" }),
            json!({ "key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule" }),
        ] {
            assert!(tolerates(covers.clone()), "{covers}");
        }
        for other in [
            json!({ "key": "other", "operator": "Exists" }),
            json!({ "key": "team", "value": "b" }),
            json!({ "key": "team", "operator": "Exists", "effect": "NoExecute" }),
            json!({ "key": "team", "operator": "Gt", "value": "a" }),
            json!({ "value": "a" }),
        ] {
            assert!(!tolerates(other.clone()), "{other}");
        }
    }

    #[test]
    fn a_taint_that_only_prefers_other_nodes_is_none() {
        let prefers = json!({ "key": "team", "effect": "PreferNoSchedule" });
        assert_eq!(
            TaintRecord::of(serde_json::from_value(prefers).unwrap()),
            None
        );
    }
}
