//! A pool's signals from tick to tick: reads the pods, keeps one tracker an agent.

use super::observe::View;
use super::outage::Outage;
use crate::allocation::Load;
use crate::api::{Engine, StaleAction, ValidMetrics, ValidPool};
use crate::signals::dialect::{CustomMetrics, Dialect, Dialects};
use crate::signals::prometheus::{PodName, Question, Source};
use crate::signals::scrape::{Scraper, Target};
use crate::signals::{
    AgentSignal, Fallback, OnStale, Pod, PodSample, Problem, Settings, Tracker, after_stale,
};
use crate::telemetry::{Metrics, ScrapeOutcome};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Longest window that a pool is prepared for: the pace may slow down as lag is learned.
const LONGEST_WINDOW: Duration = Duration::from_secs(4 * 3600);

/// Pause between two questions to a Prometheus server.
const QUERY_EVERY: Duration = Duration::from_secs(5);

/// The trackers of a pool's agents, and how their pages are read.
#[derive(Debug, Default)]
pub struct Readings {
    agents: BTreeMap<String, Reading>,
    queried: Option<Duration>,
    outage: Outage,
}

#[derive(Debug)]
struct Reading {
    metrics: ValidMetrics,
    dialects: Arc<Dialects>,
    tracker: Tracker,
    interval: Duration,
    queried: bool,
    /// Not all of its pods were reached in the last round of queries: it comes first in the next.
    late: bool,
}

/// What one round gave, by pod uid.
pub type Samples = BTreeMap<Arc<str>, Result<PodSample, Problem>>;

/// The names to read for an agent. One set of each engine's for all agents: there may be ten thousand.
fn dialects(metrics: &ValidMetrics) -> Arc<Dialects> {
    static DETECTED: LazyLock<Arc<Dialects>> = LazyLock::new(|| Arc::new(Dialects::detect()));
    static VLLM: LazyLock<Arc<Dialects>> =
        LazyLock::new(|| Arc::new(Dialects::only(Dialect::vllm())));
    static SGLANG: LazyLock<Arc<Dialects>> =
        LazyLock::new(|| Arc::new(Dialects::only(Dialect::sglang())));
    match (metrics.engine, &metrics.custom) {
        (Engine::VLLM, _) => VLLM.clone(),
        (Engine::SGLang, _) => SGLANG.clone(),
        (Engine::Custom, Some(names)) => {
            let names = CustomMetrics {
                finished: names.finished.clone(),
                running: names.running.clone(),
                waiting: names.waiting.clone(),
            };
            Dialect::custom(&names).map_or_else(
                |_| DETECTED.clone(),
                |dialect| Arc::new(Dialects::only(dialect)),
            )
        }
        (Engine::Auto | Engine::Custom, _) => DETECTED.clone(),
    }
}

/// How the pool's samples are judged.
fn settings(pool: &ValidPool) -> Settings {
    let longest = pool.pace.window.max(LONGEST_WINDOW);
    if pool.prometheus.is_none() {
        return Settings::new(pool.interval, pool.pace.window, longest);
    }
    Settings::of_server(pool.interval.max(QUERY_EVERY), pool.pace.window, longest)
}

impl Readings {
    /// Keeps the trackers of agents that are as they were, starts those of new or changed ones, drops the others.
    pub fn fit(&mut self, pool: &ValidPool) {
        if pool.prometheus.is_none() {
            self.outage = Outage::default();
        }
        let mut kept = std::mem::take(&mut self.agents);
        for agent in &pool.agents {
            let before = kept.remove(&agent.name).filter(|r| {
                r.metrics == agent.metrics
                    && r.interval == pool.interval
                    && r.queried == pool.prometheus.is_some()
            });
            let settings = settings(pool);
            let mut reading = before.unwrap_or_else(|| Reading {
                metrics: agent.metrics.clone(),
                dialects: dialects(&agent.metrics),
                tracker: Tracker::new(settings),
                interval: pool.interval,
                queried: pool.prometheus.is_some(),
                late: false,
            });
            // The window may have been declared anew; what was measured holds all the same.
            reading.tracker.remember_over(settings.memory);
            self.agents.insert(agent.name.clone(), reading);
        }
    }

    /// One round of scrapes, all agents at once.
    pub async fn scrape(
        &self,
        pool: &ValidPool,
        view: &View,
        scraper: &Scraper,
        metrics: &Metrics,
    ) -> Samples {
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
        samples
    }

    /// Whether a Prometheus server is to be asked again: it knows nothing new before it has scraped again.
    pub fn is_query_due(&mut self, now: Duration) -> bool {
        let due = self
            .queried
            .is_none_or(|at| now.saturating_sub(at) >= QUERY_EVERY);
        if due {
            self.queried = Some(now);
        }
        due
    }

    /// One round of queries, all agents at once.
    pub async fn query(
        &mut self,
        pool: &ValidPool,
        view: &View,
        source: &Source,
        metrics: &Metrics,
    ) -> Samples {
        let seen = pool.agents.iter().zip(&view.agents);
        let seen: BTreeMap<&str, _> = seen.map(|(a, seen)| (a.name.as_str(), seen)).collect();
        let mut asked: Vec<_> = self.agents.iter_mut().collect();
        asked.sort_by_key(|(_, reading)| !reading.late);
        let question = |(name, reading): &(&String, &mut Reading)| Question {
            pods: seen.get(name.as_str()).map_or_else(Vec::new, |seen| {
                let pods = seen.pods.iter().map(|(name, pod)| PodName {
                    uid: pod.uid.clone(),
                    name: name.as_str().into(),
                });
                pods.collect()
            }),
            dialects: reading.dialects.clone(),
        };
        let questions: Vec<Question> = asked.iter().map(question).collect();
        let answers = source.read_all(&pool.namespace, &questions).await;
        for ((_, reading), answer) in asked.iter_mut().zip(&answers) {
            let mut results = answer.scrapes.iter().map(|scrape| &scrape.result);
            reading.late = results.any(|result| *result == Err(Problem::Late));
        }
        // Without pods nothing was asked, and nothing is known of the server.
        if answers.iter().any(|answer| !answer.scrapes.is_empty()) {
            let problem = answers.iter().find_map(|answer| answer.failure);
            self.outage.round(problem);
        }
        let scrapes = answers
            .into_iter()
            .flat_map(|answer| answer.scrapes)
            .inspect(|scrape| metrics.count_scrape(outcome(&scrape.result)));
        scrapes
            .map(|scrape| (scrape.pod_uid, scrape.result))
            .collect()
    }

    /// Takes what one round gave.
    pub fn take(
        &mut self,
        pool: &ValidPool,
        view: &View,
        samples: &Samples,
        metrics: &Metrics,
        now: Duration,
    ) {
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
            for (pod, problem) in reading.tracker.observe(now, &pods, samples) {
                metrics.count_signal_gap(problem.reason());
                tracing::info!(pool = pool.key(), agent = agent.name, %pod, reason = problem.reason(), "{problem}");
            }
        }
    }

    /// An agent's load over `window`.
    pub fn load(&self, agent: &str, now: Duration, window: Duration) -> Load {
        let reading = self.agents.get(agent);
        reading.map_or(Load::Unknown, |r| r.tracker.load(now, window).0)
    }

    /// Why the pool's metrics server cannot be read, as far as that is sure or shows in these signals.
    pub fn outage<'a>(
        &self,
        signals: impl IntoIterator<Item = &'a AgentSignal>,
    ) -> Option<Problem> {
        self.outage.problem(signals)
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
