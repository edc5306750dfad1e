//! What a load that a user wrote may not be.

use super::replay::{MOST_COPIES, Replay, Scaling};
use super::trace::Recording;
use super::{AgentLoad, Arrivals, Drift, Work};

/// Highest rate of a load, in requests a second.
const MOST: f64 = 1e9;

/// A load that cannot be: whose, which field, what it is and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("load of {agent:?}: {field} is {value}: {right}")]
pub struct LoadError {
    /// The agent.
    pub agent: String,
    /// The field, from `arrivals` or `work` on.
    pub field: String,
    /// What stands there.
    pub value: String,
    /// What would be right.
    pub right: String,
}

/// Collects nothing: the first wrong field ends it.
struct Check<'a>(&'a str);

type Checked = Result<(), LoadError>;

impl AgentLoad {
    /// Whether this can be a load. One that fails has no requests.
    ///
    /// # Errors
    /// The first field that is out of range, with its value and what would be right.
    pub fn check(&self) -> Checked {
        let check = Check(&self.agent);
        match &self.arrivals {
            Arrivals::Constant { rate } | Arrivals::Poisson { rate } => check.rate("rate", *rate),
            Arrivals::Steps { steps, .. } => {
                if steps.is_empty() {
                    return check.wrong("steps", "empty", "must have at least one step");
                }
                steps.iter().enumerate().try_for_each(|(i, step)| {
                    check.rate(&format!("steps[{i}].rate"), step.rate)?;
                    let seconds = format!("steps[{i}].seconds");
                    check.that(
                        step.seconds >= 0.0,
                        &seconds,
                        step.seconds,
                        "must be at least 0",
                    )
                })
            }
            Arrivals::Square {
                low,
                high,
                period,
                duty,
                ..
            } => {
                check.rate("low", *low)?;
                check.mean("high", *high)?;
                check.length("period", *period)?;
                check.seldom("period", *period, *high)?;
                let within = *duty > 0.0 && *duty < 1.0;
                check.that(within, "duty", *duty, "must be between 0 and 1")
            }
            Arrivals::Sine {
                rate,
                amplitude,
                period,
                ..
            } => {
                check.mean("rate", *rate)?;
                check.length("period", *period)?;
                check.seldom("period", *period, *rate)?;
                check.part("amplitude", *amplitude)
            }
            Arrivals::Diurnal {
                rate, shape, day, ..
            } => {
                check.mean("rate", *rate)?;
                check.length("day", *day)?;
                check.seldom("day", *day, *rate)?;
                let parts = shape.iter().enumerate();
                for (i, part) in parts {
                    check.rate(&format!("shape[{i}]"), *part)?;
                }
                let sum = shape.iter().fold(0.0, |sum, part| sum + part);
                check.that(sum > 0.0, "shape", sum, "must have a sum above 0")
            }
            Arrivals::Bursty { rate, like } => {
                check.mean("rate", *rate)?;
                let right = "must be a rate from 0.01 to 1000000";
                let within = (1e-2..=1e6).contains(&like.mean);
                check.that(within, "like.mean", like.mean, right)?;
                for (field, value) in [
                    ("like.idc1s", like.idc_1s),
                    ("like.idc60s", like.idc_60s),
                    ("like.cv", like.cv),
                ] {
                    let right = "must be at least 1 (Poisson's) and at most 1000000";
                    check.that((1.0..=1e6).contains(&value), field, value, right)?;
                }
                Ok(())
            }
            Arrivals::Drifting(drift) => check.drift(drift),
            Arrivals::Trace(replay) => check.replay(replay),
        }?;
        check.work(&self.work, &self.arrivals)
    }
}

impl Check<'_> {
    fn wrong(&self, field: &str, value: impl ToString, right: &str) -> Checked {
        let place = if field.starts_with("work") {
            field.to_owned()
        } else {
            format!("arrivals.{field}")
        };
        Err(LoadError {
            agent: self.0.to_owned(),
            field: place,
            value: value.to_string(),
            right: right.to_owned(),
        })
    }

    fn that(&self, holds: bool, field: &str, value: f64, right: &str) -> Checked {
        if holds {
            Ok(())
        } else {
            self.wrong(field, value, right)
        }
    }

    fn rate(&self, field: &str, rate: f64) -> Checked {
        let right = "must be a rate from 0 to 1000000000";
        self.that((0.0..=MOST).contains(&rate), field, rate, right)
    }

    fn mean(&self, field: &str, rate: f64) -> Checked {
        let right = "must be a rate above 0, at most 1000000000";
        self.that(rate > 0.0 && rate <= MOST, field, rate, right)
    }

    fn length(&self, field: &str, seconds: f64) -> Checked {
        let right = "must be seconds from 0.001 to 1000000000";
        self.that((1e-3..=1e9).contains(&seconds), field, seconds, right)
    }

    /// A load must not change its rate ten thousand times from one request to the next: nobody would wait for it.
    fn seldom(&self, field: &str, seconds: f64, rate: f64) -> Checked {
        let right = format!(
            "must be at least {}: a ten-thousandth of a request at {rate}/s",
            1e-4 / rate
        );
        self.that(seconds * rate >= 1e-4, field, seconds, &right)
    }

    fn part(&self, field: &str, part: f64) -> Checked {
        self.that(
            (0.0..=1.0).contains(&part),
            field,
            part,
            "must be from 0 to 1",
        )
    }

    fn drift(&self, drift: &Drift) -> Checked {
        self.mean("rate", drift.rate)?;
        self.length("window", drift.window)?;
        self.seldom("window", drift.window, drift.rate)?;
        let sigma = (0.0..=3.0).contains(&drift.sigma);
        self.that(sigma, "sigma", drift.sigma, "must be from 0 to 3")?;
        let correlation = (0.0..1.0).contains(&drift.correlation);
        let right = "must be at least 0 and below 1";
        self.that(correlation, "correlation", drift.correlation, right)
    }

    fn replay(&self, replay: &Replay) -> Checked {
        let from = replay.from.is_finite() && replay.from >= 0.0;
        self.that(from, "from", replay.from, "must be seconds of at least 0")?;
        if let Some(seconds) = replay.seconds {
            self.length("seconds", seconds)?;
        }
        if replay.amount() <= 0.0 {
            let right = "must have a request between `from` and its end";
            return self.wrong("file", format!("{:?}", replay.file), right);
        }
        let (Scaling::Compression { rate }
        | Scaling::Superposition { rate }
        | Scaling::Thinning { rate }) = replay.scaling
        else {
            return Ok(());
        };
        self.mean("scaling.rate", rate)?;
        let mean = replay.mean_rate();
        if mean <= 0.0 {
            let right = "has all its requests at one time: say how long it is in `seconds`";
            return self.wrong("file", format!("{:?}", replay.file), right);
        }
        match replay.scaling {
            Scaling::Thinning { .. } => {
                let right = format!("must be at most what was recorded, {mean:.3}/s");
                self.that(rate <= mean, "scaling.rate", rate, &right)
            }
            Scaling::Superposition { .. } => {
                let right = format!("must be at most 1000 times what was recorded, {mean:.3}/s");
                self.that(rate / mean <= MOST_COPIES, "scaling.rate", rate, &right)
            }
            _ => Ok(()),
        }
    }

    fn work(&self, work: &Work, arrivals: &Arrivals) -> Checked {
        let Work::Tokens(tokens) = work else {
            return Ok(());
        };
        let Arrivals::Trace(replay) = arrivals else {
            let right = "needs arrivals from a trace: nothing else has tokens";
            return self.wrong("work", "Tokens", right);
        };
        for (field, cost) in [
            ("work.prefill", tokens.prefill),
            ("work.decode", tokens.decode),
        ] {
            let right = "must be GPU-seconds a token, from 0 to 1000";
            self.that((0.0..=1e3).contains(&cost), field, cost, right)?;
        }
        if let Some(mean) = tokens.mean {
            let right = "must be GPU-seconds above 0";
            self.that(mean > 0.0 && mean.is_finite(), "work.mean", mean, right)?;
        }
        let Recording::Requests(requests) = &replay.recorded else {
            let right = "needs a trace of requests: a table of rates has no tokens";
            return self.wrong("work", "Tokens", right);
        };
        let some = requests.iter().any(|row| tokens.gpu_seconds(row) > 0.0);
        let right = "needs a trace with tokens, of which some cost something";
        if some {
            Ok(())
        } else {
            self.wrong("work", "Tokens", right)
        }
    }
}

#[cfg(test)]
mod tests;
