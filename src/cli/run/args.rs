use super::super::values::{bytes, dns_label, dns_subdomain, duration};
use crate::controller::{ElectionConfig, PodIdentity, RunConfig, Scope, ScrapeLimits};
use crate::signals::prometheus::Server;
use crate::telemetry::{LogFormat, RecordConfig};
use clap::Args;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Flags of `agentpool run`; each has an environment variable of the same name.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// Serve pools of this namespace only; repeat for more. Absent: all namespaces. With it the operator needs no
    /// cluster-wide rights and sees no nodes, so pools must declare their GPUs.
    #[arg(long, env = "AGENTPOOL_NAMESPACE", value_name = "NAME", value_parser = dns_label, value_delimiter = ',')]
    namespace: Vec<String>,

    /// A Prometheus server that pools may refer to by name; repeat for more.
    #[arg(long, env = "AGENTPOOL_METRIC_SOURCE", value_name = "NAME=URL", value_parser = Server::from_str, value_delimiter = ',')]
    metric_source: Vec<Server>,

    /// Address of /metrics, /healthz and /readyz.
    #[arg(
        long,
        env = "AGENTPOOL_LISTEN",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8080"
    )]
    listen: SocketAddr,

    /// How log lines are written.
    #[arg(long, env = "AGENTPOOL_LOG_FORMAT", value_enum, default_value = "json")]
    pub(super) log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives such as "info,agentpool=debug".
    #[arg(
        long,
        env = "AGENTPOOL_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(super) log_level: String,

    /// Whether replicas elect the one that writes.
    #[arg(long, env = "AGENTPOOL_LEADER_ELECT", value_name = "true|false", action = clap::ArgAction::Set, default_value_t = true)]
    leader_elect: bool,

    /// Lease of the election. The fence at the API server names the same one.
    #[arg(long, env = "AGENTPOOL_LEASE_NAME", value_name = "NAME", value_parser = dns_subdomain, default_value = "agentpool")]
    lease_name: String,

    /// Namespace of the lease. Absent: the pod's.
    #[arg(long, env = "AGENTPOOL_LEASE_NAMESPACE", value_name = "NAME", value_parser = dns_label)]
    lease_namespace: Option<String>,

    /// A leader that has not renewed for this long is replaced; 5s to 120s, in whole seconds.
    #[arg(long, env = "AGENTPOOL_LEASE_DURATION", value_name = "DURATION", value_parser = lease_duration, default_value = "15s")]
    lease_duration: Duration,

    /// Name of the pod this runs in (downward API: metadata.name). Absent: the environment variable POD_NAME.
    #[arg(long, env = "AGENTPOOL_POD_NAME", value_name = "NAME", value_parser = dns_subdomain)]
    pod_name: Option<String>,

    /// Namespace of the pod this runs in (downward API: metadata.namespace). Absent: POD_NAMESPACE.
    #[arg(long, env = "AGENTPOOL_POD_NAMESPACE", value_name = "NAME", value_parser = dns_label)]
    pod_namespace: Option<String>,

    /// Bound of one call to the API server; 500ms to 60s.
    #[arg(long, env = "AGENTPOOL_API_TIMEOUT", value_name = "DURATION", value_parser = api_timeout, default_value = "5s")]
    api_timeout: Duration,

    /// Bound of one scrape; 50ms to 10s.
    #[arg(long, env = "AGENTPOOL_SCRAPE_TIMEOUT", value_name = "DURATION", value_parser = scrape_timeout, default_value = "900ms")]
    scrape_timeout: Duration,

    /// Scrapes under way at once; 1 to 1024.
    #[arg(long, env = "AGENTPOOL_SCRAPE_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), default_value_t = 64)]
    scrape_concurrency: u16,

    /// Largest body read in one scrape; 64Ki to 64Mi.
    #[arg(long, env = "AGENTPOOL_SCRAPE_MAX_BYTES", value_name = "BYTES", value_parser = scrape_bytes, default_value = "4Mi")]
    scrape_max_bytes: u64,

    /// Record every decision in this folder, for `agentpool replay`; made when it is not there, and for this process alone.
    /// Absent: nothing is recorded.
    #[arg(long, env = "AGENTPOOL_RECORD", value_name = "DIR")]
    record: Option<PathBuf>,

    /// The recording is never larger than this, the oldest goes; 16Mi to 64Gi.
    #[arg(long, env = "AGENTPOOL_RECORD_MAX_BYTES", value_name = "BYTES", value_parser = record_bytes, default_value = "256Mi")]
    record_max_bytes: u64,
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let value = duration(text, Duration::from_secs(5), Duration::from_secs(120))?;
    if value.subsec_nanos() == 0 {
        Ok(value)
    } else {
        Err("must be whole seconds: a lease knows no smaller unit".to_owned())
    }
}

fn api_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(500), Duration::from_secs(60))
}

fn scrape_bytes(text: &str) -> Result<u64, String> {
    bytes(text, 64 << 10..=64 << 20, "between 64Ki and 64Mi")
}

fn record_bytes(text: &str) -> Result<u64, String> {
    bytes(text, 16 << 20..=64 << 30, "between 16Mi and 64Gi")
}

fn scrape_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(50), Duration::from_secs(10))
}

impl RunArgs {
    /// Checks what no single flag can, and makes the controller's configuration. `variable` reads the environment.
    ///
    /// # Errors
    /// What is wrong with which flag, and what would be right.
    pub(super) fn resolve(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<RunConfig, String> {
        let read = |flag: &str, name: &str, check: fn(&str) -> Result<String, String>| {
            match variable(name).filter(|v| !v.is_empty()) {
                Some(text) => check(&text).map(Some).map_err(|e| {
                    format!("invalid value {text:?} of {name} (for --{flag}): it {e}")
                }),
                None => Ok(None),
            }
        };
        let pod = PodIdentity {
            name: match self.pod_name {
                Some(name) => Some(name),
                None => read("pod-name", "POD_NAME", dns_subdomain)?,
            },
            namespace: match self.pod_namespace {
                Some(namespace) => Some(namespace),
                None => read("pod-namespace", "POD_NAMESPACE", dns_label)?,
            },
        };
        let election = if self.leader_elect {
            Some(ElectionConfig {
                identity: pod.name.clone().ok_or(
                    "--pod-name is missing: leader election needs the pod's name as holder (set POD_NAME from \
                     metadata.name with the downward API), or switch it off with --leader-elect=false for a single process",
                )?,
                lease_namespace: self.lease_namespace.or_else(|| pod.namespace.clone()).ok_or(
                    "--lease-namespace is missing: set it, or POD_NAMESPACE from metadata.namespace with the downward API",
                )?,
                lease_name: self.lease_name,
                duration: self.lease_duration,
                api_timeout: self.api_timeout,
            })
        } else {
            None
        };
        Ok(RunConfig {
            scope: if self.namespace.is_empty() {
                Scope::Cluster
            } else {
                Scope::Namespaces(self.namespace.into_iter().collect())
            },
            metric_sources: distinct(self.metric_source)?,
            listen: self.listen,
            scrape: ScrapeLimits {
                concurrency: usize::from(self.scrape_concurrency),
                timeout: self.scrape_timeout,
                // At most 64Mi.
                max_bytes: usize::try_from(self.scrape_max_bytes).unwrap_or(usize::MAX),
            },
            record: self.record.map(|folder| RecordConfig {
                folder,
                max_bytes: self.record_max_bytes,
            }),
            api_timeout: self.api_timeout,
            pod,
            election,
        })
    }
}

fn distinct(sources: Vec<Server>) -> Result<BTreeMap<String, Server>, String> {
    let mut map = BTreeMap::new();
    for source in sources {
        let name = source.name.to_string();
        if map.insert(name.clone(), source).is_some() {
            return Err(format!(
                "--metric-source {name} is given twice: names must differ"
            ));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        run: RunArgs,
    }

    fn run(flags: &[&str], variables: &[(&str, &str)]) -> Result<RunConfig, String> {
        let flags = std::iter::once("run").chain(flags.iter().copied());
        let args = Probe::try_parse_from(flags).map_err(|e| e.to_string())?;
        args.run.resolve(|name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    const POD: &[(&str, &str)] = &[("POD_NAME", "agentpool-0"), ("POD_NAMESPACE", "agents")];

    #[test]
    fn in_a_cluster_the_defaults_suffice() {
        let config = run(&[], POD).unwrap_or_else(|e| unreachable!("{e}"));
        assert_eq!(config.scope, Scope::Cluster);
        let election = config.election;
        assert_eq!(
            election.as_ref().map(|e| e.identity.as_str()),
            Some("agentpool-0")
        );
        assert_eq!(
            election.as_ref().map(|e| e.lease_namespace.as_str()),
            Some("agents")
        );
        assert_eq!(election.map(|e| e.duration), Some(Duration::from_secs(15)));
        assert_eq!(config.scrape.max_bytes, 4 << 20);
        assert_eq!(config.record, None);
    }

    #[test]
    fn a_recording_is_bounded_unless_told_otherwise() {
        let config = run(&["--record=/var/lib/agentpool"], POD).ok();
        let record = config.and_then(|c| c.record);
        assert_eq!(record.as_ref().map(|r| r.max_bytes), Some(256 << 20));
        assert_eq!(
            record.map(|r| r.folder),
            Some(PathBuf::from("/var/lib/agentpool"))
        );
    }

    #[test]
    fn a_flag_goes_before_the_downward_api() {
        let config = run(&["--pod-name=other", "--lease-namespace=kube-system"], POD);
        let election = config.ok().and_then(|c| c.election);
        assert_eq!(
            election.as_ref().map(|e| e.identity.as_str()),
            Some("other")
        );
        assert_eq!(
            election.map(|e| e.lease_namespace),
            Some("kube-system".to_owned())
        );
    }

    #[test]
    fn without_election_no_pod_is_needed() {
        let config = run(&["--leader-elect=false"], &[]);
        assert_eq!(config.map(|c| c.election), Ok(None));
    }

    #[test]
    fn namespaces_and_sources_repeat() {
        let config = run(
            &[
                "--namespace=b",
                "--namespace=a,b",
                "--metric-source=prom=http://p:9090",
                "--metric-source=other=http://o:9090",
            ],
            POD,
        )
        .unwrap_or_else(|e| unreachable!("{e}"));
        assert_eq!(
            config.scope,
            Scope::Namespaces(["a".to_owned(), "b".to_owned()].into())
        );
        assert_eq!(config.metric_sources.len(), 2);
    }

    #[test]
    fn a_bad_value_names_the_flag_and_the_value_and_what_would_be_right() {
        for (flags, variables, hints) in [
            (&["--listen=8080"][..], POD, &["--listen", "8080"][..]),
            (
                &["--namespace=A_b"],
                POD,
                &["--namespace", "A_b", "lower-case"],
            ),
            (
                &["--log-format=xml"],
                POD,
                &["--log-format", "xml", "json", "text"],
            ),
            (
                &["--lease-duration=1s"],
                POD,
                &["--lease-duration", "1s", "between 5s and 120s"],
            ),
            (
                &["--lease-duration=5500ms"],
                POD,
                &["--lease-duration", "whole seconds"],
            ),
            (
                &["--scrape-concurrency=0"],
                POD,
                &["--scrape-concurrency", "0", "1..=1024"],
            ),
            (
                &["--scrape-max-bytes=1Gi"],
                POD,
                &["--scrape-max-bytes", "1Gi", "64Mi"],
            ),
            (
                &["--record-max-bytes=1Mi"],
                POD,
                &["--record-max-bytes", "1Mi", "between 16Mi and 64Gi"],
            ),
            (
                &["--scrape-timeout=1m"],
                POD,
                &["--scrape-timeout", "1m", "10s"],
            ),
            (
                &["--api-timeout=soon"],
                POD,
                &["--api-timeout", "soon", "duration"],
            ),
            (
                &["--leader-elect=maybe"],
                POD,
                &["--leader-elect", "maybe", "true"],
            ),
            (
                &["--metric-source=p"],
                POD,
                &["--metric-source", "NAME=URL"],
            ),
            (
                &["--metric-source=p=http://a", "--metric-source=p=http://b"],
                POD,
                &["--metric-source", "twice", "p is given"],
            ),
            (&["--unknown"], POD, &["--unknown"]),
            (
                &[],
                &[],
                &["--pod-name", "POD_NAME", "--leader-elect=false"],
            ),
            (
                &["--pod-name=a"],
                &[],
                &["--lease-namespace", "POD_NAMESPACE"],
            ),
            (
                &[],
                &[("POD_NAME", "A B")],
                &["--pod-name", "A B", "lower-case"],
            ),
        ] {
            let error = run(flags, variables).err().unwrap_or_default();
            for hint in hints {
                assert!(error.contains(hint), "{flags:?}: no {hint:?} in {error:?}");
            }
        }
    }
}
