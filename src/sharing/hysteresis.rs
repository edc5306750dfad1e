//! When a change is worth its price: tolerance, and stabilization windows over recent recommendations.
//!
//! As in the HorizontalPodAutoscaler, a rise follows the lowest recommendation of its window and a fall the highest. A
//! restart knows nothing of the past, so it starts holding: a window must have been seen in full before it lets a change pass.

use super::types::{Behavior, Quantum};
use crate::units::GpuResource;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Buckets a window is divided into; extremes are kept per bucket, so a window lasts up to 1/16 longer than declared.
const BUCKETS: u64 = 16;

/// What planning remembers between ticks: recent recommendations of every agent, for the stabilization windows. Bounded:
/// 2 × 17 extremes an agent, and only agents of the last plan are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    agents: BTreeMap<String, History>,
    commitment: Option<Commitment>,
}

/// A decision that is being carried out. On the way there the cluster looks different from where the decision was made; as
/// long as the question is the same the answer stands, or half a move could be taken back.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Commitment {
    /// The agents asked about, with the share aimed at (milli-GPUs) and whether each is to keep what it has.
    pub agents: Vec<(String, u64, bool)>,
    /// What there was to share.
    pub room: (u64, Vec<(GpuResource, u64)>),
    /// The answer.
    pub quanta: Vec<Option<Quantum>>,
}

impl Commitment {
    /// Whether `other` asks the same, give or take the tolerance.
    pub fn asks_as(&self, behavior: &Behavior, other: &Self) -> bool {
        let near = |a: u64, b: u64| a.abs_diff(b) <= tolerated(behavior, a);
        let same = |a: &(String, u64, bool), b: &(String, u64, bool)| {
            a.0 == b.0 && near(a.1, b.1) && a.2 == b.2
        };
        self.room == other.room
            && self.agents.len() == other.agents.len()
            && self
                .agents
                .iter()
                .zip(&other.agents)
                .all(|(a, b)| same(a, b))
    }
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

    /// The decision that is being carried out.
    pub(super) fn commitment(&self) -> Option<&Commitment> {
        self.commitment.as_ref()
    }

    /// Remembers the decision that is being carried out.
    pub(super) fn commit(&mut self, commitment: Commitment) {
        self.commitment = Some(commitment);
    }

    /// Forgets agents that are no longer in the pool.
    pub(super) fn retain<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: std::collections::BTreeSet<&str> = names.collect();
        self.agents.retain(|name, _| names.contains(name.as_str()));
    }
}

/// No move is made for less than this, milli-GPUs: 5 % of a GPU.
const LEAST: u64 = 50;

/// A shortfall up to this, milli-GPUs, is none: quanta are no finer.
pub(super) const NEGLIGIBLE: u64 = 25;

/// How far a target may be from the share in force without a move that takes from somebody: half a step of the menu and the
/// tolerance on top, so that the way back needs a clear difference too.
pub(super) fn band(behavior: &Behavior, share: u64, step: u64) -> u64 {
    (step / 2)
        .max(LEAST)
        .saturating_add(tolerated(behavior, share))
}

/// The tolerance of a share, milli-GPUs; at least what is negligible.
pub(super) fn tolerated(behavior: &Behavior, share: u64) -> u64 {
    let tolerance = if behavior.tolerance.is_finite() {
        behavior.tolerance.clamp(0.0, 1.0)
    } else {
        0.0
    };
    ((share as f64 * tolerance) as u64).max(NEGLIGIBLE)
}
