//! What follows when an agent's load is not known: hold, then what the pool declares.

use std::time::Duration;

/// What a pool declares for an agent whose load is not known (`metrics.onStale`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnStale {
    /// How long the agent keeps what it has before [`OnStale::then`] applies.
    pub hold_for: Duration,
    /// What applies afterwards.
    pub then: Fallback,
}

/// What an agent whose load is not known gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Its share in force, unchanged.
    Hold,
    /// Its minimum share: declared by the pool as safe, never the default.
    Minimum,
}

impl Fallback {
    /// The stable CamelCase name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "Hold",
            Self::Minimum => "Minimum",
        }
    }
}

/// What an agent gets whose load has not been known for `lost_for`: its share in force for [`OnStale::hold_for`], then
/// what the pool declares.
pub fn after_stale(declared: OnStale, lost_for: Duration) -> Fallback {
    if lost_for < declared.hold_for {
        Fallback::Hold
    } else {
        declared.then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_holds_for_the_declared_time_and_then_does_what_is_declared() {
        let declared = OnStale {
            hold_for: Duration::from_secs(300),
            then: Fallback::Minimum,
        };
        assert_eq!(
            after_stale(declared, Duration::from_secs(299)),
            Fallback::Hold
        );
        assert_eq!(
            after_stale(declared, Duration::from_secs(300)),
            Fallback::Minimum
        );
        let hold = OnStale {
            then: Fallback::Hold,
            ..declared
        };
        assert_eq!(after_stale(hold, Duration::MAX), Fallback::Hold);
    }
}
