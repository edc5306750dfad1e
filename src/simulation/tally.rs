//! What a run came to, counted while it runs.

use super::account::Sketch;
use super::engine::{Engine, Finished};
use super::outcome::AgentOutcome;
use super::series::Series;

/// Everything that is counted of one run.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    warmup: f64,
    target: f64,
    agents: Vec<Account>,
    /// GPU-seconds that were there and paid for.
    pub paid: f64,
    /// Of these, granted to somebody.
    pub granted: f64,
    /// Up to when `paid` and `granted` are.
    charged: f64,
    /// Over time.
    pub series: Series,
}

/// What is counted of one agent.
#[derive(Debug, Clone, Default)]
struct Account {
    latency: Sketch,
    waiting: Sketch,
    within_target: u64,
    served: u64,
    /// Sum of the times in the system of all served requests, those before the end of the warm-up included.
    latencies: f64,
    granted: f64,
    /// Since when it has requests and finished none.
    hungry: f64,
    starved: f64,
    /// What was counted until the end of the warm-up.
    before: Before,
}

/// Counts that are subtracted in the end.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    arrived: u64,
    cut: u64,
    work: f64,
    busy: f64,
    restarts: u64,
    moves: u64,
}

/// What the world says of an agent over a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Granted {
    /// GPUs.
    pub gpus: f64,
    /// Replicas that serve.
    pub replicas: u32,
    /// Pods started since the run began.
    pub restarts: u64,
    /// Changes of its share or replicas since the run began.
    pub moves: u64,
}

impl Tally {
    pub fn new(agents: usize, seconds: f64, warmup: f64, target: Option<f64>) -> Self {
        Self {
            warmup,
            target: target.unwrap_or(f64::INFINITY),
            agents: vec![Account::default(); agents],
            paid: 0.0,
            granted: 0.0,
            charged: 0.0,
            series: Series::new(agents, seconds),
        }
    }

    /// A request arrived at an agent that had this many.
    #[inline]
    pub fn arrived(&mut self, now: f64, agent: usize, present: u64) {
        if present == 0 {
            self.agents[agent].hungry = now;
        }
    }

    /// A request was served.
    #[inline]
    pub fn finished(&mut self, request: &Finished) {
        let account = &mut self.agents[request.agent];
        let latency = request.at - request.arrived;
        account.latencies += latency;
        if request.at >= self.warmup {
            account.starve(request.at, self.warmup);
        }
        account.hungry = request.at;
        if request.arrived >= self.warmup {
            account.latency.add(latency);
            account.waiting.add(request.started - request.arrived);
            account.within_target += u64::from(latency <= self.target);
        }
    }

    /// What was granted and paid for since the last call, at the end of the warm-up at the latest.
    pub fn charge(&mut self, now: f64, paid: f64, granted: &[Granted]) {
        let seconds = now - self.charged;
        self.charged = now;
        if now <= self.warmup || seconds <= 0.0 {
            return;
        }
        self.paid += paid * seconds;
        for (account, granted) in self.agents.iter_mut().zip(granted) {
            account.granted += granted.gpus * seconds;
            self.granted += granted.gpus * seconds;
        }
    }

    /// The warm-up ends.
    pub fn begin(&mut self, now: f64, engine: &Engine, granted: &[Granted]) {
        for (agent, account) in self.agents.iter_mut().enumerate() {
            let counts = engine.counts(agent);
            account.before = Before {
                arrived: counts.arrived,
                cut: counts.cut,
                work: engine.done(now, agent),
                busy: engine.occupied(now, agent),
                restarts: granted[agent].restarts,
                moves: granted[agent].moves,
            };
        }
    }

    /// Sums of the times in the system of all served requests, by agent.
    pub fn latencies(&self) -> Vec<f64> {
        self.agents.iter().map(|a| a.latencies).collect()
    }

    /// A point of the series.
    pub fn point(&mut self, now: f64, engine: &Engine, paid: f64, granted: &[Granted]) {
        let latencies = self.latencies();
        self.series.add(now, engine, paid, granted, &latencies);
    }

    /// The agents' outcomes. Requests that are not served yet count with their age: a rule that serves them never must not look
    /// better than one that serves them late.
    pub fn agents(
        mut self,
        now: f64,
        engine: &Engine,
        names: &[&str],
        granted: &[Granted],
    ) -> Vec<AgentOutcome> {
        for (agent, account) in self.agents.iter_mut().enumerate() {
            if engine.counts(agent).present() > 0 {
                account.starve(now, self.warmup);
            }
            account.served = account.latency.count();
            for (arrived, started) in engine.unserved(agent) {
                if arrived >= self.warmup {
                    account.latency.add(now - arrived);
                    account.waiting.add(started.unwrap_or(now) - arrived);
                }
            }
        }
        let outcome = |(agent, account): (usize, Account)| {
            let (counts, before) = (engine.counts(agent), account.before);
            AgentOutcome {
                name: names[agent].to_owned(),
                served: account.served,
                latency: account.latency,
                waiting: account.waiting,
                arrived: counts.arrived - before.arrived,
                within_target: account.within_target,
                granted: account.granted,
                work: engine.done(now, agent) - before.work,
                busy: engine.occupied(now, agent) - before.busy,
                restarts: granted[agent].restarts - before.restarts,
                moves: granted[agent].moves - before.moves,
                cut: counts.cut - before.cut,
                starved: account.starved,
            }
        };
        self.agents.into_iter().enumerate().map(outcome).collect()
    }
}

impl Account {
    #[inline]
    fn starve(&mut self, now: f64, warmup: f64) {
        self.starved = self.starved.max(now - self.hungry.max(warmup));
    }
}
