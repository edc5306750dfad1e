//! What is free now and promised to nobody; whoever grows takes from it.

use super::fit;
use super::ground::{Ground, Spot};
use super::market::{Market, Unit};
use super::residents::{Census, Residents};
use super::types::{AgentShape, Strategy};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// The account of one resource.
struct Account {
    spots: Vec<Spot>,
    /// Replicas without a node, by size.
    promises: BTreeMap<u32, u64>,
}

/// What is free and promised of every resource, and which memory is taken.
pub(super) struct Ledger<'a> {
    ground: &'a Ground<'a>,
    accounts: BTreeMap<GpuResource, Account>,
    /// Share of one of each resource, milli-GPUs.
    shares: BTreeMap<GpuResource, u64>,
    /// Milli-GPUs of the declared budget that nobody holds and nobody is promised; without a declared one, no bound.
    budget: u64,
    /// Time-slicing with all memory known: what is resident now.
    residents: Option<Residents<'a>>,
    /// Memory of one replica per agent, MiB; 0 where it is not known.
    memory: Vec<u64>,
}

impl<'a> Ledger<'a> {
    /// Opens the accounts as observed.
    pub fn open(market: &Market<'a>) -> Self {
        let residents = match &market.shape.strategy {
            Strategy::TimeSlicing { resource, .. } => {
                let census = Census::read(market.shape, market.ground, resource).ok();
                census.map(|census| census.now())
            }
            Strategy::WholeGpu | Strategy::Mig => None,
        };
        let memory = |agent: &AgentShape| agent.memory_per_replica.unwrap_or_default().0;
        let share = |unit: &Unit| (unit.resource.clone(), unit.share);
        Self {
            ground: market.ground,
            accounts: BTreeMap::new(),
            shares: market.units.iter().map(share).collect(),
            budget: unspent(market).unwrap_or(u64::MAX),
            residents,
            memory: market.shape.agents.iter().map(memory).collect(),
        }
    }

    fn account(&mut self, resource: &GpuResource) -> &mut Account {
        self.accounts
            .entry(resource.clone())
            .or_insert_with(|| Account {
                spots: self.ground.spots(resource),
                promises: self.ground.all_promises(resource),
            })
    }

    /// Takes places for up to `count` replicas of agent `i` that are sure to be scheduled and to find memory; returns for
    /// how many.
    pub fn take(&mut self, i: usize, resource: &GpuResource, size: u32, count: u64) -> u64 {
        let account = self.account(resource);
        let mut places = fit::most(&account.spots, &account.promises, size, count);
        let each = u64::from(size) * self.shares.get(resource).copied().unwrap_or(0);
        places = places.min(self.budget.checked_div(each).unwrap_or(u64::MAX));
        if let Some(residents) = &mut self.residents {
            places = residents.add(self.memory[i], places);
        }
        if places > 0 {
            self.budget = self.budget.saturating_sub(each.saturating_mul(places));
            *self.account(resource).promises.entry(size).or_insert(0) += places;
        }
        places
    }

    /// Takes places for all of `count` replicas, or none. They replace as many others, so the budget is not asked.
    pub fn take_all(&mut self, i: usize, resource: &GpuResource, size: u32, count: u64) -> bool {
        let account = self.account(resource);
        let scheduled = fit::sure(&account.spots, &account.promises, size, count);
        let resident =
            |residents: &Residents<'_>| residents.excess_with(self.memory[i], count).is_none();
        scheduled
            && self.residents.as_ref().is_none_or(resident)
            && self.promise(i, resource, size, count)
    }

    fn promise(&mut self, i: usize, resource: &GpuResource, size: u32, count: u64) -> bool {
        *self.account(resource).promises.entry(size).or_insert(0) += count;
        self.residents
            .as_mut()
            .is_none_or(|residents| residents.add(self.memory[i], count) == count)
    }

    /// Whether agent `i` may go down to `to` replicas without making room that a copy on its way could overfill.
    pub fn may_leave(&mut self, i: usize, to: u32) -> bool {
        let residents = self.residents.as_mut();
        residents.is_none_or(|residents| residents.may_leave(i, to))
    }

    /// What is free in sum and promised to nobody, in units of the resource.
    pub fn unpromised(&mut self, resource: &GpuResource) -> u64 {
        let account = self.account(resource);
        let free: u64 = account.spots.iter().map(|spot| spot.free).sum();
        fit::units(&account.promises).map_or(0, |promised| free.saturating_sub(promised))
    }
}

/// What is left of the declared GPUs after everything that the pool's pods hold, those on their way out included, and all
/// promises; `None` when none are declared or, time-sliced, tokens are no parts of GPUs.
fn unspent(market: &Market<'_>) -> Option<u64> {
    let declared = market.shape.declared_gpus?.0;
    if matches!(market.shape.strategy, Strategy::TimeSlicing { .. }) {
        return None;
    }
    let ground = market.ground;
    let pods = ground.agents.iter().flat_map(|agent| &agent.pods);
    let bound: Vec<_> = pods.filter(|pod| ground.node_of(pod).is_some()).collect();
    let spent = market.units.iter().map(|unit| {
        let held = bound
            .iter()
            .map(|pod| pod.requests.get(&unit.resource).copied().unwrap_or(0));
        let held: u64 = held.map(u64::from).sum();
        let promised = fit::units(&ground.promises(&unit.resource)).unwrap_or(u64::MAX);
        held.saturating_add(promised).saturating_mul(unit.share)
    });
    Some(declared.saturating_sub(spent.fold(0, u64::saturating_add)))
}
