//! Shares in whole replicas: what each candidate holds, and what of it serves.
//!
//! On a cluster whoever gives a replica up loses it at once, and whoever gets one waits for its start; in between its GPUs
//! serve nobody. So a candidate that moves often pays for it in its own backlog.
//!
//! Only what is held without evidence and almost all of the assignment are compared here: what lies between rounds to one of them or wavers, and
//! the wishes come from the backlog of what is really in force, which speaks for whichever candidate is followed already.

use super::super::demand::load;
use super::super::rounding::LARGEST;
use super::super::types::Agent;
use super::evidence::{CANDIDATES, PARTS, compared, speed};
use super::memory::{Learned, Memory};
use super::{Horizon, Pool};
use serde::{Deserialize, Serialize};

/// One for each candidate, and what is asked for.
pub(super) const ROWS: usize = CANDIDATES + 1;
/// The row of what is asked for: it goes after the candidate that is followed, replica by replica.
pub(super) const ASKED: usize = CANDIDATES;
/// A replica changes hands when what the one lacks and what the other has too much is more than this many replicas: half of one
/// more than what brings both nearer to their wishes, so that the way back needs a clear difference.
const NEARER: f64 = 1.5;
/// The fewer starts are left the more, up to so many replicas: what is left is for those who are far off.
const SCARCE: f64 = 1.0;
/// An agent is allowed one start of a replica in so many lags: then at most a tenth of a replica an agent is lost to starts.
const LAGS_A_START: f64 = 10.0;
/// Starts of one decision.
const STARTS: usize = 4;
/// What rounding may have taken from a whole number of replicas.
const EXACT: f64 = 1e-6;
/// The part of the assignment that the last candidate follows.
const FULLY: f64 = PARTS[CANDIDATES - 1];

/// What an agent holds in one row, in milli-GPUs, and what that does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Whole replicas, those that start included; negative: it has none yet.
    #[serde(with = "super::exact::one")]
    pub(super) all: f64,
    /// The part of them that serves.
    #[serde(with = "super::exact::one")]
    serves: f64,
    /// Seconds until all of them do.
    #[serde(with = "super::exact::one")]
    wait: f64,
}

impl Held {
    pub(super) const NOTHING: Self = Self::serving(-1.0);

    pub(super) const fn serving(all: f64) -> Self {
        Self {
            all,
            serves: all,
            wait: 0.0,
        }
    }

    /// What serves after some more seconds.
    pub(super) fn pass(&mut self, seconds: f64) -> f64 {
        self.wait -= self.wait.min(seconds);
        if self.wait <= 0.0 {
            self.serves = self.all;
        }
        self.serves
    }

    /// Whether it has something that does not serve yet.
    pub(super) fn starts(&self) -> bool {
        self.wait > 0.0
    }

    /// Another part instead of what it has.
    pub(super) fn change(&mut self, share: f64, wait: f64) {
        (self.all, self.serves, self.wait) = (share, 0.0, wait);
    }

    fn give(&mut self, share: f64) {
        self.all -= share;
        self.serves = self.serves.min(self.all);
    }

    fn take(&mut self, share: f64, wait: f64) {
        self.all += share;
        self.wait = wait;
    }
}

/// Lets each candidate, and what is asked for, move replicas where that brings them nearer to their part of the assignment.
///
/// A start must have been allowed for before it is asked for. None is when a memory begins, and at most one an agent is kept: counted
/// from there, no more replicas have changed hands at any instant than the rate comes to.
pub(super) fn shift(memory: &mut Memory, agents: &[Agent<'_>], horizon: Horizon, pool: Pool) {
    if pool.agents <= 0.0 {
        return; // Nothing is known of anybody: everybody keeps what it has, and what was asked for is asked for again.
    }
    let follows = memory.follows();
    rows(memory);
    let rate = rate(horizon, pool);
    for (row, allowed) in memory.allowed.0.iter_mut().enumerate() {
        if row != ASKED && !compared(row, pool) {
            continue;
        }
        let mut table = Table {
            learned: &mut memory.agents,
            agents,
            pool,
            row,
            part: PARTS.get(row).copied().unwrap_or(follows),
            wait: horizon.span,
            nearer: NEARER,
        };
        let mut spare = table.level();
        *allowed = (*allowed + rate * horizon.elapsed).min(pool.agents);
        for _ in 0..STARTS {
            table.nearer = NEARER + SCARCE * (1.0 - *allowed / pool.agents);
            if *allowed < 1.0 || !table.exchange(&mut spare) {
                break;
            }
            *allowed -= 1.0;
        }
    }
}

/// Makes room for what is held in each row.
pub(super) fn rows(memory: &mut Memory) {
    for learned in &mut memory.agents {
        if learned.held.len() != ROWS {
            learned.held = vec![Held::NOTHING; ROWS];
        }
    }
}

/// Starts a second that the pool is allowed.
pub(super) fn rate(horizon: Horizon, pool: Pool) -> f64 {
    pool.agents / (LAGS_A_START * horizon.lag.max(1e-3))
}

/// What all agents hold in one row.
struct Table<'a, 'b> {
    learned: &'a mut [Learned],
    agents: &'a [Agent<'b>],
    pool: Pool,
    row: usize,
    part: f64,
    /// Seconds until a replica that changes hands serves again.
    wait: f64,
    /// Replicas by which a move must bring two agents nearer to what they wish for, counted both.
    nearer: f64,
}

impl Table<'_, '_> {
    fn held(&mut self, i: usize) -> &mut Held {
        &mut self.learned[i].held[self.row]
    }

    fn all(&self, i: usize) -> f64 {
        self.learned[i].held[self.row].all
    }

    /// Replicas that an agent lacks for what it wishes for; negative: it has too many.
    fn lacks(&self, i: usize) -> f64 {
        self.lacks_for(i, self.part)
    }

    /// The same, where so much of the assignment is followed.
    fn lacks_for(&self, i: usize, part: f64) -> f64 {
        let (learned, agent) = (&self.learned[i], &self.agents[i]);
        let wish = learned.share(part, self.pool);
        let (floor, ceiling) = range(agent);
        (wish.clamp(floor, ceiling) - self.all(i)) / quantum(agent)
    }

    /// Requests a second that an agent would have to serve to be rid of what waits by the time a replica could start.
    fn needs(&self, i: usize) -> f64 {
        let waits = load(&self.agents[i]).map_or(0.0, |load| load.backlog);
        self.learned[i].forecast + waits / self.wait
    }

    fn known(&self) -> impl Iterator<Item = usize> {
        let agents = self.agents;
        (0..agents.len()).filter(move |i| load(&agents[*i]).is_some())
    }

    fn may_take(&self, i: usize) -> bool {
        let agent = &self.agents[i];
        self.all(i) + quantum(agent) <= range(agent).1
    }

    fn may_give(&self, i: usize) -> bool {
        let agent = &self.agents[i];
        self.all(i) - quantum(agent) >= range(agent).0
    }

    /// Begins with what is in force, and brings that within what there is; returns what is free. Who never moves holds.
    ///
    /// What is free in the beginning may be what a predecessor took from one for another and had no time to give: where somebody needs
    /// more than it has, it goes by what the load asks for.
    fn level(&mut self) -> f64 {
        let mut spare = self.pool.free;
        let mut begins = false;
        for (i, agent) in self.agents.iter().enumerate() {
            if load(agent).is_none() {
                *self.held(i) = Held::NOTHING; // What it keeps is not for sharing.
                continue;
            }
            let (floor, ceiling) = range(agent);
            let first = match agent.realized.0 {
                realized if realized > 0 && self.row > 0 => realized.min(LARGEST) as f64,
                _ => self.learned[i].hold,
            };
            let replicas = first / quantum(agent) + EXACT;
            let held = self.held(i);
            begins |= held.all < 0.0;
            let all = if held.all < 0.0 {
                replicas.floor() * quantum(agent)
            } else {
                held.all
            };
            let all = all.clamp(floor, ceiling);
            if all != held.all {
                *held = Held::serving(all);
            }
            spare -= all;
        }
        let is_short = |i| self.needs(i) > speed(&self.agents[i], self.all(i));
        let hungry = begins && self.known().any(is_short);
        // Who lacks most takes first. Only so many at once: each is a pass over the agents.
        for _ in 0..STARTS {
            let short = spare < 0.0;
            let found = self.most(|i| {
                let lacks = match hungry && !short {
                    true => self.lacks_for(i, FULLY),
                    false => self.lacks(i),
                };
                let fits = quantum(&self.agents[i]) <= spare && lacks > 0.0 && self.may_take(i);
                match short {
                    true => (lacks < 0.0 && self.may_give(i)).then_some(-lacks),
                    false => fits.then_some(lacks),
                }
            });
            let Some((i, _)) = found else { break };
            let (unit, wait) = (quantum(&self.agents[i]), self.wait);
            if short {
                self.held(i).give(unit);
                spare += unit;
            } else {
                self.held(i).take(unit, wait);
                spare -= unit;
            }
        }
        spare
    }

    /// The first of the known agents of which this is largest.
    fn most(&self, of: impl Fn(usize) -> Option<f64>) -> Option<(usize, f64)> {
        let values = self.known().filter_map(|i| Some((i, of(i)?)));
        values.reduce(|most, next| if next.1 > most.1 { next } else { most })
    }

    /// One replica more for who lacks most, at the cost of who has too many; false when that brings nobody nearer by enough.
    fn exchange(&mut self, spare: &mut f64) -> bool {
        let Some((taker, lack)) = self.most(|i| self.may_take(i).then(|| self.lacks(i))) else {
            return false;
        };
        let excess = |table: &Self, i: usize| {
            let excess = -table.lacks(i);
            let gives = i != taker && table.may_give(i) && lack + excess > table.nearer;
            gives.then_some(excess)
        };
        let unit = quantum(&self.agents[taker]);
        let givers = self.known().filter(|i| excess(self, *i).is_some());
        let there: f64 = givers.map(|i| quantum(&self.agents[i])).sum();
        if *spare + there < unit {
            return false;
        }
        while *spare < unit {
            let Some((giver, _)) = self.most(|i| excess(self, i)) else {
                return false;
            };
            let given = quantum(&self.agents[giver]);
            self.held(giver).give(given);
            *spare += given;
        }
        *spare -= unit;
        let wait = self.wait;
        self.held(taker).take(unit, wait);
        true
    }
}

/// What one replica amounts to, in milli-GPUs.
fn quantum(agent: &Agent<'_>) -> f64 {
    agent.quantum.0.clamp(1, LARGEST) as f64
}

/// The least and the most that an agent may hold.
fn range(agent: &Agent<'_>) -> (f64, f64) {
    let ceiling = agent.ceiling.0.min(LARGEST);
    (agent.floor.0.min(ceiling) as f64, ceiling as f64)
}
