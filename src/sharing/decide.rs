//! Targets -> quanta: which change is worth making, and what fits together.

use super::fit::{self, Part};
use super::flow::Flow;
use super::ground::Spot;
use super::hysteresis::{self, Commitment, Memory, NEGLIGIBLE, Stabilized};
use super::market::{Market, Unit};
use super::packer::{self, Limits, Want};
use super::planner::runs_on;
use super::types::{Hold, HoldReason, Pod, PodState, Quantum};
use crate::allocation::{Allotment, Reason};
use crate::units::{GpuResource, MilliGpus};
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

/// One agent on its way to a quantum.
struct Case {
    in_force: Option<Quantum>,
    /// Keeps what it has, whatever the others want.
    fixed: bool,
    /// Share wanted by the policy, within what the agent can have.
    target: u64,
    /// The part of it that its load asks for.
    demand: u64,
    /// The target as far as the windows let it go.
    aim: u64,
    /// The aim is so near to what is in force that no move is made for it.
    near: bool,
}

impl Case {
    fn share(&self) -> u64 {
        self.in_force.as_ref().map_or(0, |quantum| quantum.share.0)
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
    let cases = cases(market, capacity, decision, memory, now);
    let room = Room::less_fixed(market, capacity, &cases);
    let anyhow = Room {
        flow: None,
        ..room.clone()
    };
    let question = room.question(market, &cases);
    let chosen = match memory
        .commitment()
        .filter(|c| room.stands(market, c, &question))
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
    let mut decided = explain(market, &room, &cases, chosen, decision);
    for (i, stopping) in with_stops.into_iter().flatten().enumerate() {
        let swaps =
            |q: &Quantum| Some(&q.resource) != decided.quanta[i].as_ref().map(|q| &q.resource);
        if let Some(quantum) = stopping.filter(swaps)
            && !cases[i].fixed
            && !decided.holds[i]
                .as_ref()
                .is_some_and(|hold| hold.reason == HoldReason::Stabilizing)
        {
            decided.holds[i] = Some(Hold {
                reason: HoldReason::SwapNeedsDowntime,
                message: format!(
                    "target {}, in force {}; {} x {} cannot be reached while everyone runs: set disruption.allowDowntime to let an agent stop for a moment",
                    MilliGpus(cases[i].target),
                    MilliGpus(cases[i].share()),
                    quantum.replicas,
                    quantum.resource
                ),
            });
        }
    }
    decided
}

fn cases(
    market: &Market<'_>,
    capacity: MilliGpus,
    decision: &[Allotment],
    memory: &mut Memory,
    now: Duration,
) -> Vec<Case> {
    let behavior = &market.shape.behavior;
    let mut cases: Vec<Case> = Vec::with_capacity(decision.len());
    let mut windows: Vec<Stabilized> = Vec::with_capacity(decision.len());
    for (i, allotment) in decision.iter().enumerate() {
        let observed = &market.ground.agents[i];
        let (floor, ceiling) = market.range(i, capacity.0);
        let target = allotment.target.0.clamp(floor.0.min(ceiling.0), ceiling.0);
        windows.push(memory.recommend(behavior, &market.shape.agents[i].name, now, target));
        cases.push(Case {
            in_force: market.in_force(i),
            fixed: observed.frozen || allotment.reason == Reason::SignalLost || !market.serves(i),
            target,
            demand: allotment.demand.0,
            aim: target,
            near: false,
        });
    }
    let short = cases.iter().any(|case| {
        !case.fixed && case.target > case.share() + hysteresis::tolerated(behavior, case.share())
    });
    for (i, (case, window)) in cases.iter_mut().zip(windows).enumerate() {
        let share = case.share();
        let agent = &market.shape.agents[i];
        let settled = case.in_force.as_ref().is_some_and(|quantum| {
            (agent.min_replicas..=agent.max_replicas).contains(&quantum.replicas)
                && market.offers(i, quantum)
        });
        if !settled {
            continue; // What is in force is not permitted: no window keeps it.
        }
        case.aim = if case.target > share {
            case.target.min(window.rise_to.max(share))
        } else {
            let down_to = if short {
                window.yield_to
            } else {
                window.fall_to
            };
            case.target.max(down_to.min(share))
        };
        let band = hysteresis::band(behavior, share, market.step(i));
        case.near = case.aim.abs_diff(share) <= band;
    }
    cases
}

/// What is left to be decided on.
#[derive(Clone)]
struct Room<'a> {
    budget: u64,
    totals: Vec<(GpuResource, u64)>,
    /// Per unit of the market; fixed agents' pods and promises taken off.
    spots: Vec<Vec<Spot>>,
    /// Sums do not say all: replicas of several GPUs, or nodes where pods may stay but not come.
    uneven: bool,
    /// Where a swap may not stop an agent: what will be free without that.
    flow: Option<Flow<'a>>,
}

impl<'a> Room<'a> {
    fn less_fixed(market: &Market<'a>, capacity: MilliGpus, cases: &[Case]) -> Self {
        let mut budget = capacity.0;
        let mut spots: Vec<Vec<Spot>> = market.units.iter().map(|u| u.spots.clone()).collect();
        let mut owed = vec![0u64; market.units.len()];
        for (i, case) in cases.iter().enumerate().filter(|(_, case)| case.fixed) {
            let agent = &market.ground.agents[i];
            budget = budget.saturating_sub(case.share());
            for (u, unit) in market.units.iter().enumerate() {
                let size = agent.template.get(&unit.resource).copied().unwrap_or(0);
                owed[u] += u64::from(size) * market.ground.promised(i);
                for pod in &agent.pods {
                    if pod.state != PodState::Terminating
                        && let Some(at) = market.ground.node_of(pod)
                    {
                        let held = pod.requests.get(&unit.resource).copied().unwrap_or(0);
                        let pool = &mut spots[u][at].pool;
                        *pool = pool.saturating_sub(u64::from(held));
                    }
                }
            }
        }
        let totals = market
            .units
            .iter()
            .zip(&spots)
            .zip(owed)
            .map(|((unit, spots), owed)| {
                let pool = spots.iter().map(|s| s.pool).fold(0, u64::saturating_add);
                (unit.resource.clone(), pool.saturating_sub(owed))
            })
            .collect();
        let uneven = market.shape.agents.iter().any(|a| a.gpus_per_replica > 1)
            || spots.iter().flatten().any(|s| !s.schedulable && s.pool > 0);
        let free = |unit: &Unit| {
            let free: u64 = unit.spots.iter().map(|spot| spot.free).sum();
            let promises = market.ground.promises(&unit.resource);
            let promised = promises.iter().map(|(size, n)| u64::from(*size) * n);
            (unit.resource.clone(), free.saturating_sub(promised.sum()))
        };
        let flow = (!market.shape.allow_downtime)
            .then(|| Flow::new(market.ground, market.units.iter().map(free).collect()));
        Self {
            budget,
            totals,
            spots,
            uneven,
            flow,
        }
    }

    /// What is asked, without an answer.
    fn question(&self, market: &Market<'_>, cases: &[Case]) -> Commitment {
        let names = market.shape.agents.iter().map(|agent| agent.name.clone());
        Commitment {
            agents: names
                .zip(cases)
                .map(|(name, c)| (name, c.aim, c.fixed))
                .collect(),
            room: (self.budget, self.totals.clone()),
            quanta: Vec::new(),
        }
    }

    /// Whether a decision that was made is still to be carried out, and can be.
    fn stands(&self, market: &Market<'_>, made: &Commitment, question: &Commitment) -> bool {
        let agents = market.shape.agents.iter().zip(market.ground.agents);
        let mut under_way = false;
        let mut quanta: Vec<(usize, &Quantum)> = Vec::new();
        for (i, ((shape, observed), quantum)) in agents.zip(&made.quanta).enumerate() {
            let (Some(quantum), false) = (quantum, question.agents[i].2) else {
                continue;
            };
            if !market.offers(i, quantum)
                || quantum.replicas > shape.max_replicas
                || quantum.replicas < shape.min_replicas
            {
                return false;
            }
            under_way |= observed.restore.is_some()
                || observed.replicas != quantum.replicas
                || !runs_on(observed, quantum);
            quanta.push((i, quantum));
        }
        under_way
            && made.asks_as(&market.shape.behavior, question)
            && self.arranges(market, &quanta)
            && self.reaches(&quanta)
    }

    /// Whether the quanta can be reached without stopping an agent, where that is not permitted.
    fn reaches(&self, quanta: &[(usize, &Quantum)]) -> bool {
        let flow = self.flow.as_ref();
        flow.is_none_or(|flow| flow.blocked(quanta, None).is_empty())
    }

    /// Whether the quanta find places on nodes.
    fn arranges(&self, market: &Market<'_>, quanta: &[(usize, &Quantum)]) -> bool {
        !self.uneven
            || market.units.iter().zip(&self.spots).all(|(unit, spots)| {
                let parts: Vec<Part> = quanta
                    .iter()
                    .filter(|(_, quantum)| quantum.resource == unit.resource)
                    .map(|(i, quantum)| {
                        Part::of(
                            market.ground,
                            *i,
                            &unit.resource,
                            quantum.count,
                            u64::from(quantum.replicas),
                        )
                    })
                    .collect();
                fit::arrange(spots, &parts).is_some()
            })
    }

    /// Packs the given wants, which belong to the agents `who`.
    fn pack(&self, market: &Market<'_>, who: &[usize], wants: &[Want]) -> Option<Vec<Quantum>> {
        let fits = |choice: &[usize]| {
            let quanta: Vec<(usize, &Quantum)> = choice
                .iter()
                .zip(wants)
                .zip(who)
                .map(|((at, want), i)| (*i, &want.menu[*at]))
                .collect();
            self.arranges(market, &quanta) && self.reaches(&quanta)
        };
        let limits = Limits {
            budget: self.budget,
            totals: self.totals.clone(),
            fits: &fits,
            steps: packer::SEARCH_STEPS,
        };
        let choice = packer::pack(wants, &limits)?;
        Some(
            choice
                .into_iter()
                .zip(wants)
                .map(|(at, want)| want.menu[at].clone())
                .collect(),
        )
    }
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
fn first_pass(
    market: &Market<'_>,
    room: &Room<'_>,
    cases: &[Case],
) -> Option<Vec<Option<Quantum>>> {
    let who: Vec<usize> = (0..cases.len()).filter(|i| !cases[*i].fixed).collect();
    let wants = |distress: Distress| -> Vec<Want> {
        who.iter()
            .map(|i| want(market, *i, &cases[*i], distress))
            .collect()
    };
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
        if far && let Some(moved) = pack(Distress::Moves) {
            let free = wants(Distress::Moves);
            let total = |quanta: &[Quantum]| packer::total(&free, quanta);
            if total(&moved).is_clearly_below(&total(kept)) {
                found = Some(moved);
            }
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
    let menu = match &case.in_force {
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
fn second_pass(
    market: &Market<'_>,
    room: &Room<'_>,
    cases: &[Case],
    chosen: &mut [Option<Quantum>],
) {
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
        if hunger > share + hysteresis::tolerated(behavior, share) {
            let more = market.menu(i, agent.min_replicas, hunger);
            let least = share + hysteresis::tolerated(behavior, share);
            menu.extend(more.into_iter().filter(|q| q.share.0 > least));
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

fn explain(
    market: &Market<'_>,
    room: &Room<'_>,
    cases: &[Case],
    mut chosen: Vec<Option<Quantum>>,
    decision: &[Allotment],
) -> Decided {
    let mut decided = Decided::default();
    for (i, case) in cases.iter().enumerate() {
        let agent = &market.shape.agents[i];
        let got = chosen[i].as_ref().map_or(0, |quantum| quantum.replicas);
        let refusal = market.refusal(i);
        let barred = !market.serves(i);
        let unmet = (got < agent.min_replicas && (barred || !case.fixed)).then(|| {
            refusal.clone().unwrap_or_else(|| {
                let there: Vec<String> = room
                    .totals
                    .iter()
                    .map(|(resource, total)| format!("{total} {resource}"))
                    .collect();
                format!(
                    "{got} of at least {} replicas fit; the pool may spend {} GPUs and hold {}",
                    agent.min_replicas,
                    MilliGpus(room.budget),
                    there.join(", "),
                )
            })
        });
        if got == 0 && agent.min_replicas > 0 && !case.fixed {
            chosen[i] = None; // It is left as it is rather than scaled to nothing.
        }
        decided
            .holds
            .push(hold(market, i, case, chosen[i].as_ref(), &decision[i]));
        decided.memory_bound.push(market.too_large(i));
        decided.unmet.push(unmet);
    }
    decided.quanta = chosen;
    decided
}

/// The change that is wanted and not decided on, if there is one.
fn hold(
    market: &Market<'_>,
    i: usize,
    case: &Case,
    chosen: Option<&Quantum>,
    allotment: &Allotment,
) -> Option<Hold> {
    let now = case.in_force.as_ref()?;
    let (share, target) = (case.share(), case.target);
    let tolerated = hysteresis::tolerated(&market.shape.behavior, share);
    if target.abs_diff(share) <= tolerated || chosen.is_some_and(|q| q != now) {
        return None;
    }
    let numbers = format!(
        "target {}, in force {}",
        MilliGpus(target),
        MilliGpus(share)
    );
    let (reason, message) = if market.ground.agents[i].frozen {
        (HoldReason::Frozen, numbers)
    } else if case.fixed || allotment.reason == Reason::SignalLost {
        (HoldReason::SignalLost, numbers)
    } else if case.aim != target && case.aim == share {
        let window = if target > share {
            market.shape.behavior.scale_up_window
        } else {
            market.shape.behavior.scale_down_window
        };
        let text = format!(
            "{numbers}; not for the whole of the last {} s",
            window.as_secs()
        );
        (HoldReason::Stabilizing, text)
    } else if case.near {
        let band = hysteresis::band(&market.shape.behavior, share, market.step(i));
        let text = format!("{numbers}; no move for less than {}", MilliGpus(band));
        (HoldReason::WithinTolerance, text)
    } else if target > share {
        (
            HoldReason::WaitingForCapacity,
            format!("{numbers}; nothing larger fits"),
        )
    } else {
        return None;
    };
    Some(Hold { reason, message })
}
