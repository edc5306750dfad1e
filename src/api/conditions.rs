//! Condition types and reasons: stable CamelCase names, documented here, and the one function that merges them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Types of condition. Ready, Reconciling and Stalled are shaped as kstatus and `kubectl wait` expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// What was decided is in force.
    Ready,
    /// Changes are under way or wait for something that is under way.
    Reconciling,
    /// Nothing can be done until somebody changes something.
    Stalled,
    /// Every agent's signals are fresh.
    SignalsFresh,
    /// The GPUs that the pool declares exist and are free for it.
    CapacityAvailable,
    /// An agent with demand has less than its minimum share.
    MinimumUnmet,
    /// GPU memory keeps an agent from the share it should have.
    MemoryBound,
    /// Somebody else manages a field or a workload that the pool would have to write.
    Conflicted,
    /// Writes are frozen by the annotation `agentpool.dev/paused` or by mode Observe.
    Paused,
}

impl ConditionType {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::SignalsFresh => "SignalsFresh",
            Self::CapacityAvailable => "CapacityAvailable",
            Self::MinimumUnmet => "MinimumUnmet",
            Self::MemoryBound => "MemoryBound",
            Self::Conflicted => "Conflicted",
            Self::Paused => "Paused",
        }
    }
}

/// One condition as decided in a tick, without time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which condition.
    pub kind: ConditionType,
    /// True or False.
    pub holds: bool,
    /// Stable CamelCase reason.
    pub reason: &'static str,
    /// The numbers, for people.
    pub message: String,
}

impl Verdict {
    /// A verdict; its message is cut by [`clip`].
    pub fn new(
        kind: ConditionType,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let message = clip(message.into());
        Self {
            kind,
            holds,
            reason,
            message,
        }
    }
}

/// Cuts a message at 1 KiB, at a character: what status takes, and what an event does.
pub fn clip(mut message: String) -> String {
    if message.len() > 1024 {
        let end = (0..=1021)
            .rev()
            .find(|&i| message.is_char_boundary(i))
            .unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}

/// Merges the verdicts of a tick into the conditions of status: the transition time changes only when the status does.
pub fn merge(
    old: &[Condition],
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    verdicts
        .iter()
        .map(|verdict| {
            let status = if verdict.holds { "True" } else { "False" };
            let before = old.iter().find(|c| c.type_ == verdict.kind.as_str());
            let since = before
                .filter(|c| c.status == status)
                .map_or_else(|| Time(now), |c| c.last_transition_time.clone());
            Condition {
                type_: verdict.kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: verdict.message.clone(),
                observed_generation: generation,
                last_transition_time: since,
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_changes_only_when_the_status_does() {
        let verdict =
            |holds, message: &str| [Verdict::new(ConditionType::Ready, holds, "R", message)];
        let first = merge(&[], &verdict(true, "a"), Some(1), at(10));
        let second = merge(&first, &verdict(true, "b"), Some(1), at(20));
        let third = merge(&second, &verdict(false, "c"), Some(1), at(30));
        assert_eq!(first[0].last_transition_time.0, at(10));
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!(second[0].message, "b");
        assert_eq!(third[0].last_transition_time.0, at(30));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let verdict = Verdict::new(ConditionType::Ready, true, "R", "ä".repeat(1000));
        assert!(verdict.message.len() <= 1024 && verdict.message.ends_with("ä..."));
    }
}
