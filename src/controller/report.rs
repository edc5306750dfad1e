//! Status and events: written when a decision or condition changes, else rarely. Writes nothing when nothing changed.

use super::write::{WriteError, Writer};
use crate::api::conditions::{Verdict, merge};
use crate::api::{AgentPool, AgentPoolStatus, AgentStatus, CapacityStatus};
use crate::units::MilliGpus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;

/// At most this often is status written for numbers that moved while the decision stands.
const QUIET: Duration = Duration::from_secs(30);

/// Conditions that come and go are written at once so often within [`FLAPPING`]; then after the quiet time.
const FLIPS: usize = 6;
/// See [`FLIPS`].
const FLAPPING: Duration = Duration::from_secs(60);

/// What was written last.
#[derive(Debug, Default)]
pub struct Reporter {
    /// The status that the object has.
    last: Option<AgentPoolStatus>,
    /// It is what we wrote ourselves. Else another replica leads or led, or an answer was lost, and what the object shows counts.
    ours: bool,
    at: Option<Duration>,
    /// After a failure: not before.
    again: Duration,
    /// When status was written because a condition had changed, the last few times.
    flips: VecDeque<Duration>,
}

/// Pause after a status write that failed: the pool goes on deciding meanwhile.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The status of a tick, without time.
#[derive(Debug)]
pub struct Report {
    /// Conditions.
    pub verdicts: Vec<Verdict>,
    /// GPUs; `None` when the pool could not be read.
    pub capacity: Option<CapacityStatus>,
    /// Learned lag.
    pub lag: Option<Duration>,
    /// Agents.
    pub agents: Vec<AgentStatus>,
}

impl Reporter {
    /// Starts from the status that the object has, unless that is our own: watches are late.
    pub fn resume(&mut self, pool: &AgentPool, leads: bool) {
        self.ours &= leads;
        if !self.ours {
            self.last.clone_from(&pool.status);
        }
    }

    /// Writes the status if that is due. Says whether it was written.
    ///
    /// # Errors
    /// When the write failed; the next tick tries again.
    pub async fn report(
        &mut self,
        writer: &Writer,
        (namespace, name): (&str, &str),
        generation: Option<i64>,
        report: Report,
        now: Duration,
    ) -> Result<bool, WriteError> {
        let old = self.last.clone().unwrap_or_default();
        let next = AgentPoolStatus {
            observed_generation: generation,
            conditions: merge(
                &old.conditions,
                &report.verdicts,
                generation,
                Timestamp::now(),
            ),
            capacity: report.capacity,
            actuation_lag_seconds: report
                .lag
                .map(|lag| u32::try_from(lag.as_secs()).unwrap_or(u32::MAX)),
            agents: report.agents,
        };
        let quiet = self.at.is_some_and(|at| now.saturating_sub(at) < QUIET);
        let flipped = urgent(&old) != urgent(&next);
        let due = is_due(&old, &next, quiet) || flipped && !self.flaps(now);
        if now < self.again || (self.last.is_some() && !due) {
            return Ok(false);
        }
        if flipped {
            self.flips.push_back(now);
            self.flips.drain(..self.flips.len().saturating_sub(FLIPS));
        }
        let api = Api::<AgentPool>::namespaced(writer.client().clone(), namespace);
        self.again = now + AFTER_FAILURE;
        self.ours = false;
        writer
            .status(&api, name, json!({ "status": body(&old, &next) }))
            .await?;
        self.again = Duration::ZERO;
        self.ours = true;
        self.last = Some(next);
        self.at = Some(now);
        Ok(true)
    }

    fn flaps(&self, now: Duration) -> bool {
        let first = self.flips.front();
        self.flips.len() == FLIPS && first.is_some_and(|at| now.saturating_sub(*at) < FLAPPING)
    }
}

/// What somebody may wait for: conditions, but for those that only drift.
fn urgent(status: &AgentPoolStatus) -> Vec<(&str, &str, &str)> {
    let drifts = |kind: &str| matches!(kind, "MinimumUnmet" | "MemoryBound");
    let conditions = status.conditions.iter().filter(|c| !drifts(&c.type_));
    conditions
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect()
}

/// A merge patch leaves what it does not name: fields that are gone are named as null.
fn body(old: &AgentPoolStatus, next: &AgentPoolStatus) -> serde_json::Value {
    let mut body = json!(next);
    if let (Some(before), Some(now)) = (json!(old).as_object(), body.as_object_mut()) {
        for key in before.keys() {
            now.entry(key.clone()).or_insert(serde_json::Value::Null);
        }
        if let (Some(before), Some(serde_json::Value::Object(now))) = (
            before.get("capacity").and_then(|c| c.as_object()),
            now.get_mut("capacity"),
        ) {
            for key in before.keys() {
                now.entry(key.clone()).or_insert(serde_json::Value::Null);
            }
        }
    }
    body
}

/// Whether status is to be written whatever its conditions say: at once for what was decided, after a quiet time for what only drifts.
fn is_due(old: &AgentPoolStatus, next: &AgentPoolStatus, quiet: bool) -> bool {
    let decided = |s: &AgentPoolStatus| -> Vec<_> {
        let agent = |a: &AgentStatus| {
            (
                a.name.clone(),
                a.replicas,
                a.desired_replicas,
                a.gpu_resource.clone(),
                a.desired_gpu_resource.clone(),
            )
        };
        s.agents.iter().map(agent).collect()
    };
    if old.observed_generation != next.observed_generation || decided(old) != decided(next) {
        return true;
    }
    if quiet {
        return false;
    }
    let said = |s: &AgentPoolStatus| -> Vec<_> {
        let said = |c: &Condition| {
            let about = about(&c.message);
            (c.type_.clone(), c.status.clone(), c.reason.clone(), about)
        };
        s.conditions.iter().map(said).collect()
    };
    let explained = |s: &AgentPoolStatus| -> Vec<_> {
        s.agents
            .iter()
            .map(|a| (a.reason.clone(), a.signals.clone(), a.hold.clone()))
            .collect()
    };
    said(old) != said(next)
        || explained(old) != explained(next)
        || old.capacity != next.capacity
        || old.agents.iter().zip(&next.agents).any(|(o, n)| {
            moved(&o.target_share, &n.target_share) || moved(&o.realized_share, &n.realized_share)
        })
}

/// What a message is about, without what is counted or measured (`3`, `0.25`, `350m`, `40s`): that moves while everything else stands. A
/// digit in a name (`chat-0`) stays.
fn about(message: &str) -> Vec<String> {
    let parts = message.split(|c: char| c.is_whitespace() || "(),;:".contains(c));
    parts
        .filter(|part| !part.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
        .map(str::to_owned)
        .collect()
}

/// Moved by more than a tenth.
fn moved(old: &str, new: &str) -> bool {
    match (MilliGpus::parse(old), MilliGpus::parse(new)) {
        (Ok(old), Ok(new)) => old.0.abs_diff(new.0) * 10 > old.0.max(new.0),
        _ => old != new,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(replicas: u32, target: &str, reason: &str) -> AgentPoolStatus {
        let agent = AgentStatus {
            name: "a".into(),
            replicas,
            desired_replicas: Some(replicas),
            target_share: target.into(),
            realized_share: "1".into(),
            reason: reason.into(),
            ..AgentStatus::default()
        };
        AgentPoolStatus {
            agents: vec![agent],
            ..AgentPoolStatus::default()
        }
    }

    #[test]
    fn conditions_that_come_and_go_are_written_at_once_a_few_times_a_minute() {
        let mut reporter = Reporter::default();
        let seconds = Duration::from_secs;
        reporter.flips.extend((0..5).map(seconds));
        assert!(!reporter.flaps(seconds(5)));
        reporter.flips.push_back(seconds(5));
        assert!(reporter.flaps(seconds(59)) && !reporter.flaps(seconds(60)));
    }

    #[test]
    fn a_new_decision_is_written_at_once() {
        assert!(is_due(
            &status(1, "1", "DemandMet"),
            &status(2, "1", "DemandMet"),
            true
        ));
    }

    #[test]
    fn numbers_that_drift_wait_for_the_quiet_time_and_small_ones_for_ever() {
        let old = status(1, "1", "DemandMet");
        assert!(!is_due(&old, &status(1, "2", "DemandMet"), true));
        assert!(is_due(&old, &status(1, "2", "DemandMet"), false));
        assert!(!is_due(&old, &status(1, "1050m", "DemandMet"), false));
        assert!(is_due(&old, &status(1, "1", "CapacityShared"), false));
        assert!(!is_due(&old, &status(1, "1", "CapacityShared"), true));
    }

    fn saying(kind: &str, message: &str) -> AgentPoolStatus {
        let condition = json!({
            "type": kind, "status": "True", "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"
        });
        AgentPoolStatus {
            conditions: vec![serde_json::from_value(condition).unwrap()],
            ..AgentPoolStatus::default()
        }
    }

    #[test]
    fn a_message_that_names_something_else_is_written_after_the_quiet_time() {
        let other = [
            (
                "Reconciling",
                "agent chat: cannot patch resource \"deployments/scale\" (403) (tried 3 times)",
                "agent chat: exceeded quota: two-gpus (403) (tried 3 times)",
            ),
            (
                "Conflicted",
                "Deployment chat: HorizontalPodAutoscaler x scales it",
                "Deployment chat: HorizontalPodAutoscaler y scales it",
            ),
            (
                "SignalsFresh",
                "chat: Partial, pod chat-0: connection refused",
                "chat: Partial, pod chat-1: connection refused",
            ),
            (
                "MinimumUnmet",
                "chat: target 1 is below its minimum 2 (demand 3)",
                "nlp: target 1 is below its minimum 2 (demand 3)",
            ),
        ];
        for (kind, before, after) in other {
            let (before, after) = (saying(kind, before), saying(kind, after));
            assert!(!is_due(&before, &after, true), "{kind}");
            assert!(is_due(&before, &after, false), "{kind}");
        }
    }

    #[test]
    fn a_message_whose_numbers_move_is_not_written_for_that() {
        let same = [
            (
                "agent chat: forbidden (403) (tried 3 times)",
                "agent chat: forbidden (403) (tried 4 times)",
            ),
            (
                "chat: target 350m is below its minimum 1 (demand 0.812)",
                "chat: target 400m is below its minimum 1 (demand 1.2)",
            ),
            (
                "no answer for 9s; 8 GPUs usable, 8 found",
                "no answer for 70s; 7 GPUs usable, 8 found",
            ),
        ];
        for (before, after) in same {
            let due = is_due(&saying("Stalled", before), &saying("Stalled", after), false);
            assert!(!due, "{after}");
        }
    }

    fn shown(foreign: Option<&str>) -> AgentPool {
        let capacity = CapacityStatus {
            foreign: foreign.map(str::to_owned),
            ..CapacityStatus::default()
        };
        let spec = serde_json::json!({ "mode": "Auto", "devices": [], "agents": [] });
        let mut pool = AgentPool::new("pool", serde_json::from_value(spec).unwrap());
        pool.status = Some(AgentPoolStatus {
            capacity: Some(capacity),
            ..AgentPoolStatus::default()
        });
        pool
    }

    #[test]
    fn who_follows_knows_the_leaders_latest_status_and_takes_off_what_that_one_wrote() {
        let mut reporter = Reporter::default();
        reporter.resume(&shown(None), false);
        reporter.resume(&shown(Some("2")), false);
        reporter.resume(&shown(Some("3")), true);
        let old = reporter.last.unwrap();
        assert_eq!(old.capacity, shown(Some("3")).status.unwrap().capacity);
        let next = shown(None).status.unwrap();
        assert_eq!(body(&old, &next)["capacity"]["foreign"], json!(null));
    }

    #[test]
    fn who_leads_believes_its_own_write_and_not_a_late_watch_until_an_answer_is_lost() {
        let mut reporter = Reporter {
            last: shown(Some("2")).status,
            ours: true,
            ..Reporter::default()
        };
        reporter.resume(&shown(None), true);
        assert_eq!(reporter.last, shown(Some("2")).status);
        reporter.ours = false;
        reporter.resume(&shown(Some("4")), true);
        assert_eq!(reporter.last, shown(Some("4")).status);
    }

    #[test]
    fn a_field_that_is_gone_is_removed_from_the_object() {
        let old = AgentPoolStatus {
            actuation_lag_seconds: Some(5),
            ..AgentPoolStatus::default()
        };
        assert_eq!(
            body(&old, &AgentPoolStatus::default())["actuationLagSeconds"],
            serde_json::Value::Null
        );
    }
}
