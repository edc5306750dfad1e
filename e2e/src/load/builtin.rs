//! Statistics of real traces, from which loads are generated where the traces are not at hand.
//!
//! `docs/traces.md` says where the traces are published. Which agent a trace plays is our choice.

use super::drift::Drift;
use super::plan::{AgentLoad, Process, Work};
use super::statistics::Burstiness;
use super::traces::Trace;

/// Bursty and stationary, 35 minutes each: coordinator = Azure LLM inference 2023, code; nlp = the same, conversation;
/// vision = ServeGen mm-image; reasoning = Mooncake conversation (with its 3 s time grid smoothed out).
pub const FOUR_AGENT_A: [(&str, Burstiness); 4] = [
    ("coordinator", burstiness(3.153, 13.26, 157.9, 12.80)),
    ("nlp", burstiness(5.875, 1.35, 15.5, 1.08)),
    ("vision", burstiness(4.947, 1.21, 2.1, 1.02)),
    ("reasoning", burstiness(3.218, 1.08, 2.6, 1.02)),
];

/// Drifting, 3 hours in windows of 10 minutes: four pools of ServeGen (m-small, m-mid, mm-image, deepseek-r1).
/// Deviation and correlation are those of the logarithms of the 18 windows' rates.
pub const FOUR_AGENT_B: [(&str, Drift); 4] = [
    ("coordinator", drift(14.650, 0.063, 0.709)),
    ("nlp", drift(4.591, 0.722, 0.825)),
    ("vision", drift(2.773, 0.137, 0.515)),
    ("reasoning", drift(10.656, 0.571, 0.783)),
];

/// The four bursty agents of [`FOUR_AGENT_A`] at these rates (requests/s, in its order).
pub fn bursty(rates: [f64; 4], seed: u64) -> Vec<AgentLoad> {
    let loads = FOUR_AGENT_A.iter().zip(rates);
    loads
        .map(|((agent, like), rate)| load(agent, Process::Bursty { like: *like, rate }, seed))
        .collect()
}

/// The four drifting agents of [`FOUR_AGENT_B`] at these mean rates (requests/s, in its order), with windows of 10
/// minutes / `faster`.
pub fn drifting(rates: [f64; 4], faster: f64, seed: u64) -> Vec<AgentLoad> {
    let loads = FOUR_AGENT_B.iter().zip(rates);
    loads
        .map(|((agent, drift), rate)| {
            load(agent, Process::Drifting(drift.scaled(rate, faster)), seed)
        })
        .collect()
}

/// The agents of a trace, `faster` times as fast, with the part `keep` of their requests. Works are exponential; the
/// seed draws them, and which requests are kept.
pub fn replay(trace: &Trace, faster: f64, keep: f64, seed: u64) -> Vec<AgentLoad> {
    let loads = trace.iter();
    loads
        .map(|(agent, requests)| {
            let requests = requests.clone();
            let process = Process::Trace {
                requests,
                faster,
                keep,
            };
            load(agent, process, seed)
        })
        .collect()
}

fn load(agent: &str, process: Process, seed: u64) -> AgentLoad {
    AgentLoad {
        agent: agent.to_owned(),
        process,
        work: Work::Exponential,
        seed,
    }
}

const fn burstiness(mean: f64, idc_1s: f64, idc_60s: f64, cv: f64) -> Burstiness {
    Burstiness {
        mean,
        idc_1s,
        idc_60s,
        cv,
    }
}

const fn drift(mean: f64, sigma: f64, correlation: f64) -> Drift {
    Drift {
        mean,
        sigma,
        correlation,
        window: 600.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::merge;
    use crate::load::traces::Recorded;

    fn rate(loads: &[AgentLoad], index: usize, seconds: f64) -> f64 {
        let count = merge(loads, seconds)
            .filter(|(agent, _)| *agent == index)
            .count();
        count as f64 / seconds
    }

    #[test]
    fn built_in_loads_have_the_rates_that_are_asked_for() {
        let loads = bursty([8.0, 4.0, 4.5, 2.5], 1);
        assert_eq!(loads[1].agent, "nlp");
        assert!((rate(&loads, 1, 5_000.0) / 4.0 - 1.0).abs() < 0.1);
        let loads = drifting([8.0, 4.0, 4.5, 2.5], 600.0, 1);
        assert!((rate(&loads, 2, 5_000.0) / 4.5 - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_replayed_trace_is_faster_and_thinner() {
        let requests = (0..6_000).map(|second| Recorded {
            at: f64::from(second),
            input_tokens: 1,
            output_tokens: 1,
        });
        let trace: Trace = [("a".to_owned(), requests.collect())].into();
        let loads = replay(&trace, 60.0, 0.5, 1);
        assert!((rate(&loads, 0, 100.0) / 30.0 - 1.0).abs() < 0.1);
    }
}
