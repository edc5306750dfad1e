use super::account::Sketch;

/// What a run came to. Requests that arrived before the end of the warm-up are not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The rule in control, as the command line names it.
    pub rule: String,
    /// What drew the load.
    pub seed: u64,
    /// From the end of the warm-up until no request came any more and the last one was served, in seconds.
    pub seconds: f64,
    /// The agents, in the order of the pool.
    pub agents: Vec<AgentOutcome>,
    /// GPU-seconds that were there and paid for.
    pub paid: f64,
    /// Of these, granted to nobody.
    pub stranded: f64,
    /// Changes of an agent's share or replicas that were begun, of all agents.
    pub moves: u64,
    /// Over time, for plots; at most [`super::POINTS`] of them, evenly spaced.
    pub series: Vec<Point>,
}

/// What a run came to for one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentOutcome {
    /// Its name.
    pub name: String,
    /// Time in the system, in seconds; of requests that were not served in the end, until the end.
    pub latency: Sketch,
    /// Of it, the time before they first ran, in seconds.
    pub waiting: Sketch,
    /// Requests that arrived; as many are in `latency`.
    pub arrived: u64,
    /// Requests that were served.
    pub served: u64,
    /// Of these, within the latency target; all when there is none.
    pub within_target: u64,
    /// GPU-seconds that it was granted.
    pub granted: f64,
    /// GPU-seconds of work that were done for it: the time that it would have taken on a whole GPU.
    pub work: f64,
    /// GPU-seconds for which GPUs were busy with it. Not `work` where a part of a GPU is faster than it is large.
    pub busy: f64,
    /// Pods that were started after the run began.
    pub restarts: u64,
    /// Changes of its share or replicas that were begun.
    pub moves: u64,
    /// Requests that lost a pod while they ran in it and started again.
    pub cut: u64,
    /// Longest time for which it had requests and finished none, in seconds.
    pub starved: f64,
}

/// One moment of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When, in seconds.
    pub at: f64,
    /// GPUs that were paid for.
    pub gpus: f64,
    /// By agent.
    pub agents: Vec<PointOfAgent>,
}

/// One moment of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PointOfAgent {
    /// Share in force, in GPUs.
    pub share: f64,
    /// Replicas that serve; 0 without pods.
    pub replicas: u32,
    /// Requests in the system.
    pub requests: f64,
    /// Requests that arrived since the last point, a second.
    pub arrivals: f64,
    /// Mean latency of requests that were served since the last point, in seconds.
    pub latency: Option<f64>,
}
