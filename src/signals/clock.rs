use std::time::{Duration, Instant};

/// Monotonic time since the operator started, the only time that drives intervals: steps of the wall clock, leap
/// seconds and time zones cannot make a sample old or a rate wrong.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since [`Clock::start`].
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
