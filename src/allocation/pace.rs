use std::time::Duration;

/// How fast a pool may react: what it averages over, and how fast it works off backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Arrivals are averaged over this time.
    pub window: Duration,
    /// Backlog is to be worked off in this time.
    pub drain: Duration,
}

/// Backlog is worked off in no less than so many lags.
pub(super) const LAGS_A_DRAIN: u32 = 2;

/// The drain where none is declared: the API's default.
pub(super) const UNDECLARED_DRAIN: Duration = Duration::from_secs(30);

/// The pace that fits the actuation lag: the declared one, but never faster than the lag allows.
///
/// The gain of a control must match its lag. Measured on real arrivals (docs/design.md, section 6): with a lag of 30 s,
/// averaging over 4 lags and draining over 2 turns a rule that loses to a static split into one that wins at a load of 0.7
/// and above; averaging faster than the lag makes it harmful.
pub fn pace(declared: Pace, lag: Duration) -> Pace {
    Pace {
        window: declared.window.max(lag.saturating_mul(4)),
        drain: declared.drain.max(lag.saturating_mul(LAGS_A_DRAIN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_drain_that_nobody_declared_is_the_default_of_the_api() {
        let declared = crate::api::PolicySpec::default().drain;
        assert_eq!(
            crate::units::parse_duration(&declared),
            Ok(UNDECLARED_DRAIN)
        );
    }

    #[test]
    fn a_pool_without_lag_keeps_the_declared_pace() {
        let declared = Pace {
            window: s(5),
            drain: s(2),
        };
        assert_eq!(pace(declared, Duration::ZERO), declared);
    }

    #[test]
    fn a_long_lag_slows_the_pace_and_never_quickens_it() {
        let declared = Pace {
            window: s(60),
            drain: s(90),
        };
        assert_eq!(
            pace(declared, s(30)),
            Pace {
                window: s(120),
                drain: s(90)
            }
        );
    }
}
