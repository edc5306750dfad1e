//! The paper's own simulation (arXiv 2512.22149): its four agents, its model of time, its table, to the digit.
//!
//! ```text
//! a tick of one second, agent by agent:
//!   queue += λ;  served = min(queue, T · g);  queue -= served
//!   latency sample = min(queue / (T · g), 1000 s), and 1000 s where g = 0
//! reported: the mean of all samples; served requests a second; the price of one GPU over the ticks
//! ```
//!
//! It is no model of requests: [`super::run`] is. It stands here so that the published figures can be checked and read with what
//! they leave out.

use crate::allocation::{self, Agent, Allotment, Load, Policy, Snapshot};
use crate::units::{MilliGpus, Priority};
use std::time::Duration;

/// An agent of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperAgent {
    /// Its name.
    pub name: &'static str,
    /// T, requests a second on one GPU.
    pub throughput: f64,
    /// R.
    pub min_share: MilliGpus,
    /// P: High is 1, Medium 2.
    pub priority: Priority,
    /// λ, requests a second, constant.
    pub arrivals: f64,
}

/// The four agents, in the paper's order.
pub const AGENTS: [PaperAgent; 4] = [
    agent("coordinator", 100.0, 100, Priority::High, 80.0),
    agent("nlp", 50.0, 300, Priority::Medium, 40.0),
    agent("vision", 60.0, 250, Priority::Medium, 45.0),
    agent("reasoning", 30.0, 350, Priority::High, 25.0),
];

/// Ticks of the published run; each is one second.
pub const TICKS: usize = 100;
/// What a latency sample is at most, in seconds.
pub const CAP: f64 = 1000.0;
/// USD an hour for its one NVIDIA T4.
pub const PRICE: f64 = 0.72;

/// A rule of the paper's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperRule {
    /// A quarter of the GPU for each agent.
    StaticEqual,
    /// The paper's rule.
    Adaptive,
    /// The whole GPU for one agent after the other, a tick each.
    RoundRobin,
}

/// What the paper prints for a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Mean latency, in seconds.
    pub latency: f64,
    /// Requests a second.
    pub throughput: f64,
    /// USD.
    pub cost: f64,
}

/// What a run of the paper's model comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperRun {
    /// Mean of all latency samples, in seconds.
    pub latency: f64,
    /// Of it, what samples of agents without a GPU contribute: the cap, not a measurement. In seconds.
    pub capped: f64,
    /// Served requests a second, all agents.
    pub throughput: f64,
    /// USD.
    pub cost: f64,
    /// The agents, in the order of [`AGENTS`].
    pub agents: [PaperAgentRun; 4],
}

/// The same for one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PaperAgentRun {
    /// Mean share of the GPU.
    pub share: f64,
    /// Mean of its latency samples, in seconds.
    pub latency: f64,
    /// Served requests a second.
    pub throughput: f64,
    /// Requests in its queue at the end.
    pub queue: f64,
}

impl PaperRule {
    /// All of the table.
    pub const ALL: [Self; 3] = [Self::StaticEqual, Self::Adaptive, Self::RoundRobin];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaticEqual => "static-equal",
            Self::Adaptive => "adaptive",
            Self::RoundRobin => "round-robin",
        }
    }

    /// What is published of it.
    pub const fn published(self) -> Published {
        let (latency, throughput) = match self {
            Self::StaticEqual => (110.3, 60.0),
            Self::Adaptive => (111.9, 58.1),
            Self::RoundRobin => (756.1, 60.0),
        };
        Published {
            latency,
            throughput,
            cost: 0.020,
        }
    }

    /// Runs it in the paper's model of time for so many ticks.
    pub fn simulate(self, ticks: usize) -> PaperRun {
        let fixed = match self {
            Self::Adaptive => adaptive(),
            Self::StaticEqual | Self::RoundRobin => [1.0 / AGENTS.len() as f64; 4],
        };
        let mut agents = [PaperAgentRun::default(); 4];
        let (mut latency, mut capped, mut served) = (0.0, 0.0, 0.0);
        for tick in 0..ticks {
            for (i, (agent, run)) in AGENTS.iter().zip(&mut agents).enumerate() {
                let share = match self {
                    Self::RoundRobin if i == tick % AGENTS.len() => 1.0,
                    Self::RoundRobin => 0.0,
                    Self::StaticEqual | Self::Adaptive => fixed[i],
                };
                let speed = agent.throughput * share;
                run.queue += agent.arrivals;
                let done = run.queue.min(speed);
                run.queue -= done;
                let sample = if speed > 0.0 {
                    (run.queue / speed).min(CAP)
                } else {
                    capped += CAP;
                    CAP
                };
                run.share += share;
                run.latency += sample;
                run.throughput += done;
                latency += sample;
                served += done;
            }
        }
        let seconds = ticks.max(1) as f64;
        for run in &mut agents {
            run.share /= seconds;
            run.latency /= seconds;
            run.throughput /= seconds;
        }
        let samples = seconds * AGENTS.len() as f64;
        PaperRun {
            latency: latency / samples,
            capped: capped / samples,
            throughput: served / seconds,
            cost: PRICE * ticks as f64 / 3600.0,
            agents,
        }
    }
}

/// Σ λ/T: GPUs that would be needed to serve what arrives. The paper has one.
pub fn overload() -> f64 {
    AGENTS.iter().map(|a| a.arrivals / a.throughput).sum()
}

/// What the operator's own Adaptive policy decides for the paper's agents at its resolution, whole milli-GPUs; in the order of
/// [`AGENTS`].
pub fn decided() -> [Allotment; 4] {
    decide(1)
}

/// The shares of the rule, in GPUs to nine digits; in the order of [`AGENTS`].
///
/// The policy rounds to milli-GPUs, the paper does not. The rule is linear in capacity and minima together, so the same code decides
/// here about a million GPUs.
pub fn adaptive() -> [f64; 4] {
    const GPUS: u64 = 1_000_000;
    decide(GPUS).map(|allotment| allotment.target.as_gpus() / GPUS as f64)
}

fn decide(gpus: u64) -> [Allotment; 4] {
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|i: &usize| AGENTS[*i].name);
    let agents = order.map(|i| Agent {
        name: AGENTS[i].name,
        priority: AGENTS[i].priority,
        min_share: AGENTS[i].min_share * gpus,
        base_throughput: AGENTS[i].throughput,
        speed_exponent: 1.0,
        part: MilliGpus::ZERO,
        swaps: false,
        load: Load::Measured {
            arrivals_per_second: AGENTS[i].arrivals,
            backlog: 0.0,
        },
        floor: MilliGpus::ZERO,
        ceiling: MilliGpus::ONE * gpus,
        quantum: MilliGpus::ZERO,
        realized: MilliGpus::ZERO,
    });
    let snapshot = Snapshot {
        capacity: MilliGpus::ONE * gpus,
        now: Duration::ZERO,
        interval: Duration::from_secs(1),
        lag: Duration::ZERO,
        drain: Duration::from_secs(1),
        agents: &agents,
    };
    let mut sorted = [Allotment::default(); 4];
    let mut memory = allocation::Memory::default();
    allocation::allocate(Policy::Adaptive, &snapshot, &mut memory, &mut sorted);
    let mut out = [Allotment::default(); 4];
    for (i, allotment) in order.into_iter().zip(sorted) {
        out[i] = allotment;
    }
    out
}

const fn agent(
    name: &'static str,
    throughput: f64,
    min_milli: u64,
    priority: Priority,
    arrivals: f64,
) -> PaperAgent {
    PaperAgent {
        name,
        throughput,
        min_share: MilliGpus(min_milli),
        priority,
        arrivals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(rule: PaperRule) -> [String; 3] {
        let run = rule.simulate(TICKS);
        [
            format!("{:.2}", run.latency),
            format!("{:.2}", run.throughput),
            format!("{:.3}", run.cost),
        ]
    }

    #[test]
    fn the_papers_table_is_reproduced_to_the_digit_but_for_round_robin() {
        assert_eq!(digits(PaperRule::StaticEqual), ["110.26", "60.00", "0.020"]);
        assert_eq!(digits(PaperRule::Adaptive), ["111.93", "58.12", "0.020"]);
        // Published: 756.1 and 60.0.
        assert_eq!(digits(PaperRule::RoundRobin), ["756.81", "59.80", "0.020"]);
        for rule in [PaperRule::StaticEqual, PaperRule::Adaptive] {
            let (run, published) = (rule.simulate(TICKS), rule.published());
            assert_eq!(format!("{:.1}", run.latency), published.latency.to_string());
            assert!((run.throughput - published.throughput).abs() < 0.05);
        }
        let latency = |rule: PaperRule| rule.simulate(TICKS).latency;
        let less = 1.0 - latency(PaperRule::Adaptive) / latency(PaperRule::RoundRobin);
        assert_eq!(format!("{:.1} %", less * 100.0), "85.2 %");
    }

    #[test]
    fn the_shares_are_the_rules_to_four_digits_and_the_operator_rounds_them_to_milli_gpus() {
        let shares = adaptive().map(|share| format!("{share:.6}"));
        assert_eq!(shares, ["0.238539", "0.253820", "0.211517", "0.296124"]);
        let decided = decided().map(|allotment| (allotment.target.0, allotment.minimum_unmet));
        assert_eq!(
            decided,
            [(239, false), (254, true), (211, true), (296, true)]
        );
    }

    #[test]
    fn all_but_a_hundredth_of_round_robins_latency_is_the_cap() {
        let run = PaperRule::RoundRobin.simulate(TICKS);
        assert_eq!(format!("{:.0}", run.capped), "750");
        assert_eq!(PaperRule::StaticEqual.simulate(TICKS).capped, 0.0);
    }

    #[test]
    fn the_load_is_three_times_what_there_is_and_latency_grows_with_the_length_of_the_run() {
        assert_eq!(format!("{:.2}", overload()), "3.18");
        let latency = |ticks| PaperRule::StaticEqual.simulate(ticks).latency;
        assert!((latency(2 * TICKS) / latency(TICKS) - 2.0).abs() < 0.02);
    }
}
