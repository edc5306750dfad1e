//! What went wrong, and with which exit code a run ends.

use crate::simulation::RunError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What was asked for cannot be: exit code 2.
    #[error("{0}")]
    Input(String),
    /// It could be, and failed: exit code 1.
    #[error("{0}")]
    Run(String),
}

impl Failure {
    /// Of an input: where, and what about it.
    pub fn input(place: impl std::fmt::Display, what: impl std::fmt::Display) -> Self {
        Self::Input(format!("{place}: {what}"))
    }

    /// Of a scenario that is refused before it is run: in the pool's file where the field is the pool's.
    pub fn refused(pool: &str, scenario: &str, error: &RunError) -> Self {
        let place = match error {
            RunError::Scenario { field, .. } if field.starts_with("spec.") => pool,
            _ => scenario,
        };
        Self::input(place, error)
    }

    /// Of a run of a rule.
    pub fn run(scenario: &str, rule: &str, error: &RunError) -> Self {
        match error {
            RunError::Scenario { .. } => Self::input(scenario, error),
            RunError::Overload { .. } => Self::Input(format!("{scenario}: under {rule}: {error}")),
            _ => Self::Run(format!("{scenario}: under {rule}: {error}")),
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Run(_) => 1,
        }
    }
}
