mod source;

use super::{Controller, Operator};
use super::{dynamo, hpa, keda, knative, static_equal, static_proportional, wva};
use super::{dynamo::Dynamo, hold::Hold, hpa::Hpa, keda::Keda, knative::Knative};
use super::{round_robin::RoundRobin, wva::Wva};
use crate::allocation::{Policy, Spare};
use crate::simulation::Scenario;
use crate::units::MilliGpus;
use std::fmt;

/// A rule that can be in control of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Nothing moves.
    Hold,
    /// Demand and drained backlog, weighted by priority.
    WaterFilling,
    /// Moves while the evidence says that it pays.
    Balanced {
        /// Headroom above the forecast, in standard deviations of the GPUs that are busy at once, while what nobody needs is saved; ≥ 0.
        /// `None`: as the pool's policy says, else everything is lent.
        headroom: Option<f64>,
    },
    /// The paper's rule.
    Adaptive,
    /// The same for every agent.
    StaticEqual {
        /// GPUs that are split; `None`: all.
        gpus: Option<MilliGpus>,
    },
    /// In proportion to the declared mean loads.
    StaticProportional {
        /// GPUs that are split; `None`: all that are there at the start.
        gpus: Option<MilliGpus>,
    },
    /// All GPUs to one agent after the other.
    RoundRobin,
    /// A HorizontalPodAutoscaler an agent.
    Hpa {
        /// Utilisation of its GPUs; > 0, at most 0.909.
        target: f64,
    },
    /// A KEDA ScaledObject an agent.
    Keda {
        /// Waiting requests a replica; > 0.
        target: f64,
    },
    /// A Knative pod autoscaler an agent.
    Knative {
        /// Part of a replica's concurrency limit; > 0, at most 1.
        target: f64,
    },
    /// WVA's rescale.
    Wva {
        /// Scale-up threshold; > 0.
        target: f64,
    },
    /// Dynamo's load loop.
    Dynamo {
        /// Upper threshold; > 0.
        target: f64,
    },
}

/// A text that names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {text:?}: expected {right}")]
pub struct RuleError {
    /// The text.
    pub text: String,
    /// What would be right.
    pub right: String,
}

/// A rule that makes no sense in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {why}")]
pub struct Refusal {
    /// The rule, as the command line names it.
    pub rule: String,
    /// Why, and what would be right.
    pub why: String,
}

impl Rule {
    /// Every rule, with its default target.
    pub const ALL: [Self; 12] = [
        Self::Hold,
        Self::WaterFilling,
        Self::Balanced { headroom: None },
        Self::Adaptive,
        Self::StaticEqual { gpus: None },
        Self::StaticProportional { gpus: None },
        Self::RoundRobin,
        Self::Hpa {
            target: hpa::TARGET,
        },
        Self::Keda {
            target: keda::TARGET,
        },
        Self::Knative {
            target: knative::TARGET,
        },
        Self::Wva {
            target: wva::TARGET,
        },
        Self::Dynamo {
            target: dynamo::TARGET,
        },
    ];

    /// Reads a rule as the command line names it: `hpa`, or with a target of one's own `hpa:0.5`.
    ///
    /// # Errors
    /// When there is no such rule, it has no target, or the target is no number that makes sense; says what there is.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let wrong = |right: String| RuleError {
            text: text.chars().take(64).collect(),
            right,
        };
        let (name, target) = match text.split_once(':') {
            Some((name, target)) => (name, Some(target)),
            None => (text, None),
        };
        let Some(rule) = Self::ALL.into_iter().find(|rule| rule.name() == name) else {
            let names: Vec<&str> = Self::ALL.iter().map(Self::name).collect();
            return Err(wrong(format!("one of {}", names.join(", "))));
        };
        let Some(given) = target else { return Ok(rule) };
        let Some(what) = rule.target() else {
            return Err(wrong(format!("{name} alone: it has no target")));
        };
        let most = rule.most();
        let bound = most.map_or_else(String::new, |(most, why)| {
            format!(" and at most {most} ({why})")
        });
        rule.with(given).ok_or_else(|| {
            wrong(format!(
                "{name} or {name}:TARGET with a target above 0{bound}: {what}"
            ))
        })
    }

    /// The largest target that makes sense, and why; `None`: what it is compared with has no bound. Requests that wait have none, so
    /// that every number of KEDA, WVA and Dynamo is reached by some load.
    const fn most(&self) -> Option<(f64, &'static str)> {
        match self {
            Self::Balanced { .. } => Some((10.0, "as in the API")),
            Self::Hpa { .. } => Some((
                hpa::MOST,
                "a GPU is never busier than all the time, and a tenth above the target is tolerated, so that with more it never adds a \
                 replica",
            )),
            Self::Knative { .. } => Some((1.0, "Knative refuses more than 100 %")),
            _ => None,
        }
    }

    /// The same rule with another target, in the words of the command line.
    fn with(self, given: &str) -> Option<Self> {
        let number = || {
            given
                .parse::<f64>()
                .ok()
                .filter(|t| t.is_finite() && *t > 0.0)
                .filter(|t| self.most().is_none_or(|(most, _)| *t <= most))
        };
        let gpus = || MilliGpus::parse(given).ok().filter(|g| g.0 > 0);
        Some(match self {
            Self::Hold | Self::WaterFilling | Self::Adaptive | Self::RoundRobin => return None,
            Self::StaticEqual { .. } => Self::StaticEqual {
                gpus: Some(gpus()?),
            },
            Self::StaticProportional { .. } => Self::StaticProportional {
                gpus: Some(gpus()?),
            },
            Self::Balanced { .. } => Self::Balanced {
                headroom: Some(number()?),
            },
            Self::Hpa { .. } => Self::Hpa { target: number()? },
            Self::Keda { .. } => Self::Keda { target: number()? },
            Self::Knative { .. } => Self::Knative { target: number()? },
            Self::Wva { .. } => Self::Wva { target: number()? },
            Self::Dynamo { .. } => Self::Dynamo { target: number()? },
        })
    }

    /// Its name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::WaterFilling => "water-filling",
            Self::Balanced { .. } => "balanced",
            Self::Adaptive => "adaptive",
            Self::StaticEqual { .. } => "static-equal",
            Self::StaticProportional { .. } => "static-proportional",
            Self::RoundRobin => "round-robin",
            Self::Hpa { .. } => "hpa",
            Self::Keda { .. } => "keda",
            Self::Knative { .. } => "knative",
            Self::Wva { .. } => "wva",
            Self::Dynamo { .. } => "dynamo",
        }
    }

    /// What its target is, in words; `None`: it has none.
    pub const fn target(&self) -> Option<&'static str> {
        Some(match self {
            Self::Hold | Self::WaterFilling | Self::Adaptive | Self::RoundRobin => return None,
            Self::Balanced { .. } => {
                "headroom in standard deviations of the GPUs that are busy at once, with what nobody needs saved (default: as the pool says)"
            }
            Self::StaticEqual { .. } | Self::StaticProportional { .. } => {
                "GPUs that are split (default all)"
            }
            Self::Hpa { .. } => "utilisation of an agent's GPUs, at most 0.909 (default 0.8)",
            Self::Keda { .. } => "waiting requests a replica (default 5)",
            Self::Knative { .. } => {
                "part of a replica's concurrency limit, at most 1 (default 0.7)"
            }
            Self::Wva { .. } => "occupancy above which it scales up (default 0.85)",
            Self::Dynamo { .. } => "occupancy above which it scales up (default 1)",
        })
    }

    /// What it does and where that is written, in a sentence.
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Hold => "Nothing moves: the equal shares that a run begins with.",
            Self::WaterFilling => {
                "The operator's policy WaterFilling: demand and drained backlog, weighted by priority, at a pace that fits the lag."
            }
            Self::Balanced { .. } => {
                "The operator's policy Balanced: forecasts and backlog, followed only while the evidence says that moving pays."
            }
            Self::Adaptive => {
                "The operator's policy Adaptive: arrivals times minimum share over priority (arXiv 2512.22149)."
            }
            Self::StaticEqual { .. } => {
                "The same number of GPUs for every agent, decided once (baseline of arXiv 2512.22149)."
            }
            Self::StaticProportional { .. } => {
                "GPUs in proportion to the declared mean loads, decided once."
            }
            Self::RoundRobin => {
                "All GPUs to one agent, to the next a second later (baseline of arXiv 2512.22149)."
            }
            Self::Hpa { .. } => {
                "A HorizontalPodAutoscaler an agent on GPU utilisation: every 15 s, tolerance 0.1, scale-down after 300 s \
                 (Kubernetes autoscaling/v2)."
            }
            Self::Keda { .. } => {
                "A KEDA ScaledObject an agent on waiting requests: polled every 30 s, pulled by its autoscaler every 15 s, cooldown 300 s \
                 (KEDA 2.21)."
            }
            Self::Knative { .. } => {
                "A Knative pod autoscaler an agent on concurrency: every 2 s, windows of 60 s and 6 s, panic at 200 %; requests wait in its \
                 activator (Knative KPA)."
            }
            Self::Wva { .. } => {
                "Floors, then priority times demand, rounded by largest remainder, every 15 s through an autoscaler (llm-d WVA 0.9 with \
                 its limiter and rescale on)."
            }
            Self::Dynamo { .. } => {
                "One replica more when any is over-full and one fewer when all have room, every 5 s, transfers in pairs under a ceiling of \
                 GPUs (NVIDIA Dynamo's load planner and GlobalPlanner)."
            }
        }
    }

    /// The rule, ready to take control of a run of a scenario.
    ///
    /// # Errors
    /// When it makes no sense there; says why.
    pub fn build(&self, scenario: &Scenario) -> Result<Box<dyn Controller>, Refusal> {
        let operator = |policy| -> Box<dyn Controller> {
            let age = scenario.metric_age;
            Box::new(Operator::new(&scenario.pool, policy, age))
        };
        match *self {
            Self::Hold => Ok(Box::new(Hold)),
            Self::WaterFilling => Ok(operator(Policy::WaterFilling)),
            Self::Balanced { headroom } => {
                let spare = match (headroom, scenario.pool.policy) {
                    (Some(headroom), _) => Spare::Save {
                        headroom_milli: (headroom * 1000.0).round() as u32,
                    },
                    (None, Policy::Balanced(spare)) => spare,
                    (None, _) => Spare::Lend,
                };
                Ok(operator(Policy::Balanced(spare)))
            }
            Self::Adaptive => Ok(operator(Policy::Adaptive)),
            Self::StaticEqual { gpus } => static_equal::build(self, gpus, scenario),
            Self::StaticProportional { gpus } => static_proportional::build(self, gpus, scenario),
            Self::RoundRobin => RoundRobin::build(self, scenario),
            Self::Hpa { target } => Hpa::build(self, target, scenario),
            Self::Keda { target } => Keda::build(self, target, scenario),
            Self::Knative { target } => Knative::build(self, target, scenario),
            Self::Wva { target } => Wva::build(self, target, scenario),
            Self::Dynamo { target } => Dynamo::build(self, target, scenario),
        }
    }

    /// Says that it makes no sense here.
    pub(super) fn refuse(&self, why: &str) -> Refusal {
        Refusal {
            rule: self.to_string(),
            why: why.to_owned(),
        }
    }
}

impl fmt::Display for Rule {
    /// As the command line names it; with its target when that is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if Self::ALL.contains(self) {
            return Ok(());
        }
        match self {
            Self::Hold | Self::WaterFilling | Self::Adaptive | Self::RoundRobin => Ok(()),
            Self::StaticEqual { gpus } | Self::StaticProportional { gpus } => {
                gpus.map_or(Ok(()), |gpus| write!(f, ":{gpus}"))
            }
            Self::Balanced { headroom } => {
                headroom.map_or(Ok(()), |headroom| write!(f, ":{headroom}"))
            }
            Self::Hpa { target }
            | Self::Keda { target }
            | Self::Knative { target }
            | Self::Wva { target }
            | Self::Dynamo { target } => write!(f, ":{target}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(in crate::simulation) mod tests;
