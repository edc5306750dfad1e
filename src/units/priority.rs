use serde::{Deserialize, Serialize};

/// How important an agent is; the paper's P (arXiv 2512.22149): High 1, Medium 2, Low 3.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub enum Priority {
    /// The most important (P = 1).
    High,
    /// P = 2.
    #[default]
    Medium,
    /// The least important (P = 3); loses first when minimum shares do not fit.
    Low,
}

impl Priority {
    /// The paper's P: 1, 2 or 3.
    pub const fn divisor(self) -> u64 {
        match self {
            Self::High => 1,
            Self::Medium => 2,
            Self::Low => 3,
        }
    }

    /// 1/P in sixths (6, 3, 2), so that weights stay integers.
    pub const fn weight(self) -> u64 {
        match self {
            Self::High => 6,
            Self::Medium => 3,
            Self::Low => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_times_divisor_is_the_same_for_all() {
        for priority in [Priority::High, Priority::Medium, Priority::Low] {
            assert_eq!(priority.weight() * priority.divisor(), 6, "{priority:?}");
        }
    }
}
