//! When a change is worth its price: tolerance, and stabilization windows over recent recommendations.
//!
//! As in the HorizontalPodAutoscaler, a rise follows the lowest recommendation of its window and a fall the highest. A
//! restart knows nothing of the past, so it starts holding: a window must have been seen in full before it lets a change pass.

use super::types::{Behavior, Quantum};
use crate::units::GpuResource;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Buckets a window is divided into; extremes are kept per bucket, so a window lasts up to 1/16 longer than declared.
const BUCKETS: u64 = 16;

/// What planning remembers between ticks: recent recommendations of every agent, for the stabilization windows, and since when copies
/// start or go. Bounded: 2 × 17 extremes an agent, and only agents and copies of the last plan are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    agents: BTreeMap<String, History>,
    commitment: Option<Commitment>,
    under_way: BTreeMap<String, Duration>,
}

/// A decision that is being carried out. On the way there the cluster looks different from where the decision was made; as
/// long as the question is the same the answer stands, or half a move could be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct History {
    since: Duration,
    rise: Window,
    fall: Window,
}

/// Lowest and highest recommendation of every bucket of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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

    /// Since when each of these has been there, as far as is remembered; all others are forgotten.
    pub(super) fn first_seen<'a>(
        &mut self,
        present: impl Iterator<Item = &'a String>,
        now: Duration,
    ) -> &BTreeMap<String, Duration> {
        let mut before = std::mem::take(&mut self.under_way);
        for key in present {
            let since = before.remove(key).unwrap_or(now);
            self.under_way.insert(key.clone(), since);
        }
        &self.under_way
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::units::Priority;

    fn patient(up: u64, down: u64) -> PoolShape {
        let agents = vec![
            agent("a", Priority::High, 1, 8, 1),
            agent("b", Priority::High, 1, 8, 1),
        ];
        let mut shape = pool(Strategy::WholeGpu, agents);
        shape.behavior = Behavior {
            tolerance: 0.1,
            scale_up_window: Duration::from_secs(up),
            scale_down_window: Duration::from_secs(down),
        };
        shape
    }

    /// Plans once a second with the same cluster, and returns the first second in which something is done.
    fn first_step(
        shape: &PoolShape,
        pods: [usize; 2],
        targets: impl Fn(u64) -> [u64; 2],
    ) -> Option<u64> {
        let agents = pods.map(|n| running(&whole(), 1, &vec!["n"; n]));
        let observed = world(vec![node("n", 8)], agents.to_vec());
        let mut memory = Memory::default();
        for second in 0..1000 {
            let decision = targets(second).map(hungry);
            let now = Duration::from_secs(second);
            let (plan, next) = plan(shape, &observed, &decision, &memory, now);
            memory = next;
            if !plan.steps.is_empty() {
                return Some(second);
            }
        }
        None
    }

    #[test]
    fn a_rise_must_last_for_its_window_and_a_restart_starts_holding() {
        assert_eq!(
            first_step(&patient(60, 300), [1, 1], |_| [3000, 1000]),
            Some(60)
        );
        assert_eq!(
            first_step(&patient(0, 300), [1, 1], |_| [3000, 1000]),
            Some(0)
        );
        let flicker = |second| [if second % 50 == 0 { 1000 } else { 3000 }, 1000];
        assert_eq!(first_step(&patient(60, 300), [1, 1], flicker), None);
    }

    #[test]
    fn what_nobody_else_asks_for_is_kept_for_the_window_and_then_given_back() {
        assert_eq!(
            first_step(&patient(0, 300), [4, 1], |_| [1000, 1000]),
            Some(300)
        );
        let spikes = |second| [if second % 200 == 0 { 4000 } else { 1000 }, 1000];
        assert_eq!(first_step(&patient(0, 300), [4, 1], spikes), None);
    }

    #[test]
    fn while_another_agent_is_short_only_the_short_window_holds_a_fall() {
        assert_eq!(
            first_step(&patient(20, 300), [6, 2], |_| [2000, 6000]),
            Some(20)
        );
    }

    #[test]
    fn what_is_held_is_said_with_the_numbers() {
        let observed = world(
            vec![node("n", 8)],
            vec![
                running(&whole(), 1, &["n"; 4]),
                running(&whole(), 1, &["n"]),
            ],
        );
        let decision = [hungry(1000), hungry(1000)];
        let plan = plan(
            &patient(0, 300),
            &observed,
            &decision,
            &Memory::default(),
            Duration::ZERO,
        )
        .0;
        let hold = plan.holds[0].clone().unwrap();
        assert_eq!(hold.reason, HoldReason::Stabilizing);
        for part in ["target 1", "in force 4", "300 s"] {
            assert!(hold.message.contains(part), "{}", hold.message);
        }
    }

    #[test]
    fn a_difference_of_less_than_half_a_step_takes_nothing_from_anyone() {
        let shape = patient(0, 0);
        assert_eq!(first_step(&shape, [3, 5], |_| [3500, 4500]), None);
        assert_eq!(first_step(&shape, [3, 5], |_| [3900, 4000]), Some(0));
    }

    #[test]
    fn memory_does_not_grow() {
        let behavior = patient(60, 300).behavior;
        let mut memory = Memory::default();
        for tenth in 0..100_000u64 {
            memory.recommend(
                &behavior,
                "a",
                Duration::from_millis(tenth * 100),
                tenth % 977,
            );
        }
        let history = &memory.agents["a"];
        assert!(history.rise.buckets.len() <= 18 && history.fall.buckets.len() <= 18);
        memory.retain(std::iter::once("b"));
        assert!(memory.agents.is_empty());
    }
}
