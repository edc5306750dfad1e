//! Refuses nodes on which an agent could never have its pods: its requests would all wait to the end, and the report would not say why.
//!
//! What fits is asked of the code that decides it in the operator. Nodes that may come count as there.

use super::RunError;
use super::check::wrong;
use crate::allocation::Allotment;
use crate::sharing::{
    self, AgentObserved, AgentShape, Memory, Node, Observed, Plan, PoolShape, Rollout, Strategy,
    Survey,
};
use crate::simulation::world::cluster::Cluster as Pods;
use crate::simulation::{Cluster, Scenario};
use crate::units::MilliGpus;
use std::collections::BTreeMap;
use std::time::Duration;

/// Refuses them.
pub(super) fn check(scenario: &Scenario) -> Result<(), RunError> {
    let Cluster::Nodes(nodes) = &scenario.cluster else {
        return Ok(());
    };
    let shape = &scenario.pool.shape;
    let start = Pods::new(&scenario.pool, &scenario.services, nodes);
    let empty = |node: Node| Node {
        used: BTreeMap::new(),
        ..node
    };
    let nodes = start.observed(|_| None).nodes.into_iter();
    let nodes: Vec<Node> = nodes.map(empty).collect();
    shape
        .agents
        .iter()
        .try_for_each(|agent| alone(shape, agent, &nodes))?;
    // Who has its pods when the run begins can be served, whatever is assumed of memory where it is not known who is beside whom.
    let is_short = |(i, agent): (usize, &AgentShape)| start.replicas(i).1 < agent.min_replicas;
    if shape.agents.iter().enumerate().any(is_short) {
        return together(shape, &nodes);
    }
    Ok(())
}

/// Refuses nodes on which an agent could not have one replica, were it alone.
fn alone(shape: &PoolShape, agent: &AgentShape, nodes: &[Node]) -> Result<(), RunError> {
    let one = AgentShape {
        min_replicas: 1,
        ..agent.clone()
    };
    let own = PoolShape {
        agents: vec![one],
        ..shape.clone()
    };
    let (plan, survey) = asked(&own, nodes);
    let first = |reasons: &[Option<String>]| reasons.first().cloned().flatten();
    let Some(why) = first(&plan.unmet) else {
        return Ok(());
    };
    let field = |name: &str| format!("spec.agents[{}].model.{name}", agent.name);
    let size = agent.gpus_per_replica;
    let largest = nodes.iter().map(|node| node.gpus).max().unwrap_or(0);
    if shape.strategy == Strategy::WholeGpu && size > largest {
        let right =
            format!("at most {largest}, the GPUs of the largest node: a replica is all on one");
        return wrong(&field("gpusPerReplica"), size, &right);
    }
    if let (Some(why), Some(need)) = (first(&plan.memory_bound), agent.memory_per_replica) {
        let right = format!("what a GPU or an instance holds: {why}");
        return wrong(&field("memoryPerReplica"), need, &right);
    }
    let (field, value) = bounded_by(shape, &survey, nodes);
    let right = format!("room for one replica of {}: {why}", agent.name);
    wrong(field, value, &right)
}

/// Refuses nodes on which the agents could not all have their fewest replicas at once.
fn together(shape: &PoolShape, nodes: &[Node]) -> Result<(), RunError> {
    let (plan, survey) = asked(shape, nodes);
    let agents = shape.agents.iter().zip(&plan.unmet);
    let mut unmet = agents.filter_map(|(agent, why)| Some((agent.name.as_str(), why.as_ref()?)));
    let Some((first, why)) = unmet.next() else {
        return Ok(());
    };
    let (field, value) = bounded_by(shape, &survey, nodes);
    let names: Vec<&str> = std::iter::once(first).chain(unmet.map(|u| u.0)).collect();
    let right = format!(
        "room for spec.agents[].replicas.min of all agents at once: {} would never have theirs ({first}: {why})",
        names.join(", ")
    );
    wrong(field, value, &right)
}

/// What the operator would do on these nodes, were nothing on them and nobody had any load.
fn asked(shape: &PoolShape, nodes: &[Node]) -> (Plan, Survey) {
    let agent = AgentObserved {
        replicas: 0,
        template: BTreeMap::new(),
        rollout: Rollout::Rolling,
        rolling: false,
        pods: Vec::new(),
        restore: None,
        frozen: false,
        template_locked: false,
    };
    let observed = Observed {
        nodes: nodes.to_vec(),
        agents: vec![agent; shape.agents.len()],
        ..Observed::default()
    };
    let shape = PoolShape {
        allow_downtime: true,
        ..shape.clone()
    };
    let decision = vec![Allotment::default(); shape.agents.len()];
    let memory = Memory::default();
    let (plan, _) = sharing::plan(&shape, &observed, &decision, &memory, Duration::ZERO);
    (plan, sharing::survey(&shape, &observed))
}

/// The field that leaves too little room, and what it is.
fn bounded_by(shape: &PoolShape, survey: &Survey, nodes: &[Node]) -> (&'static str, String) {
    let fewest: MilliGpus = survey.agents.iter().map(|extent| extent.floor).sum();
    // Tokens of time-sliced GPUs are no parts of GPUs, and what is declared does not bound them.
    let is_sliced = matches!(shape.strategy, Strategy::TimeSlicing { .. });
    match shape.declared_gpus {
        Some(declared)
            if !is_sliced
                && survey.capacity == declared
                && (fewest > declared || fewest == MilliGpus::ZERO) =>
        {
            ("spec.devices[0].gpus", declared.to_string())
        }
        _ => {
            let gpus: u64 = nodes.iter().map(|node| u64::from(node.gpus)).sum();
            ("cluster.groups", format!("{gpus} GPUs at most"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::admit;
    use super::*;
    use crate::simulation::control::rule_tests::{fractions, nodes, scenario};
    use crate::simulation::{Elastic, NodeGroup};
    use crate::units::{GpuResource, Mebibytes};

    const WHOLE: &str = "{type: WholeGPU}";
    const SLICED: &str =
        "{type: TimeSlicing, timeSlicing: {resourceName: nvidia.com/gpu.shared, slicesPerGpu: 4}}";

    /// So many agents on so many nodes with so many GPUs each, which offer so many of a resource.
    fn on(
        sharing: &str,
        agents: usize,
        count: u32,
        gpus: u32,
        (resource, offered): (&str, u32),
    ) -> Scenario {
        let mut scenario = scenario(sharing, &vec![1.0; agents], nodes());
        let group = group(&mut scenario);
        (group.count, group.node.gpus) = (count, gpus);
        let resource = GpuResource::parse(resource).unwrap();
        group.node.allocatable = BTreeMap::from([(resource, offered)]);
        scenario
    }

    fn group(scenario: &mut Scenario) -> &mut NodeGroup {
        match &mut scenario.cluster {
            Cluster::Nodes(nodes) => &mut nodes.groups[0],
            Cluster::Fractions(_) => panic!("shares"),
        }
    }

    /// Whole GPUs, and how many each agent's replica has.
    fn whole(sizes: &[u32], count: u32, gpus: u32) -> Scenario {
        let mut scenario = on(WHOLE, sizes.len(), count, gpus, ("nvidia.com/gpu", gpus));
        let agents = scenario.pool.shape.agents.iter_mut();
        agents
            .zip(sizes)
            .for_each(|(agent, size)| agent.gpus_per_replica = *size);
        scenario
    }

    fn refused(scenario: &Scenario) -> String {
        match admit(scenario) {
            Ok(()) => String::new(),
            Err(error @ RunError::Scenario { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_replica_that_no_node_has_the_gpus_for_is_refused() {
        assert_eq!(
            refused(&whole(&[1, 2], 8, 1)),
            "spec.agents[agent-1].model.gpusPerReplica is 2, expected at most 1, the GPUs of the largest node: a replica is all on one"
        );
        assert_eq!(refused(&whole(&[1, 2], 3, 2)), "");
        let mut declared = whole(&[2], 1, 2);
        declared.pool.shape.declared_gpus = Some(MilliGpus::whole(1));
        let found = refused(&declared);
        assert!(
            found
                .starts_with("spec.devices[0].gpus is 1, expected room for one replica of agent-0"),
            "{found}"
        );
    }

    #[test]
    fn fewest_replicas_that_exceed_the_gpus_together_are_refused_with_who_would_have_none() {
        let found = refused(&whole(&[1; 4], 1, 1));
        assert!(
            found.starts_with("cluster.groups is 1 GPUs at most, expected room for spec.agents[].replicas.min of all agents at once: ")
                && found.matches("agent-").count() == 4,
            "three of four, the first with its reason: {found}"
        );
        assert_eq!(refused(&whole(&[1; 4], 1, 4)), "");
        let mut declared = whole(&[1; 4], 1, 4);
        declared.pool.shape.declared_gpus = Some(MilliGpus::whole(3));
        let found = refused(&declared);
        assert!(found.starts_with("spec.devices[0].gpus is 3, "), "{found}");
    }

    #[test]
    fn replicas_that_are_each_on_one_node_are_not_counted_in_gpus_alone() {
        let found = refused(&whole(&[2; 3], 2, 3));
        assert!(found.starts_with("cluster.groups is 6 GPUs "), "{found}");
        assert_eq!(refused(&whole(&[2, 2, 1, 1], 2, 3)), "");
    }

    #[test]
    fn nodes_that_may_come_count() {
        let mut scenario = whole(&[1; 4], 1, 1);
        group(&mut scenario).elastic = Some(Elastic {
            min: 1,
            max: 4,
            provision: 60.0,
            idle: 60.0,
        });
        assert_eq!(refused(&scenario), "");
    }

    #[test]
    fn copies_are_counted_in_slices_and_not_refused_for_memory_that_they_might_share() {
        let shared = |slices| ("nvidia.com/gpu.shared", slices);
        let mut four = on(SLICED, 4, 1, 1, shared(4));
        assert_eq!(refused(&four), "", "nobody knows the memory of the GPU");
        // Each needs 1 GiB.
        group(&mut four).node.gpu_memory = Some(Mebibytes(2048));
        assert_eq!(refused(&four), "");
        let found = refused(&on(SLICED, 5, 1, 1, shared(4)));
        assert!(found.starts_with("cluster.groups is 1 GPUs "), "{found}");
        group(&mut four).node.gpu_memory = Some(Mebibytes(512));
        let found = refused(&four);
        assert!(
            found.starts_with("spec.agents[agent-0].model.memoryPerReplica is 1Gi, expected what"),
            "{found}"
        );
    }

    #[test]
    fn instances_are_counted_and_must_hold_the_model() {
        let small = |count| ("nvidia.com/mig-1g.10gb", count);
        assert_eq!(refused(&on("{type: MIG}", 3, 1, 1, small(3))), "");
        let found = refused(&on("{type: MIG}", 3, 1, 1, small(2)));
        assert!(found.starts_with("cluster.groups is 1 GPUs "), "{found}");
        let mut large = on("{type: MIG}", 3, 1, 1, small(3));
        large.pool.shape.agents[2].memory_per_replica = Some(Mebibytes(30 * 1024));
        let found = refused(&large);
        assert!(
            found.starts_with("spec.agents[agent-2].model.memoryPerReplica is 30Gi, expected what"),
            "{found}"
        );
    }

    #[test]
    fn shares_have_no_pods_and_any_number_of_agents_has_some() {
        assert_eq!(refused(&scenario(WHOLE, &[1.0; 40], fractions(10))), "");
    }
}
