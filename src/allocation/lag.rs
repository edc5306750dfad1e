use std::collections::VecDeque;
use std::time::Duration;

/// Start-ups remembered at most.
const REMEMBERED: usize = 32;
/// Start-ups seen before what was declared is forgotten.
const ENOUGH: usize = 3;

/// The actuation lag of a pool: the time from a decision to a copy that serves. Starts from what is declared, then is the upper
/// quartile of the start-ups seen last: a pace that fits most of them must fit slow ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    declared: Duration,
    seen: VecDeque<Duration>,
}

impl Lag {
    /// Nothing seen yet.
    pub fn new(declared: Duration) -> Self {
        Self {
            declared,
            seen: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// What counts until enough has been seen.
    pub fn declare(&mut self, declared: Duration) {
        self.declared = declared;
    }

    /// Takes one start-up: from the creation of a copy until it was ready. The oldest is forgotten.
    pub fn saw(&mut self, startup: Duration) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(startup);
    }

    /// Whether enough has been seen to know better than what is declared.
    pub fn is_learned(&self) -> bool {
        self.seen.len() >= ENOUGH
    }

    /// The lag.
    pub fn get(&self) -> Duration {
        if !self.is_learned() {
            return self.declared;
        }
        let mut sorted: Vec<Duration> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        sorted
            .get(sorted.len() * 3 / 4)
            .copied()
            .unwrap_or(self.declared)
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
        assert_eq!((lag.get(), lag.is_learned()), (s(30), false));
        lag.saw(s(90));
        assert_eq!((lag.get(), lag.is_learned()), (s(90), true));
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
