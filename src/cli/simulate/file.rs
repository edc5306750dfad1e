//! The scenario file. Its comments are the manual: `docs/simulate.md` is generated from them.

use crate::simulation::Dispatch;
use crate::simulation::load::{Arrivals, Scaling, Work};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is simulated beside the pool. Every field may be left out. Times are in seconds, rates in requests a second.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ScenarioFile {
    /// For how long requests arrive; > 0. Default: the length of the longest trace, else 1800. Longer than all traces is refused, and
    /// which loads end earlier or are cut is said.
    pub seconds: Option<f64>,
    /// Requests that arrive earlier are served and not counted; at least 0, below `seconds`. Default 0.
    pub warmup: f64,
    /// Age of what a rule sees: scrape interval and delay of the metrics; at least 0. Default 0.
    pub metric_age: f64,
    /// How many seeds, 1 to 1000: 1, 2, 3, ... Each draws another load, the same for every rule. Default 5.
    pub seeds: Option<u32>,
    /// The rules that are compared, the first with all others; a target of one's own follows a colon (`hpa:0.6`). Default:
    /// static-equal, the pool's own policy, water-filling, balanced.
    pub rules: Option<Vec<String>>,
    /// Latency that users are promised; > 0. Default: none.
    pub latency_target: Option<f64>,
    /// Price of a GPU in USD an hour, at least 0. Default: the pool's `pricePerGpuHour`, else 0.
    pub price_per_gpu_hour: Option<f64>,
    /// Power of a GPU. Default: none, and no energy is told.
    pub power: Option<PowerFile>,
    /// What there is to serve with. Default: where the pool shares whole GPUs, its `gpus` on nodes of 8 at most; else fractions of
    /// its GPUs, because the manifest says neither the memory of a GPU nor its MIG instances. The output says which.
    pub cluster: Option<ClusterFile>,
    /// Where requests wait for a replica: `FewestRequests` (in the one with the fewest, where they stay: a Service in front of engines
    /// that queue by themselves) or `OneQueue` (in a queue of their agent, from which a replica takes when it has room: a gateway or an
    /// activator). Every rule sees what waits, wherever. Default: what the rule brings along, OneQueue with knative and FewestRequests
    /// with all others. Only with nodes.
    pub dispatch: Option<DispatchFile>,
    /// A trace that has the load of all agents, by name where there are several: a file, a folder, or the name of a folder in
    /// `AGENTPOOL_TRACES`; from the place of this file. Default: the agents' own arrivals.
    pub trace: Option<String>,
    /// By agent of the pool: how it serves and what arrives. Default: nothing is said about any.
    pub agents: BTreeMap<String, AgentFile>,
}

/// An agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AgentFile {
    /// When requests arrive, see [loads](#loads). Default: from the trace; without one, bursts at an equal part of 70 % load.
    #[schemars(with = "Option<Foreign>")]
    pub arrivals: Option<Arrivals>,
    /// How much work they are: `{type: Exponential}`, `{type: Deterministic}`, or `{type: Tokens, prefill, decode, mean}` in GPU-seconds
    /// a token. Default Exponential.
    #[schemars(with = "Option<Foreign>")]
    pub work: Option<Work>,
    /// How its part of the trace is brought to another rate: `{type: Compression, rate}`, `{type: Superposition, rate}` or
    /// `{type: Thinning, rate}`. Default: as recorded. Only with a trace.
    #[schemars(with = "Option<Foreign>")]
    pub scaling: Option<Scaling>,
    /// Requests a second that it really serves on one whole GPU; > 0. Default: what the pool declares.
    pub throughput: Option<f64>,
    /// Requests that run at once in a replica and share its speed, at least 1: 1 is first come first served, 4294967295 processor
    /// sharing. Default 1.
    pub max_running: Option<u32>,
    /// From the binding of a pod until it serves; at least 0. Default: the pool's `actuationLag`. Only with nodes.
    pub cold_start: Option<f64>,
    /// What the first pod of the agent on a node takes longer; at least 0. Default 0. Only with nodes.
    pub image_pull: Option<f64>,
    /// Longest time in which a pod that is deleted may finish what it runs; at least 0. Default 30, Kubernetes' own. Only with nodes.
    pub drain: Option<f64>,
}

/// Where requests wait for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum DispatchFile {
    /// In the one with the fewest requests.
    FewestRequests,
    /// In a queue of their agent.
    OneQueue,
}

impl From<DispatchFile> for Dispatch {
    fn from(file: DispatchFile) -> Self {
        match file {
            DispatchFile::FewestRequests => Self::FewestRequests,
            DispatchFile::OneQueue => Self::OneQueue,
        }
    }
}

/// Power of a GPU, linear between idle and busy.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PowerFile {
    /// Watts without work; at least 0. Required.
    pub idle: f64,
    /// Watts at full speed; at least `idle`. Required.
    pub busy: f64,
}

/// What there is to serve with: a union by `type`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum ClusterFile {
    /// Shares as they are decided, in force after a lag, without pods. A share of 2 GPUs is one server of twice the speed:
    /// `replicas`, `gpusPerReplica` and restarts are not in it.
    Fractions {
        /// GPUs that are shared, such as 4 or "0.5". Default: the pool's `gpus`.
        gpus: Option<Gpus>,
        /// From a decision until it is in force; at least 0. Default: the pool's `actuationLag`.
        lag: Option<f64>,
        /// What a share is worth: `Partition` (a hard part, as with MIG), `TimeSlicing` (idle agents lend their turns) or `Mps` (a cap).
        /// Default: TimeSlicing where the pool's sharing is, else Partition. A part of a GPU is as fast as it is large unless the pool
        /// shares by MIG and says `model.speedExponent`.
        sharing: Option<SharingFile>,
        /// Speed of a time-sliced GPU that is left while two or more agents are busy; in (0, 1]. Default 1. Without effect, which is
        /// said, where nobody takes turns.
        switching_efficiency: Option<f64>,
    },
    /// Pods on nodes, placed as Kubernetes would, whatever the rule within the GPUs that the pool declares.
    Nodes {
        /// The nodes, by kind; at least one. Required.
        groups: Vec<GroupFile>,
        /// Speed of a time-sliced GPU that is left while two or more of its processes are busy; in (0, 1]. Default 1. Without effect,
        /// which is said, unless the pool shares by time-slicing.
        switching_efficiency: Option<f64>,
    },
}

/// A number of GPUs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Gpus {
    /// As a number.
    Number(f64),
    /// As a text.
    Text(String),
}

/// What a share is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum SharingFile {
    /// A hard part.
    Partition,
    /// Turns on all of it.
    TimeSlicing,
    /// A cap.
    Mps,
}

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GroupFile {
    /// Its name; nodes are `NAME-0`, `NAME-1`, ... Required.
    pub name: String,
    /// How many there are at the start; at least 1. Default 1.
    #[serde(default = "one")]
    pub count: u32,
    /// GPUs of a node; at least 1. Required.
    pub gpus: u32,
    /// Memory of a GPU, such as 80Gi. Default: unknown; needed for time-slicing where the pool declares memory.
    pub gpu_memory: Option<String>,
    /// MIG instances of a node by resource, such as `nvidia.com/mig-1g.10gb`. Default: none. Only where the pool shares by MIG.
    #[serde(default)]
    pub instances: BTreeMap<String, InstanceFile>,
    /// Streaming multiprocessors of a whole GPU. Default: unknown; needed for MIG.
    pub multiprocessors: Option<u32>,
    /// Whether they come and go. Default: they stay.
    pub elastic: Option<ElasticFile>,
}

fn one() -> u32 {
    1
}

/// MIG instances of one profile on a node.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InstanceFile {
    /// How many; at least 1. Required.
    pub count: u32,
    /// Streaming multiprocessors of one. Required.
    pub multiprocessors: u32,
    /// Memory of one, such as 9856Mi. Required.
    pub memory: String,
}

/// Nodes that come when a pod finds no room and go when no pod needs them.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ElasticFile {
    /// Fewest nodes. Required.
    pub min: u32,
    /// Most nodes; at least `min`. Required.
    pub max: u32,
    /// From the need for a node until it is ready; at least 0; it is paid for meanwhile. Required.
    pub provision: f64,
    /// For how long a node stays without a pod that needs it; at least 0. Required.
    pub idle: f64,
}

/// A type of the simulator that describes itself in `docs/simulate.md`.
#[derive(JsonSchema)]
struct Foreign {}
