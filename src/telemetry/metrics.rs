use super::agents::{AgentSample, AgentSeries, MAX_AGENTS};
use super::labels::{
    CategoryLabel, ReasonLabel, ScrapeLabels, ScrapeOutcome, WriteKind, WriteLabels, WriteOutcome,
};
use crate::allocation::Reason;
use crate::sharing::HoldReason;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Buckets of a latency from a millisecond to ten seconds.
const LATENCY: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Everything that is counted, behind methods: no call site knows a metric's name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    agents: Arc<AgentSeries>,
    series_dropped: Counter,
    pools: Gauge,
    leader: Gauge,
    decisions: Family<ReasonLabel, Counter>,
    holds: Family<ReasonLabel, Counter>,
    writes: Family<WriteLabels, Counter>,
    scrapes: Family<ScrapeLabels, Counter>,
    signal_gaps: Family<ReasonLabel, Counter>,
    requests_cut: Counter,
    record_drops: Counter,
    event_drops: Counter,
    reconcile_errors: Family<CategoryLabel, Counter>,
    panics: Counter,
    reconcile_duration: Histogram,
    scrape_to_write: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        Self::with_bound(MAX_AGENTS)
    }

    fn with_bound(agents: usize) -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("agentpool"),
            agents: Arc::new(AgentSeries::new(agents)),
            series_dropped: Counter::default(),
            pools: Gauge::default(),
            leader: Gauge::default(),
            decisions: Family::default(),
            holds: Family::default(),
            writes: Family::default(),
            scrapes: Family::default(),
            signal_gaps: Family::default(),
            requests_cut: Counter::default(),
            record_drops: Counter::default(),
            event_drops: Counter::default(),
            reconcile_errors: Family::default(),
            panics: Counter::default(),
            reconcile_duration: Histogram::new(LATENCY),
            scrape_to_write: Histogram::new(LATENCY),
        };
        inner.register();
        inner.start_at_zero();
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The metrics as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.inner.registry)?;
        Ok(out)
    }

    /// Publishes a pool's agents; agents published before and absent now lose their series.
    pub fn publish_pool(&self, namespace: &str, pool: &str, agents: Vec<AgentSample>) {
        let dropped = self.inner.agents.publish(namespace, pool, agents);
        self.inner
            .series_dropped
            .inc_by(u64::try_from(dropped).unwrap_or(u64::MAX));
    }

    /// Removes the series of a pool that is gone.
    pub fn forget_pool(&self, namespace: &str, pool: &str) {
        self.inner.agents.forget(namespace, pool);
    }

    /// Number of pools that are served.
    pub fn set_pools(&self, pools: usize) {
        self.inner
            .pools
            .set(i64::try_from(pools).unwrap_or(i64::MAX));
    }

    /// Whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.inner.leader.set(i64::from(leads));
    }

    /// One agent's target was decided, for a reason.
    pub fn count_decision(&self, reason: Reason) {
        let reason = reason.as_str();
        self.inner
            .decisions
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// A wanted change was held, for a reason.
    pub fn count_hold(&self, reason: HoldReason) {
        let reason = reason.as_str();
        self.inner
            .holds
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// A write to the API server ended.
    pub fn count_write(&self, kind: WriteKind, outcome: WriteOutcome) {
        self.inner
            .writes
            .get_or_create(&WriteLabels { kind, outcome })
            .inc();
    }

    /// A scrape ended.
    pub fn count_scrape(&self, outcome: ScrapeOutcome) {
        self.inner
            .scrapes
            .get_or_create(&ScrapeLabels { outcome })
            .inc();
    }

    /// A pod's load of some time was not measured and is assumed; `reason` is [`crate::signals::Problem::reason`].
    pub fn count_signal_gap(&self, reason: &'static str) {
        self.inner
            .signal_gaps
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Requests were running or waiting in a pod when it was cut.
    pub fn count_requests_cut(&self, requests: u64) {
        self.inner.requests_cut.inc_by(requests);
    }

    /// A decision was not recorded: the disk did not keep up, or refused.
    pub fn count_record_drop(&self) {
        self.inner.record_drops.inc();
    }

    /// An event was not told: the API server did not keep up.
    pub fn count_event_drop(&self) {
        self.inner.event_drops.inc();
    }

    /// A reconciliation failed; `category` is of a closed set.
    pub fn count_reconcile_error(&self, category: &'static str) {
        self.inner
            .reconcile_errors
            .get_or_create(&CategoryLabel { category })
            .inc();
    }

    /// A panic was caught.
    pub fn count_panic(&self) {
        self.inner.panics.inc();
    }

    /// Time from the end of the scrape that decided to the API server's answer to the write it caused. Writes that a change in the cluster
    /// made possible (a pod is gone, a node is back) were decided by no scrape and are not counted.
    pub fn observe_scrape_to_write(&self, latency: Duration) {
        self.inner.scrape_to_write.observe(latency.as_secs_f64());
    }

    /// Starts to measure a reconciliation; it ends when the timer is dropped, by a panic too.
    pub fn time_reconcile(&self) -> ReconcileTimer {
        ReconcileTimer {
            metrics: self.clone(),
            began: Instant::now(),
        }
    }
}

/// Measures one reconciliation until it is dropped.
#[derive(Debug)]
#[must_use = "it measures until it is dropped"]
pub struct ReconcileTimer {
    metrics: Metrics,
    began: Instant,
}

impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.inner.reconcile_duration.observe(took);
    }
}

impl Inner {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        r.register("pools", "Pools that are served", self.pools.clone());
        r.register(
            "leader",
            "Whether this process may write (1) or follows (0)",
            self.leader.clone(),
        );
        r.register(
            "decisions",
            "Targets decided, one an agent and decision, by reason",
            self.decisions.clone(),
        );
        r.register(
            "holds",
            "Wanted changes that were held, by reason",
            self.holds.clone(),
        );
        r.register(
            "writes",
            "Writes to the API server, by what was written and how it ended",
            self.writes.clone(),
        );
        r.register(
            "scrapes",
            "Scrapes of agents' pods, by how they ended",
            self.scrapes.clone(),
        );
        r.register(
            "signal_gaps",
            "Gaps in a pod's samples over which its load is assumed, by reason: CounterReset is a restart of the engine",
            self.signal_gaps.clone(),
        );
        r.register(
            "requests_cut",
            "Requests that ran or waited in a pod when the operator had it removed",
            self.requests_cut.clone(),
        );
        r.register(
            "record_drops",
            "Decisions that were not recorded, because the disk did not keep up or refused",
            self.record_drops.clone(),
        );
        r.register(
            "event_drops",
            "Events that were not told, because the API server did not keep up",
            self.event_drops.clone(),
        );
        r.register(
            "reconcile_errors",
            "Reconciliations that failed, by category",
            self.reconcile_errors.clone(),
        );
        r.register("panics", "Panics: each is a bug", self.panics.clone());
        r.register_with_unit(
            "reconcile_duration",
            "Time of one reconciliation",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        r.register_with_unit(
            "scrape_to_write",
            "Time from the end of the scrape that decided to the API server's answer to the write",
            Unit::Seconds,
            self.scrape_to_write.clone(),
        );
        r.register(
            "series_dropped",
            "Agents published without series of their own, because there are too many agents",
            self.series_dropped.clone(),
        );
        r.register_collector(Box::new(Arc::clone(&self.agents)));
    }

    /// A series that appears with its first event hides that event from `increase()`.
    fn start_at_zero(&self) {
        for &kind in WriteKind::ALL {
            for &outcome in WriteOutcome::ALL {
                drop(self.writes.get_or_create(&WriteLabels { kind, outcome }));
            }
        }
        let reset = crate::signals::Problem::CounterReset.reason();
        drop(
            self.signal_gaps
                .get_or_create(&ReasonLabel { reason: reset }),
        );
        for &outcome in ScrapeOutcome::ALL {
            drop(self.scrapes.get_or_create(&ScrapeLabels { outcome }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Outlook;
    use crate::units::MilliGpus;

    fn value(metrics: &Metrics, series: &str) -> Option<String> {
        let text = metrics.encode().unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn every_family_has_its_name_and_unit_and_the_text_ends_as_openmetrics_wants() {
        let metrics = Metrics::new();
        metrics.count_decision(Reason::Idle);
        metrics.count_hold(HoldReason::Frozen);
        metrics.count_reconcile_error("Api");
        let text = metrics.encode().unwrap_or_default();
        for family in [
            "# TYPE agentpool_build info",
            "# TYPE agentpool_pools gauge",
            "# TYPE agentpool_leader gauge",
            "# TYPE agentpool_decisions counter",
            "# TYPE agentpool_holds counter",
            "# TYPE agentpool_writes counter",
            "# TYPE agentpool_scrapes counter",
            "# TYPE agentpool_signal_gaps counter",
            "# TYPE agentpool_requests_cut counter",
            "# TYPE agentpool_record_drops counter",
            "# TYPE agentpool_event_drops counter",
            "# TYPE agentpool_reconcile_errors counter",
            "# TYPE agentpool_panics counter",
            "# TYPE agentpool_reconcile_duration_seconds histogram",
            "# TYPE agentpool_scrape_to_write_seconds histogram",
            "# TYPE agentpool_series_dropped counter",
            "# TYPE agentpool_signal_age_seconds gauge",
            "# TYPE agentpool_target_share_gpus gauge",
            "# TYPE agentpool_realized_share_gpus gauge",
            "# TYPE agentpool_forecast_requests_per_second gauge",
            "# TYPE agentpool_forecast_deviation_requests_per_second gauge",
        ] {
            assert!(text.lines().any(|l| l == family), "{family} not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn events_are_counted_under_their_reason_and_outcome() {
        let metrics = Metrics::new();
        metrics.count_decision(Reason::CapacityShared);
        metrics.count_hold(HoldReason::Stabilizing);
        metrics.count_hold(HoldReason::Stabilizing);
        metrics.count_write(WriteKind::Replicas, WriteOutcome::Conflict);
        metrics.count_scrape(ScrapeOutcome::TooLarge);
        metrics.count_signal_gap("CounterReset");
        metrics.count_requests_cut(3);
        metrics.count_event_drop();
        metrics.count_reconcile_error("Api");
        metrics.count_panic();
        metrics.set_leader(true);
        metrics.set_pools(7);
        for (series, expected) in [
            ("agentpool_decisions_total{reason=\"CapacityShared\"}", "1"),
            ("agentpool_holds_total{reason=\"Stabilizing\"}", "2"),
            (
                "agentpool_writes_total{kind=\"Replicas\",outcome=\"Conflict\"}",
                "1",
            ),
            (
                "agentpool_writes_total{kind=\"Status\",outcome=\"Applied\"}",
                "0",
            ),
            ("agentpool_scrapes_total{outcome=\"TooLarge\"}", "1"),
            ("agentpool_signal_gaps_total{reason=\"CounterReset\"}", "1"),
            ("agentpool_requests_cut_total", "3"),
            ("agentpool_event_drops_total", "1"),
            ("agentpool_reconcile_errors_total{category=\"Api\"}", "1"),
            ("agentpool_panics_total", "1"),
            ("agentpool_leader", "1"),
            ("agentpool_pools", "7"),
        ] {
            assert_eq!(
                value(&metrics, series).as_deref(),
                Some(expected),
                "{series}"
            );
        }
    }

    #[test]
    fn a_reconciliation_is_measured_even_when_it_panics() {
        let metrics = Metrics::new();
        drop(metrics.time_reconcile());
        let inside = metrics.clone();
        let panicked = std::thread::spawn(move || {
            let _timer = inside.time_reconcile();
            std::panic::resume_unwind(Box::new(()));
        })
        .join();
        assert!(panicked.is_err());
        let count = value(&metrics, "agentpool_reconcile_duration_seconds_count");
        assert_eq!(count.as_deref(), Some("2"));
    }

    #[test]
    fn a_thousand_pools_have_five_series_an_agent() {
        let metrics = Metrics::new();
        let agents = |_| AgentSample {
            agent: String::new(),
            measured: Some(Instant::now()),
            target: MilliGpus::ONE,
            realized: MilliGpus::ONE,
            outlook: Some(Outlook {
                arrivals_per_second: 1.0,
                deviation_per_second: 1.0,
            }),
        };
        for pool in 0..1000 {
            let agents = (0..4)
                .map(|i| AgentSample {
                    agent: format!("agent-{i}"),
                    ..agents(i)
                })
                .collect();
            metrics.publish_pool("ns", &format!("pool-{pool}"), agents);
        }
        let text = metrics.encode().unwrap_or_default();
        assert_eq!(text.matches("agent=\"agent-").count(), 5 * 4000);
        assert_eq!(
            value(&metrics, "agentpool_series_dropped_total").as_deref(),
            Some("0")
        );
    }

    #[test]
    fn agents_beyond_the_bound_are_counted() {
        let metrics = Metrics::with_bound(1);
        let sample = |agent: &str| AgentSample {
            agent: agent.to_owned(),
            measured: None,
            target: MilliGpus::ZERO,
            realized: MilliGpus::ZERO,
            outlook: None,
        };
        metrics.publish_pool("ns", "pool", vec![sample("a"), sample("b")]);
        assert_eq!(
            value(&metrics, "agentpool_series_dropped_total").as_deref(),
            Some("1")
        );
        metrics.forget_pool("ns", "pool");
        assert!(!metrics.encode().unwrap_or_default().contains("agent=\"a\""));
    }
}
