use std::{collections::VecDeque, time::Duration};

/// Slots that a full horizon is divided into at least: the coarsest error of a window is one slot.
const SLOTS: u32 = 240;

/// A piece of time, and what is known of it. Slots follow one another without holes.
#[derive(Debug, Clone, Copy)]
struct Slot {
    start: Duration,
    end: Duration,
    /// Arrivals, measured or assumed; a piece may be negative, only sums over a window mean something.
    arrivals: f64,
    /// Seconds × pods that should have been measured.
    expected: f64,
    /// Seconds × pods that were measured.
    known: f64,
}

impl Slot {
    fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }

    /// Seconds of the slot that lie in `[from, to]`.
    fn overlap(&self, from: Duration, to: Duration) -> f64 {
        (self.end.min(to))
            .saturating_sub(self.start.max(from))
            .as_secs_f64()
    }
}

/// The last pieces of time, coarser for a longer horizon: at most about 2 × [`SLOTS`] of them, whatever the tick.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    slots: VecDeque<Slot>,
    grain: Duration,
    horizon: Duration,
    min_coverage: f64,
}

/// Sum over a stretch of time, over those slots only in which enough pods were measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Observed {
    /// Arrivals; may be negative.
    pub arrivals: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Ring {
    pub(super) fn new(horizon: Duration, min_coverage: f64) -> Self {
        Self {
            slots: VecDeque::new(),
            grain: horizon / SLOTS,
            horizon,
            min_coverage,
        }
    }

    /// Appends the tick `[from, to]` and forgets what left the horizon.
    pub(super) fn push(&mut self, from: Duration, to: Duration) {
        if to <= from {
            return;
        }
        match self.slots.back_mut() {
            Some(last) if to.saturating_sub(last.start) <= self.grain => last.end = to,
            _ => self.slots.push_back(Slot {
                start: from,
                end: to,
                arrivals: 0.0,
                expected: 0.0,
                known: 0.0,
            }),
        }
        let oldest = to.saturating_sub(self.horizon);
        while self.slots.front().is_some_and(|slot| slot.end <= oldest) {
            self.slots.pop_front();
        }
    }

    /// Spreads arrivals evenly over `[from, to]`; what lies before the horizon is forgotten.
    pub(super) fn add_arrivals(&mut self, from: Duration, to: Duration, arrivals: f64) {
        let span = to.saturating_sub(from).as_secs_f64();
        if span > 0.0 {
            self.each(from, to, |slot, seconds| {
                slot.arrivals += arrivals * seconds / span
            });
        }
    }

    /// One more pod should have been measured in `[from, to]`.
    pub(super) fn add_expected(&mut self, from: Duration, to: Duration) {
        self.each(from, to, |slot, seconds| slot.expected += seconds);
    }

    /// One more pod was measured in `[from, to]`.
    pub(super) fn add_known(&mut self, from: Duration, to: Duration) {
        self.each(from, to, |slot, seconds| slot.known += seconds);
    }

    /// What was observed in `[from, to]`.
    pub(super) fn observed(&self, from: Duration, to: Duration) -> Observed {
        let mut sum = Observed::default();
        for slot in self.slots.iter().rev().take_while(|slot| slot.end > from) {
            let seconds = slot.overlap(from, to);
            // The tolerance is for rounding: pod seconds are sums of many small pieces.
            if seconds > 0.0
                && slot.expected > 0.0
                && slot.known >= slot.expected * self.min_coverage * (1.0 - 1e-9)
            {
                sum.arrivals += slot.arrivals * seconds / slot.seconds();
                sum.seconds += seconds;
            }
        }
        sum
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn each(&mut self, from: Duration, to: Duration, mut change: impl FnMut(&mut Slot, f64)) {
        for slot in self
            .slots
            .iter_mut()
            .rev()
            .take_while(|slot| slot.end > from)
        {
            let seconds = slot.overlap(from, to);
            if seconds > 0.0 {
                change(slot, seconds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ring(horizon: Duration, ticks: u32) -> Ring {
        let mut ring = Ring::new(horizon, 0.5);
        for tick in 0..ticks {
            ring.push(SECOND * tick, SECOND * (tick + 1));
            ring.add_expected(SECOND * tick, SECOND * (tick + 1));
            ring.add_known(SECOND * tick, SECOND * (tick + 1));
        }
        ring
    }

    #[test]
    fn a_day_of_ticks_of_a_second_is_kept_in_a_few_hundred_slots() {
        let mut day = ring(SECOND * 86_400, 100_000);
        assert!(day.len() <= 500, "{}", day.len());
        day.add_arrivals(SECOND * 50_000, SECOND * 100_000, 5_000.0);
        let seen = day.observed(SECOND * 60_000, SECOND * 100_000);
        assert!((seen.arrivals - 4_000.0).abs() < 40.0, "{seen:?}");
    }

    #[test]
    fn what_is_spread_over_a_stretch_is_found_again_in_its_parts() {
        let mut ring = ring(SECOND * 60, 10);
        ring.add_arrivals(SECOND * 2, SECOND * 8, 60.0);
        let of = |from: u32, to: u32| ring.observed(SECOND * from, SECOND * to).arrivals;
        assert!((of(0, 10) - 60.0).abs() < 1e-9);
        assert!((of(0, 5) - 30.0).abs() < 1e-9);
        assert!(of(8, 10).abs() < 1e-9);
    }

    #[test]
    fn time_in_which_too_few_pods_were_measured_counts_neither_arrivals_nor_seconds() {
        let mut ring = ring(SECOND * 60, 4);
        ring.push(SECOND * 4, SECOND * 5);
        ring.add_expected(SECOND * 4, SECOND * 5);
        ring.add_arrivals(SECOND * 4, SECOND * 5, 1_000.0);
        let seen = ring.observed(Duration::ZERO, SECOND * 5);
        assert_eq!((seen.arrivals, seen.seconds), (0.0, 4.0));
    }
}
