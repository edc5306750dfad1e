//! A real Prometheus that scrapes the pods of a control plane, found through the API server as in a real cluster.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::controlplane::ControlPlane;
use crate::controlplane::binaries::{self, BinaryGroup};
use crate::controlplane::network::free_port;
use crate::controlplane::process::{Process, ProcessGroup, Signal};
use crate::operator::http_get;
use crate::wait;

/// Long enough for a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What Prometheus scrapes.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// Namespaces whose pods are scraped.
    pub namespaces: Vec<String>,
    /// Port of the pods' metrics.
    pub port: u16,
    /// Path of the pods' metrics.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// Where it answers, for who must know before it starts; `None`: a free port of the machine.
    pub listen: Option<String>,
}

impl PrometheusOptions {
    /// Every pod of these namespaces at `:8000/metrics`, once a second.
    pub fn new<T: Into<String>>(namespaces: impl IntoIterator<Item = T>) -> Self {
        Self {
            namespaces: namespaces.into_iter().map(Into::into).collect(),
            port: 8000,
            path: "/metrics".to_owned(),
            interval: Duration::from_secs(1),
            listen: None,
        }
    }

    /// Answers at this `host:port`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }
}

/// A Prometheus server; it ends with its control plane.
pub struct Prometheus {
    address: String,
    group: ProcessGroup,
    program: PathBuf,
    folder: PathBuf,
    process: Process,
}

impl Prometheus {
    /// Builds Prometheus if that was not done yet (minutes), starts it and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be built or started, or the control plane is a cluster whose credentials are no token.
    pub async fn start(control_plane: &ControlPlane, options: &PrometheusOptions) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(|| binaries::ensure(BinaryGroup::Prometheus))
            .await
            .context("build Prometheus")??;
        let folder = control_plane.folder().join("prometheus");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        // Service discovery takes a kubeconfig with the rights that the bench has.
        let kubeconfig = control_plane.kubeconfig_path().display().to_string();
        std::fs::write(
            folder.join("prometheus.yml"),
            configuration(options, &kubeconfig),
        )
        .context("write Prometheus' configuration")?;
        let address = match &options.listen {
            Some(address) => address.clone(),
            None => format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?),
        };
        let (group, program) = (
            control_plane.processes().clone(),
            binaries.join("prometheus"),
        );
        let process = spawn(&group, &program, &folder, &address)?;
        let this = Self {
            address,
            group,
            program,
            folder,
            process,
        };
        this.wait_ready().await?;
        Ok(this)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process, to pause or look at.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL.
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// SIGSTOP: connections are accepted and nothing is answered.
    pub fn stop(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT after [`Prometheus::stop`].
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Starts it again after [`Prometheus::kill`], with its data.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill().await;
        self.process = spawn(&self.group, &self.program, &self.folder, &self.address)?;
        self.wait_ready().await
    }

    /// The value of an instant query that gives one series.
    ///
    /// # Errors
    /// No answer, or not exactly one series.
    pub async fn query(&self, promql: &str) -> Result<f64> {
        let (status, body) = http_get(
            &self.address,
            &format!("/api/v1/query?query={}", percent_encode(promql)),
        )
        .await?;
        let answer: serde_json::Value =
            serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))?;
        let series = answer["data"]["result"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let [one] = series else {
            return Err(anyhow!("{promql} gives {} series: {body}", series.len()));
        };
        let value = one["value"][1]
            .as_str()
            .ok_or_else(|| anyhow!("no value in {body}"))?;
        value.parse().with_context(|| format!("the value {value}"))
    }

    async fn wait_ready(&self) -> Result<()> {
        wait::until(START_LIMIT, "Prometheus is ready", async || {
            if let Some(status) = self.process.exit_status() {
                return Err(anyhow!(
                    "Prometheus ended ({status}) instead of starting:\n{}",
                    self.process.log_tail(15)
                ));
            }
            Ok(http_get(&self.address, "/-/ready")
                .await
                .ok()
                .filter(|(status, _)| *status == 200)
                .map(|_| ()))
        })
        .await
    }
}

fn spawn(
    group: &ProcessGroup,
    program: &PathBuf,
    folder: &PathBuf,
    address: &str,
) -> Result<Process> {
    let mut command = Command::new(program);
    command.current_dir(folder).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=1d",
    ]);
    command.arg(format!("--web.listen-address={address}"));
    group.spawn("prometheus", command, &folder.join("prometheus.log"))
}

/// Labels `namespace` and `pod` as every operator of Prometheus sets them.
fn configuration(options: &PrometheusOptions, kubeconfig: &str) -> String {
    let config = serde_json::json!({
        "global": {"scrape_interval": format!("{}ms", options.interval.as_millis()), "scrape_timeout": format!("{}ms", options.interval.as_millis())},
        "scrape_configs": [{
            "job_name": "pods",
            "metrics_path": options.path,
            "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": kubeconfig, "namespaces": {"names": options.namespaces}}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"},
                {"source_labels": ["__meta_kubernetes_pod_ip"], "regex": "(.+)", "replacement": format!("${{1}}:{}", options.port), "target_label": "__address__"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            ],
        }],
    });
    // JSON is YAML.
    config.to_string()
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_its_url() {
        assert_eq!(
            percent_encode("up{pod=\"a\"} == 1"),
            "up%7Bpod%3D%22a%22%7D%20%3D%3D%201"
        );
    }
}
