//! When a change is worth its price: tolerance, and stabilization windows over recent recommendations.
//!
//! As in the HorizontalPodAutoscaler, a rise follows the lowest recommendation of its window and a fall the highest. A
//! restart knows nothing of the past, so it starts holding: a window must have been seen in full before it lets a change pass.

use super::types::Behavior;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Buckets a window is divided into; extremes are kept per bucket, so a window lasts up to 1/16 longer than declared.
const BUCKETS: u64 = 16;

/// What planning remembers between ticks: recent recommendations of every agent, for the stabilization windows. Bounded:
/// 2 × 17 extremes an agent, and only agents of the last plan are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    agents: BTreeMap<String, History>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct History {
    since: Duration,
    rise: Window,
    fall: Window,
}

/// Lowest and highest recommendation of every bucket of a window.
#[derive(Debug, Clone, Default, PartialEq)]
struct Window {
    length: Duration,
    buckets: VecDeque<(u64, u64, u64)>,
}

impl Window {
    fn of(length: Duration) -> Self {
        Self {
            length,
            buckets: VecDeque::new(),
        }
    }

    fn push(&mut self, now: Duration, share: u64) {
        let width = (u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX) / BUCKETS).max(1);
        let bucket = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / width;
        match self.buckets.back_mut() {
            Some((last, low, high)) if *last >= bucket => {
                *low = share.min(*low);
                *high = share.max(*high);
            }
            _ => self.buckets.push_back((bucket, share, share)),
        }
        if self.length.is_zero() {
            self.buckets.clear();
            self.buckets.push_back((bucket, share, share));
        }
        while let Some((first, ..)) = self.buckets.front()
            && first.saturating_add(BUCKETS) < bucket
        {
            self.buckets.pop_front();
        }
    }

    fn lowest(&self) -> u64 {
        self.buckets.iter().map(|b| b.1).min().unwrap_or(0)
    }

    fn highest(&self) -> u64 {
        self.buckets.iter().map(|b| b.2).max().unwrap_or(u64::MAX)
    }
}

/// What the windows make of the recommendations of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stabilized {
    /// A rise may go up to here.
    pub rise_to: u64,
    /// A fall may go down to here, when nobody else is short.
    pub fall_to: u64,
    /// A fall may go down to here, when somebody is short.
    pub yield_to: u64,
}

impl Memory {
    /// Records this tick's recommendation of one agent and says how far the windows let it move. `now` is monotonic.
    pub(super) fn recommend(
        &mut self,
        behavior: &Behavior,
        agent: &str,
        now: Duration,
        share: u64,
    ) -> Stabilized {
        let history = self
            .agents
            .entry(agent.to_owned())
            .or_insert_with(|| History {
                since: now,
                rise: Window::of(behavior.scale_up_window),
                fall: Window::of(behavior.scale_down_window),
            });
        if history.rise.length != behavior.scale_up_window
            || history.fall.length != behavior.scale_down_window
        {
            // Declared anew: what was seen under other windows says nothing about these.
            *history = History {
                since: now,
                rise: Window::of(behavior.scale_up_window),
                fall: Window::of(behavior.scale_down_window),
            };
        }
        history.rise.push(now, share);
        history.fall.push(now, share);
        let known = now.saturating_sub(history.since);
        let rise_known = known >= behavior.scale_up_window;
        let fall_known = known >= behavior.scale_down_window;
        Stabilized {
            rise_to: if rise_known { history.rise.lowest() } else { 0 },
            fall_to: if fall_known {
                history.fall.highest()
            } else {
                u64::MAX
            },
            yield_to: if rise_known {
                history.rise.highest()
            } else {
                u64::MAX
            },
        }
    }

    /// Forgets agents that are no longer in the pool.
    pub(super) fn retain<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: std::collections::BTreeSet<&str> = names.collect();
        self.agents.retain(|name, _| names.contains(name.as_str()));
    }
}

/// No move is made for less than this, milli-GPUs: 5 % of a GPU.
const LEAST: u64 = 50;

/// How far a target may be from the share in force without a move that takes from somebody: half a step of the menu and the
/// tolerance on top, so that the way back needs a clear difference too.
pub(super) fn band(behavior: &Behavior, share: u64, step: u64) -> u64 {
    (step / 2)
        .max(LEAST)
        .saturating_add(tolerated(behavior, share))
}

/// The tolerance of a share, milli-GPUs.
pub(super) fn tolerated(behavior: &Behavior, share: u64) -> u64 {
    let tolerance = if behavior.tolerance.is_finite() {
        behavior.tolerance.clamp(0.0, 1.0)
    } else {
        0.0
    };
    (share as f64 * tolerance) as u64
}
