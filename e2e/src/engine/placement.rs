//! Which GPU of its node a pod got.
//!
//! The API server does not tell, so the stand-in has a rule of its own, the same for every run: pods are taken in the
//! order in which they were bound, and each gets the devices of its resource that have the **fewest residents, the
//! lowest index first**. A device is free again when the pod's object is gone (not when its deletion begins).
//!
//! The devices of a node come from its labels and capacity: `nvidia.com/gpu` and `nvidia.com/gpu.shared` are whole
//! GPUs (`nvidia.com/gpu.count` of them, else capacity / `nvidia.com/gpu.replicas`), `nvidia.com/mig-<profile>` are
//! MIG instances (one each), whose speed is their `.multiprocessors` over the full count of the product.

use std::collections::{BTreeMap, BTreeSet};

use super::physics::{DeviceId, Physics};

const GPU: &str = "nvidia.com/gpu";
const MIG: &str = "nvidia.com/mig-";

/// What the stand-in knows of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its `status.capacity`, GPU resources only, as counts.
    pub capacity: BTreeMap<String, u64>,
}

/// Devices of one kind on one node, as its labels describe them.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// How many.
    pub count: usize,
    /// The part of a whole GPU's multiprocessors that each has.
    pub fraction: f64,
    /// The memory of each in bytes, when the node says so.
    pub memory: Option<u64>,
    /// Whether several pods may live on one.
    pub shared: bool,
}

impl NodeView {
    /// The devices behind each GPU resource of this node.
    pub fn devices(&self) -> BTreeMap<String, Devices> {
        self.capacity
            .iter()
            .filter_map(|(resource, &capacity)| {
                let devices = match resource.strip_prefix(MIG) {
                    Some(profile) => self.mig(resource, profile, capacity),
                    None if resource.starts_with(GPU) => self.whole(resource, capacity),
                    None => return None,
                };
                Some((resource.clone(), devices))
            })
            .collect()
    }

    fn whole(&self, resource: &str, capacity: u64) -> Devices {
        let replicas = self
            .count_label("nvidia.com/gpu.replicas")
            .unwrap_or(1)
            .max(1);
        let time_sliced = self
            .labels
            .get("nvidia.com/gpu.sharing-strategy")
            .is_some_and(|strategy| strategy != "none");
        let shared = resource != GPU || replicas > 1 || time_sliced;
        let count = match self.count_label("nvidia.com/gpu.count") {
            Some(count) if shared => count.min(capacity),
            _ if shared && replicas > 1 => capacity.div_ceil(replicas),
            // Shared without a word about how many GPUs: one, the worst case.
            _ if shared => capacity.min(1),
            _ => capacity,
        };
        Devices {
            count: count as usize,
            fraction: 1.0,
            memory: self.mebibytes("nvidia.com/gpu.memory"),
            shared,
        }
    }

    fn mig(&self, resource: &str, profile: &str, capacity: u64) -> Devices {
        let product = self
            .labels
            .get("nvidia.com/gpu.product")
            .map_or("", String::as_str);
        let full = full_multiprocessors(product) as f64;
        let fraction = match self.count_label(&format!("{resource}.multiprocessors")) {
            Some(multiprocessors) => multiprocessors as f64 / full,
            // "3g.40gb" without the label: three of seven compute slices.
            None => profile
                .split_once('g')
                .and_then(|(slices, _)| slices.parse::<f64>().ok())
                .map_or(1.0 / 7.0, |slices| slices / 7.0),
        };
        Devices {
            count: capacity as usize,
            fraction: fraction.clamp(0.01, 1.0),
            memory: self.mebibytes(&format!("{resource}.memory")),
            shared: false,
        }
    }

    fn count_label(&self, key: &str) -> Option<u64> {
        self.labels.get(key)?.parse().ok()
    }

    fn mebibytes(&self, key: &str) -> Option<u64> {
        self.count_label(key).map(|mebibytes| mebibytes << 20)
    }
}

/// Streaming multiprocessors of a whole GPU of this product (vendor data sheets). An unknown product counts as 132.
pub fn full_multiprocessors(product: &str) -> u64 {
    const TABLE: [(&str, u64); 5] = [
        ("A100", 108),
        ("A30", 56),
        ("T4", 40),
        ("H100-PCIe", 114),
        ("B200", 148),
    ];
    TABLE
        .iter()
        .find(|(name, _)| product.contains(name))
        .map_or(132, |(_, multiprocessors)| *multiprocessors)
}

#[derive(Debug)]
struct Slot {
    device: DeviceId,
    fraction: f64,
    memory: Option<u64>,
    shared: bool,
    /// Gone from the node's capacity: nobody new is placed here.
    withdrawn: bool,
    /// By uid.
    residents: BTreeMap<String, Tenant>,
}

/// Who wants devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// The pod's uid.
    pub uid: String,
    /// The pod's name for people.
    pub name: String,
    /// Memory that it takes on each of its devices, in bytes.
    pub memory: u64,
}

/// Where a pod lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its devices.
    pub devices: Vec<DeviceId>,
    /// Their names for people: `node/resource/index`.
    pub names: Vec<String>,
    /// The part of a whole GPU that each is.
    pub fraction: f64,
    /// What no real node would allow: an exclusive device given twice, more memory than there is, too few devices.
    pub violations: Vec<String>,
}

/// The devices of all nodes and who lives on them.
#[derive(Debug, Default)]
pub struct Placement {
    nodes: BTreeMap<String, BTreeMap<String, Vec<Slot>>>,
}

impl Placement {
    /// A node appeared or changed: devices are added, or withdrawn from the end.
    pub fn node_applied(&mut self, physics: &mut Physics, node: &NodeView) {
        let kinds = self.nodes.entry(node.name.clone()).or_default();
        let wanted = node.devices();
        let resources: BTreeSet<String> = kinds.keys().chain(wanted.keys()).cloned().collect();
        for resource in resources {
            let slots = kinds.entry(resource.clone()).or_default();
            let count = wanted.get(&resource).map_or(0, |devices| devices.count);
            if let Some(devices) = wanted.get(&resource) {
                while slots.len() < devices.count {
                    slots.push(Slot {
                        device: physics.add_device(),
                        fraction: devices.fraction,
                        memory: devices.memory,
                        shared: devices.shared,
                        withdrawn: false,
                        residents: BTreeMap::new(),
                    });
                }
            }
            for (index, slot) in slots.iter_mut().enumerate() {
                slot.withdrawn = index >= count;
            }
        }
    }

    /// A pod was bound: gives it `count` devices. `None` when the node or the resource is not known (yet).
    pub fn place(
        &mut self,
        pod: &Tenant,
        node: &str,
        resource: &str,
        count: usize,
    ) -> Option<Placed> {
        let slots = self.nodes.get_mut(node)?.get_mut(resource)?;
        let mut order: Vec<usize> = (0..slots.len())
            .filter(|index| !slots[*index].withdrawn)
            .collect();
        order.sort_by_key(|index| (slots[*index].residents.len(), *index));
        order.truncate(count);
        let mut placed = Placed {
            devices: Vec::new(),
            names: Vec::new(),
            fraction: 1.0,
            violations: Vec::new(),
        };
        if order.is_empty() || order.len() < count {
            placed.violations.push(format!(
                "{} asks for {count} x {resource}, {node} has {}",
                pod.name,
                order.len()
            ));
        }
        for index in order {
            let slot = &mut slots[index];
            let name = format!("{node}/{resource}/{index}");
            if !slot.shared && !slot.residents.is_empty() {
                let others: Vec<&str> = slot
                    .residents
                    .values()
                    .map(|other| other.name.as_str())
                    .collect();
                placed.violations.push(format!(
                    "{name} is exclusive and held by {}",
                    others.join(", ")
                ));
            }
            slot.residents.insert(pod.uid.clone(), pod.clone());
            let used: u64 = slot.residents.values().map(|tenant| tenant.memory).sum();
            if let Some(there) = slot.memory.filter(|there| used > *there) {
                placed.violations.push(format!(
                    "{name} would hold {} MiB of {} MiB with {}",
                    used >> 20,
                    there >> 20,
                    pod.name
                ));
            }
            placed.fraction = slot.fraction;
            placed.devices.push(slot.device);
            placed.names.push(name);
        }
        Some(placed)
    }

    /// A pod's object is gone: its devices are free.
    pub fn free(&mut self, uid: &str) {
        for slot in self
            .nodes
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .flatten()
        {
            slot.residents.remove(uid);
        }
    }

    /// Who lives where: device name and pods, in order.
    pub fn residents(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for (node, kinds) in &self.nodes {
            for (resource, slots) in kinds {
                for (index, slot) in slots.iter().enumerate() {
                    all.insert(
                        format!("{node}/{resource}/{index}"),
                        slot.residents
                            .values()
                            .map(|tenant| tenant.name.clone())
                            .collect(),
                    );
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
