//! Engines on one time-sliced GPU start one at a time.
//!
//! An engine measures the free memory of the whole GPU while it starts, and takes its cache from that: a neighbour that starts or goes at
//! the same time makes it take too little, or fail (vllm-project/vllm#55827, #56830). Which GPU of which node a new copy gets is not known
//! beforehand, and a full node may be full no longer when the scheduler looks: nothing starts while another copy of the pool starts or goes.
//! For the same reason no copy is given up on a node where another one loads.
//!
//! One that never gets ready keeps the others waiting for [`PATIENCE`], no longer; a restart of the operator begins that anew.

use super::ground::Ground;
use super::hysteresis::Memory;
use super::market::Market;
use super::types::{Pod, PodState, Strategy};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a copy that starts or goes keeps others waiting: what a Deployment takes as no progress (`progressDeadlineSeconds`,
/// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>).
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Whether a copy may start now.
pub(super) struct Starts {
    apart: bool,
    /// What has to be over first.
    before: Option<String>,
    /// Copies that load.
    loading: Vec<Loading>,
}

/// A copy that loads.
struct Loading {
    pod: String,
    node: usize,
    until: String,
}

/// What is waited for.
struct Change {
    /// When it is over, in words that follow "when".
    until: String,
    /// The pod and its node, of a copy that loads.
    loads: Option<(String, usize)>,
}

impl Starts {
    /// Reads who starts and who goes; `memory` knows since when.
    pub fn read(market: &Market<'_>, memory: &mut Memory, now: Duration) -> Self {
        let apart = matches!(market.shape.strategy, Strategy::TimeSlicing { .. });
        let under_way = if apart {
            under_way(market)
        } else {
            BTreeMap::new()
        };
        let since = memory.first_seen(under_way.keys(), now);
        let changes = under_way.into_iter().filter(|(key, _)| {
            let since = since.get(key).copied().unwrap_or(now);
            now.saturating_sub(since) < PATIENCE
        });
        let mut starts = Self {
            apart,
            before: None,
            loading: Vec::new(),
        };
        for (_, Change { until, loads }) in changes {
            starts.before.get_or_insert_with(|| until.clone());
            starts
                .loading
                .extend(loads.map(|(pod, node)| Loading { pod, node, until }));
        }
        starts
    }

    /// How many of `wanted` copies may start now.
    pub fn most(&self, wanted: u64) -> u64 {
        match (self.apart, &self.before) {
            (false, _) => wanted,
            (true, None) => wanted.min(1),
            (true, Some(_)) => 0,
        }
    }

    /// A copy of `agent` starts with this plan.
    pub fn begin(&mut self, agent: &str) {
        if self.apart {
            self.before = Some(format!("the next copy of agent {agent} is ready"));
        }
    }

    /// Copies of `agent` go with this plan.
    pub fn end(&mut self, agent: &str) {
        if self.apart {
            self.before
                .get_or_insert_with(|| format!("the copies that agent {agent} gives up are gone"));
        }
    }

    /// The end of what loads beside one of these pods that are to be given up, in words that follow "when".
    pub fn beside(&self, ground: &Ground<'_>, pods: &[&Pod]) -> Option<&str> {
        let given_up = |loading: &&Loading| pods.iter().any(|pod| pod.name == loading.pod);
        let beside = |loading: &&Loading| {
            let mut nodes = pods.iter().filter_map(|pod| ground.node_of(pod));
            nodes.any(|node| node == loading.node)
        };
        let mut loading = self.loading.iter().filter(|loading| !given_up(loading));
        loading.find(beside).map(|loading| loading.until.as_str())
    }

    /// What the next copy waits for, in words that follow "when".
    pub fn before(&self) -> Option<&str> {
        self.before.as_deref()
    }
}

/// Copies that start or go, by a name of their own, with when that is over.
fn under_way(market: &Market<'_>) -> BTreeMap<String, Change> {
    let mut found = BTreeMap::new();
    let Some(unit) = market.units.first() else {
        return found;
    };
    for (agent, shape) in market.ground.agents.iter().zip(&market.shape.agents) {
        let name = &shape.name;
        let mut live = 0;
        for pod in &agent.pods {
            live += u32::from(pod.state != PodState::Terminating);
            if !pod.requests.contains_key(&unit.resource) {
                continue;
            }
            let until = match pod.state {
                PodState::Pending | PodState::Loading => "ready",
                PodState::Terminating => "gone",
                PodState::Ready | PodState::Stranded | PodState::Lost => continue,
            };
            let key = format!("{name}/{} {:?}", pod.name, pod.state);
            let node = market.ground.node_of(pod);
            let loads = node.filter(|_| pod.state == PodState::Loading);
            let change = Change {
                until: format!("pod {} of agent {name} is {until}", pod.name),
                loads: loads.map(|node| (pod.name.clone(), node)),
            };
            found.insert(key, change);
        }
        if agent.template.contains_key(&unit.resource) && live < agent.replicas {
            let what = format!("{} of {} copies of agent {name}", live, agent.replicas);
            let change = Change {
                until: format!("there are more than {what}"),
                loads: None,
            };
            found.insert(format!("{name}/ {live}"), change);
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::fixtures::*;
    use super::super::*;
    use super::PATIENCE;
    use crate::units::{GpuResource, Mebibytes, MilliGpus, Priority};

    fn token() -> GpuResource {
        GpuResource::shared()
    }

    fn shape() -> PoolShape {
        let sliced = Strategy::TimeSlicing {
            resource: token(),
            slices_per_gpu: Some(10),
        };
        let agents = ["a", "b"].map(|name| with_memory(agent(name, Priority::High, 1, 8, 1), 1000));
        pool(sliced, agents.to_vec())
    }

    fn gpu(name: &str, tokens: u32) -> Node {
        Node {
            name: name.to_owned(),
            schedulable: true,
            allocatable: [(token(), tokens)].into(),
            gpus: 1,
            gpu_memory: Some(Mebibytes(16_384)),
            ..Node::default()
        }
    }

    /// Agent a is to have more copies than it has: 700m of an overloaded GPU.
    fn next(agents: [AgentObserved; 2], memory: &Memory, seconds: u64) -> (Plan, Memory) {
        let observed = world(vec![gpu("n", 10)], agents.to_vec());
        let decision = [700, 300].map(|t| Allotment {
            target: MilliGpus(t),
            ..hungry(2 * t)
        });
        plan(
            &shape(),
            &observed,
            &decision,
            memory,
            Duration::from_secs(seconds),
        )
    }

    fn copies(nodes: &[&str]) -> AgentObserved {
        running(&token(), 1, nodes)
    }

    fn with_last(mut agent: AgentObserved, state: PodState) -> AgentObserved {
        agent.pods.last_mut().unwrap().state = state;
        agent
    }

    fn held(plan: &Plan) -> &str {
        let hold = plan.holds[0].as_ref().unwrap();
        assert_eq!(hold.reason, HoldReason::WaitingForStart);
        &hold.message
    }

    #[test]
    fn copies_are_started_one_after_the_other_and_the_hold_says_which_is_waited_for() {
        let memory = Memory::default();
        let (first, _) = next([copies(&["n"]), copies(&["n"])], &memory, 0);
        assert_eq!(replicas(&first), [Some(2), Some(1)]);
        let mut more = shape();
        more.agents[0].min_replicas = 4;
        let observed = world(vec![gpu("n", 10)], vec![copies(&["n"]), copies(&["n"])]);
        let plan = planned(&more, &observed, &[900, 100]);
        assert_eq!(scales(&plan), [(0, 1, 2)], "one at a time");
        assert!(held(&plan).contains("the next copy of agent a is ready"));
        assert!(plan.unfinished);
        let loading = with_last(copies(&["n", "n"]), PodState::Loading);
        let observed = world(vec![gpu("n", 10)], vec![loading, copies(&["n"])]);
        let plan = planned(&more, &observed, &[900, 100]);
        assert_eq!(plan.steps, []);
        assert!(held(&plan).contains("pod pod-1 of agent a is ready"));
        let observed = world(
            vec![gpu("n", 10)],
            vec![copies(&["n", "n"]), copies(&["n"])],
        );
        assert_eq!(scales(&planned(&more, &observed, &[900, 100])), [(0, 2, 3)]);
    }

    #[test]
    fn whatever_starts_or_goes_is_waited_for() {
        let memory = Memory::default();
        let mut missing = copies(&["n", "n"]);
        missing.pods.pop();
        let mut leaving = with_last(copies(&["n", "n"]), PodState::Terminating);
        leaving.replicas = 1;
        for (other, word) in [
            (with_last(copies(&["n"]), PodState::Loading), "is ready"),
            (copies(&[""]), "is ready"),
            (leaving, "is gone"),
            (missing, "more than 1 of 2"),
        ] {
            let (plan, _) = next([copies(&["n"]), other.clone()], &memory, 0);
            assert!(
                scales(&plan).iter().all(|(agent, ..)| *agent != 0),
                "{other:?}"
            );
            assert!(held(&plan).contains(word), "{}", held(&plan));
        }
    }

    #[test]
    fn a_copy_that_never_gets_ready_keeps_the_others_waiting_for_ten_minutes_and_no_longer() {
        let stuck = || [copies(&["n"]), with_last(copies(&["n"]), PodState::Loading)];
        let mut memory = Memory::default();
        for seconds in (0..PATIENCE.as_secs()).step_by(10) {
            let (plan, after) = next(stuck(), &memory, seconds);
            assert_eq!(plan.steps, [], "after {seconds} s");
            memory = after;
        }
        let (plan, _) = next(stuck(), &memory, PATIENCE.as_secs());
        assert_eq!(scales(&plan), [(0, 1, 2)]);
    }

    #[test]
    fn no_copy_is_given_up_beside_one_that_loads() {
        let loading = |node| with_last(copies(&[node]), PodState::Loading);
        let idle = [100, 100].map(hungry);
        let two = |node| {
            let agents = vec![copies(&["n", "n"]), named("other", loading(node))];
            world(vec![gpu("n", 10), gpu("m", 10)], agents)
        };
        let mut memory = Memory::default();
        for seconds in (0..PATIENCE.as_secs()).step_by(60) {
            let now = Duration::from_secs(seconds);
            let (plan, after) = plan(&shape(), &two("n"), &idle, &memory, now);
            assert_eq!(plan.steps, [], "after {seconds} s");
            assert!(held(&plan).contains("2 -> 1 replicas, when pod other of agent b is ready"));
            assert!(plan.unfinished);
            memory = after;
        }
        assert_eq!(
            scales(&plan(&shape(), &two("n"), &idle, &memory, PATIENCE).0),
            [(0, 2, 1)]
        );
        let elsewhere = plan(&shape(), &two("m"), &idle, &Memory::default(), PATIENCE).0;
        assert_eq!(scales(&elsewhere), [(0, 2, 1)]);
        let own = vec![
            with_last(copies(&["n", "n"]), PodState::Loading),
            copies(&["n"]),
        ];
        let observed = world(vec![gpu("n", 10)], own);
        let own = plan(&shape(), &observed, &idle, &Memory::default(), PATIENCE).0;
        assert_eq!(
            scales(&own),
            [(0, 2, 1)],
            "the one that loads is given up itself"
        );
    }

    #[test]
    fn no_copy_starts_while_others_are_given_up() {
        let agents = [copies(&["n"]), copies(&["n", "n", "n", "n"])];
        let (plan, _) = next(agents, &Memory::default(), 0);
        assert_eq!(scales(&plan), [(1, 4, 1)]);
        assert!(held(&plan).contains("when the copies that agent b gives up are gone"));
    }

    fn named(pod: &str, mut agent: AgentObserved) -> AgentObserved {
        agent.pods[0].name = pod.to_owned();
        agent
    }
}
