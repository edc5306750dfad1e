use crate::units::UnitError;

/// A field that is wrong: which, what it says, what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not valid: must be {expected}")]
pub struct Invalid {
    /// Path of the field, as `spec.agents[2].minShare`.
    pub field: String,
    /// What it says, at most 64 characters.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl Invalid {
    pub(super) fn new(
        field: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string().chars().take(64).collect(),
            expected: expected.into(),
        }
    }

    pub(super) fn unit(field: impl Into<String>, err: UnitError) -> Self {
        Self::new(field, err.value, err.expected)
    }
}
