use std::collections::VecDeque;
use std::time::Duration;

/// Start-ups remembered at most.
const REMEMBERED: usize = 32;
/// Start-ups seen before what was declared is forgotten.
const ENOUGH: usize = 3;

/// A pod that was there before is ready since its start, or since its node came back: what is longer than this is no start-up.
const LONGEST_GUESS: Duration = Duration::from_secs(1800);

/// The actuation lag of a pool: the time from a decision to a copy that serves. Starts from what was learned before a restart; else from
/// what is declared, or from a guess where that is longer. Then is the upper quartile of the start-ups seen last: a pace that fits most
/// of them must fit slow ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    declared: Duration,
    guess: Duration,
    before: Option<Duration>,
    seen: VecDeque<Duration>,
}

impl Lag {
    /// Nothing seen yet.
    pub fn new(declared: Duration) -> Self {
        Self {
            declared,
            guess: Duration::ZERO,
            before: None,
            seen: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// What counts until enough has been seen.
    pub fn declare(&mut self, declared: Duration) {
        self.declared = declared;
    }

    /// What another process learned of this pool before: it counts instead of what is declared. Else every restart would make the pool
    /// average faster than its lag, and the moves that follow are what would teach it better.
    pub fn resume(&mut self, learned: Duration) {
        self.before = Some(learned);
    }

    /// What the fastest start of each agent took at most whose pods were there before: counts until something is learned, where it is longer
    /// than what is declared. A lag that is taken to be too short makes moves that do not pay, one that is too long makes few.
    pub fn guess(&mut self, fastest: impl Iterator<Item = Duration>) {
        let sane = fastest.filter(|took| *took <= LONGEST_GUESS);
        self.guess = sane.max().unwrap_or(Duration::ZERO);
    }

    /// Takes one start-up: from the creation of a copy until it was ready. The oldest is forgotten.
    pub fn saw(&mut self, startup: Duration) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(startup);
    }

    /// What was learned, here or before; `None` until enough has been seen to know better than what is declared.
    pub fn learned(&self) -> Option<Duration> {
        if self.seen.len() < ENOUGH {
            return self.before;
        }
        let mut sorted: Vec<Duration> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 3 / 4).copied()
    }

    /// The lag.
    pub fn get(&self) -> Duration {
        self.learned()
            .unwrap_or_else(|| self.declared.max(self.guess))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_declared_counts_until_three_start_ups_were_seen() {
        let mut lag = Lag::new(s(30));
        lag.saw(s(90));
        lag.saw(s(90));
        assert_eq!((lag.get(), lag.learned()), (s(30), None));
        lag.saw(s(90));
        assert_eq!((lag.get(), lag.learned()), (s(90), Some(s(90))));
    }

    #[test]
    fn what_pods_took_that_were_there_before_counts_where_it_is_longer_than_declared_and_is_not_learned()
     {
        let mut lag = Lag::new(s(30));
        let mut guessed = |seconds: &[u64]| {
            lag.guess(seconds.iter().copied().map(s));
            (lag.get(), lag.learned())
        };
        assert_eq!(
            guessed(&[8, 300]),
            (s(300), None),
            "one agent starts slowly"
        );
        assert_eq!(guessed(&[8, 86_400]), (s(30), None), "a node came back");
        assert_eq!(guessed(&[]), (s(30), None));
        lag.guess([s(300)].into_iter());
        (0..3).for_each(|_| lag.saw(s(90)));
        assert_eq!(lag.get(), s(90));
    }

    #[test]
    fn what_was_learned_before_a_restart_counts_until_three_start_ups_were_seen() {
        let mut lag = Lag::new(s(30));
        lag.resume(s(300));
        (0..2).for_each(|_| lag.saw(s(90)));
        assert_eq!((lag.get(), lag.learned()), (s(300), Some(s(300))));
        lag.saw(s(90));
        assert_eq!(lag.get(), s(90));
    }

    #[test]
    fn one_slow_start_does_not_make_the_lag_and_a_slow_quarter_does() {
        let mut lag = Lag::new(s(30));
        (0..9).for_each(|_| lag.saw(s(10)));
        lag.saw(s(600));
        assert_eq!(lag.get(), s(10));
        (0..3).for_each(|_| lag.saw(s(600)));
        assert_eq!(lag.get(), s(600));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut lag = Lag::new(s(30));
        (0..1000).for_each(|_| lag.saw(s(10)));
        (0..32).for_each(|_| lag.saw(s(20)));
        assert_eq!(lag.get(), s(20));
    }
}
