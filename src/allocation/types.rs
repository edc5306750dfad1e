use super::pace::Pace;
use crate::units::{MilliGpus, Priority};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The rule that turns demand into target shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Demand and drained backlog, weighted by priority; minimum shares are entitlements while there is demand.
    WaterFilling,
    /// The paper's rule (arXiv 2512.22149), to the digit.
    Adaptive,
    /// Capacity divided equally, whatever the load.
    StaticEqual,
    /// Forecasts, learned dispersion and backlog, followed as far as the evidence says that it pays; else what is in force is held.
    Balanced(Spare),
}

impl Policy {
    /// The time over which the caller is to average arrivals: Balanced averages by itself and wants what is new.
    pub fn window(self, pace: Pace, interval: Duration) -> Duration {
        match self {
            Self::Balanced(_) => interval,
            Self::WaterFilling | Self::Adaptive | Self::StaticEqual => pace.window,
        }
    }
}

/// What becomes of capacity that nobody needs. Of Balanced alone; WaterFilling always lends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Spare {
    /// It is lent to those who gain most by it.
    #[default]
    Lend,
    /// It is left free, so that nodes can go: an agent gets its forecast, its backlog's share and a headroom.
    Save {
        /// Thousandths of a standard deviation of the GPUs that are busy at once that the headroom covers: that of random arrivals,
        /// the square root of the load in GPUs, and that of the forecast's error.
        headroom_milli: u32,
    },
}

/// What is known of one agent's load. "No data" is a value of its own and never reads as zero load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum Load {
    /// Every signal is fresh.
    Measured {
        /// Requests per second that reached the agent, served or not, averaged over [`Policy::window`]; finite, ≥ 0.
        #[serde(with = "crate::units::exact")]
        arrivals_per_second: f64,
        /// Requests that wait or run now; finite, ≥ 0.
        #[serde(with = "crate::units::exact")]
        backlog: f64,
    },
    /// A signal is missing, stale or absurd: the agent keeps `Agent::realized` whatever the others ask for.
    Unknown,
}

/// One agent as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agent<'a> {
    /// Name, unique in the pool; ties are broken by it.
    pub name: &'a str,
    /// Importance.
    pub priority: Priority,
    /// Share the agent is entitled to while it has demand (the paper's R).
    pub min_share: MilliGpus,
    /// Requests per second that one whole GPU serves (the paper's T); finite, > 0.
    pub base_throughput: f64,
    /// b in speed = T · share^b within one part of a GPU; 1 where speed is linear (whole GPUs, time-slicing); in (0, 1].
    pub speed_exponent: f64,
    /// Largest part of a GPU that one replica can have: a larger share is several parts, whose speeds add up. At most a GPU;
    /// zero: a whole GPU.
    pub part: MilliGpus,
    /// Parts of several sizes exist that it could have (MIG): another share may mean another part, and then it serves nobody until a pod
    /// of that size does.
    pub swaps: bool,
    /// What is known of its load.
    pub load: Load,
    /// Share that its smallest permitted quantum amounts to: it counts at least at this size.
    pub floor: MilliGpus,
    /// Largest share that it could be given (its largest quantum).
    pub ceiling: MilliGpus,
    /// Share of one replica, where shares are whole replicas and one that changes hands serves nobody until it has started;
    /// zero: any share can be had, and moves without loss.
    pub quantum: MilliGpus,
    /// Share that is in force now; pending and loading copies count as granted.
    pub realized: MilliGpus,
}

impl Agent<'_> {
    /// Where speeds begin to add up, in GPUs: in (0, 1].
    #[inline]
    pub(super) fn part_gpus(&self) -> f64 {
        match self.part {
            MilliGpus::ZERO => 1.0,
            part => part.min(MilliGpus::ONE).as_gpus(),
        }
    }
}

/// Everything a policy may look at, at one instant.
///
/// Agents are in ascending order of name (`api::ValidPool` sorts once), so that no result depends on the order in which
/// a user wrote them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot<'a> {
    /// GPUs that the pool may spend.
    pub capacity: MilliGpus,
    /// The instant, on any clock that only moves forward.
    pub now: Duration,
    /// Time between decisions.
    pub interval: Duration,
    /// Actuation lag: the time from a decision to a share in force. See [`super::Lag`].
    pub lag: Duration,
    /// Time in which backlog is to be worked off; > 0. See [`super::pace`].
    pub drain: Duration,
    /// The agents, ascending by name.
    pub agents: &'a [Agent<'a>],
}

/// What a policy grants one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allotment {
    /// Share the agent should have; the sum over agents never exceeds capacity.
    pub target: MilliGpus,
    /// Share that would serve its load: arrivals over T, plus the backlog over the drain time; not above the ceiling. Where spare
    /// capacity is saved its headroom is part of it. Of an agent of unknown load: what it keeps, as nothing else is known.
    pub demand: MilliGpus,
    /// Why the target is what it is.
    pub reason: Reason,
    /// The target is below the entitlement: the smaller of the minimum share and what the load asks for (Adaptive: the
    /// minimum share itself, which the paper's rule means to guarantee and can break).
    pub minimum_unmet: bool,
}

/// Why an agent's target share is what it is. Stable CamelCase names: they appear in status, events and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Its demand is met in full; it may hold spare capacity on top.
    DemandMet,
    /// Hungry: all demands exceed capacity, and its priority weight gives it this much.
    CapacityShared,
    /// Hungry and held at its minimum share.
    AtMinimum,
    /// It could use more than its largest quantum.
    AtCeiling,
    /// No load: it keeps its smallest quantum (and, while nobody is hungry, a part of what is spare).
    #[default]
    Idle,
    /// Its smallest quantum is larger than what it asked for.
    AtFloor,
    /// A signal is missing, stale or absurd: it keeps what it has.
    SignalLost,
    /// The policy gives everyone the same.
    EqualSplit,
    /// The evidence does not say that moving shares would pay: everyone keeps what it had when the operator began to look; before
    /// anything is in force an equal part.
    HoldingSteady,
    /// The paper's rule: share of the weighted demand, not below the minimum before normalisation.
    Proportional,
}

impl Reason {
    /// The stable CamelCase name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DemandMet => "DemandMet",
            Self::CapacityShared => "CapacityShared",
            Self::AtMinimum => "AtMinimum",
            Self::AtCeiling => "AtCeiling",
            Self::Idle => "Idle",
            Self::AtFloor => "AtFloor",
            Self::SignalLost => "SignalLost",
            Self::EqualSplit => "EqualSplit",
            Self::HoldingSteady => "HoldingSteady",
            Self::Proportional => "Proportional",
        }
    }
}
