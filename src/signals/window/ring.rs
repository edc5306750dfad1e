use std::{collections::VecDeque, time::Duration};

/// How fine the past is kept: a slot is at most this part of its age wide, so a window's far edge is off by at most this
/// part of the window, and every tick of the last [`FINE`] ticks has a slot of its own.
const FINE: u32 = 32;

/// Slots that may be too fine before they are merged: merging at every tick would cost more than it saves.
const SLACK: usize = 16;

/// A piece of time, and what is known of it. It begins where the one before ends. Small: there are hundreds of each agent.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Nanoseconds.
    end: u64,
    /// Arrivals, measured or assumed; a piece may be negative, only sums over a window mean something.
    arrivals: f64,
    /// Seconds × pods that should have been measured.
    expected: f32,
    /// Seconds × pods that were measured.
    known: f32,
}

impl Slot {
    fn until(end: Duration) -> Self {
        Self {
            end: u64::try_from(end.as_nanos()).unwrap_or(u64::MAX),
            arrivals: 0.0,
            expected: 0.0,
            known: 0.0,
        }
    }

    fn end(&self) -> Duration {
        Duration::from_nanos(self.end)
    }
}

/// The past in slots without holes, the finer the younger: some 300 for four hours, 410 for a day.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    begin: Duration,
    slots: VecDeque<Slot>,
    merge_at: usize,
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
            begin: Duration::ZERO,
            slots: VecDeque::new(),
            merge_at: SLACK,
            horizon,
            min_coverage,
        }
    }

    /// Appends the tick `[from, to]`, which begins where the last one ended, and forgets what left the horizon.
    pub(super) fn push(&mut self, from: Duration, to: Duration) {
        if to <= from {
            return;
        }
        if self.slots.is_empty() {
            self.begin = from;
        }
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(SLACK); // by itself it would double
        }
        self.slots.push_back(Slot::until(to));
        let oldest = to.saturating_sub(self.horizon);
        while let Some(slot) = self.slots.front().filter(|slot| slot.end() <= oldest) {
            self.begin = slot.end();
            self.slots.pop_front();
        }
        if self.slots.len() >= self.merge_at {
            self.merge(to);
            self.merge_at = self.slots.len() + SLACK;
        }
    }

    /// Merges neighbours that are finer than their age asks for.
    fn merge(&mut self, now: Duration) {
        let (mut last, mut start) = (0, self.begin);
        for index in 1..self.slots.len() {
            let slot = self.slots[index];
            let width = slot.end().saturating_sub(start);
            let into = &mut self.slots[last];
            if width * FINE <= now.saturating_sub(slot.end()) {
                into.end = slot.end;
                into.arrivals += slot.arrivals;
                into.expected += slot.expected;
                into.known += slot.known;
            } else {
                start = into.end();
                last += 1;
                self.slots[last] = slot;
            }
        }
        self.slots.truncate(last + 1);
    }

    /// Spreads arrivals evenly over `[from, to]`; what lies before the horizon is forgotten.
    pub(super) fn add_arrivals(&mut self, from: Duration, to: Duration, arrivals: f64) {
        let span = to.saturating_sub(from).as_secs_f64();
        if span > 0.0 {
            self.each(from, to, |slot, seconds| {
                slot.arrivals += arrivals * seconds / span;
            });
        }
    }

    /// One more pod should have been measured in `[from, to]`.
    pub(super) fn add_expected(&mut self, from: Duration, to: Duration) {
        self.each(from, to, |slot, seconds| slot.expected += narrow(seconds));
    }

    /// One more pod was measured in `[from, to]`.
    pub(super) fn add_known(&mut self, from: Duration, to: Duration) {
        self.each(from, to, |slot, seconds| slot.known += narrow(seconds));
    }

    /// What was observed in `[from, to]`.
    pub(super) fn observed(&self, from: Duration, to: Duration) -> Observed {
        let mut sum = Observed::default();
        for index in (0..self.slots.len()).rev() {
            let Some((slot, start)) = self.slots.get(index).zip(self.start(index)) else {
                break;
            };
            if slot.end() <= from {
                break;
            }
            let seconds = overlap((start, slot.end()), (from, to));
            // The tolerance is for rounding: pod seconds are sums of many small pieces.
            let enough = f64::from(slot.expected) * self.min_coverage * 0.999;
            if seconds > 0.0 && slot.expected > 0.0 && f64::from(slot.known) >= enough {
                sum.arrivals += slot.arrivals * seconds / (slot.end() - start).as_secs_f64();
                sum.seconds += seconds;
            }
        }
        sum
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn start(&self, index: usize) -> Option<Duration> {
        match index.checked_sub(1) {
            None => Some(self.begin),
            Some(before) => self.slots.get(before).map(Slot::end),
        }
    }

    fn each(&mut self, from: Duration, to: Duration, mut change: impl FnMut(&mut Slot, f64)) {
        for index in (0..self.slots.len()).rev() {
            let Some(start) = self.start(index) else {
                break;
            };
            let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.end() > from) else {
                break;
            };
            let seconds = overlap((start, slot.end()), (from, to));
            if seconds > 0.0 {
                change(slot, seconds);
            }
        }
    }
}

/// Seconds that two stretches of time share.
fn overlap(a: (Duration, Duration), b: (Duration, Duration)) -> f64 {
    a.1.min(b.1).saturating_sub(a.0.max(b.0)).as_secs_f64()
}

// Seconds of a day, compared with a tolerance: seven digits are enough.
#[allow(clippy::cast_possible_truncation)]
fn narrow(seconds: f64) -> f32 {
    seconds as f32
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

    fn arrivals(ring: &Ring, from: u32, to: u32) -> f64 {
        ring.observed(SECOND * from, SECOND * to).arrivals
    }

    #[test]
    fn a_day_of_ticks_of_a_second_is_kept_in_a_few_hundred_slots() {
        let mut day = ring(SECOND * 86_400, 100_000);
        assert!(day.len() <= 500, "{}", day.len());
        day.add_arrivals(SECOND * 50_000, SECOND * 100_000, 5_000.0);
        assert!((arrivals(&day, 60_000, 100_000) - 4_000.0).abs() < 1e-6);
        let seen = day.observed(SECOND * 50_000, SECOND * 100_000);
        assert!((seen.seconds - 50_000.0).abs() < 1e-6, "{seen:?}");
    }

    #[test]
    fn the_slots_of_four_hours_of_a_tick_a_second_take_8_kib_at_any_time() {
        let mut most = 0;
        let mut ring = ring(SECOND * 14_400, 0);
        for tick in 0..20_000 {
            ring.push(SECOND * tick, SECOND * (tick + 1));
            most = most.max(ring.slots.capacity() * size_of::<Slot>());
        }
        assert!(most <= 8 * 1024, "{most} bytes");
    }

    #[test]
    fn a_short_window_is_exact_however_long_the_horizon_is() {
        let mut ring = ring(SECOND * 14_400, 0);
        for tick in 0..20_000_u32 {
            let (from, to) = (SECOND * tick, SECOND * (tick + 1));
            ring.push(from, to);
            ring.add_expected(from, to);
            ring.add_known(from, to);
            ring.add_arrivals(from, to, f64::from(tick % 7));
            if tick > 100 {
                let truth: f64 = (tick - 4..=tick).map(|t| f64::from(t % 7)).sum();
                assert!(
                    (arrivals(&ring, tick - 4, tick + 1) - truth).abs() < 1e-9,
                    "{tick}"
                );
            }
        }
    }

    #[test]
    fn a_long_window_is_off_by_its_far_edge_at_most() {
        // Nothing, then a burst: where it began is known to a 32nd of how long ago that is.
        let mut ring = ring(SECOND * 14_400, 10_000);
        ring.add_arrivals(SECOND * 5_000, SECOND * 10_000, 5_000.0);
        assert!((arrivals(&ring, 4_000, 10_000) - 5_000.0).abs() < 1e-6);
        assert!(arrivals(&ring, 0, 5_000 - 5_000 / 32 - 1).abs() < 1e-6);
    }

    #[test]
    fn what_is_spread_over_a_stretch_is_found_again_in_its_parts() {
        let mut ring = ring(SECOND * 60, 10);
        ring.add_arrivals(SECOND * 2, SECOND * 8, 60.0);
        assert!((arrivals(&ring, 0, 10) - 60.0).abs() < 1e-9);
        assert!((arrivals(&ring, 0, 5) - 30.0).abs() < 1e-9);
        assert!(arrivals(&ring, 8, 10).abs() < 1e-9);
    }

    #[test]
    fn what_left_the_horizon_is_forgotten() {
        let ring = ring(SECOND * 60, 1_000);
        assert_eq!(ring.observed(Duration::ZERO, SECOND * 900).seconds, 0.0);
        let kept = ring.observed(Duration::ZERO, SECOND * 1_000).seconds;
        assert!((60.0..=62.0).contains(&kept), "{kept}");
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
