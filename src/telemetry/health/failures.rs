//! What fails again and again, and since when. What works says so; what works in silence is told by that it does not fail again.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Failures that last for this long less than what is asked for span it: the next try is still to come.
const RETRY: Duration = Duration::from_secs(30);

/// Things that may fail, by name.
#[derive(Debug)]
pub(super) struct Failures {
    /// How soon after a failure the next one comes, at the latest.
    again: Duration,
    failing: BTreeMap<String, Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    why: String,
}

impl Failures {
    /// Nothing has failed yet.
    pub(super) fn new(again: Duration) -> Self {
        let failing = BTreeMap::new();
        Self { again, failing }
    }

    /// Something worked, or failed; why, for people.
    pub(super) fn note(&mut self, now: Instant, what: &str, works: Result<(), String>) {
        let again = self.again;
        self.failing
            .retain(|_, failing| !failing.is_over(now, again));
        match works {
            Ok(()) => {
                self.failing.remove(what);
            }
            Err(why) => {
                let before = self.failing.get(what);
                let failing = Failing {
                    since: before.map_or(now, |before| before.since),
                    last: now,
                    why,
                };
                self.failing.insert(what.to_owned(), failing);
            }
        }
    }

    /// What has failed for at least this long, and why.
    pub(super) fn lasting(&self, now: Instant, long: Duration) -> Vec<(&str, &str)> {
        let lasting = self
            .failing
            .iter()
            .filter(|(_, failing)| !failing.is_over(now, self.again) && failing.spans(now, long));
        lasting
            .map(|(what, failing)| (what.as_str(), failing.why.as_str()))
            .collect()
    }
}

impl Failing {
    /// The next try did not fail: it works, even if it says nothing.
    fn is_over(&self, now: Instant, again: Duration) -> bool {
        now.duration_since(self.last) > again
    }

    /// One failure that is old is not a long one.
    fn spans(&self, now: Instant, long: Duration) -> bool {
        now.duration_since(self.since) >= long
            && self.last.duration_since(self.since) + RETRY >= long
    }
}
