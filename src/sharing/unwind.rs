//! What is left to do for a swap by way of zero when nobody decides any more: the pool is deleted.

use super::fit;
use super::ground::Ground;
use super::types::{AgentObserved, Observed, Restore, Step};
use crate::units::GpuResource;

/// The next steps that bring every agent of a half done swap up again, on what it has, was to have, or had, whichever is
/// free; empty and `false` when nothing is left to be done. `true`: more steps follow once pods are gone or steps are taken.
///
/// Without a place for it an agent is scaled up all the same: a pod that waits will run one day, an agent that nobody starts
/// will not.
pub fn unwind(observed: &Observed) -> (Vec<Step>, bool) {
    let ground = Ground::new(observed);
    let mut steps = Vec::new();
    let mut more = false;
    for (i, agent) in observed.agents.iter().enumerate() {
        let Some(restore) = &agent.restore else {
            continue;
        };
        more = true;
        if agent.replicas > 0 {
            steps.push(Step::Forget { agent: i });
        } else if agent.pods.is_empty() {
            steps.push(bring_up(&ground, i, agent, restore));
        }
    }
    (steps, more)
}

fn bring_up(ground: &Ground<'_>, i: usize, agent: &AgentObserved, restore: &Restore) -> Step {
    let asked = agent.template.iter().find(|(_, count)| **count > 0);
    let asks_for = |name: &str| asked.is_some_and(|(resource, _)| resource.as_str() == name);
    let count = asked.map_or(1, |(_, count)| *count);
    let free = |resource: &GpuResource| {
        let promises = ground.promises(resource);
        fit::sure(&ground.spots(resource), &promises, count, 1)
    };
    let (other, replicas) = if asks_for(&restore.to) {
        (&restore.from, restore.to_replicas)
    } else {
        (&restore.to, restore.replicas)
    };
    if let Some((resource, _)) = asked
        && !free(resource)
        && let Ok(other) = GpuResource::parse(other)
        && free(&other)
    {
        return Step::Retarget {
            agent: i,
            remove: agent.template.clone(),
            resource: other,
            count,
        };
    }
    Step::Scale {
        agent: i,
        from: 0,
        to: replicas.max(1),
        victims: Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::model::{Cluster, Dice, turns};
    use super::super::*;
    use super::unwind;
    use crate::units::Priority;

    #[test]
    fn a_pool_deleted_at_any_moment_of_a_swap_leaves_everyone_running() {
        let agents = [("a", Priority::High), ("b", Priority::Low)]
            .map(|(name, priority)| with_memory(agent(name, priority, 1, 1, 1), 9000));
        let mut shape = pool(Strategy::Mig, agents.to_vec());
        shape.allow_downtime = true;
        let decision = [hungry(518), hungry(388)];
        let mut stopped = 0;
        for seed in 0..200 {
            let mut cluster = Cluster::new(
                vec![a100("n", &[("3g.40gb", 1), ("4g.40gb", 1)])],
                vec![
                    running(&mig("3g.40gb"), 1, &["n"]),
                    running(&mig("4g.40gb"), 1, &["n"]),
                ],
            );
            let mut dice = Dice::new(seed);
            let moment = dice.roll(40);
            turns(&mut cluster, &shape, &decision, &mut dice, 0, moment);
            stopped += usize::from(cluster.workloads[1].replicas == 0);
            loop {
                let (steps, more) = unwind(&cluster.observed());
                for step in &steps {
                    cluster.apply(step);
                }
                if !cluster.turn(&mut dice) && !more {
                    break;
                }
            }
            assert!(
                cluster
                    .workloads
                    .iter()
                    .all(|w| w.replicas == 1 && w.restore.is_none())
            );
            assert_eq!(cluster.pods.len(), 2, "{seed}");
            let up = cluster.pods.iter().all(|p| p.pod.state == PodState::Ready);
            assert!(up, "{seed}: {:?}", cluster.unschedulable);
        }
        assert!(
            stopped > 10,
            "the moment was within the swap {stopped} times"
        );
    }
}
