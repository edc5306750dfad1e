//! Events: what was changed, and what went wrong. Only changes are told, and a task of its own tells them: deciding never waits for an
//! event. One recorder aggregates repetitions.

use super::apply::Done;
use crate::api::conditions::{ConditionType, Verdict, clip};
use crate::api::{AgentPool, AgentPoolStatus};
use crate::telemetry::{Metrics, WriteKind, WriteOutcome};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Events that wait for the API server at most, of all pools.
const QUEUE: usize = 256;
/// A condition that turns bad again for a reason for which it was told within this time is no news.
const REPEATED: Duration = Duration::from_secs(60);

/// An event, and what it is about.
type Told = (Event, ObjectReference);

/// Takes events. Never waits: what finds the queue full is dropped and counted.
pub struct Events {
    queue: Sender<Told>,
    metrics: Metrics,
}

/// Gives events to the API server.
pub struct Delivery {
    queue: Receiver<Told>,
    recorder: Recorder,
    metrics: Metrics,
    timeout: Duration,
}

/// Both ends of the queue. `timeout` bounds one call to the API server.
pub fn events(recorder: Recorder, metrics: Metrics, timeout: Duration) -> (Events, Delivery) {
    let (sender, receiver) = channel(QUEUE);
    let events = Events {
        queue: sender,
        metrics: metrics.clone(),
    };
    let delivery = Delivery {
        queue: receiver,
        recorder,
        metrics,
        timeout,
    };
    (events, delivery)
}

impl Events {
    /// Tells what was done, and what has turned bad.
    pub fn publish(&self, pool: &AgentPool, done: &[Done], bad: &[&Verdict]) {
        let changes = done
            .iter()
            .map(|d| (EventType::Normal, "Apply", d.reason, &d.message));
        let bad = bad
            .iter()
            .map(|v| (EventType::Warning, "Decide", v.reason, &v.message));
        for (type_, action, reason, note) in changes.chain(bad) {
            let event = Event {
                type_,
                reason: reason.to_owned(),
                // What a webhook refused with may be longer than the API server takes.
                note: Some(clip(note.clone())),
                action: action.to_owned(),
                secondary: None,
            };
            if self.queue.try_send((event, pool.object_ref(&()))).is_err() {
                self.metrics.count_event_drop();
            }
        }
    }
}

impl Delivery {
    /// Delivers until stopped; what waits then is given the time of one call.
    pub async fn run(mut self, stop: CancellationToken) {
        let bound = self.timeout;
        tokio::select! {
            () = self.all() => return,
            () = stop.cancelled() => {}
        }
        self.queue.close();
        let _ = timeout(bound, self.all()).await;
    }

    async fn all(&mut self) {
        while let Some((event, about)) = self.queue.recv().await {
            let sent = timeout(self.timeout, self.recorder.publish(&event, &about)).await;
            let outcome = match sent {
                Ok(Ok(())) => WriteOutcome::Applied,
                Ok(Err(_)) => WriteOutcome::Failed,
                Err(_) => WriteOutcome::TimedOut,
            };
            self.metrics.count_write(WriteKind::Event, outcome);
        }
    }
}

/// Which conditions of a pool have been told to be bad.
#[derive(Debug, Default)]
pub struct News {
    leads: bool,
    told: BTreeMap<(ConditionType, String), Bad>,
}

#[derive(Debug)]
struct Bad {
    at: Duration,
    /// It has turned good since.
    over: bool,
}

impl News {
    /// What the object's status says has been told by whoever wrote it, until we lead.
    pub fn resume(&mut self, status: Option<&AgentPoolStatus>, leads: bool, now: Duration) {
        if std::mem::replace(&mut self.leads, leads) && leads {
            return;
        }
        let said = status.iter().flat_map(|s| &s.conditions);
        let bad = said.filter_map(|c| {
            let kind = TOLD.into_iter().find(|kind| kind.as_str() == c.type_)?;
            let told = Bad {
                at: now,
                over: false,
            };
            is_bad(kind, c.status == "True").then_some(((kind, c.reason.clone()), told))
        });
        self.told = bad.collect();
    }

    /// Those of the verdicts that are bad and have not been told.
    pub fn of<'a>(&mut self, verdicts: &'a [Verdict], now: Duration) -> Vec<&'a Verdict> {
        let mut news = Vec::new();
        for verdict in verdicts {
            let bad = is_bad(verdict.kind, verdict.holds);
            let others = self.told.iter_mut().filter(|((kind, reason), _)| {
                *kind == verdict.kind && !(bad && reason == verdict.reason)
            });
            others.for_each(|(_, told)| told.over = true);
            if !bad {
                continue;
            }
            let told = self.told.entry((verdict.kind, verdict.reason.to_owned()));
            let is_news = match &told {
                Entry::Vacant(_) => true,
                Entry::Occupied(told) => {
                    let recent = now.saturating_sub(told.get().at) < REPEATED;
                    told.get().over && !recent
                }
            };
            let told = told.or_insert(Bad {
                at: now,
                over: false,
            });
            told.over = false;
            if is_news {
                told.at = now;
                news.push(verdict);
            }
        }
        news
    }
}

/// The conditions whose turning bad is told.
const TOLD: [ConditionType; 6] = [
    ConditionType::Stalled,
    ConditionType::MinimumUnmet,
    ConditionType::MemoryBound,
    ConditionType::Conflicted,
    ConditionType::SignalsFresh,
    ConditionType::CapacityAvailable,
];

fn is_bad(kind: ConditionType, holds: bool) -> bool {
    match kind {
        ConditionType::Stalled
        | ConditionType::MinimumUnmet
        | ConditionType::MemoryBound
        | ConditionType::Conflicted => holds,
        ConditionType::SignalsFresh | ConditionType::CapacityAvailable => !holds,
        ConditionType::Ready | ConditionType::Reconciling | ConditionType::Paused => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::conditions::merge;
    use k8s_openapi::jiff::Timestamp;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn unmet(holds: bool, reason: &'static str) -> [Verdict; 1] {
        [Verdict::new(
            ConditionType::MinimumUnmet,
            holds,
            reason,
            "numbers",
        )]
    }

    #[test]
    fn a_condition_that_stays_bad_is_told_once_however_often_it_is_looked_at() {
        let mut news = News::default();
        let bad = unmet(true, "BelowMinimum");
        assert_eq!(news.of(&bad, s(0)).len(), 1);
        assert!((1..100).all(|at| news.of(&bad, s(at)).is_empty()));
    }

    #[test]
    fn one_that_comes_and_goes_is_told_once_a_minute_and_another_reason_at_once() {
        let mut news = News::default();
        let (bad, good) = (unmet(true, "BelowMinimum"), unmet(false, "AllMet"));
        let mut told = 0;
        for at in 0..120 {
            told += news.of(&bad, s(at)).len();
            told += news.of(&good, s(at)).len();
        }
        assert_eq!(told, 2);
        assert_eq!(news.of(&unmet(true, "Another"), s(121)).len(), 1);
    }

    #[test]
    fn reasons_that_take_turns_are_told_once_a_minute_each() {
        let mut news = News::default();
        let bad = ["BelowMinimum", "Another"].map(|reason| unmet(true, reason));
        let told = (0..120).map(|at| news.of(&bad[at as usize % 2], s(at)).len());
        assert_eq!(told.sum::<usize>(), 4);
    }

    #[test]
    fn what_status_says_has_been_told_by_whoever_wrote_it() {
        let bad = unmet(true, "BelowMinimum");
        let status = AgentPoolStatus {
            conditions: merge(&[], &bad, None, Timestamp::UNIX_EPOCH),
            ..AgentPoolStatus::default()
        };
        let mut news = News::default();
        news.resume(Some(&status), true, s(0));
        assert!(news.of(&bad, s(1)).is_empty());
        // Once it leads it knows itself, however late the watch is.
        news.resume(None, true, s(2));
        assert!(news.of(&bad, s(3)).is_empty());
        news.resume(None, false, s(4));
        news.resume(None, true, s(5));
        assert_eq!(news.of(&bad, s(6)).len(), 1);
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let metrics = Metrics::new();
        let (queue, mut waits) = channel(1);
        let events = Events {
            queue,
            metrics: metrics.clone(),
        };
        let spec = serde_json::json!({ "mode": "Auto", "devices": [], "agents": [] });
        let pool = AgentPool::new("pool", serde_json::from_value(spec).unwrap());
        let done = |message: &str| Done {
            agent: 0,
            reason: "Scaled",
            message: message.to_owned(),
        };
        events.publish(&pool, &[done("first"), done("second")], &[]);
        let (event, about) = waits.try_recv().unwrap();
        assert_eq!(event.note.as_deref(), Some("first"));
        assert_eq!(about.name.as_deref(), Some("pool"));
        let text = metrics.encode().unwrap();
        assert!(text.contains("agentpool_event_drops_total 1"), "{text}");
    }

    #[test]
    fn every_condition_that_can_be_bad_is_one_that_is_told() {
        use ConditionType::{Paused, Ready, Reconciling};
        for kind in TOLD {
            assert!(is_bad(kind, true) != is_bad(kind, false), "{kind:?}");
        }
        for kind in [Ready, Reconciling, Paused] {
            assert!(!is_bad(kind, true) && !is_bad(kind, false), "{kind:?}");
        }
    }
}
