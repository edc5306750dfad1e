//! How each engine names what an agent's load is made of, and how its series add up.
//!
//! Names are lists: the first that a page has is used, because engines rename metrics (vLLM deprecates in X.Y, hides in
//! X.Y+1, removes in X.Y+2).

use super::{
    Input, PodSample, Problem,
    exposition::{Page, Series},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// CPU seconds of the exporting process, by the Prometheus client libraries' convention.
const CPU_SECONDS: &str = "process_cpu_seconds_total";
/// Start time of the exporting process, by the same convention.
const PROCESS_START: &str = "process_start_time_seconds";

/// Longest metric name that a pool may declare.
const LONGEST_NAME: usize = 128;

/// The metric names that a pool declares for an engine that is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomMetrics {
    /// Counter of requests that left the engine.
    pub finished: String,
    /// Gauge of requests that run.
    pub running: String,
    /// Gauge of requests that wait.
    pub waiting: String,
}

/// A declared metric name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input}: {name:?} {why}")]
pub struct BadMetricName {
    /// What it was declared for.
    pub input: Input,
    /// The name as declared, at most 64 characters of it.
    pub name: String,
    /// What would be right.
    pub why: &'static str,
}

/// The names of one engine's metrics, and how series add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Short name, for messages and metric labels.
    pub name: &'static str,
    pub(super) finished: Vec<Arc<str>>,
    pub(super) running: Vec<Arc<str>>,
    /// Each list is one queue; the first must be there, the others add to it where they are.
    pub(super) waiting: Vec<Vec<Arc<str>>>,
    /// Counters that move while requests run; each that is there adds.
    pub(super) tokens: Vec<Arc<str>>,
    /// Labels of ranks that repeat one another: series that differ only in these are copies, and the largest counts.
    pub(super) copies: &'static [&'static str],
    /// A label that splits a gauge's total into parts which stand beside it: of a gauge only series without it count.
    pub(super) parts: Option<&'static str>,
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().copied().map(Arc::from).collect()
}

impl Dialect {
    /// vLLM, V0 and V1 engines, all data-parallel ranks (label `engine`) and finish reasons summed.
    ///
    /// Source: `vllm/v1/metrics/loggers.py` of vllm-project/vllm, class `PrometheusStatLogger`: gauges
    /// `vllm:num_requests_running` and `vllm:num_requests_waiting` (labels `model_name`, `engine`), counter
    /// `vllm:request_success` (also `finished_reason`: stop, length, abort, ...), printed with `_total`.
    /// `vllm:num_requests_swapped` is V0 only (`vllm/engine/metrics.py` up to 0.9).
    /// `vllm:num_requests_waiting_by_reason` repeats the waiting gauge in parts and is not read.
    pub fn vllm() -> Self {
        Self {
            name: "vLLM",
            finished: names(&["vllm:request_success_total", "vllm:request_success"]),
            running: names(&["vllm:num_requests_running"]),
            waiting: vec![
                names(&["vllm:num_requests_waiting"]),
                names(&["vllm:num_requests_swapped"]),
            ],
            tokens: names(&["vllm:generation_tokens_total", "vllm:prompt_tokens_total"]),
            copies: &[],
            parts: None,
        }
    }

    /// SGLang, all data-parallel ranks summed.
    ///
    /// Source: `python/sglang/srt/observability/metrics_collector.py` (before: `python/sglang/srt/metrics/collector.py`) of
    /// sgl-project/sglang. `SchedulerMetricsCollector`: gauges `sglang:num_running_reqs`, `sglang:num_queue_reqs` and
    /// `sglang:num_grammar_queue_reqs`; `_log_gauge_queue_count` writes the total with `priority=""` and the parts beside
    /// it; ranks of one data-parallel rank repeat the gauges with `--enable-metrics-for-all-schedulers`.
    /// `TokenizerMetricsCollector.observe_one_finished_request`: counter `sglang:num_requests_total` of finished requests
    /// (labels split it, nothing repeats it). `sglang:realtime_tokens_total` moves while requests run. The underscore
    /// spelling is in use beside the colon (issue 12618 there).
    pub fn sglang() -> Self {
        Self {
            name: "SGLang",
            finished: names(&["sglang:num_requests_total", "sglang_num_requests_total"]),
            running: names(&["sglang:num_running_reqs", "sglang_num_running_reqs"]),
            waiting: vec![
                names(&["sglang:num_queue_reqs", "sglang_num_queue_reqs"]),
                names(&[
                    "sglang:num_grammar_queue_reqs",
                    "sglang_num_grammar_queue_reqs",
                ]),
            ],
            tokens: names(&[
                "sglang:realtime_tokens_total",
                "sglang_realtime_tokens_total",
            ]),
            copies: &[
                "tp_rank",
                "pp_rank",
                "moe_ep_rank",
                "moe_dp_rank",
                "attn_cp_rank",
                "pid",
            ],
            parts: Some("priority"),
        }
    }

    /// What a pool declares; every series of a name is summed.
    ///
    /// # Errors
    /// A name that is no metric name, too long, or used twice.
    pub fn custom(metrics: &CustomMetrics) -> Result<Self, BadMetricName> {
        let declared = [
            (Input::Finished, &metrics.finished),
            (Input::Running, &metrics.running),
            (Input::Waiting, &metrics.waiting),
        ];
        for (index, (input, name)) in declared.iter().enumerate() {
            let why = if !is_metric_name(name) {
                "is no metric name: letters, digits, _ and :, not starting with a digit, at most 128 characters"
            } else if declared.iter().take(index).any(|(_, other)| other == name) {
                "is declared twice: the three metrics must differ, or requests would count double"
            } else {
                continue;
            };
            return Err(BadMetricName {
                input: *input,
                name: name.chars().take(64).collect(),
                why,
            });
        }
        Ok(Self {
            name: "Custom",
            finished: names(&[&metrics.finished]),
            running: names(&[&metrics.running]),
            waiting: vec![names(&[&metrics.waiting])],
            tokens: Vec::new(),
            copies: &[],
            parts: None,
        })
    }

    fn sample(&self, page: &Page, at: Duration) -> Result<PodSample, Problem> {
        let gauge = |names: &[Arc<str>]| {
            self.total(page, names, |series| {
                self.parts
                    .is_none_or(|label| series.label(label).is_empty())
            })
        };
        let counter = |names: &[Arc<str>]| self.total(page, names, |_| true);
        let mut waiting = None;
        for (index, queue) in self.waiting.iter().enumerate() {
            match gauge(queue) {
                Some(more) => waiting = Some(waiting.map_or(more, |sum| add(sum, more))),
                None if index == 0 => return Err(Problem::Missing(Input::Waiting)),
                None => {}
            }
        }
        // A declared counter without series has counted nothing yet: client libraries print a labelled counter's series
        // only after its first increment. Neither declared nor there is a missing signal.
        let declared = || {
            self.finished
                .iter()
                .any(|name| page.declared.contains(name))
                .then_some(0.0)
        };
        let own = |name: &'static str| counter(&[Arc::from(name)]);
        PodSample {
            finished: counter(&self.finished)
                .or_else(declared)
                .ok_or(Problem::Missing(Input::Finished))?,
            running: gauge(&self.running).ok_or(Problem::Missing(Input::Running))?,
            waiting: waiting.ok_or(Problem::Missing(Input::Waiting))?,
            at,
            tokens: self
                .tokens
                .iter()
                .filter_map(|name| counter(std::slice::from_ref(name)))
                .reduce(add),
            cpu_seconds: own(CPU_SECONDS),
            process_start: own(PROCESS_START),
        }
        .check()
    }

    /// The sum over series of the first name that has any; copies count once. A value that is no amount (NaN, infinite,
    /// negative) is the result by itself: a sum would hide it.
    fn total(
        &self,
        page: &Page,
        names: &[Arc<str>],
        counts: impl Fn(&Series) -> bool,
    ) -> Option<f64> {
        names.iter().find_map(|name| {
            let mut groups: BTreeMap<Vec<(&str, &str)>, f64> = BTreeMap::new();
            for series in page
                .series
                .iter()
                .filter(|series| series.name == *name && counts(series))
            {
                if !(series.value >= 0.0 && series.value.is_finite()) {
                    return Some(series.value);
                }
                let mut key: Vec<(&str, &str)> = series
                    .labels
                    .iter()
                    .filter(|(label, _)| !self.copies.contains(&label.as_str()))
                    .map(|(label, value)| (label.as_str(), value.as_str()))
                    .collect();
                key.sort_unstable();
                groups
                    .entry(key)
                    .and_modify(|largest| *largest = largest.max(series.value))
                    .or_insert(series.value);
            }
            groups.into_values().reduce(add)
        })
    }

    /// The page has any of its metrics, so that a missing one is missing rather than another engine's.
    fn detects(&self, page: &Page) -> bool {
        page.series
            .iter()
            .any(|series| self.names().any(|name| *name == series.name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.finished
            .iter()
            .chain(&self.running)
            .chain(self.waiting.iter().flatten())
            .chain(&self.tokens)
    }
}

/// `a + b`, but NaN, infinities and negative numbers survive.
fn add(a: f64, b: f64) -> f64 {
    let bad = |v: f64| !(v >= 0.0 && v.is_finite());
    if bad(a) {
        a
    } else if bad(b) {
        b
    } else {
        a + b
    }
}

fn is_metric_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// The dialects that a page may speak: all known engines, or the one declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialects {
    dialects: Vec<Dialect>,
    wanted: BTreeSet<Arc<str>>,
}

impl Dialects {
    /// Detects the engine: the first known dialect of which the page has any metric.
    pub fn detect() -> Self {
        Self::of(vec![Dialect::vllm(), Dialect::sglang()])
    }

    /// Exactly one dialect.
    pub fn only(dialect: Dialect) -> Self {
        Self::of(vec![dialect])
    }

    fn of(dialects: Vec<Dialect>) -> Self {
        let process = [CPU_SECONDS, PROCESS_START].map(Arc::from);
        let wanted = dialects
            .iter()
            .flat_map(Dialect::names)
            .cloned()
            .chain(process)
            .collect();
        Self { dialects, wanted }
    }

    /// The metric names that a page must be searched for.
    pub fn wanted(&self) -> &BTreeSet<Arc<str>> {
        &self.wanted
    }

    /// The dialects, in order of detection.
    pub fn iter(&self) -> impl Iterator<Item = &Dialect> {
        self.dialects.iter()
    }

    /// The sample that a page amounts to, read at `at`.
    ///
    /// # Errors
    /// [`Problem::NoKnownMetrics`] or [`Problem::Malformed`] when it speaks no dialect; else what is missing, or not a
    /// number that an engine can mean.
    pub fn sample(&self, page: &Page, at: Duration) -> Result<PodSample, Problem> {
        match self.dialects.iter().find(|dialect| dialect.detects(page)) {
            Some(dialect) => dialect.sample(page, at),
            None if page.odd => Err(Problem::Malformed),
            None => Err(Problem::NoKnownMetrics),
        }
    }
}

#[cfg(test)]
mod tests;
