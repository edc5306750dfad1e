//! The Prometheus text format, as the Python client lays it out.

use std::fmt::Write as _;

use super::Buckets;

/// Part of a core that an idle engine keeps busy: its processor time never stands still.
const IDLE_CPU: f64 = 0.05;

/// A page in the text format, as the Python client lays it out.
pub(super) struct Page {
    pub(super) text: String,
    created: Option<f64>,
    /// `key="value"` pairs in the order of their keys.
    pub(super) labels: Vec<String>,
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(key, value)| {
            let value = value
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            format!("{key}=\"{value}\"")
        })
        .collect()
}

impl Page {
    pub(super) fn new(created: Option<f64>, pairs: &[(&str, &str)]) -> Self {
        Self {
            text: String::with_capacity(8192),
            created,
            labels: labels(pairs),
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, extra: &str, value: f64) {
        let mut all = self.labels.clone();
        if !extra.is_empty() {
            all.push(extra.to_owned());
            all.sort();
        }
        let labels = if all.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", all.join(","))
        };
        let _ = writeln!(self.text, "{name}{labels} {}", go_float(value));
    }

    /// What the Python client tells about its process, without labels.
    pub(super) fn process(&mut self, created: f64, now: f64, work: f64) {
        let labels = std::mem::take(&mut self.labels);
        self.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            created,
        );
        let cpu = (now - created).max(0.0) * IDLE_CPU + work;
        self.head(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            "counter",
        );
        self.sample(
            "process_cpu_seconds_total",
            "",
            (cpu * 100.0).floor() / 100.0,
        );
        self.gauge("process_open_fds", "Number of open file descriptors.", 64.0);
        self.labels = labels;
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, series: &[(&str, u64)]) {
        let total = format!("{name}_total");
        self.head(&total, help, "counter");
        for (extra, value) in series {
            self.sample(&total, extra, *value as f64);
        }
        self.created(name, help, series.iter().map(|(extra, _)| *extra));
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &Buckets) {
        self.head(name, help, "histogram");
        let mut cumulated = 0;
        for (bound, count) in buckets.bounds.iter().zip(&buckets.counts) {
            cumulated += count;
            let le = format!("le=\"{}\"", go_float(*bound));
            self.sample(&format!("{name}_bucket"), &le, cumulated as f64);
        }
        self.sample(
            &format!("{name}_bucket"),
            "le=\"+Inf\"",
            buckets.count as f64,
        );
        self.sample(&format!("{name}_count"), "", buckets.count as f64);
        self.sample(&format!("{name}_sum"), "", buckets.sum);
        self.created(name, help, std::iter::once(""));
    }

    fn created<'a>(&mut self, name: &str, help: &str, series: impl Iterator<Item = &'a str>) {
        let Some(created) = self.created else {
            return;
        };
        let name = format!("{name}_created");
        self.head(&name, help, "gauge");
        for extra in series {
            self.sample(&name, extra, created);
        }
    }
}

/// A number as the Python client prints it: always with a point, with an exponent from a million on.
pub(super) fn go_float(value: f64) -> String {
    if value >= 1e6 {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{mantissa}e+{exponent:0>2}");
    }
    format!("{value:?}")
}
