//! Statistics of real traces, from which loads are generated where the traces are not at hand.
//!
//! `docs/traces.md` says where the traces are published. Which agent a trace plays is our choice.

use super::drift::Drift;
use super::statistics::Burstiness;

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
