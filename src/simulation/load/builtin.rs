//! Statistics of real traces, from which loads are generated where the traces are not at hand.
//!
//! `docs/traces.md` says where the traces are published. Which agent a trace plays is our choice.

use super::drift::Drift;
use super::pieces::Spacing;
use super::statistics::Burstiness;
use super::work::Work;
use super::{AgentLoad, Arrivals};

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

/// A day of the same four pools of ServeGen: the mean rate, and that of each hour as a multiple of it.
pub const FOUR_AGENT_C: [(&str, f64, [f64; 24]); 4] = [
    ("coordinator", 432.831, DAY),
    (
        "nlp",
        694.575,
        [
            0.939, 0.715, 0.650, 0.711, 0.833, 0.615, 0.460, 0.614, 0.654, 1.123, 1.224, 1.244,
            0.941, 1.492, 1.581, 0.939, 0.960, 1.146, 0.768, 1.071, 1.394, 1.522, 1.226, 1.179,
        ],
    ),
    (
        "vision",
        4.155,
        [
            0.825, 1.216, 1.626, 1.053, 1.175, 1.054, 1.305, 1.460, 0.979, 1.106, 1.223, 1.142,
            0.842, 0.918, 0.972, 1.108, 1.124, 0.998, 0.743, 0.619, 0.659, 0.723, 0.602, 0.526,
        ],
    ),
    (
        "reasoning",
        6.076,
        [
            1.020, 1.253, 0.989, 0.501, 0.400, 0.429, 0.330, 0.216, 0.252, 0.721, 0.778, 0.775,
            0.512, 1.146, 1.371, 1.148, 1.166, 0.704, 1.152, 0.737, 2.185, 2.340, 3.005, 0.869,
        ],
    ),
];

/// The hours of a day of a language service (ServeGen m-small, day 0), as multiples of the mean.
pub const DAY: [f64; 24] = [
    0.777, 0.752, 0.749, 0.907, 0.903, 0.988, 1.008, 0.983, 0.963, 0.932, 0.862, 0.735, 0.479,
    0.494, 0.849, 1.058, 1.125, 1.322, 1.293, 1.381, 1.580, 1.371, 1.283, 1.206,
];

/// Loads that stand in for a trace of four agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// For `four_agent_A`: [`FOUR_AGENT_A`].
    A,
    /// For `four_agent_B`: [`FOUR_AGENT_B`].
    B,
    /// For the day of `four_agent_C_rates`: [`FOUR_AGENT_C`], Poisson within an hour.
    C,
}

impl BuiltIn {
    /// What stands in for the trace of this name.
    pub fn of(trace: &str) -> Option<Self> {
        match trace {
            "four_agent_A" => Some(Self::A),
            "four_agent_B" => Some(Self::B),
            "four_agent_C_rates" => Some(Self::C),
            _ => None,
        }
    }

    /// The loads of coordinator, nlp, vision and reasoning, at these mean rates or as measured.
    pub fn loads(self, rates: Option<[f64; 4]>) -> [AgentLoad; 4] {
        let rate = |agent: usize, measured: f64| rates.map_or(measured, |rates| rates[agent]);
        std::array::from_fn(|i| {
            let (agent, arrivals) = match self {
                Self::A => {
                    let (agent, like) = FOUR_AGENT_A[i];
                    let rate = rate(i, like.mean);
                    (agent, Arrivals::Bursty { rate, like })
                }
                Self::B => {
                    let (agent, drift) = FOUR_AGENT_B[i];
                    let drift = drift.scaled(rate(i, drift.rate), 1.0);
                    (agent, Arrivals::Drifting(drift))
                }
                Self::C => {
                    let (agent, measured, shape) = FOUR_AGENT_C[i];
                    let diurnal = Arrivals::Diurnal {
                        rate: rate(i, measured),
                        shape: shape.to_vec(),
                        day: 86_400.0,
                        spacing: Spacing::Poisson,
                    };
                    (agent, diurnal)
                }
            };
            AgentLoad {
                agent: agent.to_owned(),
                arrivals,
                work: Work::Exponential,
            }
        })
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

const fn drift(rate: f64, sigma: f64, correlation: f64) -> Drift {
    Drift {
        rate,
        sigma,
        correlation,
        window: 600.0,
    }
}
