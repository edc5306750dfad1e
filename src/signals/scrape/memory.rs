//! What is remembered of pods from round to round: whether they answered in time, and when they were asked.

use super::{Problem, Scrape};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// So many pods are remembered without a look at which of them are gone.
const REMEMBERED: usize = 10_000;

/// A pod that was in no round for so long is gone.
const GONE: Duration = Duration::from_secs(600);

/// Pods by uid.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pods: BTreeMap<Arc<str>, Pod>,
    /// Pods that were left when those gone were last looked for.
    left: usize,
}

#[derive(Debug)]
struct Pod {
    /// `None`: it was never asked.
    in_time: Option<bool>,
    asked: Option<Instant>,
    listed: Instant,
}

impl Memory {
    /// The order in which the pods of a round are asked: who answered in time, who was never asked, who did not; among those who was asked
    /// the longest ago first. So no number of pods that hang keeps one that answers waiting.
    pub(super) fn order<'p>(
        &mut self,
        pods: impl Iterator<Item = &'p Arc<str>>,
        now: Instant,
    ) -> Vec<usize> {
        let mut turns: Vec<_> = pods
            .enumerate()
            .map(|(index, uid)| {
                let pod = self.pods.entry(uid.clone()).or_insert(Pod {
                    in_time: None,
                    asked: None,
                    listed: now,
                });
                pod.listed = now;
                let class = match pod.in_time {
                    Some(true) => 0,
                    None => 1,
                    Some(false) => 2,
                };
                (class, pod.asked, index)
            })
            .collect();
        turns.sort_unstable();
        if self.pods.len() > REMEMBERED.max(2 * self.left) {
            self.pods
                .retain(|_, pod| now.duration_since(pod.listed) <= GONE);
            self.left = self.pods.len();
        }
        turns.into_iter().map(|(.., index)| index).collect()
    }

    /// Of a pod that did not answer in time when last asked: when that was.
    pub(super) fn slow(&self, uid: &str) -> Option<Option<Instant>> {
        let pod = self.pods.get(uid)?;
        (pod.in_time == Some(false)).then_some(pod.asked)
    }

    /// A pod is asked now.
    pub(super) fn asks(&mut self, uid: &str, now: Instant) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.asked = Some(now);
        }
    }

    /// Takes what a round that began at `start` gave. A pod that was not asked in it has not failed.
    pub(super) fn take(&mut self, scrape: &Scrape, start: Instant) {
        let Some(pod) = self.pods.get_mut(&scrape.pod_uid) else {
            return;
        };
        if pod.asked.is_some_and(|asked| asked >= start) {
            let slow = matches!(
                scrape.result,
                Err(Problem::Timeout | Problem::Late | Problem::Unreachable)
            );
            pod.in_time = Some(!slow);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn uids(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn late(uid: &str) -> Scrape {
        Scrape {
            pod_uid: uid.into(),
            result: Err(Problem::Late),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_pod_that_was_not_asked_before_the_deadline_is_not_slow() {
        let mut memory = Memory::default();
        let pods = uids(&["asked", "not"]);
        let now = Instant::now();
        memory.order(pods.iter(), now);
        memory.asks("asked", now);
        for uid in ["asked", "not"] {
            memory.take(&late(uid), now);
        }
        assert_eq!(memory.slow("asked"), Some(Some(now)));
        assert_eq!(memory.slow("not"), None);
        assert_eq!(memory.order(pods.iter(), now), [1, 0]);
    }

    #[test]
    fn of_those_that_hang_the_one_that_was_asked_the_longest_ago_comes_first() {
        let mut memory = Memory::default();
        let pods = uids(&["a", "b", "c"]);
        let now = Instant::now();
        memory.order(pods.iter(), now);
        for (uid, seconds) in [("b", 1), ("c", 2), ("a", 3)] {
            let at = now + Duration::from_secs(seconds);
            memory.asks(uid, at);
            memory.take(&late(uid), at);
        }
        assert_eq!(memory.order(pods.iter(), now), [1, 2, 0]);
    }

    #[test]
    fn pods_that_are_gone_are_forgotten_and_those_that_are_there_are_not() {
        let mut memory = Memory::default();
        let gone: Vec<Arc<str>> = (1..REMEMBERED)
            .map(|i| format!("gone-{i}").into())
            .collect();
        let start = Instant::now();
        memory.order(gone.iter(), start);
        let later = start + GONE;
        memory.order(uids(&["there"]).iter(), later);
        memory.asks("there", later);
        memory.take(&late("there"), later);
        assert_eq!(memory.pods.len(), REMEMBERED);
        memory.order(uids(&["new"]).iter(), later + Duration::from_secs(1));
        assert_eq!(memory.pods.len(), 2);
        assert!(memory.slow("there").is_some());
    }
}
