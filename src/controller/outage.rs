//! Whether a pool's metrics server can be read. Told as soon as two rounds in a row gave nothing, long before the last values are too old:
//! one round that fails is everyday life, two are news.

use crate::signals::Problem;

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

    /// Why the server cannot be read, once that is sure.
    pub fn problem(&self) -> Option<Problem> {
        self.last.filter(|_| self.failed >= ROUNDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Option<Problem> = Some(Problem::ConnectionRefused);

    #[test]
    fn a_second_failure_in_a_row_tells_and_one_success_ends_it() {
        let mut outage = Outage::default();
        outage.round(REFUSED);
        assert_eq!(outage.problem(), None);
        outage.round(Some(Problem::Timeout));
        assert_eq!(outage.problem(), Some(Problem::Timeout));
        outage.round(None);
        assert_eq!(outage.problem(), None);
    }

    #[test]
    fn failures_that_alternate_with_successes_tell_nothing() {
        let mut outage = Outage::default();
        for _ in 0..10 {
            outage.round(REFUSED);
            assert_eq!(outage.problem(), None);
            outage.round(None);
        }
    }
}
