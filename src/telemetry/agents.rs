use crate::allocation::Outlook;
use crate::units::MilliGpus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most agents, over all pools, that get series of their own: 1,000 pools of 16 agents.
pub(super) const MAX_AGENTS: usize = 16_000;

/// What is published of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSample {
    /// Its name.
    pub agent: String,
    /// When its oldest signal in use was measured; `None`: never, and then it has no age.
    pub measured: Option<Instant>,
    /// Share that the policy asks for.
    pub target: MilliGpus,
    /// Share that its quanta in force amount to.
    pub realized: MilliGpus,
    /// What is expected of its load, under a policy that learns.
    pub outlook: Option<Outlook>,
}

type PoolKey = (String, String);

/// The series of every pool's agents, as last published. Ages are computed when they are read: when the loop stands
/// still, they grow.
#[derive(Debug)]
pub(super) struct AgentSeries {
    pools: Mutex<BTreeMap<PoolKey, Vec<AgentSample>>>,
    bound: usize,
}

impl AgentSeries {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            pools: Mutex::new(BTreeMap::new()),
            bound,
        }
    }

    /// Replaces what is known of a pool; returns how many agents found no room.
    pub(super) fn publish(
        &self,
        namespace: &str,
        pool: &str,
        mut agents: Vec<AgentSample>,
    ) -> usize {
        let key = (namespace.to_owned(), pool.to_owned());
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.remove(&key);
        let others: usize = pools.values().map(Vec::len).sum();
        let room = self.bound.saturating_sub(others);
        let dropped = agents.len().saturating_sub(room);
        agents.truncate(room);
        if !agents.is_empty() {
            pools.insert(key, agents);
        }
        dropped
    }

    /// Forgets a pool.
    pub(super) fn forget(&self, namespace: &str, pool: &str) {
        self.pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), pool.to_owned()));
    }

    fn encode_at(&self, mut encoder: DescriptorEncoder<'_>, now: Instant) -> fmt::Result {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let gpus = Unit::Other("gpus".to_owned());
        let requests = Unit::Other("requests_per_second".to_owned());
        let mut family =
            |name: &str, help: &str, unit: &Unit, value: &dyn Fn(&AgentSample) -> Option<f64>| {
                let mut metric =
                    encoder.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?;
                for ((namespace, pool), agents) in &*pools {
                    for agent in agents {
                        let Some(value) = value(agent) else { continue };
                        let labels = [
                            ("namespace", namespace.as_str()),
                            ("pool", pool.as_str()),
                            ("agent", agent.agent.as_str()),
                        ];
                        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                    }
                }
                Ok(())
            };
        family(
            "signal_age",
            "Age of the oldest signal that an agent's demand was computed from.",
            &Unit::Seconds,
            &|a| Some(now.saturating_duration_since(a.measured?).as_secs_f64()),
        )?;
        family(
            "target_share",
            "Share that the policy asks for, in GPUs.",
            &gpus,
            &|a| Some(a.target.as_gpus()),
        )?;
        family(
            "realized_share",
            "Share that the quanta in force amount to, in GPUs.",
            &gpus,
            &|a| Some(a.realized.as_gpus()),
        )?;
        family(
            "forecast",
            "Requests a second that policy Balanced expects to reach an agent.",
            &requests,
            &|a| Some(a.outlook?.arrivals_per_second),
        )?;
        family(
            "forecast_deviation",
            "One standard deviation of what comes within an actuation lag around what is expected of it, in requests a second.",
            &requests,
            &|a| Some(a.outlook?.deviation_per_second),
        )
    }
}

impl Collector for AgentSeries {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_at(encoder, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use std::sync::Arc;
    use std::time::Duration;

    /// Reads the series at a fixed instant.
    #[derive(Debug)]
    struct At(Arc<AgentSeries>, Instant);

    impl Collector for At {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode_at(encoder, self.1)
        }
    }

    fn read(series: &Arc<AgentSeries>, now: Instant) -> String {
        let mut registry = Registry::with_prefix("agentpool");
        registry.register_collector(Box::new(At(Arc::clone(series), now)));
        let mut out = String::new();
        assert!(text::encode(&mut out, &registry).is_ok());
        out
    }

    fn sample(agent: &str, measured: Option<Instant>) -> AgentSample {
        AgentSample {
            agent: agent.to_owned(),
            measured,
            target: MilliGpus(350),
            realized: MilliGpus(2500),
            outlook: Some(Outlook {
                arrivals_per_second: 5.5,
                deviation_per_second: 0.25,
            }),
        }
    }

    #[test]
    fn shares_are_in_gpus_and_the_age_grows_while_nobody_publishes() {
        let series = Arc::new(AgentSeries::new(10));
        let measured = Instant::now();
        series.publish("ns", "pool", vec![sample("a", Some(measured))]);
        let labels = "{namespace=\"ns\",pool=\"pool\",agent=\"a\"}";
        for (seconds, age) in [(1, "1.0"), (90, "90.0")] {
            let text = read(&series, measured + Duration::from_secs(seconds));
            assert!(
                text.contains(&format!("agentpool_signal_age_seconds{labels} {age}\n")),
                "{text}"
            );
            assert!(
                text.contains(&format!("agentpool_target_share_gpus{labels} 0.35\n")),
                "{text}"
            );
            assert!(
                text.contains(&format!("agentpool_realized_share_gpus{labels} 2.5\n")),
                "{text}"
            );
            for (name, value) in [("forecast", "5.5"), ("forecast_deviation", "0.25")] {
                let line = format!("agentpool_{name}_requests_per_second{labels} {value}\n");
                assert!(text.contains(&line), "{line} is not in {text}");
            }
        }
    }

    #[test]
    fn a_signal_that_was_never_measured_has_no_age() {
        let series = Arc::new(AgentSeries::new(10));
        series.publish("ns", "pool", vec![sample("a", None)]);
        let text = read(&series, Instant::now());
        assert!(!text.contains("signal_age_seconds{"), "{text}");
        assert!(text.contains("target_share_gpus{"), "{text}");
    }

    #[test]
    fn agents_that_left_and_pools_that_are_gone_leave_no_series() {
        let series = Arc::new(AgentSeries::new(10));
        series.publish("ns", "pool", vec![sample("a", None), sample("b", None)]);
        series.publish("ns", "pool", vec![sample("b", None)]);
        let text = read(&series, Instant::now());
        assert!(!text.contains("agent=\"a\""), "{text}");
        assert!(text.contains("agent=\"b\""), "{text}");
        series.forget("ns", "pool");
        assert!(!read(&series, Instant::now()).contains("agent="));
    }

    #[test]
    fn beyond_the_bound_agents_get_no_series_and_are_counted() {
        let series = Arc::new(AgentSeries::new(3));
        let two = || vec![sample("a", None), sample("b", None)];
        assert_eq!(series.publish("ns", "one", two()), 0);
        assert_eq!(series.publish("ns", "two", two()), 1);
        assert_eq!(series.publish("ns", "two", two()), 1);
        assert_eq!(series.publish("ns", "three", two()), 2);
        series.forget("ns", "one");
        assert_eq!(series.publish("ns", "three", two()), 0);
        let text = read(&series, Instant::now());
        assert_eq!(text.matches("target_share_gpus{").count(), 3, "{text}");
    }
}
