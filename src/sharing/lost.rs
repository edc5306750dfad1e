//! Pods that neither serve nor end by themselves: what they hold is free for nobody, and nothing waits for them.
//!
//! Stranded pods are deleted already, on a node that does not answer, or they hang. Their objects stay until it comes back or somebody
//! removes them, and their workload's controller counts them no more. On a node that answers, what they hold is as good as a stranger's.
//!
//! Lost pods are in their workload's replicas and serve no more, because their GPUs are gone. Kubernetes leaves them where they are. They
//! count neither as capacity nor as granted: a replacement is started where there is room, and once everyone that is left is ready the
//! replicas go down again, which takes those first that are not ready. A StatefulSet gives up its highest ordinals, whichever are lost:
//! there a lost pod keeps what it has, and somebody has to delete it.

use super::types::{AgentObserved, Node, Observed, Plan, Pod, PodState, Rollout, Step};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is not counted because of such pods, for people.
pub(super) fn notes(observed: &Observed) -> Vec<String> {
    let on = |state: PodState| {
        let pods = observed.agents.iter().flat_map(|agent| &agent.pods);
        let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in pods.filter(|pod| pod.state == state) {
            *nodes.entry(pod.node.as_deref().unwrap_or("?")).or_insert(0) += 1;
        }
        nodes.into_iter()
    };
    let lost = on(PodState::Lost).map(|(node, pods)| {
        format!("node {node} has not offered for long what {pods} pods hold there that are not ready: they count as lost")
    });
    let stranded = on(PodState::Stranded).map(|(node, pods)| {
        let why = match observed.nodes.iter().any(|n| n.name == node && n.schedulable) {
            true => "should have been gone ten minutes ago",
            false => "stay there, because it is gone or does not answer, or because they hang",
        };
        format!("node {node}: {pods} pods that are deleted {why}; nothing waits for them, and what they hold is free for nobody")
    });
    lost.chain(stranded).collect()
}

/// Names of the lost pods that are in the replicas of their agent, by agent.
pub(super) struct Lost(Vec<Vec<String>>);

/// `observed` without these pods, and with replicas that are no more than the others.
pub(super) fn set_aside(observed: Cow<'_, Observed>) -> (Cow<'_, Observed>, Lost) {
    let away = |pod: &Pod| matches!(pod.state, PodState::Stranded | PodState::Lost);
    let concerned = |agent: &AgentObserved| agent.pods.iter().any(away);
    if !observed.agents.iter().any(concerned) {
        let nobody = vec![Vec::new(); observed.agents.len()];
        return (observed, Lost(nobody));
    }
    let mut observed = observed.into_owned();
    keep_from_all(&mut observed);
    let lost = observed.agents.iter_mut().map(of).collect();
    (Cow::Owned(observed), Lost(lost))
}

/// Counts what stranded pods hold on nodes that take pods as no longer the pool's.
fn keep_from_all(observed: &mut Observed) {
    let pods = observed.agents.iter().flat_map(|agent| &agent.pods);
    for pod in pods.filter(|pod| pod.state == PodState::Stranded) {
        let on = |node: &&mut Node| node.schedulable && pod.node.as_ref() == Some(&node.name);
        if let Some(node) = observed.nodes.iter_mut().find(on) {
            for (resource, count) in &pod.requests {
                let held = node.foreign.entry(resource.clone()).or_insert(0);
                *held = held.saturating_add(*count);
            }
        }
    }
}

/// Sets aside what one agent has lost.
fn of(agent: &mut AgentObserved) -> Vec<String> {
    agent.pods.retain(|pod| pod.state != PodState::Stranded);
    if agent.rollout == Rollout::Ordered {
        for pod in &mut agent.pods {
            if pod.state == PodState::Lost {
                pod.state = PodState::Loading;
            }
        }
        return Vec::new();
    }
    let live = agent.pods.iter();
    let live = live.filter(|pod| pod.state != PodState::Terminating);
    // Where the spec wants fewer already, those go first that are not ready.
    let surplus = live.count().saturating_sub(agent.replicas as usize);
    let (lost, rest): (Vec<Pod>, Vec<Pod>) = std::mem::take(&mut agent.pods)
        .into_iter()
        .partition(|pod| pod.state == PodState::Lost);
    agent.pods = rest;
    let names = lost.into_iter().map(|pod| pod.name).skip(surplus);
    let names: Vec<String> = names.take(agent.replicas as usize).collect();
    agent.replicas -= u32::try_from(names.len()).unwrap_or(0);
    names
}

impl Lost {
    /// Makes a plan for the others one for all: a growth replaces those that are lost, a shrinking takes them along, and where the others
    /// are as many as decided, and ready, they are given up. `agents` are without them.
    pub fn give_up(self, agents: &[AgentObserved], plan: &mut Plan) {
        for (i, (names, agent)) in self.0.into_iter().zip(agents).enumerate() {
            let Ok(count @ 1..) = u32::try_from(names.len()) else {
                continue;
            };
            let mut untouched = true;
            for step in &mut plan.steps {
                match step {
                    Step::Scale {
                        agent,
                        from,
                        to,
                        victims,
                    } if *agent == i => {
                        untouched = false;
                        if to > from {
                            *to = to.saturating_add(count);
                        } else {
                            victims.splice(0..0, names.clone());
                        }
                        *from = from.saturating_add(count);
                    }
                    Step::Retarget { agent, .. }
                    | Step::Remember { agent, .. }
                    | Step::Forget { agent } => untouched &= *agent != i,
                    Step::Scale { .. } => {}
                }
            }
            let quantum = plan.quanta.get(i).and_then(Option::as_ref);
            let enough = quantum.is_some_and(|quantum| quantum.replicas == agent.replicas);
            let ready = agent.pods.iter().all(|pod| pod.state == PodState::Ready)
                && agent.pods.len() == agent.replicas as usize;
            let stays = agent.frozen || agent.rolling || agent.restore.is_some();
            if untouched && enough && ready && !stays && agent.replicas > 0 {
                plan.steps.push(Step::Scale {
                    agent: i,
                    from: agent.replicas.saturating_add(count),
                    to: agent.replicas,
                    victims: names,
                });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use super::PodState::{Loading, Lost, Ready, Stranded};
    use crate::units::{MilliGpus, Priority};

    fn two() -> PoolShape {
        let agents = [("a", Priority::High), ("b", Priority::Low)];
        let agents = agents.map(|(name, rank)| agent(name, rank, 1, 8, 1));
        pool(Strategy::WholeGpu, agents.to_vec())
    }

    /// An agent with a pod on each of these nodes, in these states.
    fn with(pods: &[(&str, PodState)]) -> AgentObserved {
        let nodes: Vec<&str> = pods.iter().map(|(node, _)| *node).collect();
        let mut agent = running(&whole(), 1, &nodes);
        for (pod, (_, state)) in agent.pods.iter_mut().zip(pods) {
            pod.state = *state;
        }
        agent
    }

    /// Four GPUs that are gone, and so many that are there.
    fn nodes(there: u32) -> Vec<Node> {
        vec![node("gone", 0), node("n", there)]
    }

    #[test]
    fn gpus_that_are_really_lost_are_no_capacity_and_nothing_that_is_granted() {
        let agents = || vec![with(&[("n", Ready), ("gone", Lost)]), with(&[("n", Ready)])];
        let seen = survey(&two(), &world(nodes(2), agents()));
        assert_eq!(seen.capacity, MilliGpus(2000));
        assert_eq!(seen.agents[0].realized, MilliGpus(1000));
        assert_eq!(seen.missing, [].into());
        assert!(seen.notes[0].contains("node gone"), "{:?}", seen.notes);
        let mut for_a_while = agents();
        for_a_while[0].pods[1].state = Loading;
        let seen = survey(&two(), &world(nodes(2), for_a_while));
        assert_eq!(seen.capacity, MilliGpus(3000), "a plugin that restarts");
    }

    #[test]
    fn where_there_is_no_room_the_lost_one_is_given_up_and_none_that_serves() {
        let agents = vec![
            with(&[("gone", Lost), ("n", Ready)]),
            with(&[("n", Ready), ("n", Ready)]),
        ];
        let plan = planned(&two(), &world(nodes(3), agents), &[1000, 2000]);
        let Step::Scale {
            agent: 0,
            from: 2,
            to: 1,
            victims,
        } = &plan.steps[0]
        else {
            panic!("{:?}", plan.steps);
        };
        assert_eq!(victims, &["pod-0"]);
        assert_eq!(plan.steps.len(), 1);
    }

    #[test]
    fn where_there_is_room_it_is_replaced_first_and_given_up_when_the_new_one_is_ready() {
        let planned = |pods: &[(&str, PodState)], replicas| {
            let mut a = with(pods);
            a.replicas = replicas;
            let observed = world(nodes(3), vec![a, with(&[("n", Ready)])]);
            scales(&planned(&two(), &observed, &[1000, 1000]))
        };
        let lost = ("gone", Lost);
        assert_eq!(planned(&[lost], 1), [(0, 1, 2)]);
        assert_eq!(planned(&[lost], 2), [], "its place is promised");
        assert_eq!(planned(&[lost, ("n", Loading)], 2), []);
        assert_eq!(planned(&[lost, ("n", Ready)], 2), [(0, 2, 1)]);
        assert_eq!(planned(&[lost, ("n", Ready)], 1), [], "it is on its way");
        assert_eq!(planned(&[("n", Ready)], 1), []);
    }

    #[test]
    fn one_that_shrinks_gives_up_the_lost_ones_with_the_others() {
        let agents = vec![
            with(&[("n", Ready), ("n", Ready), ("gone", Lost)]),
            with(&[("n", Ready)]),
        ];
        let plan = planned(&two(), &world(nodes(3), agents), &[1000, 2000]);
        assert_eq!(scales(&plan), [(0, 3, 1)]);
    }

    #[test]
    fn a_stateful_set_cannot_give_up_the_one_that_is_lost_and_keeps_it() {
        let mut set = with(&[("gone", Lost), ("n", Ready)]);
        set.rollout = Rollout::Ordered;
        let observed = world(nodes(2), vec![set, with(&[("n", Ready)])]);
        assert_eq!(survey(&two(), &observed).capacity, MilliGpus(3000));
        assert_eq!(planned(&two(), &observed, &[2000, 1000]).steps, []);
    }

    #[test]
    fn a_pod_that_is_stranded_keeps_no_other_agent_from_a_change() {
        let mut shape = two();
        shape.max_concurrent = 1;
        let mut a = with(&[("n", Ready), ("gone", Stranded)]);
        a.replicas = 1;
        let b = with(&[("n", Ready), ("n", Ready)]);
        let observed = world(nodes(3), vec![a, b]);
        let plan = planned(&shape, &observed, &[1000, 1000]);
        assert_eq!(scales(&plan), [(1, 2, 1)], "{:?}", plan.holds);
    }

    #[test]
    fn a_pod_that_hangs_on_a_node_that_answers_holds_its_gpu_and_nobody_waits_for_it() {
        let mut shape = two();
        shape.max_concurrent = 1;
        let mut a = with(&[("n", Ready), ("n", Stranded)]);
        a.replicas = 1;
        let b = with(&[("n", Ready), ("n", Ready)]);
        let observed = world(vec![node("n", 5)], vec![a, b]);
        let seen = survey(&shape, &observed);
        assert_eq!(seen.capacity, MilliGpus(4000), "the fifth is held");
        assert!(
            seen.notes[0].contains("gone ten minutes ago"),
            "{:?}",
            seen.notes
        );
        let plan = planned(&shape, &observed, &[1000, 1000]);
        assert_eq!(scales(&plan), [(1, 2, 1)], "{:?}", plan.holds);
        let plan = planned(&shape, &observed, &[5000, 1000]);
        assert_eq!(replicas(&plan), [Some(3), Some(1)]);
    }

    #[test]
    fn what_a_stranded_pod_holds_is_free_for_nobody_and_counts_against_no_budget() {
        let mut shape = two();
        shape.declared_gpus = Some(MilliGpus(4000));
        let mut dark = node("dark", 4);
        dark.schedulable = false;
        let mut a = with(&[("n", Ready), ("dark", Stranded), ("dark", Stranded)]);
        a.replicas = 1;
        let observed = world(vec![dark, node("n", 4)], vec![a, with(&[("n", Ready)])]);
        assert_eq!(survey(&shape, &observed).capacity, MilliGpus(4000));
        let plan = planned(&shape, &observed, &[3000, 1000]);
        assert_eq!(scales(&plan), [(0, 1, 3)]);
    }
}
