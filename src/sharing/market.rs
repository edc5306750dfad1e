//! What a strategy offers: the units that exist and the menu of quanta they make for each agent.

use super::ground::{Ground, Spot, covers};
use super::types::{PoolShape, Quantum, Strategy};
use super::{mig, time_slicing, whole_gpu};
use crate::units::{GpuResource, Mebibytes, MilliGpus};
use std::collections::BTreeMap;

/// Most lines of one menu; longer ranges keep their ends and every n-th line between.
const MENU_LINES: u64 = 256;

/// One kind of thing a replica can ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    /// What a container asks for.
    pub resource: GpuResource,
    /// Share of one, milli-GPUs.
    pub share: u64,
    /// Usable memory of one, where it bounds a model.
    pub memory: Option<Mebibytes>,
    /// Where it is.
    pub spots: Vec<Spot>,
}

impl Unit {
    /// How many the pool may hold.
    pub fn total(&self) -> u64 {
        self.spots
            .iter()
            .map(|spot| spot.pool)
            .fold(0, u64::saturating_add)
    }

    /// How many replicas of `size` the pool could hold, were it alone.
    fn places(&self, size: u32) -> u64 {
        let size = u64::from(size.max(1));
        self.spots
            .iter()
            .map(|spot| spot.pool / size)
            .fold(0, u64::saturating_add)
    }
}

/// What is on offer: whole GPUs, MIG instances, or tokens of time-sliced GPUs.
pub(super) struct Market<'a> {
    pub shape: &'a PoolShape,
    pub ground: &'a Ground<'a>,
    /// The units, smallest share first.
    pub units: Vec<Unit>,
    /// What had to be assumed, for people.
    pub notes: Vec<String>,
}

impl<'a> Market<'a> {
    /// What the pool's strategy offers.
    pub fn open(shape: &'a PoolShape, ground: &'a Ground<'a>) -> Self {
        let (units, notes) = match shape.strategy {
            Strategy::WholeGpu => (vec![whole_gpu::unit(ground)], Vec::new()),
            Strategy::Mig => mig::units(ground),
            Strategy::TimeSlicing { .. } => (time_slicing::units(shape, ground), Vec::new()),
        };
        Self {
            shape,
            ground,
            units,
            notes,
        }
    }

    /// How many of a unit one replica of agent `i` asks for; where its template may not change, what the template says.
    pub fn count(&self, i: usize) -> u32 {
        let agent = &self.ground.agents[i];
        match self.shape.strategy {
            Strategy::WholeGpu if agent.template_locked => agent
                .template
                .get(&GpuResource::whole())
                .copied()
                .unwrap_or(1)
                .max(1),
            Strategy::WholeGpu => self.shape.agents[i].gpus_per_replica.max(1),
            Strategy::TimeSlicing { .. } | Strategy::Mig => 1,
        }
    }

    /// Units whose memory holds the agent's model; where its template may not change, only what it asks for.
    fn permitted(&self, i: usize) -> impl Iterator<Item = &Unit> {
        let (count, agent) = (self.count(i), &self.ground.agents[i]);
        self.holding(i).filter(move |unit| {
            let locked = || BTreeMap::from([(unit.resource.clone(), count)]);
            !agent.template_locked || covers(&agent.template, &locked())
        })
    }

    /// Units whose memory holds the agent's model.
    fn holding(&self, i: usize) -> impl Iterator<Item = &Unit> {
        let count = self.count(i);
        let need = self.shape.agents[i].memory_per_replica;
        self.units
            .iter()
            .filter(move |unit| match (need, unit.memory) {
                (Some(need), Some(usable)) => need.0 <= usable.0.saturating_mul(u64::from(count)),
                _ => true,
            })
    }

    /// The largest unit that agent `i` could have, were its template not locked, when it is larger than what the template asks for.
    pub fn locked_out(&self, i: usize) -> Option<&Unit> {
        let agent = &self.ground.agents[i];
        let now = self.priced(&agent.template, 1)?.share.0;
        let there = self.holding(i).filter(|unit| unit.total() > 0);
        let largest = there.max_by_key(|unit| unit.share)?;
        let each = largest.share.saturating_mul(u64::from(self.count(i)));
        (agent.template_locked && each > now).then_some(largest)
    }

    /// Whether the strategy has anything at all for the agent.
    pub fn serves(&self, i: usize) -> bool {
        self.permitted(i).next().is_some()
    }

    fn quantum(&self, unit: &Unit, replicas: u64, count: u32) -> Quantum {
        Quantum {
            replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
            resource: unit.resource.clone(),
            count,
            share: MilliGpus(unit.share) * u64::from(count) * replicas,
        }
    }

    /// The unit of a resource.
    pub fn unit(&self, resource: &GpuResource) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.resource == *resource)
    }

    /// What `replicas` of a template amount to; `None` when the template asks for anything but one unit of this market.
    pub fn priced(&self, template: &BTreeMap<GpuResource, u32>, replicas: u32) -> Option<Quantum> {
        let mut asked = template.iter().filter(|(_, count)| **count > 0);
        let (resource, count) = asked.next()?;
        if asked.next().is_some() {
            return None;
        }
        let unit = self.unit(resource)?;
        Some(self.quantum(unit, u64::from(replicas), *count))
    }

    /// What the agent has: its template times its replicas, or what a swap in progress is to end with.
    pub fn in_force(&self, i: usize) -> Option<Quantum> {
        let agent = &self.ground.agents[i];
        match &agent.restore {
            Some(restore) => {
                let to = GpuResource::parse(&restore.to).ok()?;
                let count = self.count(i);
                self.priced(&BTreeMap::from([(to, count)]), restore.to_replicas)
            }
            None => self.priced(&agent.template, agent.replicas),
        }
    }

    /// Whether a quantum is one that the strategy would offer the agent, whatever is free.
    pub fn offers(&self, i: usize, quantum: &Quantum) -> bool {
        quantum.count == self.count(i)
            && self
                .permitted(i)
                .any(|unit| unit.resource == quantum.resource)
    }

    /// The smallest difference between two units the agent could have, or between one and none, milli-GPUs.
    pub fn step(&self, i: usize) -> u64 {
        let count = u64::from(self.count(i));
        let (mut last, mut least) = (0, u64::MAX);
        for unit in self.permitted(i) {
            if unit.share > last {
                least = least.min(unit.share - last);
            }
            last = unit.share;
        }
        least.saturating_mul(count)
    }

    /// The largest unit within `budget` that the agent could have, milli-GPUs; zero when there is none.
    pub fn largest(&self, i: usize, budget: u64) -> u64 {
        let there = self.permitted(i).filter(|unit| unit.total() > 0);
        let shares = there.map(|unit| unit.share);
        shares.filter(|share| *share <= budget).max().unwrap_or(0)
    }

    /// Whether units of several sizes are there that the agent could have.
    pub fn has_sizes(&self, i: usize) -> bool {
        let mut there = self.permitted(i).filter(|unit| unit.total() > 0);
        let first = there.next().map(|unit| unit.share);
        there.any(|unit| Some(unit.share) != first)
    }

    /// What the agent could have: from `fewest` replicas to the first quantum of each unit that covers `upto` milli-GPUs.
    pub fn menu(&self, i: usize, fewest: u32, upto: u64) -> Vec<Quantum> {
        let agent = &self.shape.agents[i];
        let count = self.count(i);
        let mut menu = Vec::new();
        for unit in self.permitted(i) {
            let each = unit.share.saturating_mul(u64::from(count)).max(1);
            let fewest = u64::from(fewest);
            let most = u64::from(agent.max_replicas)
                .min(unit.places(count))
                .min(upto.div_ceil(each).max(fewest));
            if most < fewest {
                continue;
            }
            let stride = (most - fewest) / MENU_LINES + 1;
            let mut replicas = fewest;
            while replicas < most {
                menu.push(self.quantum(unit, replicas, count));
                // The lines that matter most are those next to the target.
                replicas += if most - replicas > MENU_LINES / 2 {
                    stride
                } else {
                    1
                };
            }
            menu.push(self.quantum(unit, most, count));
        }
        menu
    }

    /// The range of what the agent could have within `budget`, were it alone: shares of the smallest and the largest quantum.
    pub fn range(&self, i: usize, budget: u64) -> (MilliGpus, MilliGpus) {
        let agent = &self.shape.agents[i];
        let count = self.count(i);
        let (mut floor, mut ceiling) = (None::<(bool, MilliGpus)>, MilliGpus::ZERO);
        for unit in self.permitted(i) {
            let each = unit.share.saturating_mul(u64::from(count)).max(1);
            let most = u64::from(agent.max_replicas)
                .min(unit.places(count))
                .min(budget / each);
            let fewest = u64::from(agent.min_replicas).min(most);
            if most > 0 {
                // A unit that holds the minimum goes before one that does not.
                let short = most < u64::from(agent.min_replicas);
                let low = (short, self.quantum(unit, fewest, count).share);
                floor = Some(floor.map_or(low, |floor| floor.min(low)));
                ceiling = ceiling.max(self.quantum(unit, most, count).share);
            }
        }
        (floor.map_or(MilliGpus::ZERO, |(_, floor)| floor), ceiling)
    }

    /// Why the agent can have nothing at all, when that is so.
    pub fn refusal(&self, i: usize) -> Option<String> {
        let agent = &self.ground.agents[i];
        if self.units.iter().all(|unit| unit.total() == 0) {
            return Some("no node offers the pool's GPU resource".to_owned());
        }
        let offered = || {
            self.in_force(i)
                .is_some_and(|now| now.count == self.count(i))
        };
        if agent.template_locked && !offered() {
            let asked: Vec<&str> = agent.template.keys().map(GpuResource::as_str).collect();
            return Some(format!(
                "the template asks for [{}], which the pool's sharing does not offer, and may not be changed: set requests.takeOver to Allowed",
                asked.join(", ")
            ));
        }
        self.too_large(i)
    }

    /// Why the agent's model fits nowhere, when that is so.
    pub fn too_large(&self, i: usize) -> Option<String> {
        let there = self.units.iter().filter(|unit| unit.total() > 0);
        let largest = there.max_by_key(|unit| unit.memory)?;
        let count = self.count(i);
        let (need, usable) = (self.shape.agents[i].memory_per_replica?, largest.memory?);
        (need.0 > usable.0.saturating_mul(u64::from(count))).then(|| {
            format!(
                "one replica needs {need} of GPU memory; it would get {count} of the largest there is, {}, with {usable} each",
                largest.resource
            )
        })
    }
}
