use std::collections::BTreeMap;
use std::time::Duration;

/// First pause after a failure; doubled with every further one.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Races lost in a row that count as a failure.
const RACES: u32 = 4;

/// Agents whose last write failed: each waits by itself, the others of the pool go on.
#[derive(Debug, Default)]
pub struct Backoff {
    agents: BTreeMap<String, Failure>,
    races: BTreeMap<String, u32>,
    waits: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Failure {
    times: u32,
    until: Duration,
    why: String,
}

impl Backoff {
    /// Whether the agent waits at `now`.
    pub fn holds(&self, agent: &str, now: Duration) -> bool {
        self.agents.get(agent).is_some_and(|f| now < f.until)
    }

    /// How often in a row a write for the agent has failed.
    pub fn times(&self, agent: &str) -> u32 {
        self.agents.get(agent).map_or(0, |f| f.times)
    }

    /// A write for the agent went through.
    pub fn clear(&mut self, agent: &str) {
        self.agents.remove(agent);
        self.races.remove(agent);
    }

    /// A write for the agent lost a race. One is nothing: the next tick decides anew. Several in a row are a failure, because what
    /// loses every race is no race.
    pub fn raced(&mut self, agent: &str, now: Duration, why: String) {
        let races = self.races.entry(agent.to_owned()).or_insert(0);
        *races += 1;
        if *races >= RACES {
            self.failed(agent, now, why);
        }
    }

    /// A write for the agent failed.
    pub fn failed(&mut self, agent: &str, now: Duration, why: String) {
        let times = self.times(agent);
        let pause = FIRST
            .saturating_mul(2u32.saturating_pow(times.min(6)))
            .min(LONGEST);
        let failure = Failure {
            times: times + 1,
            until: now + pause,
            why,
        };
        self.agents.insert(agent.to_owned(), failure);
    }

    /// For how long the agent has waited for a place at `now`: since this was first asked.
    pub fn waited(&mut self, agent: &str, now: Duration) -> Duration {
        let since = self.waits.entry(agent.to_owned()).or_insert(now);
        now.saturating_sub(*since)
    }

    /// No agent waits for a place but these.
    pub fn wait_only(&mut self, waits: impl Fn(&str) -> bool) {
        self.waits.retain(|agent, _| waits(agent));
    }

    /// Keeps only agents that have a step to take: what is no longer wanted has not failed.
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        self.agents.retain(|agent, _| wanted(agent));
        self.races.retain(|agent, _| wanted(agent));
    }

    /// What failed last, of the first agent that waits.
    pub fn why(&self) -> Option<String> {
        self.agents
            .iter()
            .next()
            .map(|(agent, f)| format!("agent {agent}: {} (tried {} times)", f.why, f.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_end_with_success() {
        let mut backoff = Backoff::default();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed("a", s(100), "no".into());
            assert!(backoff.holds("a", s(100 + pause) - Duration::from_millis(1)));
            assert!(!backoff.holds("a", s(100 + pause)));
        }
        assert!(!backoff.holds("b", s(100)));
        backoff.clear("a");
        assert!(backoff.why().is_none());
    }

    #[test]
    fn a_race_that_is_lost_every_time_is_a_failure_and_says_so() {
        let mut backoff = Backoff::default();
        (0..3).for_each(|_| backoff.raced("a", s(1), "test failed".into()));
        assert!(!backoff.holds("a", s(1)) && backoff.why().is_none());
        backoff.raced("a", s(1), "test failed".into());
        assert!(backoff.holds("a", s(1)));
        assert!(backoff.why().is_some_and(|why| why.contains("test failed")));
    }

    #[test]
    fn a_wait_goes_on_whatever_is_written_and_ends_with_what_is_waited_for() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.waited("a", s(10)), s(0));
        backoff.clear("a");
        backoff.wait_only(|agent| agent == "a");
        assert_eq!(backoff.waited("a", s(310)), s(300));
        backoff.wait_only(|_| false);
        assert_eq!(backoff.waited("a", s(400)), s(0));
    }

    #[test]
    fn what_is_no_longer_wanted_has_not_failed() {
        let mut backoff = Backoff::default();
        backoff.failed("a", s(1), "no".into());
        backoff.keep(|agent| agent == "b");
        assert!(backoff.why().is_none());
    }
}
