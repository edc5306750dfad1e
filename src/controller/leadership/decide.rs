use std::time::Duration;

/// How long a term lasts and how often the lease is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A record that has not changed for this long may be replaced; what we write into the lease.
    pub duration: Duration,
    /// The leader stops writing this long after the last renewal that succeeded; shorter than `duration`.
    pub deadline: Duration,
    /// Time between two looks, with and without the lease.
    pub retry: Duration,
}

impl Terms {
    /// The proportions that Kubernetes' own components use (15 s, 10 s, 2 s), with a somewhat quicker look.
    pub fn of(duration: Duration) -> Self {
        Self {
            duration,
            deadline: duration * 2 / 3,
            retry: duration / 10,
        }
    }
}

/// What a lease says, as far as the election reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it; `None`: nobody, it was given back.
    pub holder: Option<String>,
    /// The holder's own words for when it renewed. Compared for change only, never with a clock.
    pub renewed: Option<String>,
    /// The duration the holder wrote, when it is one.
    pub duration: Option<Duration>,
}

/// A record, and when this process first saw it, on its own monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    record: Record,
    first_seen: Duration,
}

impl Observation {
    /// Takes in what was read at `now`: an unchanged record keeps the time at which it was first seen.
    pub fn update(previous: Option<Self>, record: Record, now: Duration) -> Self {
        match previous {
            Some(old) if old.record == record => old,
            _ => Self {
                record,
                first_seen: now,
            },
        }
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// What to do about the lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write ourselves in as the holder: it is free, or its holder was silent for its duration.
    Acquire,
    /// We hold it: renew.
    Renew,
    /// Another holds it and is alive, as far as we know.
    Wait,
}

/// Decides from what was seen, when, and who we are. `now` and the observation are of the same monotonic clock.
///
/// A record's own duration counts, if it is longer than ours: a holder of another configuration is not cut short. It is
/// bounded, so that an absurd one cannot stop the operator for ever.
pub fn decide(now: Duration, seen: &Observation, me: &str, terms: Terms) -> Action {
    const LONGEST: Duration = Duration::from_secs(600);
    match &seen.record.holder {
        None => Action::Acquire,
        Some(holder) if holder == me => Action::Renew,
        Some(_) => {
            let patience = seen
                .record
                .duration
                .unwrap_or_default()
                .clamp(terms.duration, LONGEST.max(terms.duration));
            if now.saturating_sub(seen.first_seen) > patience {
                Action::Acquire
            } else {
                Action::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn terms() -> Terms {
        Terms::of(S(15))
    }

    fn held_by(holder: &str, renewed: &str) -> Record {
        Record {
            holder: Some(holder.to_owned()),
            renewed: Some(renewed.to_owned()),
            duration: Some(S(15)),
        }
    }

    #[test]
    fn a_free_lease_is_taken_at_once() {
        let seen = Observation::update(None, Record::default(), S(0));
        assert_eq!(decide(S(0), &seen, "a", terms()), Action::Acquire);
    }

    #[test]
    fn our_own_lease_is_renewed_even_when_it_is_old() {
        let seen = Observation::update(None, held_by("a", "1"), S(0));
        assert_eq!(decide(S(100), &seen, "a", terms()), Action::Renew);
    }

    #[test]
    fn a_holder_is_replaced_only_when_silent_for_its_duration_as_seen_here() {
        // The holder's clock is a year ahead or behind: its words are compared for change only.
        let first = Observation::update(None, held_by("b", "2099"), S(100));
        assert_eq!(decide(S(115), &first, "a", terms()), Action::Wait);
        assert_eq!(decide(S(116), &first, "a", terms()), Action::Acquire);
        let renewed = Observation::update(Some(first.clone()), held_by("b", "1970"), S(114));
        assert_eq!(decide(S(116), &renewed, "a", terms()), Action::Wait);
        let same = Observation::update(Some(first.clone()), held_by("b", "2099"), S(114));
        assert_eq!(same, first);
    }

    #[test]
    fn a_longer_duration_in_the_record_is_respected_and_an_absurd_one_is_bounded() {
        let mut record = held_by("b", "1");
        record.duration = Some(S(60));
        let seen = Observation::update(None, record.clone(), S(0));
        assert_eq!(decide(S(59), &seen, "a", terms()), Action::Wait);
        assert_eq!(decide(S(61), &seen, "a", terms()), Action::Acquire);
        record.duration = Some(Duration::MAX);
        let seen = Observation::update(None, record.clone(), S(0));
        assert_eq!(decide(S(601), &seen, "a", terms()), Action::Acquire);
        record.duration = None;
        let seen = Observation::update(None, record, S(0));
        assert_eq!(decide(S(14), &seen, "a", terms()), Action::Wait);
    }

    #[test]
    fn the_leader_falls_silent_before_anybody_may_replace_it() {
        for seconds in 5..=120 {
            let terms = Terms::of(S(seconds));
            assert!(terms.deadline + terms.retry < terms.duration);
            assert!(terms.retry * 3 < terms.deadline, "two renewals may fail");
        }
    }
}
