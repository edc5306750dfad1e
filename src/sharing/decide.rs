//! Targets -> quanta: which change is worth making, and what fits together.

use super::cases::{Case, cases};
use super::explain;
use super::hysteresis::{self, Commitment, Memory, NEGLIGIBLE};
use super::market::Market;
use super::packer::{self, Want};
use super::room::Room;
use super::types::{Hold, Pod, Quantum};
use crate::allocation::Allotment;
use crate::units::MilliGpus;
use std::time::Duration;

/// What each agent is to end up with, and why not more.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Decided {
    /// Per agent; `None`: leave it alone.
    pub quanta: Vec<Option<Quantum>>,
    /// Per agent: the change that is wanted and held.
    pub holds: Vec<Option<Hold>>,
    /// Per agent: why memory bounds it.
    pub memory_bound: Vec<Option<String>>,
    /// Per agent: why it has not its smallest quantum.
    pub unmet: Vec<Option<String>>,
}

impl Decided {
    /// Nothing is decided for any of `n` agents.
    pub fn nothing(n: usize) -> Self {
        Self {
            quanta: vec![None; n],
            holds: vec![None; n],
            memory_bound: vec![None; n],
            unmet: vec![None; n],
        }
    }
}

/// Decides for partitions: whole GPUs and MIG instances.
pub(super) fn decide(
    market: &Market<'_>,
    capacity: MilliGpus,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Decided {
    let mut cases = cases(market, capacity, decision, memory, now);
    let mut room = Room::less_fixed(market, capacity, &cases);
    if !room.keeps(market, &cases) {
        // Of some that may only rise not even what they have finds room (a node is gone): for them there is no more.
        for case in &mut cases {
            case.fixed |= case.keeps().is_some();
        }
        room = Room::less_fixed(market, capacity, &cases);
    }
    let anyhow = room.with_stops();
    let question = room.question(market, &cases);
    // Made while its load was known, a decision may take from an agent that may only rise now.
    let permitted = |made: &Commitment| {
        let mut quanta = made.quanta.iter().zip(&cases);
        quanta.all(|(quantum, case)| quantum.as_ref().is_none_or(|q| case.may_have(q)))
    };
    let chosen = match memory
        .commitment()
        .filter(|c| room.stands(market, c, &question) && permitted(c))
    {
        Some(commitment) => commitment.quanta.clone(),
        None => {
            // What only a stop would reach is chosen only when nothing else can be.
            let mut chosen = first_pass(market, &room, &cases)
                .or_else(|| first_pass(market, &anyhow, &cases))
                .unwrap_or_else(|| {
                    let kept = |case: &Case| case.in_force.clone().filter(|_| case.fixed);
                    cases.iter().map(kept).collect()
                });
            second_pass(market, &room, &cases, &mut chosen);
            memory.commit(Commitment {
                quanta: chosen.clone(),
                ..question
            });
            chosen
        }
    };
    let with_stops = match market.shape.allow_downtime {
        true => None,
        false => first_pass(market, &anyhow, &cases),
    };
    let mut decided = explain::explain(market, &room, &cases, chosen, decision);
    explain::stops(&cases, with_stops.unwrap_or_default(), &mut decided);
    decided
}
/// How much of what was promised is given up to find something that fits.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Distress {
    /// Agents that are near enough keep what they have.
    None,
    /// Everyone may be moved.
    Moves,
    /// Extra replicas below the minimum go; who runs keeps one replica.
    Extras,
    /// Some cannot run at all.
    All,
}

/// Everyone's quantum, with those near enough keeping theirs.
fn first_pass(market: &Market<'_>, room: &Room, cases: &[Case]) -> Option<Vec<Option<Quantum>>> {
    let who: Vec<usize> = (0..cases.len()).filter(|i| !cases[*i].fixed).collect();
    let wants = |distress: Distress| -> Vec<Want> {
        who.iter()
            .map(|i| want(market, *i, &cases[*i], distress))
            .collect()
    };
    let total = |quanta: &[Quantum]| packer::total(&wants(Distress::Moves), quanta);
    let pack = |distress: Distress| room.pack(market, &who, &wants(distress));
    let mut found = [
        Distress::None,
        Distress::Moves,
        Distress::Extras,
        Distress::All,
    ]
    .into_iter()
    .find_map(pack);
    if let Some(kept) = &found {
        // Those that keep what they have may stand in the way of one that is far off its aim.
        let far = who.iter().zip(kept).any(|(i, quantum)| {
            !cases[*i].near && cases[*i].aim > quantum.share.0.saturating_add(market.step(*i) / 2)
        });
        if far
            && let Some(moved) = pack(Distress::Moves)
            && total(&moved).is_clearly_below(&total(kept))
        {
            found = Some(moved);
        }
    }
    if let Some(changed) = &found
        && who
            .iter()
            .zip(changed)
            .any(|(i, quantum)| swaps(market, *i, &cases[*i], quantum))
    {
        let as_they_are = |distress: Distress| {
            let mut wants = wants(distress);
            for (i, want) in who.iter().zip(&mut wants) {
                want.menu
                    .retain(|quantum| !swaps(market, *i, &cases[*i], quantum));
            }
            room.pack(market, &who, &wants)
        };
        let same = [Distress::None, Distress::Moves]
            .into_iter()
            .find_map(as_they_are);
        if let Some(same) = same
            && !total(changed).is_worth_a_stop(&total(&same))
        {
            found = Some(same);
        }
    }
    let mut chosen: Vec<Option<Quantum>> = cases
        .iter()
        .map(|case| case.in_force.clone().filter(|_| case.fixed))
        .collect();
    for (i, quantum) in who.into_iter().zip(found?) {
        chosen[i] = Some(quantum);
    }
    Some(chosen)
}

/// Whether the agent would be stopped: it has another resource now, which it could keep.
fn swaps(market: &Market<'_>, i: usize, case: &Case, quantum: &Quantum) -> bool {
    let now = case.in_force.as_ref().filter(|now| market.offers(i, now));
    now.is_some_and(|now| now.resource != quantum.resource)
}

fn want(market: &Market<'_>, i: usize, case: &Case, distress: Distress) -> Want {
    let agent = &market.shape.agents[i];
    let min = agent.min_replicas;
    let aim = case.aim.saturating_sub(NEGLIGIBLE);
    let observed = &market.ground.agents[i];
    let bound = |pod: &Pod| market.ground.node_of(pod).is_some();
    let runs = observed.restore.is_some() || observed.pods.iter().any(bound);
    let alone = market.menu(i, min, aim).is_empty();
    let fewest = match distress {
        // Who cannot have its minimum even alone takes what it can get, and disturbs nobody else by that.
        Distress::None | Distress::Moves if alone => 0,
        Distress::None | Distress::Moves => min,
        Distress::Extras if runs => min.min(1),
        Distress::Extras | Distress::All => 0,
    };
    let mut menu = match &case.in_force {
        Some(quantum) if case.near && distress == Distress::None => vec![quantum.clone()],
        Some(quantum) => {
            // A swap must be worth its price too.
            let share = quantum.share.0;
            let band = hysteresis::band(&market.shape.behavior, share, market.step(i));
            let kept = market.offers(i, quantum);
            let mut menu = market.menu(i, fewest, aim);
            menu.retain(|q| {
                !kept || q.resource == quantum.resource || q.share.0.abs_diff(share) > band
            });
            menu
        }
        None => market.menu(i, fewest, aim),
    };
    if let Some(kept) = case.keeps() {
        menu.retain(|quantum| case.may_have(quantum));
        // Like everyone's extras what it is short of goes only when there is no other way.
        if !menu.contains(kept) && (menu.is_empty() || distress >= Distress::Extras) {
            menu.insert(0, kept.clone());
        }
    }
    Want {
        priority: agent.priority,
        min_replicas: min,
        target: case.aim.saturating_sub(NEGLIGIBLE),
        hunger: case.demand.min(case.aim).saturating_sub(NEGLIGIBLE),
        in_force: case.in_force.clone(),
        menu,
    }
}

/// Gives what is left over to agents whose load asks for more than they have, even where a move that takes from others
/// would not be worth it.
fn second_pass(market: &Market<'_>, room: &Room, cases: &[Case], chosen: &mut [Option<Quantum>]) {
    let behavior = &market.shape.behavior;
    let mut who = Vec::new();
    let mut wants = Vec::new();
    let mut hungry = false;
    for (i, case) in cases.iter().enumerate() {
        let Some(quantum) = chosen[i].clone().filter(|_| !case.fixed) else {
            continue;
        };
        let agent = &market.shape.agents[i];
        let share = quantum.share.0;
        let hunger = case.demand.min(case.aim);
        let mut menu = vec![quantum.clone()];
        let least = share.saturating_add(hysteresis::tolerated(behavior, share));
        if hunger > least {
            let more = market.menu(i, agent.min_replicas, hunger);
            let more = more.into_iter().filter(|q| case.may_have(q));
            menu.extend(more.filter(|q| q.share.0 > least));
            hungry |= menu.len() > 1;
        }
        who.push(i);
        wants.push(Want {
            priority: agent.priority,
            min_replicas: agent.min_replicas,
            target: hunger.max(share),
            hunger,
            in_force: Some(quantum),
            menu,
        });
    }
    if !hungry {
        return;
    }
    if let Some(quanta) = room.pack(market, &who, &wants) {
        for (i, quantum) in who.into_iter().zip(quanta) {
            chosen[i] = Some(quantum);
        }
    }
}
