//! What arrives: requests by agent, the same for every rule that is compared.

/// A request as it reaches an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Seconds since the start of the run; finite, never falling from one to the next.
    pub at: f64,
    /// Its work as a multiple of the agent's mean: on one whole idle GPU it takes `work` / throughput seconds.
    pub work: f64,
}

/// The requests of one agent, in order.
pub type Requests = Box<dyn Iterator<Item = Request> + Send>;

/// How an agent's load is made.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentLoad {
    /// The agent's name.
    pub agent: String,
    /// Seconds between two requests, all alike.
    pub every: f64,
}

impl AgentLoad {
    /// Its requests, without end unless the load ends by itself.
    pub fn requests(&self, _seed: u64) -> Requests {
        let every = self.every;
        Box::new((1u64..).map(move |i| Request {
            at: i as f64 * every,
            work: 1.0,
        }))
    }
}
