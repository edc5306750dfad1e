//! MIG: instances that exist on the nodes, under the device plugin's `mixed` strategy.
//!
//! The share of an instance is the fraction of the GPU's streaming multiprocessors it has, not its "g" over 7: on an H200
//! 1g, 2g, 3g, 4g have 16, 32, 60, 64 of 132. Its usable memory is smaller than its name says: 16.0 GiB for a 1g.18gb.

use super::ground::Ground;
use super::market::Unit;
use super::types::{Node, Pod, PodState};
use crate::units::{GpuResource, Mebibytes, MilliGpus};
use std::collections::BTreeSet;

/// Compute slices of a whole GPU with 8 memory slices (A100, H100, H200, B200), assumed where multiprocessors are not known.
const COMPUTE_SLICES: u64 = 7;

/// The profiles that exist, smallest share first, and what had to be assumed about them.
pub(super) fn units(ground: &Ground<'_>) -> (Vec<Unit>, Vec<String>) {
    let mut notes = BTreeSet::new();
    let offered = ground.nodes.iter().flat_map(|node| &node.allocatable);
    // What a pod holds is there, also while its node does not announce it.
    let pods = ground.agents.iter().flat_map(|agent| &agent.pods);
    let stays = |pod: &&Pod| pod.state != PodState::Terminating && ground.node_of(pod).is_some();
    let resources: BTreeSet<&GpuResource> = offered
        .chain(pods.filter(stays).flat_map(|pod| &pod.requests))
        .filter(|(resource, count)| **count > 0 && resource.mig_profile().is_some())
        .map(|(resource, _)| resource)
        .collect();
    let mut units: Vec<Unit> = resources
        .into_iter()
        .map(|resource| {
            let spots = ground.spots(resource);
            // The same name can mean different instances on different products: the smallest of them counts.
            let facts: Vec<(u64, Mebibytes)> = ground
                .nodes
                .iter()
                .zip(&spots)
                .filter(|(_, spot)| spot.whole > 0)
                .map(|(node, _)| {
                    (
                        share(node, resource, &mut notes),
                        memory(node, resource, &mut notes),
                    )
                })
                .collect();
            Unit {
                resource: resource.clone(),
                share: facts.iter().map(|f| f.0).min().unwrap_or(0),
                memory: facts.iter().map(|f| f.1).min(),
                spots,
            }
        })
        .collect();
    units.sort_by(|a, b| (a.share, a.memory, &a.resource).cmp(&(b.share, b.memory, &b.resource)));
    (units, notes.into_iter().collect())
}

/// Share and usable memory of one instance of a profile on a node, assumed where labels are missing.
pub(super) fn instance(node: &Node, resource: &GpuResource) -> (MilliGpus, Mebibytes) {
    let mut notes = BTreeSet::new();
    let milli = share(node, resource, &mut notes);
    (MilliGpus(milli), memory(node, resource, &mut notes))
}

/// Thousandths of the GPU's multiprocessors that one instance has; at least 1.
fn share(node: &Node, resource: &GpuResource, notes: &mut BTreeSet<String>) -> u64 {
    let instance = node
        .instances
        .get(resource)
        .map(|facts| u64::from(facts.multiprocessors));
    let whole = node.multiprocessors.map(u64::from);
    if let (Some(instance @ 1..), Some(whole @ 1..)) = (instance, whole) {
        return (instance.saturating_mul(1000) / whole).clamp(1, 1000);
    }
    let (compute, _) = named(resource);
    notes.insert(format!(
        "node {}: multiprocessors of {resource} or of the whole GPU are not known; its share is taken as {compute}/{COMPUTE_SLICES}",
        node.name
    ));
    (compute.saturating_mul(1000) / COMPUTE_SLICES).clamp(1, 1000)
}

/// Usable memory of one instance.
fn memory(node: &Node, resource: &GpuResource, notes: &mut BTreeSet<String>) -> Mebibytes {
    if let Some(facts) = node.instances.get(resource)
        && facts.memory.0 > 0
    {
        return facts.memory;
    }
    // Known instances have 88 to 95 % of what their name says.
    let (_, gibibytes) = named(resource);
    let assumed = Mebibytes(gibibytes.saturating_mul(1024) * 7 / 8);
    notes.insert(format!(
        "node {}: label {resource}.memory is missing; usable memory is taken as {assumed}",
        node.name
    ));
    assumed
}

/// Compute slices and gigabytes that the profile's name says: `3g.40gb` is (3, 40).
fn named(resource: &GpuResource) -> (u64, u64) {
    let parse = || {
        let (compute, rest) = resource.mig_profile()?.split_once("g.")?;
        let (memory, _) = rest.split_once("gb")?;
        Some((compute.parse().ok()?, memory.parse().ok()?))
    };
    parse().unwrap_or((1, 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use crate::allocation::Reason;
    use crate::units::{MilliGpus, Priority};

    fn alone(max: u32, memory: u64) -> PoolShape {
        let one = with_memory(agent("a", Priority::High, 1, max, 1), memory);
        pool(Strategy::Mig, vec![one])
    }

    fn chosen(shape: &PoolShape, layout: &[(&str, u32)], from: &str, target: u64) -> (String, u32) {
        let observed = world(
            vec![a100("n", layout)],
            vec![running(&mig(from), 1, &["n"])],
        );
        let plan = planned(shape, &observed, &[target]);
        let quantum = plan.quanta[0].clone().unwrap();
        (
            quantum.resource.mig_profile().unwrap().to_owned(),
            quantum.replicas,
        )
    }

    #[test]
    fn a_share_is_the_fraction_of_multiprocessors_not_of_slices() {
        let observed = world(
            vec![a100("n", &[("3g.40gb", 1), ("2g.20gb", 2)])],
            vec![running(&mig("3g.40gb"), 1, &["n"])],
        );
        let seen = survey(&alone(1, 9000), &observed);
        assert_eq!(seen.agents[0].realized, MilliGpus(388), "42 of 108");
        assert_eq!(seen.agents[0].floor, MilliGpus(259), "28 of 108");
        assert_eq!(seen.capacity, MilliGpus(388 + 2 * 259));
        assert_eq!(seen.notes, Vec::<String>::new());
    }

    #[test]
    fn a_part_of_a_gpu_is_the_largest_instance_that_an_agent_could_have() {
        let part = |layout: &[(&str, u32)], memory: u64, is_locked: bool| {
            let mut one = running(&mig("1g.10gb"), 1, &["n"]);
            one.template_locked = is_locked;
            let observed = world(vec![a100("n", layout)], vec![one]);
            survey(&alone(4, memory), &observed).agents[0].part
        };
        let mixed = [("1g.10gb", 2), ("3g.40gb", 1)];
        assert_eq!(part(&[("1g.10gb", 7)], 9000, false), MilliGpus(129));
        assert_eq!(part(&mixed, 9000, false), MilliGpus(388));
        assert_eq!(part(&mixed, 9000, true), MilliGpus(129), "its template's");
        assert_eq!(part(&mixed, 50_000, false), MilliGpus::ZERO, "none");
    }

    #[test]
    fn an_agent_swaps_only_where_parts_of_several_sizes_are_there_for_it() {
        let swaps = |layout: &[(&str, u32)], memory: u64, is_locked: bool| {
            let mut one = running(&mig("3g.40gb"), 1, &["n"]);
            one.template_locked = is_locked;
            let observed = world(vec![a100("n", layout)], vec![one]);
            survey(&alone(4, memory), &observed).agents[0].swaps
        };
        let mixed = [("1g.10gb", 1), ("3g.40gb", 1)];
        assert!(swaps(&mixed, 9000, false));
        assert!(!swaps(&mixed, 9000, true), "its template stays");
        assert!(!swaps(&mixed, 30_000, false), "one holds its model");
        assert!(!swaps(&[("3g.40gb", 2)], 9000, false));
    }

    #[test]
    fn nobody_is_stopped_for_capacity_that_is_only_lent() {
        let layout = [("1g.10gb", 1), ("3g.40gb", 1)];
        let agents = vec![
            running(&mig("1g.10gb"), 1, &["n"]),
            running(&mig("3g.40gb"), 1, &["n"]),
        ];
        let two = ["a", "b"].map(|name| with_memory(agent(name, Priority::Medium, 1, 1, 1), 9000));
        let mut shape = pool(Strategy::Mig, two.to_vec());
        shape.allow_downtime = true;
        let observed = world(vec![a100("n", &layout)], agents);
        let steps = |demand: u64| {
            let asks = Allotment {
                demand: MilliGpus(demand),
                ..hungry(388)
            };
            let decision = [asks, hungry(100)];
            let memory = Memory::default();
            plan(&shape, &observed, &decision, &memory, Duration::ZERO)
                .0
                .steps
        };
        assert_eq!(steps(120), [], "it has what its load asks for");
        assert_ne!(steps(300), []);
    }

    #[test]
    fn the_smallest_profile_is_taken_whose_memory_holds_the_model_and_whose_share_covers() {
        let layout = [("1g.10gb", 2), ("2g.20gb", 1), ("3g.40gb", 1)];
        assert_eq!(
            chosen(&alone(1, 9000), &layout, "1g.10gb", 360),
            ("3g.40gb".to_owned(), 1)
        );
        assert_eq!(
            chosen(&alone(1, 9000), &layout, "3g.40gb", 120),
            ("1g.10gb".to_owned(), 1)
        );
        assert_eq!(
            chosen(&alone(1, 10_000), &layout, "3g.40gb", 120),
            ("2g.20gb".to_owned(), 1),
            "9728 MiB of 1g.10gb are usable, not 10 GiB"
        );
        assert_eq!(
            chosen(&alone(4, 9000), &layout, "1g.10gb", 250),
            ("1g.10gb".to_owned(), 2),
            "another replica costs no swap"
        );
    }

    #[test]
    fn a_model_that_fits_no_instance_is_memory_bound_and_left_alone() {
        let observed = world(
            vec![a100("n", &[("2g.20gb", 3)])],
            vec![running(&mig("2g.20gb"), 1, &["n"])],
        );
        let plan = planned(&alone(1, 30_000), &observed, &[500]);
        let why = plan.memory_bound[0].clone().unwrap();
        assert!(why.contains("30000Mi") && why.contains("2g.20gb"), "{why}");
        assert_eq!(replicas(&plan), [Some(1)], "it keeps what it has");
        assert_eq!(plan.steps, []);
    }

    #[test]
    fn without_labels_slices_are_counted_and_it_is_said() {
        let mut node = a100("n", &[("3g.40gb", 2)]);
        node.multiprocessors = None;
        node.instances.clear();
        let observed = world(vec![node], vec![running(&mig("3g.40gb"), 1, &["n"])]);
        let seen = survey(&alone(1, 35_000), &observed);
        assert_eq!(seen.agents[0].realized, MilliGpus(428), "3/7");
        assert_eq!(
            seen.agents[0].ceiling,
            MilliGpus(428),
            "35 of 40 GiB are taken as usable"
        );
        assert_eq!(seen.notes.len(), 2, "{:?}", seen.notes);
    }

    #[test]
    fn instances_that_a_node_does_not_announce_for_a_while_are_kept_by_who_has_them() {
        let layout = [("1g.10gb", 2), ("3g.40gb", 1)];
        let agents = vec![
            running(&mig("3g.40gb"), 1, &["n"]),
            running(&mig("1g.10gb"), 1, &["n", "n"]),
        ];
        let two = ["a", "b"].map(|name| agent(name, Priority::Medium, 1, 4, 1));
        let shape = pool(Strategy::Mig, two.to_vec());
        let before = world(vec![a100("n", &layout)], agents.clone());
        let mut away = a100("n", &layout);
        away.allocatable.clear();
        let while_away = world(vec![away], agents);
        let (then, now) = (survey(&shape, &before), survey(&shape, &while_away));
        assert_eq!(now.capacity, then.capacity);
        assert_eq!((now.found, now.agents), (Some(MilliGpus(0)), then.agents));
        assert_eq!(now.missing, [("n".to_owned(), then.capacity)].into());
        let plan = planned(&shape, &while_away, &[388, 258]);
        assert_eq!((plan.steps, plan.unmet), (vec![], vec![None, None]));
    }

    #[test]
    fn a_locked_template_changes_replicas_and_never_its_resource() {
        let layout = [("1g.10gb", 4), ("3g.40gb", 1)];
        let mut locked = running(&mig("1g.10gb"), 1, &["n"]);
        locked.template_locked = true;
        let observed = world(vec![a100("n", &layout)], vec![locked.clone()]);
        let plan = planned(&alone(4, 9000), &observed, &[388]);
        assert_eq!(scales(&plan), [(0, 1, 3)], "three of 129, not one of 388");
        let foreign = AgentObserved {
            template: [(whole(), 1)].into(),
            pods: Vec::new(),
            ..locked
        };
        let observed = world(vec![a100("n", &layout)], vec![foreign]);
        let plan = planned(&alone(4, 9000), &observed, &[388]);
        assert_eq!(plan.steps, []);
        let why = plan.unmet[0].clone().unwrap();
        assert!(
            why.contains("nvidia.com/gpu") && why.contains("takeOver"),
            "{why}"
        );
    }

    #[test]
    fn a_template_with_a_profile_that_no_node_has_is_changed_or_said_where_it_may_not_be() {
        let layout = [("3g.40gb", 1), ("4g.40gb", 1)];
        let waiting = AgentObserved {
            replicas: 1,
            ..running(&mig("7g.80gb"), 1, &[])
        };
        let nodes = || vec![a100("n", &layout)];
        let locked = AgentObserved {
            template_locked: true,
            ..waiting.clone()
        };
        let plan = planned(&alone(1, 30_000), &world(nodes(), vec![locked]), &[388]);
        assert_eq!(plan.steps, []);
        assert_eq!(
            plan.unmet[0].as_deref(),
            Some(
                "the template asks for [nvidia.com/mig-7g.80gb], which the pool's sharing does not offer, and may not be changed: set requests.takeOver to Allowed"
            )
        );

        let plan = planned(&alone(1, 30_000), &world(nodes(), vec![waiting]), &[388]);
        let expected = Step::Retarget {
            agent: 0,
            remove: [(mig("7g.80gb"), 1)].into(),
            resource: mig("3g.40gb"),
            count: 1,
        };
        assert_eq!(plan.steps, [expected]);
        assert_eq!(plan.unmet, [None]);
    }

    #[test]
    fn a_refused_take_over_is_said_where_a_larger_instance_would_serve_more() {
        let layout = [("1g.10gb", 1), ("3g.40gb", 1)];
        let mut locked = running(&mig("1g.10gb"), 1, &["n"]);
        locked.template_locked = true;
        let held = |agent: AgentObserved, reason| {
            let observed = world(vec![a100("n", &layout)], vec![agent]);
            let full = Allotment {
                reason,
                ..hungry(129)
            };
            let memory = Memory::default();
            let (plan, _) = plan(&alone(1, 9000), &observed, &[full], &memory, Duration::ZERO);
            assert_eq!(plan.steps, []);
            plan.holds[0].clone()
        };
        let hold = held(locked.clone(), Reason::AtCeiling).unwrap();
        assert_eq!(hold.reason, HoldReason::TakeOverRefused);
        assert!(hold.message.contains("3g.40gb") && hold.message.contains("takeOver"));
        assert_eq!(
            held(locked, Reason::DemandMet),
            None,
            "it has all it asks for"
        );
    }
}
