//! Nodes whose GPU resource is not what the pool takes it for: they offer nothing, and it is said.
//!
//! `nvidia.com/gpu` is a whole GPU only by custom. Under the device plugin's MIG strategy `single` it is a slice of one, and
//! time-sliced without `renameByDefault` it is one of several turns on one.

use super::types::{Node, Observed, PoolShape, Strategy, Unfit};
use crate::units::GpuResource;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why what the node offers cannot be counted, when that is so.
fn unfit(strategy: &Strategy, node: &Node) -> Option<Unfit> {
    let whole = GpuResource::whole();
    let counted = match strategy {
        Strategy::WholeGpu | Strategy::Mig => &whole,
        Strategy::TimeSlicing { resource, .. } => resource,
    };
    if node.allocatable.get(counted).is_none_or(|n| *n == 0) {
        return None;
    }
    match (strategy, node.slices_per_gpu) {
        _ if node.mig_single => Some(Unfit::MigSingle),
        (Strategy::WholeGpu, Some(slices)) => Some(Unfit::Shared { slices }),
        _ => None,
    }
}

/// The nodes that offer nothing to the pool although they seem to, by name.
pub(super) fn nodes(shape: &PoolShape, observed: &Observed) -> BTreeMap<String, Unfit> {
    let nodes = observed.nodes.iter();
    nodes
        .filter_map(|node| Some((node.name.clone(), unfit(&shape.strategy, node)?)))
        .collect()
}

/// `observed`, in which those nodes offer nothing.
pub(super) fn set_aside<'a>(shape: &PoolShape, observed: Cow<'a, Observed>) -> Cow<'a, Observed> {
    let is_unfit = |node: &Node| unfit(&shape.strategy, node).is_some();
    if !observed.nodes.iter().any(is_unfit) {
        return observed;
    }
    let mut observed = observed.into_owned();
    for node in observed.nodes.iter_mut().filter(|node| is_unfit(node)) {
        node.allocatable.clear();
    }
    Cow::Owned(observed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::units::{GpuResource, MilliGpus, Priority};

    fn sliced() -> Node {
        Node {
            gpus: 1,
            slices_per_gpu: Some(7),
            ..node("slices", 7)
        }
    }

    fn single() -> Node {
        Node {
            mig_single: true,
            ..node("slices", 7)
        }
    }

    fn one(strategy: Strategy) -> PoolShape {
        pool(strategy, vec![agent("a", Priority::High, 1, 12, 1)])
    }

    #[test]
    fn slices_that_bear_the_name_of_a_whole_gpu_are_none_and_it_is_said() {
        let cases = [
            (sliced(), Unfit::Shared { slices: 7 }),
            (single(), Unfit::MigSingle),
        ];
        for (slices, why) in cases {
            let agents = vec![running(&whole(), 1, &["whole"])];
            let observed = world(vec![slices, node("whole", 2)], agents);
            let seen = survey(&one(Strategy::WholeGpu), &observed);
            assert_eq!(seen.unfit, [("slices".to_owned(), why)].into());
            assert_eq!(seen.capacity, MilliGpus(2000), "{why:?}");
            let plan = planned(&one(Strategy::WholeGpu), &observed, &[9000]);
            assert_eq!(scales(&plan), [(0, 1, 2)], "{why:?}");
        }
    }

    #[test]
    fn pods_that_run_on_such_a_node_stay_and_none_comes() {
        let agents = vec![running(&whole(), 1, &["slices", "slices"])];
        let observed = world(vec![single()], agents);
        let plan = planned(&one(Strategy::WholeGpu), &observed, &[7000]);
        assert_eq!(plan.steps, []);
    }

    #[test]
    fn where_slices_are_what_the_pool_shares_they_count() {
        let by_turns = Strategy::TimeSlicing {
            resource: GpuResource::whole(),
            slices_per_gpu: None,
        };
        let agents = || vec![running(&whole(), 1, &["slices"])];
        let seen = survey(&one(by_turns.clone()), &world(vec![sliced()], agents()));
        assert_eq!(seen.unfit, [].into());
        assert_eq!(seen.capacity, MilliGpus(1000));
        let renamed = Node {
            allocatable: [(GpuResource::shared(), 7), (whole(), 0)].into(),
            ..sliced()
        };
        let observed = world(vec![renamed, node("whole", 2)], vec![]);
        let none = pool(Strategy::WholeGpu, vec![]);
        assert_eq!(survey(&none, &observed).unfit, [].into());
        // Of MIG slices under the name of whole GPUs neither the size nor the memory is known as of instances.
        for strategy in [by_turns, Strategy::Mig] {
            let seen = survey(&one(strategy), &world(vec![single()], agents()));
            assert_eq!(seen.unfit, [("slices".to_owned(), Unfit::MigSingle)].into());
        }
    }
}
