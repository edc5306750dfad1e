//! Whether a pool's metrics server can be read. Told as soon as two rounds in a row gave nothing, long before the last values are too old:
//! one round that fails is everyday life, two are news.

use crate::signals::{AgentSignal, Problem};

/// Rounds in a row that tell.
const ROUNDS: u32 = 2;

/// The rounds that failed, up to now.
#[derive(Debug, Default)]
pub struct Outage {
    failed: u32,
    last: Option<Problem>,
}

impl Outage {
    /// Takes a round: why the server could not be read, if it could not.
    pub fn round(&mut self, problem: Option<Problem>) {
        self.failed = match problem {
            Some(_) => self.failed.saturating_add(1),
            None => 0,
        };
        self.last = problem;
    }

    /// Why the server cannot be read: once that is sure, and before where a pod of these signals would be blamed for it.
    pub fn problem<'a>(
        &self,
        signals: impl IntoIterator<Item = &'a AgentSignal>,
    ) -> Option<Problem> {
        let last = self.last?;
        let blamed = |signal: &AgentSignal| signal.problems.iter().any(|(_, why)| *why == last);
        (self.failed >= ROUNDS || signals.into_iter().any(blamed)).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::window::{Pod, Settings, Tracker};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    const REFUSED: Option<Problem> = Some(Problem::ConnectionRefused);

    #[test]
    fn a_second_failure_in_a_row_tells_and_one_success_ends_it() {
        let mut outage = Outage::default();
        outage.round(REFUSED);
        assert_eq!(outage.problem([]), None);
        outage.round(Some(Problem::Timeout));
        assert_eq!(outage.problem([]), Some(Problem::Timeout));
        outage.round(None);
        assert_eq!(outage.problem([]), None);
    }

    #[test]
    fn no_pod_is_blamed_for_a_server_that_cannot_be_read() {
        let mut outage = Outage::default();
        outage.round(REFUSED);
        let signal = |problem| {
            let mut tracker = Tracker::new(Settings::of_server(SECOND, 60 * SECOND, 60 * SECOND));
            let pod = Pod {
                uid: "1".into(),
                name: "chat-0".into(),
                ready: true,
                started: None,
            };
            tracker.observe(SECOND, &[pod], [("1", Err(problem))]);
            tracker.signal(SECOND, SECOND)
        };
        let (refused, empty) = (signal(Problem::ConnectionRefused), signal(Problem::Timeout));
        assert_eq!(outage.problem([&empty, &refused]), REFUSED);
        assert_eq!(outage.problem([&empty]), None);
        outage.round(None);
        assert_eq!(outage.problem([&refused]), None);
    }

    #[test]
    fn failures_that_alternate_with_successes_tell_nothing() {
        let mut outage = Outage::default();
        for _ in 0..10 {
            outage.round(REFUSED);
            assert_eq!(outage.problem([]), None);
            outage.round(None);
        }
    }
}
