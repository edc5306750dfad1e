//! Which pods go first on a scale-in.

use super::fit::{self, Part};
use super::ground::Ground;
use super::market::Market;
use super::types::{Pod, PodState, Quantum, Rollout};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// The pods of agent `i` to cut when it goes down to `to` replicas, first the one that is missed least: not scheduled,
/// on a node that is gone, loading, then ready with the least load; ties by name.
///
/// `first` counts per node the pods that must go so that a larger replica finds its place; they precede other bound pods. A StatefulSet gives up its highest ordinals, whatever is asked.
pub(super) fn pick(
    ground: &Ground<'_>,
    i: usize,
    to: u32,
    first: &BTreeMap<usize, u64>,
) -> Vec<String> {
    let mut pods = in_order(ground, i, first);
    pods.truncate(pods.len().saturating_sub(to as usize));
    pods.into_iter().map(|pod| pod.name.clone()).collect()
}

/// The live pods of agent `i` in the order in which they are given up; see [`pick`].
pub(super) fn in_order<'a>(
    ground: &Ground<'a>,
    i: usize,
    first: &BTreeMap<usize, u64>,
) -> Vec<&'a Pod> {
    let agent = &ground.agents[i];
    let mut live: Vec<&Pod> = agent
        .pods
        .iter()
        .filter(|pod| pod.state != PodState::Terminating)
        .collect();
    if agent.rollout == Rollout::Ordered {
        live.sort_by_key(|pod| Reverse((fit::ordinal(&pod.name), &pod.name)));
        return live;
    }
    live.sort_by(|a, b| order(ground, a, b));
    let mut wanted = first.clone();
    let (mut chosen, mut rest) = (Vec::new(), Vec::new());
    for pod in live {
        let at = ground.node_of(pod);
        let place = at.and_then(|at| wanted.get_mut(&at)).filter(|n| **n > 0);
        match place {
            Some(n) => {
                *n -= 1;
                chosen.push(pod);
            }
            None if at.is_none() => chosen.push(pod),
            None => rest.push(pod),
        }
    }
    chosen.extend(rest);
    chosen
}

fn order(ground: &Ground<'_>, a: &Pod, b: &Pod) -> Ordering {
    let class = |pod: &Pod| match pod.state {
        _ if pod.node.is_none() => 0,
        _ if ground.node_of(pod).is_none() => 1,
        PodState::Ready => 3,
        _ => 2,
    };
    // A ready pod whose load is not known may be the busiest.
    let load = |pod: &Pod| match pod.load {
        Some(load) if load.is_finite() && load >= 0.0 => load,
        _ => f64::INFINITY,
    };
    class(a)
        .cmp(&class(b))
        .then(load(a).total_cmp(&load(b)))
        .then(a.name.cmp(&b.name))
}

/// Per agent and node: pods that must go so that everything decided finds its place.
pub(super) fn required(
    market: &Market<'_>,
    quanta: &[Option<Quantum>],
) -> Vec<BTreeMap<usize, u64>> {
    let mut required = vec![BTreeMap::new(); quanta.len()];
    for unit in &market.units {
        let (who, parts): (Vec<usize>, Vec<Part>) = quanta
            .iter()
            .enumerate()
            .filter_map(|(i, quantum)| {
                let quantum = quantum.as_ref().filter(|q| q.resource == unit.resource)?;
                let replicas = u64::from(quantum.replicas);
                let part = Part::of(market.ground, i, &unit.resource, quantum.count, replicas);
                Some((i, part))
            })
            .unzip();
        if let Some(gone) = fit::arrange(&unit.spots, &parts) {
            for (i, gone) in who.into_iter().zip(gone) {
                required[i] = gone;
            }
        }
    }
    required
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{agent, node, planned, pool, running, whole, world};
    use super::super::types::{AgentObserved, Step, Strategy};
    use super::*;
    use crate::units::Priority;

    /// The pods that an agent gives up when it goes down to `to` replicas, in order; its pods have these names and states, and so much
    /// load.
    fn given_up(pods: &[(&str, PodState, Option<f64>)], rollout: Rollout, to: u32) -> Vec<String> {
        let mut seen = AgentObserved {
            rollout,
            ..running(&whole(), 1, &vec!["n"; pods.len()])
        };
        for (pod, (name, state, load)) in seen.pods.iter_mut().zip(pods) {
            pod.name = (*name).to_owned();
            pod.state = *state;
            pod.load = *load;
        }
        let one = agent("a", Priority::Medium, 1, 8, 1);
        let shape = pool(Strategy::WholeGpu, vec![one]);
        let plan = planned(
            &shape,
            &world(vec![node("n", 8)], vec![seen]),
            &[u64::from(to) * 1000],
        );
        match plan.steps.as_slice() {
            [Step::Scale { victims, .. }] => victims.clone(),
            other => vec![format!("{other:?}")],
        }
    }

    const READY: PodState = PodState::Ready;

    #[test]
    fn the_pod_with_the_least_load_goes_first_and_one_of_unknown_load_last() {
        let pods = [
            ("a", READY, None),
            ("b", READY, Some(5.0)),
            ("c", READY, Some(0.0)),
            ("d", READY, Some(f64::NAN)),
            ("e", READY, Some(-1.0)),
        ];
        assert_eq!(given_up(&pods, Rollout::Rolling, 4), ["c"]);
        assert_eq!(given_up(&pods, Rollout::Rolling, 3), ["c", "b"]);
        let then_by_name = given_up(&pods, Rollout::Recreate, 1);
        assert_eq!(then_by_name, ["c", "b", "a", "d"]);
    }

    #[test]
    fn a_pod_that_does_not_serve_yet_goes_before_the_idlest_that_does() {
        let pods = [
            ("a", READY, Some(0.0)),
            ("b", PodState::Loading, Some(9.0)),
            ("c", READY, Some(5.0)),
        ];
        assert_eq!(given_up(&pods, Rollout::Rolling, 1), ["b", "a"]);
    }

    #[test]
    fn a_stateful_set_gives_up_its_highest_ordinals_whatever_their_load_is() {
        let pods = [
            ("w-10", READY, Some(5.0)),
            ("w-2", READY, Some(0.0)),
            ("w-9", READY, None),
        ];
        assert_eq!(given_up(&pods, Rollout::Ordered, 1), ["w-10", "w-9"]);
    }
}
