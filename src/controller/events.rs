//! Events: what was changed, and what went wrong. One recorder aggregates repetitions; only changes are told.

use super::apply::Done;
use super::shared::Shared;
use crate::api::AgentPool;
use crate::api::conditions::{ConditionType, Verdict};
use crate::telemetry::{WriteKind, WriteOutcome};
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tokio::time::timeout;

/// Tells what was done, and which conditions turned bad since the last status.
pub async fn publish(shared: &Shared, pool: &AgentPool, done: &[Done], verdicts: &[Verdict]) {
    let changes = done
        .iter()
        .map(|d| (EventType::Normal, d.reason, d.message.clone()));
    let bad = verdicts
        .iter()
        .filter(|v| is_bad(v) && is_new(pool, v))
        .map(|v| (EventType::Warning, v.reason, v.message.clone()));
    for (kind, reason, note) in changes.chain(bad) {
        let action = if matches!(kind, EventType::Normal) {
            "Apply"
        } else {
            "Decide"
        };
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        let reference = pool.object_ref(&());
        let sent = timeout(
            shared.config.api_timeout,
            shared.events.publish(&event, &reference),
        )
        .await;
        let outcome = match sent {
            Ok(Ok(())) => WriteOutcome::Applied,
            Ok(Err(_)) => WriteOutcome::Failed,
            Err(_) => WriteOutcome::TimedOut,
        };
        shared.metrics.count_write(WriteKind::Event, outcome);
    }
}

fn is_bad(verdict: &Verdict) -> bool {
    match verdict.kind {
        ConditionType::Stalled
        | ConditionType::MinimumUnmet
        | ConditionType::MemoryBound
        | ConditionType::Conflicted => verdict.holds,
        ConditionType::SignalsFresh | ConditionType::CapacityAvailable => !verdict.holds,
        ConditionType::Ready | ConditionType::Reconciling | ConditionType::Paused => false,
    }
}

/// The status of the object, as last seen, does not say it yet.
fn is_new(pool: &AgentPool, verdict: &Verdict) -> bool {
    let said = pool.status.as_ref().and_then(|s| {
        s.conditions
            .iter()
            .find(|c| c.type_ == verdict.kind.as_str())
    });
    said.is_none_or(|c| (c.status == "True") != verdict.holds || c.reason != verdict.reason)
}
