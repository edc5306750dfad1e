//! Shares that are parts of GPUs of several sizes (MIG): agents change places, and what of that serves.
//!
//! The parts that exist stay what they are, so that no agent gets the share it wishes for: it holds its part or another agent's. Who
//! changes places serves nobody until it has started again, and what comes meanwhile waits. So holding is to keep what is in force, and a
//! change is reckoned in what it is for: requests that wait, at the speeds of the parts and not at their shares.

use super::super::demand::{KnownLoad, load};
use super::super::rounding::LARGEST;
use super::super::types::Agent;
use super::assign::{PAYS, unrest};
use super::evidence::{FULL, compared, speed};
use super::memory::{Learned, Memory};
use super::whole::{ASKED, Held, rate, rows};
use super::{Horizon, Pool};

/// Changes of one decision.
const CHANGES: usize = 4;
/// Agents that start when two change places.
const BOTH: f64 = 2.0;

/// Lets each candidate, and what is asked for, change places where that pays. The first candidate never does.
pub(super) fn shift(memory: &mut Memory, agents: &[Agent<'_>], horizon: Horizon, pool: Pool) {
    let follows = memory.followed > 0;
    rows(memory);
    let mut under_way = false;
    for learned in &mut memory.agents {
        let asked = &mut learned.held[ASKED];
        asked.pass(horizon.elapsed);
        under_way |= asked.starts();
    }
    for (row, allowed) in memory.allowed.0.iter_mut().enumerate() {
        if row != ASKED && !compared(row, pool) {
            continue;
        }
        let mut table = Table {
            learned: &mut memory.agents,
            agents,
            row,
            horizon,
        };
        if !under_way {
            table.keep(row == ASKED || row == 0 && !follows);
        }
        *allowed = (*allowed + rate(horizon, pool) * horizon.elapsed).min(pool.agents.max(BOTH));
        let moves = if row == ASKED { follows } else { row > 0 };
        for _ in 0..CHANGES {
            if !moves || *allowed < BOTH || !table.exchange() {
                break;
            }
            *allowed -= BOTH;
        }
    }
}

/// What all agents hold in one row.
struct Table<'a, 'b> {
    learned: &'a mut [Learned],
    agents: &'a [Agent<'b>],
    row: usize,
    horizon: Horizon,
}

impl Table<'_, '_> {
    fn held(&self, i: usize) -> Held {
        self.learned[i].held[self.row]
    }

    fn known(&self) -> impl Iterator<Item = (usize, KnownLoad)> {
        let agents = self.agents.iter().enumerate();
        agents.filter_map(|(i, agent)| Some((i, load(agent)?)))
    }

    /// Holds what is in force, when it is to or when what it holds is not what there is.
    fn keep(&mut self, always: bool) {
        let (mut held, mut real, mut is_new) = (0.0, 0.0, false);
        for (i, _) in self.known() {
            is_new |= self.held(i).all < 0.0;
            held += self.held(i).all;
            real += in_force(&self.agents[i]);
        }
        let replaces = always || is_new || held != real;
        for (i, agent) in self.agents.iter().enumerate() {
            let slot = &mut self.learned[i].held[self.row];
            if load(agent).is_none() {
                *slot = Held::NOTHING; // What it keeps is not for sharing.
            } else if replaces {
                *slot = Held::serving(in_force(agent));
            }
        }
    }

    /// Requests that wait in this row.
    fn backlog(&self, i: usize, known: KnownLoad) -> f64 {
        let shadow = self.learned[i].shadow.get(self.row).copied();
        shadow.unwrap_or(known.backlog)
    }

    /// Seconds that requests wait until an agent that serves with this share after `wait` seconds has worked off what waits, by weight.
    fn cost(&self, i: usize, known: KnownLoad, share: f64, wait: f64) -> f64 {
        let (learned, agent) = (&self.learned[i], &self.agents[i]);
        let speed = speed(agent, share);
        let above = (speed - learned.forecast).max((1.0 - FULL) * speed);
        let waits = self.backlog(i, known);
        let until = waits + learned.forecast * wait;
        let meanwhile = 0.5 * (waits + until) * wait;
        let cleared = 0.5 * (until * until + unrest(learned, self.horizon)) / above;
        agent.priority.weight() as f64 * (meanwhile + cleared)
    }

    fn may_have(&self, i: usize, share: f64) -> bool {
        let agent = &self.agents[i];
        agent.swaps && (agent.floor.0 as f64..=agent.ceiling.0 as f64).contains(&share)
    }

    /// The agent whom its place costs most takes that of the one with whom most is gained; false when nothing is.
    fn exchange(&mut self) -> bool {
        let stays = |i: usize, known: KnownLoad| self.cost(i, known, self.held(i).all, 0.0);
        let free = || {
            self.known()
                .filter(|(i, _)| self.agents[*i].swaps && !self.held(*i).starts())
        };
        let costs = free().map(|(i, known)| (i, known, stays(i, known)));
        let dearest = costs.reduce(|most, next| if next.2 > most.2 { next } else { most });
        let Some((taker, needs, costs)) = dearest else {
            return false;
        };
        let (has, wait) = (self.held(taker).all, self.horizon.span);
        let gain = |(i, known): (usize, KnownLoad)| {
            let other = self.held(i).all;
            if other <= has || !self.may_have(taker, other) || !self.may_have(i, has) {
                return None;
            }
            let after = self.cost(taker, needs, other, wait) + self.cost(i, known, has, wait);
            let gain = (costs + stays(i, known)) / (1.0 + PAYS) - after;
            (gain > 0.0).then_some((i, gain))
        };
        let gains = free().filter_map(gain);
        let Some((giver, _)) = gains.reduce(|most, next| if next.1 > most.1 { next } else { most })
        else {
            return false;
        };
        let other = self.held(giver).all;
        self.learned[taker].held[self.row].change(other, wait);
        self.learned[giver].held[self.row].change(has, wait);
        true
    }
}

/// Milli-GPUs that are in force.
fn in_force(agent: &Agent<'_>) -> f64 {
    agent.realized.0.min(LARGEST) as f64
}
