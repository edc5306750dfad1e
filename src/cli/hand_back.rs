use super::complain;
use super::run::connect;
use super::values::{dns_label, duration};
use crate::controller::leadership::LeaderState;
use crate::controller::{Returned, Scope, Writer, hand_back_all, wait_for_no_pods};
use crate::telemetry::{Health, LogFormat, Metrics, init_logging};
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

/// Longer than a pod's termination takes.
const PODS_GONE_WITHIN: Duration = Duration::from_secs(60);

/// Flags of `agentpool hand-back`.
#[derive(Debug, Args)]
pub(super) struct HandBackArgs {
    /// Workloads of this namespace only; repeat for more. Absent: of all namespaces.
    #[arg(long, env = "AGENTPOOL_NAMESPACE", value_name = "NAME", value_parser = dns_label, value_delimiter = ',')]
    namespace: Vec<String>,

    /// Wait first, at most a minute, until no pod with these labels is left in --pod-namespace.
    #[arg(long, value_name = "LABELS", requires = "pod_namespace")]
    after_pods: Option<String>,

    /// Namespace of the operator's pods.
    #[arg(long, env = "AGENTPOOL_POD_NAMESPACE", value_name = "NAME", value_parser = dns_label)]
    pod_namespace: Option<String>,

    /// Bound of one call to the API server; 500ms to 60s.
    #[arg(long, env = "AGENTPOOL_API_TIMEOUT", value_name = "DURATION", value_parser = api_timeout, default_value = "5s")]
    api_timeout: Duration,

    /// How log lines are written.
    #[arg(long, env = "AGENTPOOL_LOG_FORMAT", value_enum, default_value = "json")]
    log_format: LogFormat,
}

fn api_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(500), Duration::from_secs(60))
}

/// Hands everything back; fails when something could not be.
pub(super) fn main(args: HandBackArgs) -> ExitCode {
    if let Err(error) = init_logging(args.log_format, "info") {
        complain(&error);
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let returned = match runtime {
        Ok(runtime) => runtime.block_on(hand_back(args)),
        Err(error) => Err(error.into()),
    };
    match returned {
        Ok(Returned { done, failed: 0 }) => {
            tracing::info!(done, "everything is handed back");
            ExitCode::SUCCESS
        }
        Ok(Returned { done, failed }) => {
            tracing::error!(done, failed, "not everything is handed back");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(%error, "not everything is handed back");
            ExitCode::FAILURE
        }
    }
}

async fn hand_back(args: HandBackArgs) -> Result<Returned, Box<dyn std::error::Error>> {
    let client = connect(args.api_timeout).await?;
    let (_sender, unopposed) = watch::channel(LeaderState::Unopposed);
    let writer = Writer::new(
        client,
        unopposed,
        Health::new(),
        Metrics::new(),
        args.api_timeout,
    );
    if let (Some(selector), Some(namespace)) = (&args.after_pods, &args.pod_namespace) {
        wait_for_no_pods(&writer, namespace, selector, PODS_GONE_WITHIN).await?;
    }
    let scope = if args.namespace.is_empty() {
        Scope::Cluster
    } else {
        Scope::Namespaces(args.namespace.into_iter().collect())
    };
    Ok(hand_back_all(&writer, &scope).await?)
}
