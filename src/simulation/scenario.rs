use super::engine::Dispatch;
use super::load::AgentLoad;
use crate::api::ValidPool;
use crate::sharing::Node;
use crate::units::MilliGpus;

/// What is simulated. Which rule is in control and which seed draws the load are arguments of the run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The pool, as the operator would read it.
    pub pool: ValidPool,
    /// How each agent serves, in the order of `pool.agents`.
    pub services: Vec<Service>,
    /// What arrives, in the order of `pool.agents`.
    pub loads: Vec<AgentLoad>,
    /// What there is to serve with.
    pub cluster: Cluster,
    /// Where requests wait for a replica; `None`: as the rule in control brings it along.
    pub dispatch: Option<Dispatch>,
    /// For how long requests arrive, in seconds; > 0. The run goes on until they are served, at most for as long again.
    pub seconds: f64,
    /// Requests that arrive earlier are served and not counted, in seconds; ≥ 0, below `seconds`.
    pub warmup: f64,
    /// Age of what a rule sees, in seconds; ≥ 0: what was measured then, not now.
    pub metric_age: f64,
    /// Latency that users are promised, in seconds.
    pub latency_target: Option<f64>,
    /// Price of a GPU that is there, whoever uses it, in USD an hour; ≥ 0.
    pub price_per_gpu_hour: f64,
    /// Power of a GPU.
    pub power: Option<Power>,
}

/// How one agent serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Requests a second that it really serves on one whole GPU, which the manifest's declaration may miss; > 0.
    pub throughput: f64,
    /// Requests that run at once in a replica and share its speed; the others wait in order of arrival. 1 is a single
    /// server, first come first served; `u32::MAX` is processor sharing.
    pub max_running: u32,
    /// From the binding of a pod until it serves, in seconds; ≥ 0.
    pub cold_start: f64,
    /// What the first pod of the agent on a node takes longer, in seconds; ≥ 0.
    pub image_pull: f64,
    /// Longest time in which a pod that is deleted may finish what it runs, in seconds; ≥ 0. What then still runs starts again
    /// elsewhere.
    pub drain: f64,
}

/// What there is to serve with.
#[derive(Debug, Clone, PartialEq)]
pub enum Cluster {
    /// Shares as they are decided, without pods: the paper's idealisation.
    Fractions(Fractions),
    /// Pods on nodes.
    Nodes(Nodes),
}

/// Any share at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Fractions {
    /// GPUs to be shared.
    pub gpus: MilliGpus,
    /// From a decision until it is in force, in seconds; ≥ 0. Later decisions are under way meanwhile.
    pub lag: f64,
    /// What a share is worth.
    pub sharing: Sharing,
}

/// What a share of a GPU is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sharing {
    /// A hard part: speed is throughput · share^b within one GPU, linear beyond, whatever the others do (MIG).
    Partition,
    /// Busy agents take turns on all of it in proportion to their shares; an idle one lends its turn.
    TimeSlicing {
        /// Speed that is left while two or more are busy; in (0, 1].
        switching_efficiency: f64,
    },
    /// A cap: as a partition while caps sum up to at most all GPUs; beyond, busy agents slow each other down in proportion.
    Mps,
}

/// Pods on nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodes {
    /// The nodes.
    pub groups: Vec<NodeGroup>,
    /// Speed of a time-sliced GPU that is left while two or more of its processes are busy; in (0, 1].
    pub switching_efficiency: f64,
}

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeGroup {
    /// What each is like; nodes are named `NAME-0`, `NAME-1`, ...
    pub node: Node,
    /// How many there are at the start.
    pub count: u32,
    /// Whether they come and go.
    pub elastic: Option<Elastic>,
}

/// Nodes that come when a pod finds no room and go when no pod needs them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elastic {
    /// Fewest nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// From the need for a node until it is ready, in seconds; it is paid for meanwhile.
    pub provision: f64,
    /// For how long a node stays without a pod that needs it, in seconds.
    pub idle: f64,
}

/// Power of one GPU, linear between idle and busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Watts without work.
    pub idle: f64,
    /// Watts at full speed.
    pub busy: f64,
}
