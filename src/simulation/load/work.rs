//! How much work a request is, as a multiple of its agent's mean.

use serde::Deserialize;

use super::trace::Recorded;
use super::words::plain;

/// How much work requests are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub enum Work {
    /// Exponential with mean 1.
    #[default]
    Exponential,
    /// Always 1.
    Deterministic,
    /// By the tokens that the trace has for each request.
    Tokens(TokenWork),
}

/// As it stands in a file: serde takes any field beside a kind that has none, but not beside an empty list of fields.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Written {
    Exponential {},
    Deterministic {},
    Tokens(TokenWork),
}

impl From<Written> for Work {
    fn from(written: Written) -> Self {
        match written {
            Written::Exponential {} => Self::Exponential,
            Written::Deterministic {} => Self::Deterministic,
            Written::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

/// What tokens cost. The defaults are those of a 7B model on an A100-80GB: prefill at 13 454 tokens/s, decode at 6 337
/// tokens/s (MuxServe's published profile, batches of 8 x 512 and 256 x 128, whole GPU).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenWork {
    /// GPU-seconds an input token; ≥ 0.
    pub prefill: f64,
    /// GPU-seconds an output token; ≥ 0, and not both zero.
    pub decode: f64,
    /// GPU-seconds that make a work of 1: one over the agent's requests a second on a whole GPU. Absent: the mean of the
    /// requests that are replayed, so that works are 1 on average. > 0.
    pub mean: Option<f64>,
}

impl Default for TokenWork {
    fn default() -> Self {
        Self {
            prefill: 1.0 / 13_454.0,
            decode: 1.0 / 6_337.0,
            mean: None,
        }
    }
}

impl TokenWork {
    /// GPU-seconds of a request on one whole idle GPU.
    pub fn gpu_seconds(&self, request: &Recorded) -> f64 {
        f64::from(request.input_tokens) * self.prefill
            + f64::from(request.output_tokens) * self.decode
    }

    /// GPU-seconds that make a work of 1 when these requests are replayed.
    pub(super) fn mean_of(&self, requests: &[Recorded]) -> f64 {
        let sum = || requests.iter().map(|r| self.gpu_seconds(r)).sum::<f64>();
        self.mean.unwrap_or_else(|| sum() / requests.len() as f64)
    }
}

impl Work {
    /// What it is, in words for an output.
    pub fn describe(&self) -> String {
        match self {
            Self::Exponential => "exponential work".to_owned(),
            Self::Deterministic => "equal work".to_owned(),
            Self::Tokens(tokens) => {
                let rate = |seconds: f64| format!("{:.0} tokens/s", 1.0 / seconds);
                let speed = format!(
                    "work from tokens, prefill at {}, decode at {}",
                    rate(tokens.prefill),
                    rate(tokens.decode)
                );
                match tokens.mean {
                    None => format!("{speed}, divided by the trace's mean"),
                    Some(mean) => format!("{speed}, divided by {} GPU-seconds", plain(mean)),
                }
            }
        }
    }
}
