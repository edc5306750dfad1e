//! The `/metrics` page of an engine, in the names, labels and layout that the real engines print.
//!
//! vLLM: names of 0.12 and later, labels `engine` and `model_name`, printed by the Prometheus Python client, which
//! adds a `_created` gauge to every counter and histogram and tells about its process. SGLang runs that client in its multiprocess mode, which has
//! neither. Bucket bounds are those of the engines.

use super::physics::Queue;
use super::profile::Dialect;
use page::{Page, labels};

/// Bounds of vLLM's request latency histograms, in seconds.
const VLLM_LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// Bounds of vLLM's time to first token, in seconds.
const VLLM_TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Bounds of SGLang's latency histograms, in seconds.
const SGLANG_LATENCY: &[f64] = &[
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0,
    400.0,
];

/// A cumulative histogram.
#[derive(Clone, Debug, PartialEq)]
struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, not cumulated.
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    fn observe(&mut self, value: f64) {
        if let Some(index) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[index] += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// A served request, as an engine sees it; times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// In the waiting queue.
    pub queued: f64,
    /// From its first to its last step.
    pub ran: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
}

/// What an engine is at when its page is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Its queue.
    pub queue: Queue,
    /// How many requests fit into its KV cache.
    pub max_running: usize,
    /// Unix time.
    pub now: f64,
    /// Work done since it started, in GPU-seconds.
    pub delivered: f64,
    /// Mean requests that a GPU-second serves.
    pub requests_per_gpu_second: f64,
}

/// Tokens that a mean request generates: the mean of the Azure conversation trace.
const TOKENS_PER_REQUEST: f64 = 204.0;

/// Part of the running time after which the first token is out. A stated choice: prefill is short beside decode.
const PREFILL_PART: f64 = 0.2;

/// The counters of one engine since it started.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineCounters {
    dialect: Dialect,
    model: String,
    /// Unix time at which the counters began.
    created: f64,
    /// Work that was done before they began.
    delivered_before: f64,
    served: u64,
    aborted: u64,
    prompt_tokens: u64,
    e2e: Buckets,
    ttft: Buckets,
    queue: Buckets,
}

impl EngineCounters {
    /// Counters at zero, created at `created` (Unix seconds).
    pub fn new(dialect: Dialect, model: &str, created: f64) -> Self {
        let (latency, ttft) = match dialect {
            Dialect::Vllm => (VLLM_LATENCY, VLLM_TTFT),
            Dialect::Sglang => (SGLANG_LATENCY, SGLANG_LATENCY),
        };
        Self {
            dialect,
            model: model.to_owned(),
            created,
            delivered_before: 0.0,
            served: 0,
            aborted: 0,
            prompt_tokens: 0,
            e2e: Buckets::new(latency),
            ttft: Buckets::new(ttft),
            queue: Buckets::new(latency),
        }
    }

    /// Back to zero, as after a restart of the process that had done `delivered` GPU-seconds of work.
    pub fn reset(&mut self, created: f64, delivered: f64) {
        *self = Self::new(self.dialect, &self.model, created);
        self.delivered_before = delivered;
    }

    /// A request was served.
    pub fn served(&mut self, served: Served) {
        self.served += 1;
        self.prompt_tokens += served.prompt_tokens;
        self.queue.observe(served.queued);
        self.ttft.observe(served.queued + PREFILL_PART * served.ran);
        self.e2e.observe(served.queued + served.ran);
    }

    /// A client went away before its answer.
    pub fn aborted(&mut self) {
        self.aborted += 1;
    }

    /// The page at this moment.
    pub fn render(&self, moment: &Moment) -> String {
        match self.dialect {
            Dialect::Vllm => self.vllm(moment),
            Dialect::Sglang => self.sglang(moment),
        }
    }

    /// Tokens appear while requests run, not only when they are done.
    fn generation_tokens(&self, moment: &Moment) -> u64 {
        (self.work(moment) * moment.requests_per_gpu_second * TOKENS_PER_REQUEST) as u64
    }

    fn work(&self, moment: &Moment) -> f64 {
        (moment.delivered - self.delivered_before).max(0.0)
    }

    fn vllm(&self, moment: &Moment) -> String {
        let Moment { queue, .. } = *moment;
        let mut page = Page::new(
            Some(self.created),
            &[("engine", "0"), ("model_name", &self.model)],
        );
        page.process(self.created, moment.now, self.work(moment));
        page.gauge(
            "vllm:num_requests_running",
            "Number of requests in model execution batches.",
            queue.running as f64,
        );
        page.gauge(
            "vllm:num_requests_waiting",
            "Number of requests waiting to be processed.",
            queue.waiting as f64,
        );
        page.gauge(
            "vllm:engine_sleep_state",
            "Engine sleep state; awake = 1.",
            1.0,
        );
        page.gauge(
            "vllm:kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            moment.kv_usage(),
        );
        page.counter(
            "vllm:num_preemptions",
            "Cumulative number of preemption from the engine.",
            &[("", 0)],
        );
        page.counter(
            "vllm:prompt_tokens",
            "Number of prefill tokens processed.",
            &[("", self.prompt_tokens)],
        );
        page.counter(
            "vllm:generation_tokens",
            "Number of generation tokens processed.",
            &[("", self.generation_tokens(moment))],
        );
        page.counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            &[
                ("finished_reason=\"stop\"", self.served),
                ("finished_reason=\"length\"", 0),
                ("finished_reason=\"abort\"", self.aborted),
            ],
        );
        page.histogram(
            "vllm:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            &self.ttft,
        );
        page.histogram(
            "vllm:e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            &self.e2e,
        );
        page.histogram(
            "vllm:request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            &self.queue,
        );
        page.text
    }

    fn sglang(&self, moment: &Moment) -> String {
        let Moment { queue, .. } = *moment;
        let mut page = Page::new(
            None,
            &[
                ("engine_type", "unified"),
                ("model_name", &self.model),
                ("pp_rank", "0"),
                ("tp_rank", "0"),
            ],
        );
        page.gauge(
            "sglang:num_running_reqs",
            "The number of running requests.",
            queue.running as f64,
        );
        page.gauge(
            "sglang:num_queue_reqs",
            "The number of requests in the waiting queue.",
            queue.waiting as f64,
        );
        page.gauge("sglang:token_usage", "The token usage.", moment.kv_usage());
        page.labels = labels(&[("model_name", &self.model)]);
        page.counter(
            "sglang:prompt_tokens",
            "Number of prefill tokens processed.",
            &[("", self.prompt_tokens)],
        );
        page.counter(
            "sglang:generation_tokens",
            "Number of generation tokens processed.",
            &[("", self.generation_tokens(moment))],
        );
        page.counter(
            "sglang:num_requests",
            "Number of requests processed.",
            &[("", self.served)],
        );
        page.counter(
            "sglang:num_aborted_requests",
            "Number of requests aborted.",
            &[("", self.aborted)],
        );
        page.histogram(
            "sglang:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            &self.ttft,
        );
        page.histogram(
            "sglang:e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds",
            &self.e2e,
        );
        page.histogram(
            "sglang:queue_time_seconds",
            "Histogram of queueing time in seconds.",
            &self.queue,
        );
        page.text
    }
}

impl Moment {
    /// The part of the KV cache that is in use: each running request holds the same.
    fn kv_usage(&self) -> f64 {
        self.queue.running as f64 / self.max_running.max(1) as f64
    }
}

mod page;

#[cfg(test)]
mod tests;
