//! What a choice costs.

use super::Want;
use crate::sharing::types::Quantum;
use crate::units::Priority;
use std::cmp::Ordering;
use std::ops::{Add, Sub};

/// What a choice costs, most important first; compared lexicographically. Additive over agents, so that the sum of the
/// cheapest is a lower bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sharing) struct Cost {
    /// Agents without any replica that should have one, by priority (16 bits each, High on top).
    absent: u64,
    /// Squared replicas below the minimum, by priority (40 bits each, High on top).
    missing: u128,
    /// Weighted squared shortfall of what the load asks for, in squared milli-GPUs.
    pub hunger: u128,
    /// Weighted squared shortfall of the target, in squared milli-GPUs.
    pub shortfall: u128,
    /// Shares spent, in started twentieths of a GPU: a little more share in one piece is better than two pieces.
    used: u64,
    /// Price of the changes: 0 unchanged, 1 another number of replicas, 3 another resource.
    moves: u64,
    /// Replicas run.
    replicas: u64,
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            absent: self.absent + other.absent,
            missing: self.missing + other.missing,
            hunger: self.hunger + other.hunger,
            shortfall: self.shortfall + other.shortfall,
            moves: self.moves + other.moves,
            used: self.used + other.used,
            replicas: self.replicas + other.replicas,
        }
    }
}

impl Sub for Cost {
    type Output = Self;
    /// Takes a summand away again.
    fn sub(self, other: Self) -> Self {
        Self {
            absent: self.absent - other.absent,
            missing: self.missing - other.missing,
            hunger: self.hunger - other.hunger,
            shortfall: self.shortfall - other.shortfall,
            moves: self.moves - other.moves,
            used: self.used - other.used,
            replicas: self.replicas - other.replicas,
        }
    }
}

impl Cost {
    /// So much weighted squared shortfall, all of it hunger, and nothing else.
    pub fn of_shortfall(shortfall: u128) -> Self {
        Self {
            hunger: shortfall,
            shortfall,
            ..Self::default()
        }
    }

    /// Everyone runs and has its target.
    pub fn is_met(&self) -> bool {
        (self.absent, self.missing, self.hunger, self.shortfall) == (0, 0, 0, 0)
    }

    /// Whether more agents run or the shortfall is less, whatever else it costs.
    pub fn is_below(&self, other: &Self) -> bool {
        let worth = |c: &Self| (c.absent, c.missing, c.hunger, c.shortfall);
        worth(self) < worth(other)
    }

    /// Whether a move is worth it that disturbs agents which have nearly what they should: an agent more runs, or the
    /// shortfall falls by more than an eighth.
    pub fn is_clearly_below(&self, other: &Self) -> bool {
        let runs = (self.absent, self.missing);
        match runs.cmp(&(other.absent, other.missing)) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if self.hunger == other.hunger => {
                clearly(self.shortfall, other.shortfall)
            }
            Ordering::Equal => clearly(self.hunger, other.hunger),
        }
    }

    /// Whether it is worth it that agents are stopped: an agent more runs, the shortfall of what load asks for falls by more than an
    /// eighth, or less is spent. What is lent beyond that is not.
    pub fn is_worth_a_stop(&self, other: &Self) -> bool {
        let runs = (self.absent, self.missing);
        match runs.cmp(&(other.absent, other.missing)) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => clearly(self.hunger, other.hunger) || self.used < other.used,
        }
    }
}

/// Less by more than an eighth.
const fn clearly(a: u128, b: u128) -> bool {
    a.saturating_mul(8) < b.saturating_mul(7)
}

/// Shares are counted up to this many milli-GPUs, so that no sum of costs overflows; 65 million GPUs.
const MOST_SHARE: u64 = 1 << 36;

/// What it costs to give `want` this quantum.
pub(in crate::sharing) fn cost(want: &Want, quantum: &Quantum) -> Cost {
    let level = match want.priority {
        Priority::High => 2,
        Priority::Medium => 1,
        Priority::Low => 0,
    };
    let below = u64::from(want.min_replicas.saturating_sub(quantum.replicas)).min(1 << 16);
    let weighted = |wanted: u64| {
        let shortfall = u128::from(wanted.saturating_sub(quantum.share.0).min(MOST_SHARE));
        shortfall * shortfall * u128::from(want.priority.weight())
    };
    let moves = match &want.in_force {
        Some(now) if now.resource != quantum.resource || now.count != quantum.count => 3,
        Some(now) if now.replicas == quantum.replicas => 0,
        _ => 1,
    };
    Cost {
        absent: u64::from(quantum.replicas == 0 && want.min_replicas > 0) << (16 * level),
        missing: u128::from(below * below) << (40 * level),
        hunger: weighted(want.hunger.min(want.target)),
        shortfall: weighted(want.target),
        moves,
        used: quantum.share.0.min(MOST_SHARE).div_ceil(50),
        replicas: u64::from(quantum.replicas),
    }
}

/// What it costs to give each of `wants` its quantum.
pub(in crate::sharing) fn total(wants: &[Want], quanta: &[Quantum]) -> Cost {
    wants
        .iter()
        .zip(quanta)
        .map(|(want, quantum)| cost(want, quantum))
        .fold(Cost::default(), Add::add)
}
