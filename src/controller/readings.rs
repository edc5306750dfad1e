//! A pool's signals from tick to tick: reads the pods, keeps one tracker an agent.

use super::observe::View;
use crate::api::{Engine, StaleAction, ValidMetrics, ValidPool};
use crate::signals::dialect::{CustomMetrics, Dialect, Dialects};
use crate::signals::scrape::{Scraper, Target};
use crate::signals::{
    AgentSignal, Clock, Fallback, OnStale, Pod, PodSample, Problem, Settings, Tracker, after_stale,
};
use crate::telemetry::{Metrics, ScrapeOutcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest window that a pool is prepared for: the pace may slow down as lag is learned.
const LONGEST_WINDOW: Duration = Duration::from_secs(4 * 3600);

/// The trackers of a pool's agents, and how their pages are read.
#[derive(Debug, Default)]
pub struct Readings {
    agents: BTreeMap<String, Reading>,
}

#[derive(Debug)]
struct Reading {
    metrics: ValidMetrics,
    dialects: Arc<Dialects>,
    tracker: Tracker,
    interval: Duration,
}

type Samples = BTreeMap<Arc<str>, Result<PodSample, Problem>>;

fn dialects(metrics: &ValidMetrics) -> Dialects {
    let only = match (metrics.engine, &metrics.custom) {
        (Engine::VLLM, _) => Some(Dialect::vllm()),
        (Engine::SGLang, _) => Some(Dialect::sglang()),
        (Engine::Custom, Some(names)) => {
            let names = CustomMetrics {
                finished: names.finished.clone(),
                running: names.running.clone(),
                waiting: names.waiting.clone(),
            };
            Dialect::custom(&names).ok()
        }
        (Engine::Auto | Engine::Custom, _) => None,
    };
    only.map_or_else(Dialects::detect, Dialects::only)
}

impl Readings {
    /// Keeps the trackers of agents that are as they were, starts those of new or changed ones, drops the others.
    pub fn fit(&mut self, pool: &ValidPool) {
        let mut kept = std::mem::take(&mut self.agents);
        for agent in &pool.agents {
            let before = kept
                .remove(&agent.name)
                .filter(|r| r.metrics == agent.metrics && r.interval == pool.interval);
            let reading = before.unwrap_or_else(|| Reading {
                metrics: agent.metrics.clone(),
                dialects: Arc::new(dialects(&agent.metrics)),
                tracker: Tracker::new(Settings::new(
                    pool.interval,
                    pool.pace.window.max(LONGEST_WINDOW),
                )),
                interval: pool.interval,
            });
            self.agents.insert(agent.name.clone(), reading);
        }
    }

    /// One round of scrapes, all agents at once.
    pub async fn scrape(
        &mut self,
        pool: &ValidPool,
        view: &View,
        scraper: &Scraper,
        clock: Clock,
        metrics: &Metrics,
    ) {
        let mut samples = Samples::new();
        let mut targets = Vec::new();
        for (agent, seen) in pool.agents.iter().zip(&view.agents) {
            let Some(reading) = self.agents.get(&agent.name) else {
                continue;
            };
            for (_, pod) in seen.pods.iter().filter(|(_, pod)| pod.node.is_some()) {
                let ip = pod.ip.as_deref().unwrap_or_default();
                match Target::new(
                    pod.uid.clone(),
                    ip,
                    agent.metrics.port,
                    &agent.metrics.path,
                    reading.dialects.clone(),
                ) {
                    Ok(target) => targets.push(target),
                    Err(problem) => drop(samples.insert(pod.uid.clone(), Err(problem))),
                }
            }
        }
        for scrape in scraper.scrape_all(&targets).await {
            metrics.count_scrape(outcome(&scrape.result));
            samples.insert(scrape.pod_uid, scrape.result);
        }
        self.take(pool, view, &samples, clock.now());
    }

    /// Takes what one round gave.
    pub fn take(&mut self, pool: &ValidPool, view: &View, samples: &Samples, now: Duration) {
        for (agent, seen) in pool.agents.iter().zip(&view.agents) {
            let Some(reading) = self.agents.get_mut(&agent.name) else {
                continue;
            };
            let pods: Vec<Pod> = seen
                .pods
                .iter()
                .map(|(name, pod)| Pod {
                    uid: pod.uid.clone(),
                    name: name.as_str().into(),
                    ready: pod.ready && !pod.deleting,
                    started: None,
                })
                .collect();
            let samples = pods
                .iter()
                .filter_map(|pod| samples.get(&pod.uid).map(|result| (&*pod.uid, *result)));
            reading.tracker.observe(now, &pods, samples);
        }
    }

    /// The signal of every agent over `window`, in the pool's order.
    pub fn signals(
        &self,
        pool: &ValidPool,
        now: Duration,
        window: Duration,
    ) -> Vec<Option<AgentSignal>> {
        pool.agents
            .iter()
            .map(|agent| {
                self.agents
                    .get(&agent.name)
                    .map(|r| r.tracker.signal(now, window))
            })
            .collect()
    }
}

/// Whether an agent without signals is to be raised to its minimum by now.
pub fn falls_back(pool: &ValidPool, signal: &AgentSignal) -> bool {
    let then = match pool.then {
        StaleAction::Hold => Fallback::Hold,
        StaleAction::Minimum => Fallback::Minimum,
    };
    !signal.freshness.is_known()
        && after_stale(
            OnStale {
                hold_for: pool.hold_for,
                then,
            },
            signal.lost_for,
        ) == Fallback::Minimum
}

fn outcome(result: &Result<PodSample, Problem>) -> ScrapeOutcome {
    match result {
        Ok(_) => ScrapeOutcome::Succeeded,
        Err(
            Problem::ConnectionRefused
            | Problem::Unreachable
            | Problem::ConnectionClosed
            | Problem::BadAddress
            | Problem::BadPath,
        ) => ScrapeOutcome::Unreachable,
        Err(Problem::Timeout | Problem::Late) => ScrapeOutcome::TimedOut,
        Err(Problem::TooLarge) => ScrapeOutcome::TooLarge,
        Err(Problem::BadStatus(_) | Problem::Redirect(_)) => ScrapeOutcome::BadStatus,
        Err(_) => ScrapeOutcome::Unusable,
    }
}
