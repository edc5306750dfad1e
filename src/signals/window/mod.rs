//! From the samples of an agent's pods to its load. Pure: the time is an argument.
//!
//! **Arrival rate by conservation.** What reached an engine either left it or is still in it, so between two samples of one
//! engine the arrivals are `Δfinished + Δ(running + waiting)`: exact, also while a queue grows, where the counter of
//! finished requests alone says too little. Differences are summed over pods and the window and clamped at zero once, at
//! the end: a single difference may be slightly negative because an engine's counters and gauges are not written together.
//!
//! **What was not measured is never zero.** Between a pod's last sample and now it keeps its last known rate; when the next
//! sample comes, its difference covers the gap exactly and replaces the assumption. After a reset, and after a time in which
//! nothing could reach the pod, nothing covers the gap: the assumption stays. A ready pod that is not measured counts with the larger of its own last rate and the mean of the
//! others, the agent is [`Freshness::Partial`]; with too few pods measured the load is unknown. Time in which too few pods
//! were measured counts neither arrivals nor seconds.
//!
//! **Limits.** An exporter frozen while its engine was idle is recognised only with a witness
//! ([`crate::signals::PodSample::cpu_seconds`]); what a pod received between its last sample and its end is assumed; requests
//! that an engine drops without counting them as finished lower the rate by as much.

mod pod;
mod ring;
#[cfg(test)]
mod tests;

use super::{PodSample, Problem};
use crate::allocation::Load;
use pod::{PodState, is_born};
use ring::Ring;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Problems that a signal lists at most; the coverage counts all.
const LISTED_PROBLEMS: usize = 16;

/// How a [`Tracker`] judges samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Time between ticks.
    pub interval: Duration,
    /// The longest window that is ever asked for; at most 24 h.
    pub longest_window: Duration,
    /// A pod without a sane sample for longer is stale.
    pub stale_after: Duration,
    /// A pod that answers, but whose numbers stand still for longer although something must move, is frozen. Above 30 s:
    /// SGLang refreshes its gauges only every 30 s once it is idle.
    pub frozen_after: Duration,
    /// How long the load of a pod that became unready and does not answer is assumed.
    pub unready_grace: Duration,
    /// Fraction of the expected pods that must be fresh for the load to count as known; in (0, 1].
    pub min_coverage: f64,
    /// Time constant of a pod's last known rate: the averaging window, so that what is assumed of a pod is as quick and as calm
    /// as what is measured.
    pub memory: Duration,
}

impl Settings {
    /// The settings for pods that are sampled every `interval`, averaged over `window` as a rule and over `longest_window` at
    /// most: stale after five missed samples and 5 s at least, frozen after 60 s, half of the pods enough.
    pub fn new(interval: Duration, window: Duration, longest_window: Duration) -> Self {
        Self {
            interval,
            longest_window: longest_window.clamp(interval, Duration::from_secs(86_400)),
            stale_after: (interval * 5).max(Duration::from_secs(5)),
            frozen_after: (interval * 5).max(Duration::from_secs(60)),
            unready_grace: Duration::from_secs(30),
            min_coverage: 0.5,
            memory: window.max(interval),
        }
    }

    /// The settings for a metrics server that is asked every `interval` but scrapes at a pace of its own, commonly every
    /// 15 s to 60 s: stale after 90 s, frozen after 3 minutes, and a rate is remembered over two of its scrapes at least.
    pub fn of_server(interval: Duration, window: Duration, longest_window: Duration) -> Self {
        Self {
            stale_after: (interval * 5).max(Duration::from_secs(90)),
            frozen_after: (interval * 5).max(Duration::from_secs(180)),
            memory: window.max(Duration::from_secs(120)),
            ..Self::new(interval, window, longest_window)
        }
    }
}

/// A pod of the agent that exists at a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its Ready condition.
    pub ready: bool,
    /// When its engine's container started, on the [`super::Clock`]'s scale; None when not known or before the clock.
    pub started: Option<Duration>,
}

/// How far an agent's signal can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    /// Every expected pod is fresh.
    Fresh,
    /// Enough pods are fresh; the others count with what was last known of them.
    Partial,
    /// Not yet enough evidence for a rate: after a start, or after a time without samples.
    Warming,
    /// Too few pods are fresh.
    Stale,
    /// No pod that could be measured.
    NoPods,
}

impl Freshness {
    /// The stable CamelCase name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "Fresh",
            Self::Partial => "Partial",
            Self::Warming => "Warming",
            Self::Stale => "Stale",
            Self::NoPods => "NoPods",
        }
    }

    /// The load is known.
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Fresh | Self::Partial)
    }
}

/// How many of the pods that should be measured are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Pods with fresh samples.
    pub fresh: usize,
    /// Pods that should have them: ready pods, and those that answer without being ready.
    pub expected: usize,
}

/// What is known of one pod's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PodLoad {
    /// Requests/s that reached it lately (fading mean); None before its second sample.
    pub arrivals_per_second: Option<f64>,
    /// Requests in it at its last sample.
    pub backlog: f64,
    /// Its samples are fresh.
    pub fresh: bool,
}

/// What is known of an agent's load at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSignal {
    /// The load; unknown unless [`Freshness::is_known`].
    pub load: Load,
    /// How far it can be trusted.
    pub freshness: Freshness,
    /// Age of the oldest sample that it rests on; where it rests on none, of the youngest there is.
    pub age: Option<Duration>,
    /// How long enough pods have not been measured; zero while enough are. For [`super::after_stale`].
    pub lost_for: Duration,
    /// How many pods it rests on.
    pub coverage: Coverage,
    /// By pod uid: the pods that were ever sampled.
    pub pods: BTreeMap<Arc<str>, PodLoad>,
    /// By pod name, what is wrong: the first few in order of uid.
    pub problems: Vec<(Arc<str>, Problem)>,
}

/// Follows the pods of one agent from tick to tick. Memory: some 300 slots of 24 bytes for windows of four hours, and
/// one record a pod that exists.
#[derive(Debug, Clone)]
pub struct Tracker {
    settings: Settings,
    ring: Ring,
    /// Boxed: a map has room for eleven from the first on, and most agents have few pods.
    pods: BTreeMap<Arc<str>, Box<PodState>>,
    tick: Option<Duration>,
    /// The last tick at which enough pods were fresh; before that the first tick.
    covered: Duration,
}

impl Tracker {
    /// A tracker that knows nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            ring: Ring::new(settings.longest_window, settings.min_coverage),
            settings,
            pods: BTreeMap::new(),
            tick: None,
            covered: Duration::ZERO,
        }
    }

    /// Remembers the rates of pods over this time from now on. What was seen stays.
    pub fn remember_over(&mut self, memory: Duration) {
        self.settings.memory = memory;
    }

    /// Takes one tick: the pods that exist, and what reading them gave, by pod uid. Results of pods that do not exist are
    /// ignored; of several results of one pod the latest sample counts. Time that does not move forward is ignored.
    ///
    /// Returns, by pod name, before which of these samples there was a gap that nothing covers, and why: the engine restarted, as its
    /// counters say, or it could not be reached. The load of the gap is assumed.
    pub fn observe<'a>(
        &mut self,
        now: Duration,
        pods: &[Pod],
        samples: impl IntoIterator<Item = (&'a str, Result<PodSample, Problem>)>,
    ) -> Vec<(Arc<str>, Problem)> {
        let mut gaps = Vec::new();
        let previous = self.tick.unwrap_or(now);
        if now < previous || self.tick == Some(now) {
            return gaps;
        }
        if self.tick.is_none() {
            self.covered = now;
        }
        self.tick = Some(now);
        self.ring.push(previous, now);
        self.forget_vanished(now, pods);
        let latest = latest_by_pod(samples);
        // In order of uid, so that no sum depends on the order of the list.
        let pods: BTreeMap<&str, &Pod> = pods.iter().map(|pod| (&*pod.uid, pod)).collect();
        for pod in pods.into_values() {
            let known = self.pods.get(&pod.uid).map(|state| &**state);
            let born = (previous < now && is_born(pod, known, previous)).then_some(previous);
            let state = self
                .pods
                .entry(pod.uid.clone())
                .or_insert_with(|| Box::new(PodState::new(pod, now)));
            state.set_ready(pod.ready, now);
            match latest.get(&*pod.uid) {
                Some(Ok(sample)) => {
                    let before = state.noticed();
                    state.take(*sample, born, now, &self.settings, &mut self.ring);
                    let new = state.noticed().filter(|_| state.noticed() != before);
                    gaps.extend(new.map(|(_, problem)| (state.name.clone(), problem)));
                }
                Some(Err(problem)) => state.failed(*problem),
                None => {}
            }
            state.credit(previous, now, &self.settings, &mut self.ring);
        }
        let coverage = self.coverage(now);
        if self.is_covered(coverage) {
            self.covered = now;
        }
        gaps
    }

    /// The agent's load over `window`, as known at `now`, and how far it can be trusted.
    pub fn load(&self, now: Duration, window: Duration) -> (Load, Freshness) {
        let coverage = self.coverage(now);
        if coverage.expected == 0 {
            return (Load::Unknown, Freshness::NoPods);
        }
        if !self.is_covered(coverage) {
            return (Load::Unknown, Freshness::Stale);
        }
        match self.measure(now, window.min(self.settings.longest_window)) {
            None => (Load::Unknown, Freshness::Warming),
            Some(load) if coverage.fresh < coverage.expected => (load, Freshness::Partial),
            Some(load) => (load, Freshness::Fresh),
        }
    }

    /// The agent's signal over `window`, as known at `now`.
    pub fn signal(&self, now: Duration, window: Duration) -> AgentSignal {
        let settings = &self.settings;
        let coverage = self.coverage(now);
        let covered = self.is_covered(coverage);
        let (load, freshness) = self.load(now, window);
        let ages = |fresh: bool| {
            self.pods
                .values()
                .filter(move |pod| pod.fresh(now, settings) == fresh)
                .filter_map(move |pod| pod.age(now))
        };
        AgentSignal {
            load,
            freshness,
            age: ages(true).max().or_else(|| ages(false).min()),
            lost_for: if covered {
                Duration::ZERO
            } else {
                now.saturating_sub(self.covered)
            },
            coverage,
            pods: self
                .pods
                .iter()
                .filter_map(|(uid, pod)| {
                    pod.backlog().map(|backlog| {
                        let load = PodLoad {
                            arrivals_per_second: pod.rate(),
                            backlog,
                            fresh: pod.fresh(now, settings),
                        };
                        (uid.clone(), load)
                    })
                })
                .collect(),
            problems: self
                .pods
                .values()
                .filter_map(|pod| {
                    pod.trouble(now, settings)
                        .map(|problem| (pod.name.clone(), problem))
                })
                .take(LISTED_PROBLEMS)
                .collect(),
        }
    }

    /// The load over the window that ends at the last tick, or None while less than half of the window (and less than two
    /// intervals) was observed.
    fn measure(&self, now: Duration, window: Duration) -> Option<Load> {
        let settings = &self.settings;
        let end = self.tick?;
        let start = end.saturating_sub(window);
        let seen = self.ring.observed(start, end);
        let enough = (window / 2).max(settings.interval * 2).min(window);
        // The tolerance is for ticks that come a little early.
        if seen.seconds <= 0.0 || seen.seconds < 0.95 * enough.as_secs_f64() {
            return None;
        }
        let fresh = || self.pods.values().filter(|pod| pod.fresh(now, settings));
        // A pod's first sample is fresh and says no rate: then the last known rates of the others are all there is.
        let mean_rate = mean(fresh().filter_map(|pod| pod.rate()))
            .or_else(|| mean(self.pods.values().filter_map(|pod| pod.rate())))
            .unwrap_or(0.0);
        let mean_backlog = mean(fresh().filter_map(|pod| pod.backlog())).unwrap_or(0.0);
        let (mut arrivals, mut backlog) = (seen.arrivals, 0.0);
        for pod in self.pods.values().filter(|pod| pod.expected(now, settings)) {
            let is_fresh = pod.fresh(now, settings);
            let own = |known: Option<f64>, mean: f64| match known {
                Some(known) if is_fresh => known,
                Some(known) => known.max(mean),
                None => mean,
            };
            let rate = own(pod.rate(), mean_rate);
            for (from, to) in pod.gaps(end, settings).into_iter().flatten() {
                arrivals += rate * self.ring.observed(from.max(start), to).seconds;
            }
            backlog += own(pod.backlog(), mean_backlog);
        }
        Some(Load::Measured {
            arrivals_per_second: (arrivals / seen.seconds).max(0.0),
            backlog,
        })
    }

    fn coverage(&self, now: Duration) -> Coverage {
        let count = |wanted: &dyn Fn(&PodState) -> bool| {
            self.pods.values().filter(|pod| wanted(pod)).count()
        };
        Coverage {
            fresh: count(&|pod| pod.fresh(now, &self.settings)),
            expected: count(&|pod| pod.expected(now, &self.settings)),
        }
    }

    fn is_covered(&self, coverage: Coverage) -> bool {
        // Counts of pods are far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let (fresh, expected) = (coverage.fresh as f64, coverage.expected as f64);
        coverage.expected > 0 && fresh >= expected * self.settings.min_coverage
    }

    fn forget_vanished(&mut self, now: Duration, pods: &[Pod]) {
        let existing: std::collections::BTreeSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
        let (settings, ring) = (&self.settings, &mut self.ring);
        self.pods.retain(|uid, pod| {
            let exists = existing.contains(&**uid);
            if !exists {
                pod.settle(now, settings, ring);
            }
            exists
        });
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// One result a pod: the latest sample; a problem only where there is no sample. Independent of the order.
fn latest_by_pod<'a>(
    samples: impl IntoIterator<Item = (&'a str, Result<PodSample, Problem>)>,
) -> BTreeMap<&'a str, Result<PodSample, Problem>> {
    let mut latest: BTreeMap<&str, Result<PodSample, Problem>> = BTreeMap::new();
    for (uid, result) in samples {
        latest
            .entry(uid)
            .and_modify(|kept| {
                let replace = match (&*kept, &result) {
                    (Ok(kept), Ok(new)) => {
                        (
                            new.at,
                            new.finished.to_bits(),
                            new.running.to_bits(),
                            new.waiting.to_bits(),
                        ) > (
                            kept.at,
                            kept.finished.to_bits(),
                            kept.running.to_bits(),
                            kept.waiting.to_bits(),
                        )
                    }
                    (Err(_), Ok(_)) => true,
                    (Ok(_), Err(_)) => false,
                    (Err(kept), Err(new)) => new > kept,
                };
                if replace {
                    *kept = result;
                }
            })
            .or_insert(result);
    }
    latest
}
