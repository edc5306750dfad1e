//! What there is to decide on, and whether quanta fit into it and can be reached.

use super::cases::Case;
use super::fit::{self, Part};
use super::flow::Flow;
use super::ground::Spot;
use super::hysteresis::Commitment;
use super::market::{Market, Unit};
use super::packer::{self, Limits, Want};
use super::planner::runs_on;
use super::types::{PodState, Quantum};
use crate::units::{GpuResource, MilliGpus};

/// What is left to be decided on.
#[derive(Clone)]
pub(super) struct Room {
    /// Milli-GPUs that may be spent.
    pub budget: u64,
    /// How many of each resource there are.
    pub totals: Vec<(GpuResource, u64)>,
    /// Per unit of the market; fixed agents' pods and promises taken off.
    spots: Vec<Vec<Spot>>,
    /// Sums do not say all: replicas of several GPUs, or nodes where pods may stay but not come.
    uneven: bool,
    /// Where a swap may not stop an agent: what will be free without that.
    flow: Option<Flow>,
}

impl Room {
    /// What there is, less what agents hold that keep what they have.
    pub fn less_fixed(market: &Market<'_>, capacity: MilliGpus, cases: &[Case]) -> Self {
        let mut budget = capacity.0;
        let mut spots: Vec<Vec<Spot>> = market.units.iter().map(|u| u.spots.clone()).collect();
        let mut owed = vec![0u64; market.units.len()];
        for (i, case) in cases.iter().enumerate().filter(|(_, case)| case.fixed) {
            let agent = &market.ground.agents[i];
            budget = budget.saturating_sub(case.share());
            for (u, unit) in market.units.iter().enumerate() {
                let size = agent.template.get(&unit.resource).copied().unwrap_or(0);
                let promised = u64::from(size) * market.ground.promised(i);
                owed[u] = owed[u].saturating_add(promised);
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
            let promises = market.ground.all_promises(&unit.resource);
            let left = fit::units(&promises).map_or(0, |promised| free.saturating_sub(promised));
            (unit.resource.clone(), left)
        };
        let flow = (!market.shape.allow_downtime)
            .then(|| Flow::new(market.ground, market.units.iter().map(free)));
        Self {
            budget,
            totals,
            spots,
            uneven,
            flow,
        }
    }

    /// Whether there is room for what agents have that may only rise.
    pub fn keeps(&self, market: &Market<'_>, cases: &[Case]) -> bool {
        let kept: Vec<(usize, &Quantum)> = cases
            .iter()
            .enumerate()
            .filter_map(|(i, case)| Some((i, case.keeps()?)))
            .collect();
        let sum = |amounts: &mut dyn Iterator<Item = u64>| amounts.fold(0, u64::saturating_add);
        let spent = sum(&mut kept.iter().map(|(_, quantum)| quantum.share.0));
        let there = self.totals.iter().all(|(resource, total)| {
            let of_it = kept
                .iter()
                .filter(|(_, quantum)| quantum.resource == *resource);
            let mut held = of_it.map(|(_, q)| u64::from(q.replicas) * u64::from(q.count));
            sum(&mut held) <= *total
        });
        spent <= self.budget && there && self.arranges(market, &kept)
    }

    /// The same room, where a swap may stop an agent.
    pub fn with_stops(&self) -> Self {
        Self {
            flow: None,
            ..self.clone()
        }
    }

    /// What is asked, without an answer.
    pub fn question(&self, market: &Market<'_>, cases: &[Case]) -> Commitment {
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
    pub fn stands(&self, market: &Market<'_>, made: &Commitment, question: &Commitment) -> bool {
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
    pub fn pack(&self, market: &Market<'_>, who: &[usize], wants: &[Want]) -> Option<Vec<Quantum>> {
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
            steps: packer::steps(wants.len()),
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
