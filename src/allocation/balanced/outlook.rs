use super::memory::{LONGEST, Learned, Memory};
use std::time::Duration;

/// What is expected to reach an agent, and how far that may be off: the policy's view of its own uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Requests a second that are expected; ≥ 0.
    pub arrivals_per_second: f64,
    /// One standard deviation of what comes within a horizon around what is expected of it, in requests a second; ≥ 0.
    pub deviation_per_second: f64,
}

/// How far ahead a decision must look, in seconds: nothing that is decided now acts sooner than a lag and two intervals from the load
/// that is known.
pub(super) fn span(lag: Duration, interval: Duration) -> f64 {
    lag.as_secs_f64().min(LONGEST) + 2.0 * interval.as_secs_f64().clamp(0.001, LONGEST)
}

impl Memory {
    /// What is expected of an agent; `None` before anything was learned of it.
    pub fn outlook(&self, agent: &str, lag: Duration, interval: Duration) -> Option<Outlook> {
        let known = |learned: &&Learned| learned.name == agent && learned.mass[0] > 0.0;
        let learned = self.agents.iter().find(known)?;
        Some(Outlook {
            arrivals_per_second: learned.forecast,
            deviation_per_second: (learned.dispersion / span(lag, interval)).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEND, Pool, loaded};
    use super::*;

    #[test]
    fn what_is_expected_of_steady_arrivals_is_their_rate_and_of_wavering_ones_it_is_uncertain() {
        let mut pool = Pool::new(LEND);
        for second in 0..900u64 {
            let wavers = if (second / 20).is_multiple_of(2) {
                60.0
            } else {
                0.0
            };
            pool.decide(
                1000,
                &[loaded("steady", 30.0, 0.0), loaded("wavers", wavers, 0.0)],
            );
        }
        let of = |name| {
            let times = (Duration::from_secs(10), Duration::from_secs(1));
            let outlook = pool.memory.outlook(name, times.0, times.1);
            outlook.map(|o| (o.arrivals_per_second.round(), o.deviation_per_second))
        };
        let (steady, wavers) = (of("steady"), of("wavers"));
        assert!(
            steady.is_some_and(|(rate, off)| rate == 30.0 && off < 1.0),
            "{steady:?}"
        );
        assert!(wavers.is_some_and(|(_, off)| off > 5.0), "{wavers:?}");
        assert_eq!(of("nobody"), None);
    }
}
