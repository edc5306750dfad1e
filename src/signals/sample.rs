use super::{Input, Problem};
use std::{sync::Arc, time::Duration};

/// Counters above this are absurd: at 1,000 requests/s an engine needs 30,000 years to get there.
const LARGEST_COUNTER: f64 = 1e15;

/// Requests that one pod can hold at most, running and waiting; engines are limited by memory to far less.
const LARGEST_QUEUE: f64 = 1e7;

/// What one pod's engine said at one instant, summed over its data-parallel ranks.
///
/// [`PodSample::check`] accepts only finite, non-negative, plausible values, and the window takes no other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PodSample {
    /// Requests that left the engine since it started, whatever the reason (counter).
    pub finished: f64,
    /// Requests that run now.
    pub running: f64,
    /// Requests that wait now.
    pub waiting: f64,
    /// When the values were true, on the [`super::Clock`]'s scale.
    pub at: Duration,
    /// Tokens processed since the engine started: moves while requests run. None: the dialect has no such counter.
    pub tokens: Option<f64>,
    /// CPU seconds of the exporting process: moves as long as the process lives, idle or not.
    pub cpu_seconds: Option<f64>,
    /// Start time of the exporting process (seconds, the engine's clock): a change is a restart.
    pub process_start: Option<f64>,
}

impl PodSample {
    /// A sample without witnesses of life.
    pub const fn new(finished: f64, running: f64, waiting: f64, at: Duration) -> Self {
        Self {
            finished,
            running,
            waiting,
            at,
            tokens: None,
            cpu_seconds: None,
            process_start: None,
        }
    }

    /// Requests in the engine: running and waiting.
    pub fn backlog(&self) -> f64 {
        self.running + self.waiting
    }

    /// The sample, if every input is a number that an engine can mean.
    ///
    /// A witness ([`Self::tokens`], [`Self::cpu_seconds`], [`Self::process_start`]) that is no such number is dropped:
    /// it carries no load.
    ///
    /// # Errors
    /// The first input that is NaN, infinite, negative or absurd.
    pub fn check(mut self) -> Result<Self, Problem> {
        self.finished = plausible(Input::Finished, self.finished, LARGEST_COUNTER)?;
        self.running = plausible(Input::Running, self.running, LARGEST_QUEUE)?;
        self.waiting = plausible(Input::Waiting, self.waiting, LARGEST_QUEUE)?;
        let witness = |value: Option<f64>| value.filter(|v| v.is_finite() && *v >= 0.0);
        self.tokens = witness(self.tokens);
        self.cpu_seconds = witness(self.cpu_seconds);
        self.process_start = witness(self.process_start);
        Ok(self)
    }
}

fn plausible(input: Input, value: f64, largest: f64) -> Result<f64, Problem> {
    if value.is_nan() {
        Err(Problem::NotANumber(input))
    } else if value.is_infinite() {
        Err(Problem::Infinite(input))
    } else if value < 0.0 {
        Err(Problem::Negative(input))
    } else if value > largest {
        Err(Problem::Absurd(input))
    } else {
        Ok(value + 0.0) // turns -0 into 0
    }
}

/// What one attempt to read one pod gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// The pod's uid.
    pub pod_uid: Arc<str>,
    /// The sample, or why there is none.
    pub result: Result<PodSample, Problem>,
    /// How long the attempt took; the time until the deadline where it was given up.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(finished: f64, running: f64, waiting: f64) -> PodSample {
        PodSample::new(finished, running, waiting, Duration::ZERO)
    }

    #[test]
    fn what_no_engine_can_mean_is_named() {
        for (sample, problem) in [
            (
                sample(f64::NAN, 0.0, 0.0),
                Problem::NotANumber(Input::Finished),
            ),
            (
                sample(0.0, f64::INFINITY, 0.0),
                Problem::Infinite(Input::Running),
            ),
            (
                sample(0.0, 0.0, f64::NEG_INFINITY),
                Problem::Infinite(Input::Waiting),
            ),
            (sample(-1.0, 0.0, 0.0), Problem::Negative(Input::Finished)),
            (sample(1e308, 0.0, 0.0), Problem::Absurd(Input::Finished)),
            (sample(0.0, 0.0, 1e8), Problem::Absurd(Input::Waiting)),
        ] {
            assert_eq!(sample.check(), Err(problem));
        }
    }

    #[test]
    fn a_minus_zero_and_a_denormal_are_zero_and_tiny() {
        let checked = sample(-0.0, f64::MIN_POSITIVE / 2.0, 3.0).check();
        assert_eq!(checked.map(|s| s.finished.is_sign_positive()), Ok(true));
        assert_eq!(checked.map(|s| s.backlog()), Ok(3.0));
    }

    #[test]
    fn a_witness_that_is_no_number_is_dropped_and_the_load_kept() {
        let with_witness = PodSample {
            tokens: Some(f64::NAN),
            cpu_seconds: Some(2.0),
            ..sample(1.0, 2.0, 3.0)
        };
        let checked = with_witness.check();
        assert_eq!(
            checked.map(|s| (s.tokens, s.cpu_seconds)),
            Ok((None, Some(2.0)))
        );
    }
}
