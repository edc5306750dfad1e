//! What a pod says about the engine that it would run: its annotations, parsed once.
//!
//! A pod opts in with `bench.agentpool.dev/engine`. Everything else has a default except the speed.

use std::collections::BTreeMap;

/// The prefix of every annotation that the stand-in reads.
pub const PREFIX: &str = "bench.agentpool.dev/";

/// Whose metrics an engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// vLLM 0.12 and later (`vllm:` names, Prometheus Python client).
    Vllm,
    /// SGLang (`sglang:` names, multiprocess mode: no `_created` series).
    Sglang,
}

/// How the work of a request that does not state its own is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Exponential with mean 1 / base throughput.
    Exponential,
    /// Always 1 / base throughput.
    Deterministic,
}

/// A model server, as its pod's annotations describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineProfile {
    /// `engine`: `vllm` or `sglang`.
    pub dialect: Dialect,
    /// `agent`: whom the requests are counted for; default: the value of the label `app`, else the pod's name.
    pub agent: String,
    /// `model`: the `model_name` label of the metrics; default: the agent.
    pub model: String,
    /// `requests-per-second-per-gpu`: base throughput on one whole GPU, above 0; required.
    pub requests_per_second_per_gpu: f64,
    /// `memory`: GPU memory that a replica takes on each of its GPUs, in bytes (a quantity such as `3Gi`); default 0.
    pub memory: u64,
    /// `speed-exponent`: b in speed = (part of the GPU's SMs)^b on a partition, 0 to 1; default 1. Measured under
    /// MPS: 0.3 (long decodes) to 0.7 (long prompts).
    pub speed_exponent: f64,
    /// `max-concurrency`: requests that run at once and share the speed; default 8, 1 is a single server.
    pub max_concurrency: usize,
    /// `service`: `exponential` (default) or `deterministic`.
    pub service: Service,
}

impl EngineProfile {
    /// Reads the annotations of a pod. `None` when it does not opt in; an error names the annotation, its value and
    /// what would be right.
    pub fn parse(
        annotations: &BTreeMap<String, String>,
        default_agent: &str,
    ) -> Option<Result<Self, String>> {
        let engine = annotations.get(&format!("{PREFIX}engine"))?;
        Some(Self::parse_opted_in(annotations, engine, default_agent))
    }

    fn parse_opted_in(
        annotations: &BTreeMap<String, String>,
        engine: &str,
        default_agent: &str,
    ) -> Result<Self, String> {
        let get = |key: &str| {
            annotations
                .get(&format!("{PREFIX}{key}"))
                .map(String::as_str)
        };
        let dialect = match engine {
            "vllm" => Dialect::Vllm,
            "sglang" => Dialect::Sglang,
            _ => return Err(wrong("engine", engine, "vllm or sglang")),
        };
        let speed = get("requests-per-second-per-gpu").unwrap_or("nothing");
        let agent = get("agent").unwrap_or(default_agent).to_owned();
        Ok(Self {
            dialect,
            model: get("model").unwrap_or(&agent).to_owned(),
            agent,
            requests_per_second_per_gpu: number(speed)
                .filter(|rate| *rate > 0.0)
                .ok_or_else(|| wrong("requests-per-second-per-gpu", speed, "a number above 0"))?,
            memory: match get("memory") {
                None => 0,
                Some(text) => parse_bytes(text)
                    .ok_or_else(|| wrong("memory", text, "a quantity such as 500Mi or 3Gi"))?,
            },
            speed_exponent: match get("speed-exponent") {
                None => 1.0,
                Some(text) => number(text)
                    .filter(|b| (0.0..=1.0).contains(b))
                    .ok_or_else(|| wrong("speed-exponent", text, "a number from 0 to 1"))?,
            },
            max_concurrency: match get("max-concurrency") {
                None => 8,
                Some(text) => text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| {
                    wrong("max-concurrency", text, "a whole number of at least 1")
                })?,
            },
            service: match get("service") {
                None | Some("exponential") => Service::Exponential,
                Some("deterministic") => Service::Deterministic,
                Some(other) => return Err(wrong("service", other, "exponential or deterministic")),
            },
        })
    }

    /// The speed of a replica on one device that is `fraction` of a whole GPU, in whole GPUs.
    pub fn speed_on(&self, fraction: f64) -> f64 {
        fraction.powf(self.speed_exponent)
    }

    /// GPU-seconds that a request takes whose demand is `factor` times the mean.
    pub fn work(&self, factor: f64) -> f64 {
        factor / self.requests_per_second_per_gpu
    }
}

fn wrong(key: &str, value: &str, right: &str) -> String {
    format!("annotation {PREFIX}{key} is {value:?}; it must be {right}")
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A Kubernetes quantity of bytes: a decimal number with Ki, Mi, Gi, Ti, k, M, G, T or nothing.
pub fn parse_bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 8] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, *unit)))
        .unwrap_or((text, 1.0));
    number(digits)
        .map(|value| (value * unit).round())
        .filter(|bytes| (0.0..9e15).contains(bytes))
        .map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_pod_without_the_annotation_does_not_take_part() {
        assert_eq!(
            EngineProfile::parse(&annotations(&[("memory", "3Gi")]), "a"),
            None
        );
    }

    #[test]
    fn only_the_engine_and_the_speed_must_be_said() {
        let given = annotations(&[("engine", "vllm"), ("requests-per-second-per-gpu", "30")]);
        let profile = EngineProfile::parse(&given, "nlp").unwrap().unwrap();
        assert_eq!(
            profile,
            EngineProfile {
                dialect: Dialect::Vllm,
                agent: "nlp".into(),
                model: "nlp".into(),
                requests_per_second_per_gpu: 30.0,
                memory: 0,
                speed_exponent: 1.0,
                max_concurrency: 8,
                service: Service::Exponential,
            }
        );
        assert!((profile.work(1.5) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn every_wrong_value_is_named_with_what_would_be_right() {
        let good = [("engine", "sglang"), ("requests-per-second-per-gpu", "30")];
        for (key, value) in [
            ("engine", "tgi"),
            ("requests-per-second-per-gpu", "0"),
            ("requests-per-second-per-gpu", "NaN"),
            ("memory", "much"),
            ("memory", "-1Gi"),
            ("speed-exponent", "1.5"),
            ("max-concurrency", "0"),
            ("service", "uniform"),
        ] {
            let mut given = annotations(&good);
            given.extend(annotations(&[(key, value)]));
            let error = EngineProfile::parse(&given, "a").unwrap().unwrap_err();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_gpu_is_as_fast_as_its_exponent_says() {
        let given = annotations(&[
            ("engine", "vllm"),
            ("requests-per-second-per-gpu", "30"),
            ("speed-exponent", "0.5"),
        ]);
        let profile = EngineProfile::parse(&given, "a").unwrap().unwrap();
        assert!((profile.speed_on(0.25) - 0.5).abs() < 1e-12);
        assert!((profile.speed_on(1.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantities_of_bytes_are_read_as_kubernetes_writes_them() {
        assert_eq!(parse_bytes("3Gi"), Some(3 << 30));
        assert_eq!(parse_bytes("500M"), Some(500_000_000));
        assert_eq!(parse_bytes("1.5Ki"), Some(1536));
        assert_eq!(parse_bytes("12"), Some(12));
        assert_eq!(parse_bytes("Gi"), None);
    }
}
