//! What is free now and promised to nobody; whoever grows takes from it.

use super::fit;
use super::ground::{Ground, Spot};
use super::market::Market;
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
        Self {
            ground: market.ground,
            accounts: BTreeMap::new(),
            residents,
            memory: market.shape.agents.iter().map(memory).collect(),
        }
    }

    fn account(&mut self, resource: &GpuResource) -> &mut Account {
        self.accounts
            .entry(resource.clone())
            .or_insert_with(|| Account {
                spots: self.ground.spots(resource),
                promises: self.ground.promises(resource),
            })
    }

    /// Takes places for up to `count` replicas of agent `i` that are sure to be scheduled and to find memory; returns for
    /// how many.
    pub fn take(&mut self, i: usize, resource: &GpuResource, size: u32, count: u64) -> u64 {
        let account = self.account(resource);
        let mut places = fit::most(&account.spots, &account.promises, size, count);
        if let Some(residents) = &mut self.residents {
            places = residents.add(self.memory[i], places);
        }
        if places > 0 {
            *self.account(resource).promises.entry(size).or_insert(0) += places;
        }
        places
    }

    /// Takes places for all of `count` replicas, or none.
    pub fn take_all(&mut self, i: usize, resource: &GpuResource, size: u32, count: u64) -> bool {
        let account = self.account(resource);
        let scheduled = fit::sure(&account.spots, &account.promises, size, count);
        let resident =
            |residents: &Residents<'_>| residents.excess_with(self.memory[i], count).is_none();
        scheduled
            && self.residents.as_ref().is_none_or(resident)
            && self.take(i, resource, size, count) == count
    }

    /// What is free in sum and promised to nobody, in units of the resource.
    pub fn unpromised(&mut self, resource: &GpuResource) -> u64 {
        let account = self.account(resource);
        let free: u64 = account.spots.iter().map(|spot| spot.free).sum();
        fit::units(&account.promises).map_or(0, |promised| free.saturating_sub(promised))
    }
}
