//! What is promised to others than a pool, and what of it can be kept on the nodes that the pool looks at.

use super::due::Due;
use crate::controller::observe::View;
use crate::sharing::{Node, Plan};
use crate::units::GpuResource;
use std::collections::BTreeMap;

/// Replicas by size, by resource.
pub type Sizes = BTreeMap<GpuResource, BTreeMap<u32, u64>>;

/// So many of those to whom something is promised are named.
const MOST_NAMED: usize = 3;

/// What others are promised, wherever they get it, with the units of each.
#[derive(Debug, Default)]
pub struct Owed(pub(super) Vec<(Due, u32)>);

impl Owed {
    /// Nothing is promised to anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of it could be kept now on the nodes of a view, which are seen as `nodes`. For the rest nothing has to be left alone: what
    /// becomes free later is counted then. What is free is read off the same look that a plan is made from, which must not be older than
    /// this.
    pub fn on(&self, view: &View, nodes: &[Node]) -> Promised {
        let mut promised = Promised::default();
        for (due, units) in &self.0 {
            let free = view
                .nodes
                .iter()
                .zip(nodes)
                .filter_map(|((_, record), node)| {
                    let of = |map: &BTreeMap<GpuResource, u32>| map.get(&due.resource).copied();
                    let free = of(&node.allocatable)?.saturating_sub(of(&node.used).unwrap_or(0));
                    let open = node.schedulable && due.may_come(record);
                    open.then_some(free - free % due.size.max(1))
                });
            let free = free.fold(0, u32::saturating_add);
            promised.add(due, free.min(*units));
        }
        promised
    }
}

/// What is promised to others on a pool's nodes, and to whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// How much.
    pub sizes: Sizes,
    /// To whom how many units are promised, by resource.
    to: BTreeMap<GpuResource, Vec<(u32, String)>>,
}

impl Promised {
    fn add(&mut self, due: &Due, units: u32) {
        if units == 0 {
            return;
        }
        let sizes = self.sizes.entry(due.resource.clone()).or_default();
        *sizes.entry(due.size).or_insert(0) += u64::from(units.div_ceil(due.size.max(1)));
        let to = self.to.entry(due.resource.clone()).or_default();
        to.push((units, due.name()));
    }

    /// Says in the holds of a plan that was made with these promises who is to get what its agents wait for.
    pub fn explain(&self, plan: &mut Plan) {
        for hold in plan.holds.iter_mut().flatten() {
            let resources = hold.resources.iter();
            let named: Vec<String> = resources.filter_map(|r| self.named(r)).collect();
            if !named.is_empty() {
                let named = named.join(", ");
                hold.message = format!("{}; promised to others: {named}", hold.message);
            }
        }
    }

    /// To whom a resource is promised, for people.
    pub(super) fn named(&self, resource: &GpuResource) -> Option<String> {
        let mut to: Vec<&(u32, String)> = self.to.get(resource)?.iter().collect();
        to.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let more = to.len().saturating_sub(MOST_NAMED);
        let said = to.iter().take(MOST_NAMED);
        let mut said: Vec<String> = said
            .map(|(units, name)| format!("{units} {resource} to {name}"))
            .collect();
        said.extend((more > 0).then(|| format!("and to {more} more")));
        Some(said.join(", "))
    }
}
