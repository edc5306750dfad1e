//! Nodes: what fits where, which device a pod gets, which nodes are on.

use crate::sharing::{self, Node, PoolShape, Strategy};
use crate::simulation::{Elastic, NodeGroup};
use crate::units::{GpuResource, Mebibytes, MilliGpus};
use std::collections::BTreeMap;

/// A whole GPU or a MIG instance on one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its part of a whole GPU: 1, or the instance's part of the multiprocessors.
    pub share: f64,
    /// Several processes may live on it and take turns.
    pub shared: bool,
    resource: GpuResource,
    node: usize,
    residents: u32,
}

/// Whether a node is there. One that is off comes when a pod is bound to it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Presence {
    Off,
    On {
        /// When it is ready.
        ready: f64,
        /// Since when no pod is on it.
        idle: Option<f64>,
    },
}

#[derive(Debug, Clone)]
struct Machine {
    node: Node,
    elastic: Option<(usize, Elastic)>,
    presence: Presence,
    used: BTreeMap<GpuResource, u32>,
    /// Agents that have pulled their image here.
    pulled: Vec<usize>,
}

/// All nodes that there are or can be, in order, and their devices.
#[derive(Debug, Clone)]
pub(super) struct Machines {
    machines: Vec<Machine>,
    pub devices: Vec<Device>,
    budget: Budget,
}

/// GPUs that the pool's pods may hold, as a quota would have it: whoever is in control, those that go included.
#[derive(Debug, Clone)]
struct Budget {
    /// What the pool declares; `None`: whatever there is, also where tokens of time-sliced GPUs are no parts of GPUs.
    most: Option<MilliGpus>,
    spent: MilliGpus,
}

impl Budget {
    fn of(shape: &PoolShape) -> Self {
        Self {
            most: match shape.strategy {
                Strategy::TimeSlicing { .. } => None,
                Strategy::WholeGpu | Strategy::Mig => shape.declared_gpus,
            },
            spent: MilliGpus::ZERO,
        }
    }

    fn allows(&self, more: MilliGpus) -> bool {
        self.most.is_none_or(|most| self.spent + more <= most)
    }
}

/// GPUs that a pod with these requests holds on a node.
fn size(node: &Node, requests: &BTreeMap<GpuResource, u32>) -> MilliGpus {
    let each = |(resource, count): (&GpuResource, &u32)| {
        let one = match resource.mig_profile() {
            Some(_) => sharing::instance(node, resource).0,
            None => MilliGpus::ONE,
        };
        one * u64::from(*count)
    };
    requests.iter().map(each).sum()
}

fn held(map: &BTreeMap<GpuResource, u32>, resource: &GpuResource) -> u32 {
    map.get(resource).copied().unwrap_or(0)
}

impl Machines {
    /// The nodes of these groups; those beyond `count` are off.
    pub fn new(groups: &[NodeGroup], shape: &PoolShape) -> Self {
        let mut all = Self {
            machines: Vec::new(),
            devices: Vec::new(),
            budget: Budget::of(shape),
        };
        for (group, spec) in groups.iter().enumerate() {
            let most = spec.elastic.map_or(spec.count, |e| e.max.max(spec.count));
            for i in 0..most {
                let name = format!("{}-{i}", spec.node.name);
                all.add(
                    Machine {
                        node: Node {
                            name,
                            used: BTreeMap::new(),
                            foreign: BTreeMap::new(),
                            ..spec.node.clone()
                        },
                        elastic: spec.elastic.map(|e| (group, e)),
                        presence: if i < spec.count {
                            Presence::On {
                                ready: 0.0,
                                idle: Some(0.0),
                            }
                        } else {
                            Presence::Off
                        },
                        used: BTreeMap::new(),
                        pulled: Vec::new(),
                    },
                    &shape.strategy,
                );
            }
        }
        all
    }

    fn add(&mut self, machine: Machine, strategy: &Strategy) {
        let node = self.machines.len();
        let sliced = match strategy {
            Strategy::TimeSlicing { resource, .. } => Some(resource),
            Strategy::WholeGpu | Strategy::Mig => None,
        };
        for (resource, &count) in &machine.node.allocatable {
            let shared = sliced == Some(resource);
            let devices = if shared { machine.node.gpus } else { count };
            let milli = resource
                .mig_profile()
                .map_or(1000, |_| sharing::instance(&machine.node, resource).0.0);
            self.devices.extend((0..devices).map(|_| Device {
                share: milli as f64 / 1000.0,
                shared,
                resource: resource.clone(),
                node,
                residents: 0,
            }));
        }
        self.machines.push(machine);
    }

    /// Binds a pod: the node, its devices, and when the node is ready; `None` when it fits nowhere, or the pool would hold more GPUs
    /// than it declares.
    ///
    /// Nodes that are there come first, then those that can come. Pods that hold devices alone go where least is free, so that nodes
    /// become empty; pods that take turns go where most is free. On a node a pod gets the devices with the fewest residents, the first
    /// of them first.
    pub fn bind(
        &mut self,
        now: f64,
        requests: &BTreeMap<GpuResource, u32>,
    ) -> Option<(usize, Vec<usize>, f64)> {
        let (resource, &count) = requests.iter().next()?;
        let free = |m: &Machine| held(&m.node.allocatable, resource) - held(&m.used, resource);
        let fits = |m: &Machine| {
            let all = requests.iter();
            all.clone()
                .all(|(r, n)| held(&m.node.allocatable, r) >= held(&m.used, r) + n)
        };
        let shared = self
            .devices
            .iter()
            .any(|d| d.shared && d.resource == *resource);
        let order = |m: &Machine| {
            let room = i64::from(free(m));
            (
                m.presence == Presence::Off,
                if shared { -room } else { room },
            )
        };
        let candidates = self.machines.iter().enumerate();
        let (at, _) = candidates
            .filter(|(_, m)| m.node.schedulable && fits(m))
            .filter(|(_, m)| self.budget.allows(size(&m.node, requests)))
            .min_by_key(|(i, m)| (order(m), *i))?;
        let machine = &mut self.machines[at];
        self.budget.spent += size(&machine.node, requests);
        let ready = match machine.presence {
            Presence::On { ready, .. } => ready.max(now),
            Presence::Off => now + machine.elastic.map_or(0.0, |(_, e)| e.provision),
        };
        machine.presence = Presence::On { ready, idle: None };
        for (resource, count) in requests {
            *machine.used.entry(resource.clone()).or_insert(0) += count;
        }
        let mut devices: Vec<usize> = (0..self.devices.len())
            .filter(|&d| self.devices[d].node == at && self.devices[d].resource == *resource)
            .collect();
        devices.sort_by_key(|&d| (self.devices[d].residents, d));
        devices.truncate(count as usize);
        for &device in &devices {
            self.devices[device].residents += 1;
        }
        Some((at, devices, ready))
    }

    /// Frees what a pod held.
    pub fn release(
        &mut self,
        now: f64,
        at: usize,
        requests: &BTreeMap<GpuResource, u32>,
        devices: &[usize],
    ) {
        let machine = &mut self.machines[at];
        self.budget.spent = self
            .budget
            .spent
            .saturating_sub(size(&machine.node, requests));
        for (resource, count) in requests {
            if let Some(used) = machine.used.get_mut(resource) {
                *used -= (*count).min(*used);
            }
        }
        if let Presence::On { idle, .. } = &mut machine.presence
            && machine.used.values().all(|n| *n == 0)
        {
            *idle = Some(now);
        }
        for &device in devices {
            self.devices[device].residents -= 1;
        }
    }

    /// What one of a device's residents holds, in GPUs.
    pub fn part(&self, device: usize) -> f64 {
        let device = &self.devices[device];
        if device.shared {
            device.share / f64::from(device.residents.max(1))
        } else {
            device.share
        }
    }

    /// Whether an agent has to pull its image on a node; from now on it has.
    pub fn pulls(&mut self, at: usize, agent: usize) -> bool {
        let pulled = &mut self.machines[at].pulled;
        let first = !pulled.contains(&agent);
        if first {
            pulled.push(agent);
        }
        first
    }

    /// When the next node goes.
    pub fn next(&self) -> Option<f64> {
        let going = self.machines.iter().filter_map(|m| self.goes(m));
        going.min_by(f64::total_cmp)
    }

    /// When an idle node of an elastic group goes, unless the group is at its smallest.
    fn goes(&self, machine: &Machine) -> Option<f64> {
        let (group, elastic) = machine.elastic?;
        let Presence::On {
            idle: Some(since), ..
        } = machine.presence
        else {
            return None;
        };
        let on =
            |m: &&Machine| m.elastic.is_some_and(|e| e.0 == group) && m.presence != Presence::Off;
        let there = self.machines.iter().filter(on).count();
        (there > elastic.min as usize).then_some(since + elastic.idle)
    }

    /// Lets the nodes go that are due.
    pub fn advance(&mut self, now: f64) {
        for i in (0..self.machines.len()).rev() {
            if self.goes(&self.machines[i]).is_some_and(|due| due <= now) {
                self.machines[i].presence = Presence::Off;
                // What was pulled is lost with the node.
                self.machines[i].pulled.clear();
            }
        }
    }

    /// GPUs that are there and paid for.
    pub fn paid(&self) -> f64 {
        let on = self.machines.iter().filter(|m| m.presence != Presence::Off);
        on.map(|m| f64::from(m.node.gpus)).sum()
    }

    /// The nodes as the operator sees them: those that can come count as there.
    pub fn observed(&self) -> Vec<Node> {
        let see = |m: &Machine| Node {
            used: m.used.clone(),
            ..m.node.clone()
        };
        self.machines.iter().map(see).collect()
    }

    /// For each agent, given the memory of its replica, the MIG profile to begin with: the smallest that holds it and is not taken by
    /// the agents before it, else the smallest that holds it, else the largest there is.
    pub fn profiles(&self, needs: &[Option<Mebibytes>]) -> Vec<GpuResource> {
        let mut there: BTreeMap<(MilliGpus, Mebibytes, GpuResource), u32> = BTreeMap::new();
        for machine in self.machines.iter().filter(|m| m.presence != Presence::Off) {
            for (resource, count) in &machine.node.allocatable {
                if resource.mig_profile().is_some() {
                    let (share, memory) = sharing::instance(&machine.node, resource);
                    *there.entry((share, memory, resource.clone())).or_insert(0) += count;
                }
            }
        }
        let mut choose = |need: &Option<Mebibytes>| {
            let holds = |memory: Mebibytes| need.is_none_or(|need| memory >= need);
            let mut holding: Vec<_> = there
                .iter_mut()
                .filter(|((_, memory, _), _)| holds(*memory))
                .collect();
            let free = holding.iter().position(|(_, left)| **left > 0).unwrap_or(0);
            let (profile, left) = holding.get_mut(free)?;
            **left -= (**left).min(1);
            Some(profile.2.clone())
        };
        let chosen: Vec<Option<GpuResource>> = needs.iter().map(&mut choose).collect();
        let largest = there.keys().next_back().map(|k| k.2.clone());
        let fallback = largest.unwrap_or_else(GpuResource::whole);
        chosen
            .into_iter()
            .map(|c| c.unwrap_or_else(|| fallback.clone()))
            .collect()
    }

    /// The name of a node.
    pub fn name(&self, at: usize) -> &str {
        &self.machines[at].node.name
    }
}
