//! What is decided for agents whose load nobody can measure: they keep what they have, and get what they are to have in any case.

use super::session::{Kind, nodes, pool};
use crate::allocation::Load;
use crate::api::{AgentPool, ValidPool};
use crate::recording::{Inputs, Memory, Output, decide};
use crate::sharing::{AgentObserved, Observed, Pod, PodState, Rollout, Step};
use crate::units::{GpuResource, Priority};
use std::collections::BTreeMap;
use std::time::Duration;

const KINDS: [Kind; 3] = [Kind::Whole, Kind::TimeSlicing, Kind::Mig];

fn resource(kind: Kind) -> GpuResource {
    match kind {
        Kind::Whole => GpuResource::whole(),
        Kind::TimeSlicing => GpuResource::shared(),
        Kind::Mig => GpuResource::parse("nvidia.com/mig-1g.10gb").unwrap(),
    }
}

/// An agent with ready pods on these nodes.
fn agent(kind: Kind, nodes: &[&str]) -> AgentObserved {
    let requests: BTreeMap<GpuResource, u32> = [(resource(kind), 1)].into();
    let pod = |(i, node): (usize, &&str)| Pod {
        name: format!("pod-{i}"),
        node: Some((*node).to_owned()),
        requests: requests.clone(),
        state: PodState::Ready,
        unschedulable: false,
        load: None,
    };
    AgentObserved {
        replicas: u32::try_from(nodes.len()).unwrap(),
        template: requests.clone(),
        rollout: Rollout::Rolling,
        rolling: false,
        pods: nodes.iter().enumerate().map(pod).collect(),
        restore: None,
        frozen: false,
        template_locked: false,
    }
}

/// The first agent's load is not known; the others have one of so many requests/s.
fn inputs(kind: Kind, agents: [AgentObserved; 3], others: f64) -> Inputs {
    let mut nodes = nodes(kind);
    for node in &mut nodes {
        for pod in agents.iter().flat_map(|agent| &agent.pods) {
            if pod.node.as_ref() == Some(&node.name) {
                *node.used.entry(resource(kind)).or_default() += 1;
            }
        }
    }
    let known = Load::Measured {
        arrivals_per_second: others,
        backlog: 0.0,
    };
    Inputs {
        now: Duration::from_secs(1000),
        lag: Duration::from_secs(30),
        drain: Duration::from_secs(30),
        loads: vec![Load::Unknown, known, known],
        raised: vec![false; 3],
        observed: Observed {
            nodes,
            agents: agents.to_vec(),
            promised: BTreeMap::new(),
        },
    }
}

fn decided(kind: Kind, inputs: &Inputs, change: impl FnOnce(&mut AgentPool)) -> Output {
    let mut object = pool(kind);
    change(&mut object);
    let pool = ValidPool::admit(&object).unwrap();
    decide(&pool, inputs, &Memory::default()).0
}

/// Sets an agent's fewest replicas.
fn set(pool: &mut AgentPool, name: &str, min: u32) {
    for agent in pool
        .spec
        .agents
        .iter_mut()
        .filter(|agent| agent.name == name)
    {
        agent.replicas.min = min;
    }
}

/// What the first agent is scaled from and to.
fn first(output: &Output) -> Vec<(u32, u32)> {
    let first = scales(output).into_iter().filter(|(agent, ..)| *agent == 0);
    first.map(|(_, from, to)| (from, to)).collect()
}

/// The scale steps as (agent, from, to).
fn scales(output: &Output) -> Vec<(usize, u32, u32)> {
    let scale = |step: &Step| match step {
        Step::Scale {
            agent, from, to, ..
        } => Some((*agent, *from, *to)),
        _ => None,
    };
    output.plan.steps.iter().filter_map(scale).collect()
}

#[test]
fn an_agent_at_zero_comes_up_to_its_fewest_replicas_although_it_has_no_pod_to_measure() {
    for kind in KINDS {
        let agents = || [agent(kind, &[]), agent(kind, &["n1"]), agent(kind, &["n1"])];
        let output = decided(kind, &inputs(kind, agents(), 1.0), |_| {});
        assert_eq!(first(&output), [(0, 1)], "{kind:?}");
        let mut frozen = agents();
        frozen[0].frozen = true;
        let output = decided(kind, &inputs(kind, frozen, 1.0), |_| {});
        assert_eq!(first(&output), [], "{kind:?}: nothing may be written");
    }
}

#[test]
fn an_agent_that_has_lost_all_its_pods_gets_another_while_gpus_are_free() {
    for kind in KINDS {
        let mut lost = agent(kind, &["gone", "gone"]);
        for pod in &mut lost.pods {
            pod.state = PodState::Lost;
        }
        let agents = [lost, agent(kind, &["n1"]), agent(kind, &["n1"])];
        let output = decided(kind, &inputs(kind, agents, 1.0), |_| {});
        assert_eq!(first(&output), [(2, 3)], "{kind:?}");
    }
}

#[test]
fn where_nothing_is_free_one_that_has_more_than_its_fewest_makes_room_and_else_it_is_said() {
    let full = |pods: [usize; 3]| {
        let nodes = ["n1", "n1", "n1", "n1", "n2", "n2", "n2", "n2"];
        let ends = [pods[0], pods[0] + pods[1], pods.iter().sum()];
        let agents = [
            &nodes[..ends[0]],
            &nodes[ends[0]..ends[1]],
            &nodes[ends[1]..ends[2]],
        ];
        inputs(
            Kind::Whole,
            agents.map(|nodes| agent(Kind::Whole, nodes)),
            70.0,
        )
    };
    let output = decided(Kind::Whole, &full([0, 4, 4]), |_| {});
    assert_eq!(scales(&output).len(), 1, "{:?}", output.plan);
    let (agent, from, to) = scales(&output)[0];
    assert!(agent > 0 && (from, to) == (4, 3), "{:?}", output.plan.steps);
    let mut least = full([0, 1, 1]);
    least.observed.nodes.truncate(1);
    least.observed.nodes[0].allocatable = [(GpuResource::whole(), 2)].into();
    let output = decided(Kind::Whole, &least, |_| {});
    assert_eq!(scales(&output), []);
    assert!(output.plan.unmet[0].is_some(), "{:?}", output.plan);
}

#[test]
fn what_an_agent_of_unknown_load_has_is_not_taken_from_it_while_it_rises() {
    for kind in KINDS {
        let agents = [
            agent(kind, &["n1", "n2"]),
            agent(kind, &["n1"]),
            agent(kind, &["n1"]),
        ];
        let inputs = inputs(kind, agents, 500.0);
        let output = decided(kind, &inputs, |pool| set(pool, "coordinator", 4));
        let has = output.plan.quanta[0]
            .as_ref()
            .map_or(0, |quantum| quantum.replicas);
        assert!(has > 2, "{kind:?}: {:?}", output.plan);
    }
}

#[test]
fn one_that_may_only_rise_gives_nothing_up_for_the_fewest_replicas_of_a_more_important_one() {
    let nodes = [&["n1", "n1"][..], &["n1", "n1", "n2"], &["n2", "n2", "n2"]];
    let agents = nodes.map(|nodes| agent(Kind::Whole, nodes));
    let seen = inputs(Kind::Whole, agents, 30.0);
    let output = decided(Kind::Whole, &seen, |pool| {
        set(pool, "coordinator", 3);
        set(pool, "nlp", 4);
        set(pool, "vision", 3);
        for agent in &mut pool.spec.agents {
            agent.priority = match agent.name.as_str() {
                "coordinator" => Priority::Low,
                _ => Priority::High,
            };
        }
    });
    assert_eq!(scales(&output), []);
    assert!(output.plan.unmet[0].is_some(), "{:?}", output.plan);
    assert!(output.plan.unmet[1].is_some(), "{:?}", output.plan);
}

#[test]
fn one_whose_metrics_are_lost_rises_to_its_minimum_share_where_that_is_declared() {
    let agents = || ["n1", "n1", "n1"].map(|node| agent(Kind::Whole, &[node]));
    let share = |pool: &mut AgentPool| {
        let found = pool
            .spec
            .agents
            .iter_mut()
            .find(|agent| agent.name == "coordinator");
        found.unwrap().min_share = serde_json::from_value(serde_json::json!("2")).unwrap();
    };
    let mut seen = inputs(Kind::Whole, agents(), 1.0);
    let output = decided(Kind::Whole, &seen, share);
    assert_eq!(first(&output), [], "it holds");
    seen.raised[0] = true;
    let output = decided(Kind::Whole, &seen, share);
    assert_eq!(first(&output), [(1, 2)]);
    // Where its minimum does not fit beside everyone's fewest replicas it is said.
    seen.observed.nodes.truncate(1);
    seen.observed.nodes[0].allocatable = [(GpuResource::whole(), 3)].into();
    let output = decided(Kind::Whole, &seen, share);
    assert_eq!(first(&output), []);
    assert!(output.allotments[0].minimum_unmet);
}
