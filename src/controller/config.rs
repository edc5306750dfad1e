use crate::controller::leadership::LeaderState;
use crate::signals::prometheus::Server;
use crate::telemetry::{Health, Metrics, RecordConfig, Recorder};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything the operator's administrator decides, checked once by the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// Which pools it serves.
    pub scope: Scope,
    /// Prometheus servers that a pool may refer to, by name.
    pub metric_sources: BTreeMap<String, Server>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// Bounds of one scrape, and of all together.
    pub scrape: ScrapeLimits,
    /// Bound of one call to the API server, retries included.
    pub api_timeout: Duration,
    /// Who we are.
    pub pod: PodIdentity,
    /// Where decisions are recorded; `None`: nowhere.
    pub record: Option<RecordConfig>,
    /// How the one writer is chosen; `None`: this process is the only one (development).
    pub election: Option<ElectionConfig>,
}

/// Which pools the operator serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Pools of all namespaces; nodes are visible.
    Cluster,
    /// Pools of these namespaces only (never empty); nodes are hidden, so that pools must declare capacity.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// The namespaces to ask; `None`: all at once.
    pub fn places(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(namespaces) => namespaces.iter().cloned().map(Some).collect(),
        }
    }
}

/// Bounds of scraping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Scrapes under way at once, over all pools; ≥ 1.
    pub concurrency: usize,
    /// Bound of one scrape, from connecting to the last byte.
    pub timeout: Duration,
    /// Largest body that is read, in bytes.
    pub max_bytes: usize,
}

/// The pod that this process runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its name: the holder in the lease, and what the fence compares. `None` outside a cluster.
    pub name: Option<String>,
    /// Its namespace. `None` outside a cluster.
    pub namespace: Option<String>,
}

/// How the one writer is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionConfig {
    /// Name of the lease; the fence (a ValidatingAdmissionPolicy) names the same one.
    pub lease_name: String,
    /// Namespace of the lease.
    pub lease_namespace: String,
    /// Holder identity: the pod's name, because that is what the API server can compare.
    pub identity: String,
    /// A holder that has not renewed for this long may be replaced.
    pub duration: Duration,
    /// Bound of one call to the API server.
    pub api_timeout: Duration,
}

/// What the command line hands the controller.
#[derive(Clone)]
pub struct Wiring {
    /// The administrator's decisions.
    pub config: RunConfig,
    /// The API server; its client retries nothing by itself: each call is bounded and retried by its caller.
    pub client: kube::Client,
    /// What is counted.
    pub metrics: Metrics,
    /// Records decisions; `None`: nothing is recorded.
    pub recorder: Option<Recorder>,
    /// What `/healthz` and `/readyz` answer: the controller ticks it and says when its caches are filled.
    pub health: Health,
    /// Whether this process may write. Always leading when election is off.
    pub leader: watch::Receiver<LeaderState>,
    /// Cancelled when the process is to stop: finish the step under way, start no other, return.
    pub stop: CancellationToken,
}
