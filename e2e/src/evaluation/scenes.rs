//! Traces where they are at hand, else generators with their statistics; and the scenarios that are made of them.

use crate::controlplane::binaries;
use agentpool::api::{AgentPool, ValidPool};
use agentpool::cli::traces;
use agentpool::sharing::Node;
use agentpool::simulation::load::trace::{EVERYONE, Recording, Trace};
use agentpool::simulation::load::{AgentLoad, Arrivals, BuiltIn, Replay, Scaling, Work};
use agentpool::simulation::load::{FOUR_AGENT_A, FOUR_AGENT_B};
use agentpool::simulation::{Cluster, Dispatch, Fractions, NodeGroup, Nodes, Scenario};
use agentpool::simulation::{Service, Sharing};
use agentpool::units::MilliGpus;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;

/// The agents, in the order in which a split of the load is written.
pub const AGENTS: [&str; 4] = ["coordinator", "nlp", "vision", "reasoning"];
/// All the same.
pub const EVEN: [f64; 4] = [0.25; 4];
/// Uneven.
pub const UNEVEN: [f64; 4] = [0.4, 0.1, 0.3, 0.2];

/// What is replayed.
pub struct Traces {
    found: BTreeMap<&'static str, Trace>,
}

/// The traces that are looked for, and what of each was measured.
pub(super) const NAMES: [(&str, &str); 9] = [
    (
        "four_agent_A",
        "coordinator and nlp: recorded arrivals; vision: counts in 10 minutes recorded, positions in them drawn; reasoning: recorded on a grid of 3 s",
    ),
    (
        "four_agent_B",
        "counts in 10 minutes and the shape of gaps measured, positions drawn; services side by side that need not be of one day",
    ),
    (
        "four_agent_C_rates/rates_24h.csv.gz",
        "measured rates in 10 minutes, scaled to 3/s an agent; Poisson within them",
    ),
    (
        "four_agent_C_rates/language_rates_14d.csv.gz",
        "measured rates in 10 minutes, scaled; Poisson within them",
    ),
    (
        "azure_code_2023",
        "recorded arrivals (those of A's coordinator)",
    ),
    ("azure_conv_2023", "recorded arrivals (those of A's nlp)"),
    (
        "servegen_deepseek_r1",
        "counts in 10 minutes and the shape of gaps measured, positions drawn",
    ),
    (
        "servegen_mm_image",
        "counts in 10 minutes and the shape of gaps measured, positions drawn",
    ),
    (
        "mooncake_conversation",
        "recorded on a grid of 3 s, left as it is (those of A's reasoning)",
    ),
];

impl Traces {
    /// Opens those that are at hand.
    pub fn open() -> Result<Self> {
        let folder = binaries::traces();
        let mut found = BTreeMap::new();
        for (name, _) in NAMES {
            let path = folder.join(name);
            if path.exists() {
                found.insert(name, traces::read(&path)?);
            }
        }
        Ok(Self { found })
    }

    /// A trace, if it is at hand.
    pub fn get(&self, name: &str) -> Option<&Trace> {
        self.found.get(name)
    }

    /// What a source is called: by its name, and where a generator stands in for it so that nobody takes it for the trace.
    pub fn called(&self, source: Source, name: &str) -> String {
        let (file, instead) = match source {
            Source::Four { name, .. } | Source::Turned { name, .. } => (name, "generated like "),
            Source::Quarters(file) => (file, ""),
        };
        match self.get(file) {
            Some(_) => name.to_owned(),
            None => format!("{instead}{name}"),
        }
    }

    /// The loads of four agents by a source, each with its mean rate, in the order of [`AGENTS`].
    pub fn loads(&self, source: Source) -> Result<Vec<(AgentLoad, f64)>> {
        match source {
            Source::Four {
                name,
                stand_in,
                from,
                seconds,
            } => match self.get(name) {
                Some(trace) => AGENTS
                    .iter()
                    .map(|agent| replay(name, trace, agent, agent, from, seconds))
                    .collect(),
                None => generated(stand_in),
            },
            Source::Turned {
                name,
                stand_in,
                parts,
                ..
            } => match self.get(name) {
                Some(trace) => AGENTS
                    .iter()
                    .zip(parts)
                    .map(|(agent, (part, from))| {
                        let recorded = trace.agents.get(part);
                        let recorded = recorded.with_context(|| format!("{part} in {name}"))?;
                        let agents = BTreeMap::from([(part.to_owned(), turned(recorded, from))]);
                        let format = trace.format;
                        replay(name, &Trace { format, agents }, agent, part, 0.0, None)
                    })
                    .collect(),
                None => generated(stand_in),
            },
            Source::Quarters(name) => {
                let trace = self.get(name).with_context(|| format!("trace {name}"))?;
                let part = trace.agents.values().next().map_or(0.0, Recording::seconds) / 4.0;
                let quarter = |(k, agent): (usize, &&str)| {
                    replay(name, trace, agent, EVERYONE, part * k as f64, Some(part))
                };
                AGENTS.iter().enumerate().map(quarter).collect()
            }
        }
    }

    /// How long a source lasts, in seconds.
    pub fn seconds(&self, source: Source) -> f64 {
        match source {
            Source::Four {
                name,
                seconds,
                from,
                ..
            } => match (seconds, self.get(name)) {
                (Some(seconds), _) => seconds,
                (None, Some(trace)) => {
                    let longest = trace.agents.values().map(Recording::seconds);
                    longest.fold(0.0, f64::max) - from
                }
                (None, None) => 2100.0,
            },
            Source::Turned { seconds, .. } => seconds,
            Source::Quarters(name) => {
                let trace = self.get(name).and_then(|t| t.agents.values().next());
                trace.map_or(0.0, Recording::seconds) / 4.0
            }
        }
    }
}

/// Where four loads come from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A trace of four agents, a part of it; a generator where it is absent.
    Four {
        /// Its name.
        name: &'static str,
        /// What stands in for it.
        stand_in: BuiltIn,
        /// From where, in seconds.
        from: f64,
        /// For how long; `None`: to its end.
        seconds: Option<f64>,
    },
    /// The quarters of a trace of one service, one for each agent, side by side. Only where it is at hand.
    Quarters(&'static str),
    /// Tables of rates of a trace, one for each agent; a generator where it is absent.
    Turned {
        /// Its name.
        name: &'static str,
        /// What stands in for it.
        stand_in: BuiltIn,
        /// By agent: which table, and from where in seconds; what is before that follows at its end.
        parts: [(&'static str, f64); 4],
        /// For how long.
        seconds: f64,
    },
}

/// The bursty trace.
pub const A: Source = Source::Four {
    name: "four_agent_A",
    stand_in: BuiltIn::A,
    from: 0.0,
    seconds: Some(2100.0),
};

/// The drifting trace.
pub const B: Source = Source::Four {
    name: "four_agent_B",
    stand_in: BuiltIn::B,
    from: 0.0,
    seconds: Some(10_800.0),
};

/// Eight to two o'clock of the measured rates of a day.
pub const C: Source = Source::Four {
    name: "four_agent_C_rates/rates_24h.csv.gz",
    stand_in: BuiltIn::C,
    from: 28_800.0,
    seconds: Some(21_600.0),
};

/// A table of rates that begins with the window which covers `from` seconds; those before it follow at the end.
fn turned(recorded: &Recording, from: f64) -> Recording {
    let Recording::Rates(windows) = recorded else {
        return recorded.clone();
    };
    let mut end = 0.0;
    let ends = windows.iter().map(|window| {
        end += window.seconds;
        end
    });
    let before = ends.take_while(|end| *end <= from).count();
    let mut windows = windows.to_vec();
    windows.rotate_left(before);
    Recording::Rates(windows.into())
}

/// Rates beyond are normalised to this mean, so that a run takes seconds; a request a second and more per agent leaves the drift as it
/// is.
const NORMAL_RATE: f64 = 3.0;

fn replay(
    file: &str,
    trace: &Trace,
    agent: &str,
    of: &str,
    from: f64,
    seconds: Option<f64>,
) -> Result<(AgentLoad, f64)> {
    let mut replay = Replay {
        file: file.to_owned(),
        of: (agent != of && of != EVERYONE).then(|| of.to_owned()),
        from,
        seconds,
        ..Replay::default()
    };
    replay.attach(agent, trace)?;
    let mut rate = replay.mean_rate();
    if matches!(replay.recorded, Recording::Rates(_)) {
        rate = NORMAL_RATE;
        replay.scaling = Scaling::Superposition { rate };
    }
    let load = AgentLoad {
        agent: agent.to_owned(),
        arrivals: Arrivals::Trace(replay),
        work: Work::Exponential,
    };
    Ok((load, rate))
}

/// Measured rates at another mean rate; their drift stays as it is.
pub fn at_rate(mut load: AgentLoad, rate: f64) -> Result<(AgentLoad, f64)> {
    match &mut load.arrivals {
        Arrivals::Trace(replay) => replay.scaling = Scaling::Superposition { rate },
        Arrivals::Diurnal { rate: mean, .. } => *mean = rate,
        _ => bail!("{} has no table of rates that could be scaled", load.agent),
    }
    Ok((load, rate))
}

/// What stands in for a trace, with its mean rates, in the order of [`AGENTS`].
fn generated(stand_in: BuiltIn) -> Result<Vec<(AgentLoad, f64)>> {
    let rates = match stand_in {
        BuiltIn::A => FOUR_AGENT_A.map(|(_, like)| like.mean),
        BuiltIn::B => FOUR_AGENT_B.map(|(_, drift)| drift.rate),
        BuiltIn::C => [NORMAL_RATE; 4],
    };
    let loads = stand_in.loads(Some(rates));
    let of = |agent: &&str| {
        let mut all = loads.iter().zip(rates);
        let found = all.find(|(load, _)| load.agent == **agent);
        let (load, rate) = found.context("a load for each agent")?;
        Ok((load.clone(), rate))
    };
    AGENTS.iter().map(of).collect()
}

/// What a pool of four agents is told.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Whole GPUs.
    pub gpus: u32,
    /// `policy` of the pool, as YAML in braces.
    pub policy: String,
    /// By agent, in the order of [`AGENTS`].
    pub priorities: [&'static str; 4],
    /// By agent.
    pub min_shares: [&'static str; 4],
    /// `sharing` of its devices, as YAML in braces.
    pub sharing: &'static str,
    /// Most replicas of an agent; `None`: one a GPU.
    pub replicas: Option<u32>,
    /// What else is declared of every model, as YAML fields.
    pub model: &'static str,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            gpus: 1,
            policy: "{}".to_owned(),
            priorities: ["Medium"; 4],
            min_shares: ["0"; 4],
            sharing: "{type: WholeGPU}",
            replicas: None,
            model: "",
        }
    }
}

impl Pool {
    /// The pool whose agents have these throughputs.
    ///
    /// # Errors
    /// What the operator would say.
    pub fn valid(&self, throughputs: &[f64]) -> Result<ValidPool> {
        let mut text = format!(
            "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: evaluation, namespace: agents}}\nspec:\n  \
             mode: Auto\n  devices: [{{name: gpu, gpus: {}, sharing: {}}}]\n  policy: {}\n  agents:\n",
            self.gpus, self.sharing, self.policy
        );
        let most = self.replicas.unwrap_or(self.gpus.max(1));
        let model = self.model;
        for (i, throughput) in throughputs.iter().enumerate() {
            let (name, priority, min) = (AGENTS[i], self.priorities[i], self.min_shares[i]);
            text += &format!(
                "  - {{name: {name}, workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, priority: {priority}, \
                 minShare: \"{min}\", replicas: {{min: 1, max: {most}}}, model: {{requestsPerSecondPerGpu: \"{throughput:.6}\"{model}}}}}\n",
            );
        }
        let pool: AgentPool = serde_yaml::from_str(&text).context("the pool of an evaluation")?;
        Ok(ValidPool::admit(&pool)?)
    }
}

/// A load of four agents that is `load` of all GPUs on average, divided by `split`.
pub fn scenario(
    pool: &Pool,
    loads: Vec<(AgentLoad, f64)>,
    (load, split): (f64, [f64; 4]),
    cluster: Cluster,
    seconds: f64,
) -> Result<Scenario> {
    let work = load * f64::from(pool.gpus);
    let throughputs: Vec<f64> = loads
        .iter()
        .zip(split)
        .map(|((_, rate), part)| rate / (work * part))
        .collect();
    let valid = pool.valid(&throughputs)?;
    let position = |name: &str| AGENTS.iter().position(|agent| *agent == name);
    let order: Vec<usize> = valid
        .agents
        .iter()
        .filter_map(|a| position(&a.name))
        .collect();
    let service = |i: &usize| Service {
        throughput: valid
            .agents
            .iter()
            .find(|a| a.name == AGENTS[*i])
            .map_or(1.0, |a| a.base_throughput),
        max_running: 1,
        cold_start: 0.0,
        image_pull: 0.0,
        drain: 60.0,
    };
    Ok(Scenario {
        services: order.iter().map(service).collect(),
        loads: order.iter().map(|i| loads[*i].0.clone()).collect(),
        pool: valid,
        cluster,
        dispatch: None,
        seconds,
        warmup: 0.0,
        metric_age: 0.0,
        latency_target: None,
        price_per_gpu_hour: 0.0,
        power: None,
    })
}

/// The same on the pods of some nodes, of which each needs so long until it serves, behind one queue an agent that holds what waits.
pub fn on_pods(
    pool: &Pool,
    loads: Vec<(AgentLoad, f64)>,
    load: (f64, [f64; 4]),
    (nodes, cold_start): (NodeGroup, f64),
    seconds: f64,
) -> Result<Scenario> {
    let cluster = Cluster::Nodes(Nodes {
        groups: vec![nodes],
        switching_efficiency: 1.0,
    });
    let mut made = scenario(pool, loads, load, cluster, seconds)?;
    made.dispatch = Some(Dispatch::OneQueue);
    for service in &mut made.services {
        service.cold_start = cold_start;
    }
    Ok(made)
}

/// So many of a node, which are there all the time.
pub fn always(node: Node, count: u32) -> NodeGroup {
    NodeGroup {
        node,
        count,
        elastic: None,
    }
}

/// Hard fractions of one GPU, in force after a lag.
pub fn one_gpu(lag: f64) -> Cluster {
    Cluster::Fractions(Fractions {
        gpus: MilliGpus::ONE,
        lag,
        sharing: Sharing::Partition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentpool::simulation::load::Piece;

    #[test]
    fn a_generator_is_not_called_by_the_name_of_the_trace_that_it_stands_in_for() {
        let none = Traces {
            found: BTreeMap::new(),
        };
        assert_eq!(none.called(A, "A"), "generated like A");
        let format = agentpool::simulation::load::trace::Format::Rates;
        let agents = BTreeMap::new();
        let found = BTreeMap::from([("four_agent_A", Trace { format, agents })]);
        assert_eq!(Traces { found }.called(A, "A"), "A");
    }

    #[test]
    fn a_turned_table_begins_later_and_ends_with_what_was_before() {
        let piece = |(seconds, rate)| Piece { seconds, rate };
        let table = |windows: [(f64, f64); 3]| Recording::Rates(windows.map(piece).into());
        let recorded = table([(10.0, 1.0), (20.0, 2.0), (10.0, 3.0)]);
        assert_eq!(turned(&recorded, 0.0), recorded);
        let later = table([(20.0, 2.0), (10.0, 3.0), (10.0, 1.0)]);
        assert_eq!(turned(&recorded, 10.0), later);
        assert_eq!(turned(&recorded, 29.0), later);
    }
}
